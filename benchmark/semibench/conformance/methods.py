"""What every method must do, one fact for each check. A check raises AssertionError with what is wrong."""

from __future__ import annotations

import io
import math
import pickle
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import torch
from pydantic import ValidationError
from torch import Tensor

from semibench.blocks.teacher import Teacher
from semibench.conformance.case import MethodCase, reseed
from semibench.conformance.rehearsal import Rehearsal, tensors
from semibench.contracts.method import Method, MethodOptions
from semibench.contracts.recipe import Recipe
from semibench.contracts.schedule import Clock, Term
from semibench.run.settings import build, term_records
from semibench.training.schedules import plan_stages

Check = Callable[[MethodCase], None]


def _different(first: Mapping[str, Tensor], second: Mapping[str, Tensor]) -> list[str]:
    """Names of tensors that differ in any bit."""
    return [name for name in first if not torch.equal(first[name], second[name])]


def check_losses_are_declared(case: MethodCase) -> None:
    """Every loss has a name in `terms`, and every declared term is given in some stage."""
    given = {name for call in case.done.calls for name in call.values}
    declared = set(case.method.terms)
    assert given <= declared, f"losses without a term: {sorted(given - declared)}"
    assert declared <= given, f"terms that no stage gives: {sorted(declared - given)}"


def check_losses_are_finite_scalars(case: MethodCase) -> None:
    """Every loss is one finite number."""
    for call in case.done.calls:
        for name, shape in call.shapes.items():
            assert math.prod(shape) == 1, f"{name} has shape {shape}; reduce it to one number"
            assert math.isfinite(call.values[name]), f"{name} = {call.values[name]} in stage {call.stage!r}"


def check_losses_are_unweighted(case: MethodCase) -> None:
    """No loss is multiplied by its weight already: with three times the weight it isn't three times as large."""
    first, heavy = _first_values(case.brief), _first_values(case.rehearse_constant(3.0))
    for name, term in case.method.terms.items():
        if not term.weight or not first.get(name) or name not in heavy:
            continue
        assert not math.isclose(heavy[name], 3.0 * first[name], rel_tol=1e-3), (
            f"{name} grows with its weight ({first[name]:.4g}, with three times the weight {heavy[name]:.4g}): return "
            "the bare loss, the harness multiplies"
        )


def _first_values(rehearsal: Rehearsal) -> dict[str, float]:
    """Each term's value the first time that it was given."""
    values: dict[str, float] = {}
    for call in rehearsal.calls:
        values = {**call.values, **values}
    return values


def check_optimise_has_gradients(case: MethodCase) -> None:
    """`optimise` is called with gradients enabled and with losses that depend on parameters."""
    assert case.done.calls, "optimise was never called"
    for call in case.done.calls:
        assert call.grad_enabled, f"gradients are disabled at optimise({sorted(call.values)})"
        assert call.has_graph or not call.values, f"no loss of {sorted(call.values)} depends on a parameter"


def check_no_gradient_is_left(case: MethodCase) -> None:
    """After an iteration no gradient waits to be stepped and none lies in `.grad`."""
    rehearsal = case.done
    left = [name for name, parameter in rehearsal.method.named_parameters() if parameter.grad is not None]
    assert not left, f"parameters with a gradient that nobody stepped: {left[:5]}"


def check_every_parameter_is_trained(case: MethodCase) -> None:
    """Every parameter that requires gradients belongs to an optimiser and gets a gradient other than 0 in some step.

    Vectors (biases before a normalisation have no effect) need only get one."""
    rehearsal = case.done
    stray = sorted(rehearsal.trainable - rehearsal.owned)
    assert not stray, f"in no optimiser, freeze them or name them: {stray[:5]}"
    never = sorted(rehearsal.trainable - set(rehearsal.reached))
    assert not never, f"never reached by a gradient: {never[:5]}"
    wide = {name for name, parameter in rehearsal.method.named_parameters() if parameter.ndim > 1}
    dead = sorted(name for name in wide & rehearsal.trainable if rehearsal.reached[name] == 0.0)
    assert not dead, f"their gradient was always 0: {dead[:5]}"


