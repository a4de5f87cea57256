"""Prepares a run: resolves the request, draws and checks the split, reads the run folder's state, estimates the time.

plan = prepare(Request(protocol="synthetic", dataset="tus"))
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from semibench.contracts.cases import Split
from semibench.contracts.errors import DivergedError, PluginError, UnsupportedError, UsageError, one_line
from semibench.contracts.identity import SHORT
from semibench.discovery.guard import calling
from semibench.discovery.registry import Registry, registry
from semibench.protocols.checks import check
from semibench.protocols.controls import with_unlabeled_of
from semibench.reporting import Reporter
from semibench.run.assembly import build_method, generator_timing_key
from semibench.run.drawing import drawn_split
from semibench.run.late_compiler import import_late
from semibench.run.memory_format import given_format, told, with_format
from semibench.run.plan import Plan, goes_on
from semibench.run.request import Request
from semibench.run.resolve import Options, Resolved, resolve
from semibench.run.selection import why_no_best
from semibench.run.settings import build
from semibench.runfolder.plans import Estimate
from semibench.runfolder.provenance import provenance
from semibench.runfolder.reading import planned_state
from semibench.runfolder.records import SplitRecord

if TYPE_CHECKING:
    import torch

    from semibench.contracts.method import Task
    from semibench.contracts.recipe import Recipe

LARGEST_TRIAL = 2**20
"""Largest number of voxels in a batch for which the time is measured on a CPU; a larger batch would take minutes."""


def draw_split(resolved: Resolved) -> tuple[Split, list[str]]:
    """Returns the checked split of a resolved request, and warnings. Synthetic cases are added when the run is executed.

    In a control, the unlabeled pool is the labeled one, whatever the protocol drew."""
    data, replicate = resolved.data, resolved.spec.replicate
    split = drawn_split(resolved.options.protocol, data.catalog, data.protocol_options, replicate, data.own)
    warnings = check(split, published=replicate.draw is None and data.own is None)
    return with_unlabeled_of(resolved.spec.entry, split), warnings


def prepare(request: Request, reporter: Reporter | None = None, *, estimate: bool = True) -> Plan:
    """Resolves a request, draws the split and checks that the run can start.

    Args:
        request: the request.
        reporter: receives progress and warnings.
        estimate: also estimate the running time, from earlier runs on this machine or else from two iterations on noise.

    Raises:
        UsageError: for a split or a way to compile that can't be used, and as in `resolve`.
        UnsupportedError: if the method can't do the task, and as in `resolve`.
    """
    from semibench.evaluation.run_scores import conventions_for
    from semibench.training.device import choose, set_threads, tune_allocator

    tune_allocator()
    import_late()
    reporter = reporter or Reporter()
    plugins = registry()
    device = choose(request.device)
    resolved = resolve(request, reporter, plugins)
    recipe = resolved.options.recipe
    batch = recipe.labeled_batch + recipe.unlabeled_batch
    set_threads(request.threads, voxels=batch * math.prod(recipe.patch))
    split, warnings = draw_split(resolved)
    warnings += _start_weights(resolved)
    warnings += _taken_apart(resolved, split)
    warnings += [item.assumed for item in resolved.plugins.values() if item.assumed]
    no_best = why_no_best(recipe, split)
    if no_best and split.validation and recipe.keep_best:
        warnings.append(f"only the last weights are kept and scored, not the best on validation: {no_best}")
    folder = request.runs / resolved.spec.key[:SHORT]
    record = provenance(resolved.plugins, str(device))
    state, reasons = planned_state(folder, resolved.spec, record, SplitRecord.of(split), force=request.force)
    resumes = goes_on(request, state)
    given = given_format(request, folder, resumes=resumes)
    warnings += _slow_precision(recipe, device)
    _check_graphs(recipe, device)
    _check_precision(recipe, device, resolved.names.dims)
    _check_momentum(resolved.options)
    warnings += told(request, recipe, given, resumes=resumes)
    plan = Plan(resolved, split, folder, state, with_format(record, given), device, warnings, reasons)
    _check_method(resolved, split)
    card, dims = resolved.names.card, resolved.names.dims
    conventions_for(plugins, request.conventions, dims=dims, case_dims=card.dims, dataset=card.name)
    if estimate and state not in ("done", "running"):
        plan.estimate = _estimate(plan, plugins)
    return plan


def _start_weights(resolved: Resolved) -> list[str]:
    """Returns a warning if the network was published with pretrained weights and none, or others, are given."""
    item = resolved.names.backbone
    if not item.card.weights:
        return []
    names = ", ".join(file.name for file in item.card.weights)
    if resolved.request.weights is None:
        return [
            f"{item.name} starts from random weights: it was published with {names}; pass a weight file with --weights"
        ]
    found, known = resolved.spec.entry.init, {file.sha256 for file in item.card.weights}
    if None in known or found in known:
        return []
    expected = ", ".join(f"{file.name} ({file.sha256})" for file in item.card.weights)
    return [f"{resolved.request.weights} is another file than the published weights of {item.name}: its sha256 is {found}, "
            f"expected {expected}. The run starts from it all the same"]  # fmt: skip


def _check_graphs(recipe: Recipe, device: torch.device) -> None:
    """Raises UsageError for CUDA graphs where there is no CUDA."""
    if recipe.compile == "cuda-graphs" and device.type != "cuda":
        raise UsageError(
            f"compile=cuda-graphs needs a CUDA device, and this run is on {device.type}: use --set compile=true, or --device cuda "
            "where there is one"
        )


def _check_precision(recipe: Recipe, device: torch.device, dims: int) -> None:
    """Raises UsageError for a precision whose gradients are wrong on this device."""
    from semibench.training.low_precision import why_wrong

    reason = why_wrong(recipe.precision, device, dims)
    if reason is not None:
        raise UsageError(
            f"precision={recipe.precision} can't be used for volumes on the {device.type}: {reason}; use "
            "--set precision=fp32, or a GPU"
        )


def _check_momentum(options: Options) -> None:
    """Raises UsageError for Nesterov momentum, an option of some methods, with a recipe whose momentum is 0."""
    if getattr(options.method_options, "nesterov", False) and options.recipe.momentum == 0:
        raise UsageError(
            "nesterov=true needs momentum, and the recipe's is 0: use --set recipe.momentum=0.9, or --set method.nesterov=false"
        )


def _slow_precision(recipe: Recipe, device: torch.device) -> list[str]:
    """Returns a warning if the recipe's precision is slower than fp32 on this device."""
    from semibench.training.low_precision import why_slow

    reason = why_slow(recipe.precision, device)
    if reason is None:
        return []
    return [
        f"precision {recipe.precision} will be slower than fp32 here: {reason}; "
        "--set precision=auto takes bf16 only where it is fast"
    ]


