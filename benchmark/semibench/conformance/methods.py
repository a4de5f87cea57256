"""Checks of methods, one fact each. A check raises AssertionError with a message that says what is wrong."""

from __future__ import annotations

import io
import math
import pickle
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from semibench.blocks.teacher import Teacher
from semibench.conformance.holding import unregistered
from semibench.conformance.method_settings import SETTINGS_CHECKS
from semibench.conformance.rehearsal import Rehearsal, tensors
from semibench.conformance.subject import MethodSubject, reseed
from semibench.contracts.method import Method
from semibench.contracts.schedule import Clock
from semibench.training.low_precision import why_wrong
from semibench.training.schedules import plan_stages

Check = Callable[[MethodSubject], str | None]
"""May return a sentence about the outcome."""

NOTHING_OPTIMISED = "doesn't apply: the method optimises nothing (`optimisers` is empty)"


def _different(first: Mapping[str, Tensor], second: Mapping[str, Tensor]) -> list[str]:
    """Returns the names of tensors that aren't exactly equal."""
    return [name for name in first if not torch.equal(first[name], second[name])]


def check_losses_are_declared(subject: MethodSubject) -> None:
    """Every loss is declared in `terms`, and every declared term is returned in some stage."""
    returned = {name for call in subject.done.calls for name in call.values}
    declared = set(subject.method.terms)
    assert returned <= declared, f"losses without a term: {sorted(returned - declared)}"
    assert declared <= returned, f"terms that no stage returns: {sorted(declared - returned)}"


def check_losses_are_finite_scalars(subject: MethodSubject) -> None:
    """Every loss is a single finite number."""
    for call in subject.done.calls:
        for name, shape in call.shapes.items():
            assert math.prod(shape) == 1, f"{name} has shape {shape}; reduce it to one number"
            assert math.isfinite(call.values[name]), f"{name} = {call.values[name]} in stage {call.stage!r}"


def check_losses_are_unweighted(subject: MethodSubject) -> None:
    """Losses come unweighted: tripling a term's weight doesn't triple its loss."""
    first, heavy = _first_values(subject.brief), _first_values(subject.rehearse_constant(3.0))
    for name, term in subject.method.terms.items():
        if not term.weight or not first.get(name) or name not in heavy:
            continue
        assert not math.isclose(heavy[name], 3.0 * first[name], rel_tol=1e-3), (
            f"{name} grows with its weight ({first[name]:.4g}, with three times the weight {heavy[name]:.4g}): return "
            "the unweighted loss; the harness multiplies it by the weight"
        )


def _first_values(rehearsal: Rehearsal) -> dict[str, float]:
    """Returns the first value of each term."""
    values: dict[str, float] = {}
    for call in rehearsal.calls:
        values = {**call.values, **values}
    return values


def check_optimise_has_gradients(subject: MethodSubject) -> str | None:
    """`optimise` is called with gradients enabled and with losses that depend on parameters."""
    if not subject.optimises:
        return NOTHING_OPTIMISED
    assert subject.done.calls, "optimise was never called"
    for call in subject.done.calls:
        assert call.grad_enabled, f"gradients are disabled at optimise({sorted(call.values)})"
        assert call.has_graph or not call.values, f"no loss of {sorted(call.values)} depends on a parameter"
    return None


def check_no_gradient_is_left(subject: MethodSubject) -> None:
    """After an iteration, no parameter has a gradient in `.grad`."""
    rehearsal = subject.done
    left = [name for name, parameter in rehearsal.method.named_parameters() if parameter.grad is not None]
    assert not left, f"parameters with a gradient that no step used: {left[:5]}"


def check_every_parameter_is_trained(subject: MethodSubject) -> None:
    """Every parameter that requires gradients belongs to an optimiser and gets a non-zero gradient in some step.

    The gradient of a vector may be 0, since a bias before a normalisation has no effect."""
    rehearsal = subject.done
    unowned = sorted(rehearsal.trainable - rehearsal.owned)
    assert not unowned, f"parameters in no optimiser; freeze them or add them to one: {unowned[:5]}"
    never = sorted(rehearsal.trainable - set(rehearsal.reached))
    assert not never, f"parameters that never get a gradient: {never[:5]}"
    wide = {name for name, parameter in rehearsal.method.named_parameters() if parameter.ndim > 1}
    dead = sorted(name for name in wide & rehearsal.trainable if rehearsal.reached[name] == 0.0)
    assert not dead, f"parameters whose gradient is always 0: {dead[:5]}"