def check_teachers_get_no_gradient(case: MethodCase) -> None:
    """Parameters of a `Teacher`, and all that don't require gradients, were never reached by one."""
    method = case.done.method
    for name, module in method.named_modules():
        if isinstance(module, Teacher):
            awake = [key for key, parameter in module.named_parameters() if parameter.requires_grad]
            assert not awake, f"{name}: parameters of a teacher require gradients: {awake[:3]}"
    frozen = {name for name, parameter in method.named_parameters() if not parameter.requires_grad}
    touched = sorted(frozen & (set(case.done.reached) - case.done.trainable))
    assert not touched, f"frozen parameters got gradients: {touched[:5]}"


def check_unlabeled_labels_are_absent(case: MethodCase) -> None:
    """The streams of the pools "unlabeled" and "all" come without labels, and the method runs on them."""
    batch = case.data().batch(0)
    for name, stream in case.method.streams.items():
        assert stream.pool == "labeled" or batch[name].label is None, f"the stream {name!r} shows labels"
    assert case.done.calls


def check_zero_weight_changes_no_digit(case: MethodCase) -> None:
    """A term of weight 0 leaves the same weights as one that is dropped."""
    names = sorted(case.method.terms)
    for half in (names[::2], names[1::2]):  # four rehearsals, however many terms there are
        if half and _differences_without(case, half):
            alone = {name: _differences_without(case, [name]) for name in half}
            culprits = {name: different for name, different in alone.items() if different} or {" and ".join(half): []}
            words = (f"the term {name!r} changes {different[:5]}" for name, different in culprits.items())
            raise AssertionError(f"{', '.join(words)} though its weight is 0")


def _differences_without(case: MethodCase, names: Sequence[str]) -> list[str]:
    """Weights and buffers that differ between a training in which these terms have weight 0 and one that drops them."""
    states = []
    for drop in (False, True):
        rehearsal = case.rehearse(steps=2)
        silent = {name: replace(case.method.terms[name], weight=0.0) for name in names}
        rehearsal.method.terms = {**case.method.terms, **silent}
        if drop:
            rehearsal.filter = lambda losses: {key: value for key, value in losses.items() if key not in names}
        states.append(rehearsal.run().state())
    return _different(*states)


def check_empty_foreground(case: MethodCase) -> None:
    """Losses and weights stay finite where no sample holds foreground."""
    rehearsal = case.rehearse(empty=True, steps=2).run()
    for call in rehearsal.calls:
        broken = {name: value for name, value in call.values.items() if not math.isfinite(value)}
        assert not broken, f"without foreground: {broken} in stage {call.stage!r}"
    bad = [name for name, value in rehearsal.state().items() if not value.isfinite().all()]
    assert not bad, f"without foreground these become NaN or infinite: {bad[:5]}"


def check_resumes_to_the_same_digits(case: MethodCase) -> None:
    """Stopped in any stage and resumed by another process, the run ends with the same weights and buffers."""
    for found in case.resumes:
        assert found.straight.keys() == found.resumed.keys()
        different = _different(found.straight, found.resumed)
        assert not different, f"resumed in stage {found.stage!r}, these differ: {different[:5]}"


def check_state_round_trips(case: MethodCase) -> None:
    """Saved without code and loaded into a fresh method, the state gives the same predictions to the last digit."""
    own, fresh, saved = case.done.method, case.build(seed=1), io.BytesIO()
    torch.save(own.state_dict(), saved)
    saved.seek(0)
    try:
        fresh.load_state_dict(torch.load(saved, weights_only=True))
    except pickle.UnpicklingError as error:
        raise AssertionError(f"the state holds more than tensors and plain values: {str(error)[:200]}") from error
    different = _different(_predict(own, case.images()), _predict(fresh, case.images()))
    assert not different, f"the predictors {different} depend on something that isn't in the state"