def _taken_apart(resolved: Resolved, split: Split) -> list[str]:
    """Returns how a network that isn't written for Semibench is taken apart."""
    remark = getattr(resolved.options.backbone, "remark", None)
    if remark is None:
        return []
    task = _task(resolved, split)
    options = build(
        resolved.options.backbone.Options,
        f"backbone {resolved.names.backbone.name!r}",
        resolved.options.backbone_options,
    )
    return [
        remark(dims=task.dims, channels=task.channels, outputs=len(task.classes), patch=task.patch, options=options)
    ]


def _check_method(resolved: Resolved, split: Split) -> None:
    """Raises UnsupportedError if the method can't do the task, or needs unlabeled cases and there are none."""
    name, method = resolved.names.method.name, resolved.options.method
    with calling(method, "unsupported"):
        reason = method.unsupported(_task(resolved, split), resolved.options.method_options)
    if reason:
        raise UnsupportedError(f"method {name!r}: {reason}")
    pools = {stream.pool for stream in method.streams.values()}
    if "unlabeled" in pools and not split.unlabeled and resolved.data.synthesis is None:
        raise UnsupportedError(
            f"method {name!r} needs unlabeled cases, but this split has none; label fewer cases, or use --method supervised"
        )


def _task(resolved: Resolved, split: Split) -> Task:
    """Returns the task as far as it is known before cases are decoded: for a 2D network on volumes, it counts volumes."""
    from semibench.contracts.method import Task
    from semibench.data.training import training_domains

    training = split.labeled + split.unlabeled
    names, recipe = resolved.names, resolved.options.recipe
    domains = training_domains(training, names.card)
    counts = {"labeled": len(split.labeled), "unlabeled": len(split.unlabeled), "all": len(training)}
    channels = names.card.channels * recipe.slab
    return Task(names.dims, channels, names.card.classes, recipe.patch, domains, counts, recipe.iterations)


def _estimate(plan: Plan, plugins: Registry) -> Estimate:
    from semibench.data.roots import cache_dir
    from semibench.run.timing import Timings, TooLargeError, measure_iteration, timing_key

    timings = Timings(cache_dir())
    resolved, recipe = plan.resolved, plan.resolved.options.recipe
    key = timing_key(resolved, plan.record.machine)
    seconds, source = timings.get(key), "earlier runs on this machine"
    voxels = (recipe.labeled_batch + recipe.unlabeled_batch) * math.prod(recipe.patch)
    if seconds is None and plan.device.type == "cpu" and voxels > LARGEST_TRIAL:
        return Estimate(source=f"an iteration of {voxels / 1e6:.1f} million voxels is too large to measure on a CPU")
    if seconds is None:
        task = _task(resolved, plan.split)
        method = build_method(resolved, task, plugins)
        if not method.optimisers():
            return Estimate(source="nothing is optimised", training_seconds=0.0)
        try:
            seconds = measure_iteration(method, task, recipe, plan.device)
        except TooLargeError as reason:
            return Estimate(source=str(reason))
        except (PluginError, DivergedError) as error:  # the run itself fails likewise, and its folder says so
            return Estimate(source=f"two iterations on noise failed: {one_line(error)}")
        timings.put(key, seconds)
        source = "two iterations on noise"
    generator = None
    if resolved.data.synthesis is not None:
        generator = timings.get(generator_timing_key(resolved, plan.record.machine))
    return Estimate(
        source=source, seconds_per_iteration=seconds, training_seconds=seconds * recipe.iterations,
        generator_seconds=generator,
    )  # fmt: skip