def check_teachers_get_no_gradient(subject: MethodSubject) -> None:
    """Parameters of a `Teacher` don't require gradients, and frozen parameters never get one."""
    method = subject.done.method
    for name, module in method.named_modules():
        if isinstance(module, Teacher):
            unfrozen = [key for key, parameter in module.named_parameters() if parameter.requires_grad]
            assert not unfrozen, f"{name}: parameters of a teacher require gradients: {unfrozen[:3]}"
    frozen = {name for name, parameter in method.named_parameters() if not parameter.requires_grad}
    reached = sorted(frozen & (set(subject.done.reached) - subject.done.trainable))
    assert not reached, f"frozen parameters got gradients: {reached[:5]}"


def check_trained_weights_are_not_overwritten(subject: MethodSubject) -> None:
    """Outside of the optimiser, no parameter that it trains moves towards the same parameter of another network: that is a
    teacher which gets gradients."""
    found = [f"{name} (towards {goal})" for name, goal in subject.done.overwritten.items()]
    assert not found, (
        f"gradients train these parameters, then the method overwrites them: {', '.join(found[:3])}. If they are a teacher's, "
        "keep it in a `semibench.blocks.Teacher`, or freeze it with requires_grad_(False) and call it under torch.no_grad()"
    )


def check_networks_are_registered(subject: MethodSubject) -> None:
    """Every network and parameter that the method holds is registered with torch: in an attribute of its own or a
    `ModuleList`, not in a plain list or dictionary."""
    hidden = unregistered(subject.build()) or unregistered(subject.done.method)
    assert not hidden, (
        f"torch doesn't see the parameters in {', '.join(hidden[:5])}: they are neither trained nor saved nor moved to the "
        "GPU; use nn.ModuleList, nn.ModuleDict or nn.ParameterList in place of list and dict"
    )


def check_no_graph_outlives_an_iteration(subject: MethodSubject) -> None:
    """Between iterations, no tensor that the method holds keeps the graph it was computed with."""
    kept = sorted(set(subject.done.graphs))
    assert not kept, (
        f"{', '.join(kept[:5])} keep the graph of an iteration, and so its activations: memory grows or is never freed; "
        "detach a tensor before you keep it"
    )


def check_unlabeled_labels_are_absent(subject: MethodSubject) -> str | None:
    """Streams of the pools "unlabeled" and "all" come without labels, and the method trains on them."""
    batch = subject.data().batch(0)
    for name, stream in subject.method.streams.items():
        assert stream.pool == "labeled" or batch[name].label is None, f"the stream {name!r} shows labels"
    assert subject.done.calls or not subject.optimises
    return None if subject.optimises else "the streams show no labels; the method trains on none of them"


def check_zero_weight_changes_no_digit(subject: MethodSubject) -> None:
    """A term of weight 0 has no effect: dropping it gives exactly the same weights and buffers."""
    names = sorted(subject.method.terms)
    for half in (names[::2], names[1::2]):  # four rehearsals, however many terms there are
        if half and _differences_without(subject, half):
            alone = {name: _differences_without(subject, [name]) for name in half}
            culprits = {name: different for name, different in alone.items() if different} or {" and ".join(half): []}
            effects = (f"the term {name!r} changes {different[:5]}" for name, different in culprits.items())
            raise AssertionError(f"{', '.join(effects)} although its weight is 0")


def _differences_without(subject: MethodSubject, names: Sequence[str]) -> list[str]:
    """Returns the weights and buffers that differ between training with these terms at weight 0 and training without them."""
    states = []
    for drop in (False, True):
        rehearsal = subject.rehearse(steps=2)
        silent = {name: replace(subject.method.terms[name], weight=0.0) for name in names}
        rehearsal.method.terms = {**subject.method.terms, **silent}
        if drop:
            rehearsal.filter = lambda losses: {key: value for key, value in losses.items() if key not in names}
        states.append(rehearsal.run().state())
    return _different(*states)


def check_empty_foreground(subject: MethodSubject) -> None:
    """Losses and weights stay finite when no sample has foreground."""
    rehearsal = subject.rehearse(empty=True, steps=2).run()
    for call in rehearsal.calls:
        broken = {name: value for name, value in call.values.items() if not math.isfinite(value)}
        assert not broken, f"without foreground, losses are not finite: {broken} in stage {call.stage!r}"
    bad = [name for name, value in rehearsal.state().items() if not value.isfinite().all()]
    assert not bad, f"without foreground, these become NaN or infinite: {bad[:5]}"