def check_begin_runs_once(case: MethodCase) -> None:
    """On resume `begin` runs for the stages still to come and not again for the one at hand."""
    for found in case.resumes:
        assert found.begun == found.due, f"resumed in {found.stage!r}: begin ran for {found.begun}, due {found.due}"


def check_buffers_keep_their_shape(case: MethodCase) -> None:
    """Names and shapes of the state are the same before, during and after training."""
    after = {name: tuple(value.shape) for name, value in tensors(case.done.method.state_dict()).items()}
    before = case.done.initial
    assert before.keys() == after.keys(), f"came or went: {sorted(before.keys() ^ after.keys())[:5]}"
    changed = [f"{name}: {shape} -> {after[name]}" for name, shape in before.items() if after[name] != shape]
    assert not changed, f"allocate memory at its full size: {changed[:5]}"


def check_prediction_changes_nothing(case: MethodCase) -> None:
    """Predicting in eval mode changes neither weights nor buffers."""
    method, images = case.build(), case.images()
    before = {name: value.clone() for name, value in tensors(method.state_dict()).items()}
    _predict(method, images)
    different = _different(before, tensors(method.state_dict()))
    assert not different, f"a prediction changed {different[:5]}"


def _predict(method: Method, images: Tensor) -> dict[str, Tensor]:
    method.eval()
    reseed()
    with torch.no_grad():
        return {name: predictor(images) for name, predictor in method.predictors().items()}


def check_prediction_is_independent_of_the_batch(case: MethodCase) -> None:
    """In eval mode the logits of an image don't depend on what else is in the batch."""
    method, images = case.done.method, case.images()
    together, alone = _predict(method, images), _predict(method, images[:1])
    for name, logits in together.items():
        gap = float((logits[:1] - alone[name]).abs().max() / logits.abs().max().clamp(min=1.0))
        assert gap < 1e-4, f"predictor {name!r}: the same image alone differs by {gap:.2g}"


def check_predictor_shapes(case: MethodCase) -> None:
    """Every predictor returns finite logits (B, K, *spatial), K >= 2; the first is the method itself."""
    method, images = case.done.method, case.images()
    found = _predict(method, images)
    expected = (len(images), len(case.task.classes), *images.shape[2:])
    for name, logits in found.items():
        assert tuple(logits.shape) == expected, f"predictor {name!r}: {tuple(logits.shape)}, expected {expected}"
        assert logits.isfinite().all(), f"predictor {name!r} returns NaN or infinity"
    reseed()
    with torch.no_grad():
        own = method(images)
    assert torch.equal(next(iter(found.values())), own), "the first predictor isn't what the method's forward returns"


def check_small_budget_passes_every_gate(case: MethodCase) -> None:
    """With a hundredth of 3000 iterations every term still has a weight in some step."""
    method = case.build()
    plans = plan_stages(method, 30)
    for name, term in method.terms.items():
        if term.weight == 0.0:
            continue
        clocks = [Clock(plan.name, step, plan.steps, {}) for plan in plans for step in range(plan.steps)]
        assert any(method.weight(name, clock) > 0.0 for clock in clocks), f"the term {name!r} never counts in 30 steps"


def check_no_parameter_has_two_names(case: MethodCase) -> None:
    """No parameter or buffer is registered twice, no two share memory (functional calls and safetensors need this)."""
    seen: dict[int, str] = {}
    method = case.build()
    named = [*method.named_parameters(remove_duplicate=False), *method.named_buffers(remove_duplicate=False)]
    for name, value in named:
        if not value.numel():
            continue
        place = value.untyped_storage().data_ptr()
        assert place not in seen, f"{name} and {seen[place]} are one tensor; make one of them a property"
        seen[place] = name