def check_trains_in_half_precision(subject: MethodSubject) -> str | None:
    """With the recipe's `precision: bf16`, losses and weights stay finite."""
    if why_wrong("bf16", torch.device("cpu"), subject.dims):
        return "doesn't apply: volumes are not computed in bfloat16 on a processor"
    rehearsal = subject.rehearse(steps=1)
    rehearsal.precision = "bf16"
    for call in rehearsal.run().calls:
        broken = {name: value for name, value in call.values.items() if not math.isfinite(value)}
        assert not broken, (
            f"in bfloat16, losses are not finite: {broken} in stage {call.stage!r}; `probabilities.float()` before a logarithm, "
            "a root or a division keeps a small constant from being rounded away"
        )
    bad = [name for name, value in rehearsal.state().items() if not value.isfinite().all()]
    assert not bad, f"in bfloat16, these become NaN or infinite: {bad[:5]}"
    return None


def check_resumes_to_the_same_digits(subject: MethodSubject) -> None:
    """A run that is stopped in any stage and resumed ends with exactly the same weights and buffers."""
    for run in subject.resumes:
        assert run.straight.keys() == run.resumed.keys()
        different = _different(run.straight, run.resumed)
        assert not different, f"after resuming in stage {run.stage!r}, these differ: {different[:5]}"


def check_state_round_trips(subject: MethodSubject) -> None:
    """The state can be saved without code; loaded into a fresh method, it gives exactly the same predictions."""
    own, fresh, saved = subject.done.method, subject.build(seed=1), io.BytesIO()
    torch.save(own.state_dict(), saved)
    saved.seek(0)
    try:
        fresh.load_state_dict(torch.load(saved, weights_only=True))
    except pickle.UnpicklingError as error:
        raise AssertionError(f"the state holds more than tensors and plain values: {str(error)[:200]}") from error
    different = _different(_predict(own, subject.images()), _predict(fresh, subject.images()))
    assert not different, f"the predictors {different} depend on something that isn't in the state"


def check_begin_runs_once(subject: MethodSubject) -> str | None:
    """After a resume, `begin` runs for later stages but not again for the current one."""
    if not subject.optimises:
        return NOTHING_OPTIMISED
    for run in subject.resumes:
        assert run.begun == run.due, f"resumed in {run.stage!r}: begin ran for {run.begun}, expected {run.due}"
    return None


def check_buffers_keep_their_shape(subject: MethodSubject) -> None:
    """The state has the same names and shapes before and after training."""
    after = {name: tuple(value.shape) for name, value in tensors(subject.done.method.state_dict()).items()}
    before = subject.done.initial
    assert before.keys() == after.keys(), (
        f"entries that were added or removed: {sorted(before.keys() ^ after.keys())[:5]}"
    )
    changed = [f"{name}: {shape} -> {after[name]}" for name, shape in before.items() if after[name] != shape]
    assert not changed, f"allocate buffers at their full size; these changed: {changed[:5]}"


def check_prediction_changes_nothing(subject: MethodSubject) -> None:
    """Predicting in eval mode changes neither weights nor buffers."""
    method, images = subject.build(), subject.images()
    before = {name: value.clone() for name, value in tensors(method.state_dict()).items()}
    _predict(method, images)
    different = _different(before, tensors(method.state_dict()))
    assert not different, f"a prediction changed {different[:5]}"


def _predict(method: Method, images: Tensor) -> dict[str, Tensor]:
    method.eval()
    reseed()
    with torch.no_grad():
        return {name: predictor(images) for name, predictor in method.predictors().items()}


def check_prediction_is_independent_of_the_batch(subject: MethodSubject) -> None:
    """In eval mode, the logits of an image don't depend on the rest of the batch."""
    method, images = subject.done.method, subject.images()
    together, alone = _predict(method, images), _predict(method, images[:1])
    for name, logits in together.items():
        gap = float((logits[:1] - alone[name]).abs().max() / logits.abs().max().clamp(min=1.0))
        assert gap < 1e-4, f"predictor {name!r}: the same image alone differs by {gap:.2g}"


def check_predictor_shapes(subject: MethodSubject) -> None:
    """Every predictor returns finite logits (B, K, *spatial), and the first predictor is the method's forward pass."""
    method, images = subject.done.method, subject.images()
    predictions = _predict(method, images)
    expected = (len(images), len(subject.task.classes), *images.shape[2:])
    for name, logits in predictions.items():
        assert tuple(logits.shape) == expected, f"predictor {name!r}: {tuple(logits.shape)}, expected {expected}"
        assert logits.isfinite().all(), f"predictor {name!r} returns NaN or infinity"
    reseed()
    with torch.no_grad():
        own = method(images)
    assert torch.equal(next(iter(predictions.values())), own), (
        "the first predictor isn't what the method's forward returns"
    )


def check_small_budget_passes_every_gate(subject: MethodSubject) -> None:
    """With only 30 iterations, every term still has a positive weight in some step."""
    method = subject.build()
    plans = plan_stages(method, 30)
    for name, term in method.terms.items():
        if term.weight == 0.0:
            continue
        clocks = [Clock(plan.name, step, plan.steps, {}) for plan in plans for step in range(plan.steps)]
        assert any(method.weight(name, clock) > 0.0 for clock in clocks), (
            f"the term {name!r} has weight 0 in all of 30 steps"
        )


def check_no_parameter_has_two_names(subject: MethodSubject) -> None:
    """No parameter or buffer is registered twice or shares memory with another; functional calls and safetensors need this."""
    by_address: dict[int, str] = {}
    method = subject.build()
    named = [*method.named_parameters(remove_duplicate=False), *method.named_buffers(remove_duplicate=False)]
    for name, value in named:
        if not value.numel():
            continue
        address = value.untyped_storage().data_ptr()
        assert address not in by_address, (
            f"{name} and {by_address[address]} are one tensor; make one of them a property"
        )
        by_address[address] = name


def check_same_seed_same_losses(subject: MethodSubject) -> str | None:
    """The same seed gives the same losses and weights; a different seed gives different losses."""
    first, again, other = subject.brief, subject.rehearse_constant(1.0), subject.rehearse_constant(1.0, seed=1)
    assert again.losses() == first.losses(), "the same seed gave different losses: draw from torch's global stream only"
    assert not _different(again.state(), first.state()), "the same seed gave different weights"
    if not subject.optimises:
        return "the same seed gives the same state; other seeds may, too: the method optimises nothing"
    assert other.losses() != first.losses(), (
        "a different seed gave the same losses: where does the randomness come from?"
    )
    return None


def check_runs_with_four_classes(subject: MethodSubject) -> None:
    """The method trains and predicts with four classes, or gives a reason why it doesn't support them."""
    _runs(subject, subject.variant(classes=4))


def check_runs_with_three_channels(subject: MethodSubject) -> None:
    """The method trains and predicts with three image channels, or gives a reason why it doesn't support them."""
    _runs(subject, subject.variant(channels=3))


def _runs(subject: MethodSubject, variant: MethodSubject) -> None:
    """Uses the shared rehearsal with four classes and three channels; if that fails, rehearses this variant alone."""
    reason = _refusal(variant)
    if reason is not None:
        assert isinstance(reason, str) and reason, "unsupported() must return None or a reason as text"
        return
    try:
        _trains_and_predicts(subject.wide if _refusal(subject.wide) is None else variant)
    except Exception:
        _trains_and_predicts(variant)


def _refusal(subject: MethodSubject) -> str | None:
    return subject.method.unsupported(subject.task, subject.parsed_options())


def _trains_and_predicts(subject: MethodSubject) -> None:
    check_losses_are_finite_scalars(subject)
    check_predictor_shapes(subject)


def check_supports_its_task(subject: MethodSubject) -> None:
    """`unsupported` returns None for a task of the declared dims with three domains, and None or a text for one domain."""
    reason = subject.method.unsupported(subject.task, subject.parsed_options())
    assert reason is None, f"the card declares {subject.dims} dims, but unsupported() returns: {reason}"
    alone = subject.method.unsupported(subject.variant(domains=1).task, subject.parsed_options())
    assert alone is None or (isinstance(alone, str) and alone), (
        f"unsupported() must return None or a text, got {alone!r}"
    )


METHOD_CHECKS: Mapping[str, Check] = {
    **{name.removeprefix("check_"): function for name, function in globals().items() if name.startswith("check_")},
    **SETTINGS_CHECKS,
}
"""All checks of methods, by name."""