def check_same_seed_same_losses(case: MethodCase) -> None:
    """One seed gives the same losses and weights twice, another seed others."""
    first, again, other = case.brief, case.rehearse_constant(1.0), case.rehearse_constant(1.0, seed=1)
    assert again.losses() == first.losses(), "the same seed gave other losses: draw from torch's global stream only"
    assert not _different(again.state(), first.state()), "the same seed gave other weights"
    assert other.losses() != first.losses(), "another seed gave the same losses: where does the randomness come from?"


class _Nothing:
    """No option is of this type."""


def check_options_validate(case: MethodCase) -> None:
    """Options are a `MethodOptions` that refuses values of a wrong type and whose defaults pass their own bounds."""
    options = case.method.Options
    assert issubclass(options, MethodOptions), f"Options is no MethodOptions: {options!r}"
    for name in options.model_fields:
        try:
            options.model_validate({**case.options, name: _Nothing()})
        except ValidationError:
            continue
        raise AssertionError(f"the option {name!r} takes anything: give it a type")
    try:
        options.model_validate(options.model_validate(dict(case.options)).model_dump())
    except ValidationError as error:
        raise AssertionError(f"the defaults don't pass: {error}") from error


def check_options_refuse_unknown_keys(case: MethodCase) -> None:
    """A misspelt option is an error, and options can't be changed once made."""
    try:
        case.method.Options.model_validate({"no_such_option": 1})
    except ValidationError:
        pass
    else:
        raise AssertionError('Options accepts unknown keys: declare it with frozen=True, extra="forbid"')
    assert case.method.Options.model_config.get("frozen"), "Options can be changed: declare it with frozen=True"


def check_presets_are_valid(case: MethodCase) -> None:
    """Every preset names known parts, options, terms and recipe fields with valid values."""
    parts = {"options", "terms", "recipe", "backbone"}
    for name, preset in case.method.presets.items():
        assert set(preset) <= parts, f"preset {name!r} has the parts {sorted(preset)}; known: {sorted(parts)}"
        build(case.method.Options, f"preset {name!r}", preset.get("options", {}))
        for record in term_records(case.method.terms, preset.get("terms", {})).values():
            Term.restore(record)
        build(Recipe, f"preset {name!r}", case.recipe(1).model_dump(), preset.get("recipe", {}))


def check_runs_with_four_classes(case: MethodCase) -> None:
    """It trains and predicts with four classes."""
    _runs(case, case.variant(classes=4))


def check_runs_with_three_channels(case: MethodCase) -> None:
    """It trains and predicts with three image channels."""
    _runs(case, case.variant(channels=3))


def _runs(case: MethodCase, variant: MethodCase) -> None:
    """A rehearsal with four classes and three channels serves both checks; only where it fails, each makes its own."""
    reason = _refusal(variant)
    if reason is not None:
        assert isinstance(reason, str) and reason, "unsupported() returns None or a reason in words"
        return
    try:
        _trains_and_predicts(case.wide if _refusal(case.wide) is None else variant)
    except Exception:
        _trains_and_predicts(variant)


def _refusal(case: MethodCase) -> str | None:
    return case.method.unsupported(case.task, case.chosen())


def _trains_and_predicts(case: MethodCase) -> None:
    check_losses_are_finite_scalars(case)
    check_predictor_shapes(case)


def check_supports_its_task(case: MethodCase) -> None:
    """`unsupported` is None for a task of its declared dims with three domains; a reason is a text."""
    reason = case.method.unsupported(case.task, case.chosen())
    assert reason is None, f"the card declares {case.dims} dims, unsupported() says: {reason}"
    alone = case.method.unsupported(case.variant(domains=1).task, case.chosen())
    assert alone is None or (isinstance(alone, str) and alone), f"unsupported() returns None or a text, got {alone!r}"


METHOD_CHECKS: Mapping[str, Check] = {
    name.removeprefix("check_"): function for name, function in globals().items() if name.startswith("check_")
}
"""All checks by name."""
