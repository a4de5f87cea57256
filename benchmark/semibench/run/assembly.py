"""Assembles the parts of a training: decoded and synthetic cases, batches, networks, method, validation."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from semibench.contracts.cases import CaseRef, Dataset, Split
from semibench.contracts.errors import IdentityError, PluginError, UnsupportedError
from semibench.contracts.identity import canonical, sha256
from semibench.contracts.recipe import Recipe, network_options
from semibench.discovery.guard import calling, who
from semibench.discovery.registry import Registered, Registry, registry
from semibench.files import write_json
from semibench.reporting import Reporter
from semibench.run.resolve import Resolved
from semibench.run.settings import build
from semibench.runfolder.format import SYNTHETIC_FILE
from semibench.runfolder.records import Machine, SplitRecord

if TYPE_CHECKING:
    from torch import Tensor

    from semibench.contracts.backbone import Backbone
    from semibench.contracts.method import Method, Task
    from semibench.data.cache import CaseStore
    from semibench.data.synthesis import Synthesised
    from semibench.data.training import TrainingData
    from semibench.evaluation.network import Network


@dataclass
class Assembled:
    """The parts of a training.

    split: includes the synthetic cases among the unlabeled ones. datasets: by name, to read the truth from. validate: computes
    the mean foreground Dice on the validation cases; None without any.
    """

    split: Split
    datasets: dict[str, Dataset]
    store: CaseStore
    data: TrainingData
    method: Method
    network: Network
    validate: Callable[[Method], float] | None
    synthesised: Synthesised | None


def assemble(
    resolved: Resolved, split: Split, folder: Path, *, device: Any, machine: Machine, reporter: Reporter
) -> Assembled:
    """Decodes the cases of a split, fits the generator if the protocol needs one, and builds batches and method.

    The generator sees training cases only. Writes split.json and synthetic.json into the folder."""
    from semibench.data.cache import CaseStore
    from semibench.data.training import TrainingData
    from semibench.evaluation.network import Network
    from semibench.evaluation.run_scores import divisor_of, validator

    card, dims, recipe = resolved.names.card, resolved.names.dims, resolved.options.recipe
    datasets: dict[str, Dataset] = dict(resolved.data.catalog.datasets)
    real_cases = unique(ref for refs in split.roles().values() for ref in refs)
    threads = resolved.request.threads
    store = CaseStore.build(datasets, real_cases, reporter=reporter, threads=threads)
    synthesised = _synthetic(resolved, split, store, datasets, device, machine, reporter)
    if synthesised is not None:
        datasets[synthesised.dataset.card.name] = synthesised.dataset
        split = replace(split, unlabeled=split.unlabeled + tuple(synthesised.dataset.index()))
        every = unique((*real_cases, *split.unlabeled))
        store = CaseStore.build(datasets, every, reporter=reporter, threads=threads)
        write_json(folder / SYNTHETIC_FILE, synthesised.record | {"folder": str(synthesised.folder)})
    SplitRecord.of(split).to_disk(folder)

    pools = store.restrict(unique((*split.labeled, *split.unlabeled)), labels=split.labeled)
    data = TrainingData(
        split, pools, card=card, recipe=recipe, dims=dims, streams=resolved.options.method.streams,
        seed=resolved.spec.replicate.seed, device=device,
    )  # fmt: skip
    method = build_method(resolved, data.task, registry())
    method.to(device)
    network = Network(
        dims, recipe.patch, divisor_of(method), card.slice_axis, device, batch=8 if dims == 2 else 2, slab=recipe.slab,
        whole_cases=method.whole_cases,
    )  # fmt: skip
    validate = validator(method, store, datasets, split.validation, card.classes, network, recipe.evaluate_cases)
    return Assembled(split, datasets, store, data, method, network, validate, synthesised)


def _synthetic(
    resolved: Resolved, split: Split, store: CaseStore, datasets: Mapping[str, Dataset], device: Any,
    machine: Machine, reporter: Reporter,
) -> Synthesised | None:  # fmt: skip
    """Synthesises cases from the training cases of this draw; returns None if the protocol needs none."""
    if resolved.data.synthesis is None:
        return None
    from semibench.data.hashes import HashMemory, case_contents
    from semibench.data.roots import cache_dir
    from semibench.data.synthesis import synthesise
    from semibench.run.timing import Timings

    training = unique((*split.labeled, *split.unlabeled))
    contents = list(case_contents(dict(datasets), training, HashMemory()).values())
    synthesised = synthesise(
        resolved.plugins["generator"], resolved.data.synthesis, store.restrict(training), training, contents,
        card=resolved.names.card, cache=cache_dir(), device=str(device), reporter=reporter,
    )  # fmt: skip
    if synthesised.new:
        seconds = synthesised.record["fit_seconds"] + synthesised.record["sample_seconds"]
        Timings(cache_dir()).put(generator_timing_key(resolved, machine), seconds)
    return synthesised


def generator_timing_key(resolved: Resolved, machine: Machine) -> str:
    """Returns the key in `Timings` of a generator: a digest of what its running time depends on."""
    options = dict(resolved.data.synthesis.options) if resolved.data.synthesis else {}
    return "generator-" + sha256(canonical([machine.device_name, machine.threads, options]))[:24]


def unique(refs: Iterable[CaseRef]) -> tuple[CaseRef, ...]:
    """Removes duplicates and keeps the order."""
    return tuple(dict.fromkeys(refs))


class Builder:
    """The `Backbones` factory of one run (see the contract).

    The run's own backbone gets the run's options and start weights. Any other backbone gets its default options and
    what the recipe sets for it."""

    def __init__(
        self,
        plugins: Registry,
        item: Registered,
        options: Mapping[str, Any],
        task: Task,
        recipe: Recipe,
        weights: Path | None,
    ) -> None:
        self.plugins, self.item, self.options = plugins, item, dict(options)
        self.task, self.recipe, self.weights = task, recipe, weights

    def __call__(
        self, name: str | None = None, *, channels: int | None = None, outputs: int | None = None, **options: Any
    ) -> Backbone:
        own = name is None or name in (self.plugins.label(self.item), self.item.full_name)
        item = self.item if own else self.plugins.get("backbones", str(name))
        if self.task.dims not in item.card.dims:
            raise UnsupportedError(
                f"backbone {item.name!r} supports {item.card.dims} dims, but the run has {self.task.dims}"
            )
        cls = item.resolve()
        base = self.options if own else network_options(self.recipe.model_dump(), item.name, cls.Options.model_fields)
        built = build(cls.Options, f"backbone {item.name!r}", base, options)
        with calling(cls, "__init__"):
            net: Backbone = cls(
                dims=self.task.dims,
                channels=self.task.channels if channels is None else channels,
                outputs=len(self.task.classes) if outputs is None else outputs,
                patch=self.task.patch,
                options=built,
            )
        _check_initialised(net, ("decoder", "channels", "strides", "divisor"))
        if own and self.weights is not None:
            load_weights(net, self.weights, item.name)
        return net


def load_weights(net: Backbone, path: Path, name: str) -> None:
    """Loads start weights from a safetensors or torch file that holds tensors only.

    Every entry must fit by key and shape. The file may lack keys of the decoder, such as a head for other classes; these keep
    their random weights.

    Raises:
        IdentityError: if an entry doesn't fit; the message lists what doesn't.
    """
    import torch
    from safetensors.torch import load_file

    try:
        state: dict[str, Tensor] = (
            load_file(str(path))
            if path.suffix == ".safetensors"
            else torch.load(path, map_location="cpu", weights_only=True)
        )
    except Exception as error:
        raise IdentityError(
            f"{path} is not a weight file: expected safetensors, or a torch file that holds tensors only; got "
            f"{type(error).__name__}"
        ) from error
    state = state.get("state_dict", state) if isinstance(state, dict) else state  # type: ignore[assignment]
    if not isinstance(state, Mapping) or not all(hasattr(value, "shape") for value in state.values()):
        raise IdentityError(f"{path} is not a weight file: expected names and tensors, found {type(state).__name__}")
    nameless = next((key for key in state if not isinstance(key, str)), None)
    if nameless is not None:
        raise IdentityError(
            f"{path} is not a weight file: expected names as keys, found the {type(nameless).__name__} {nameless!r}"
        )
    state = dict(net.start_weights(state))
    expected = net.state_dict()
    unknown = sorted(set(state) - set(expected))
    wrong = [
        f"{key}: {tuple(state[key].shape)}, expected {tuple(expected[key].shape)}"
        for key in state
        if key in expected and state[key].shape != expected[key].shape
    ]
    missing = sorted(key for key in set(expected) - set(state) if not key.startswith("decoder."))
    if unknown or wrong or missing:
        problems = [f"unknown: {', '.join(unknown[:5])}" if unknown else "", f"shapes: {'; '.join(wrong[:5])}" if wrong else "",
                f"missing: {', '.join(missing[:5])}" if missing else ""]  # fmt: skip
        raise IdentityError(f"{path} doesn't fit backbone {name!r}: {' | '.join(part for part in problems if part)}")
    net.load_state_dict(state, strict=False)


def _check_initialised(module: Any, attributes: Sequence[str]) -> None:
    """Raises PluginError if a network or method doesn't have what its base class, or its own constructor, must set."""
    lacking = [name for name in ("_parameters", *attributes) if not hasattr(module, name)]
    if lacking:
        raise PluginError(
            f"{who(module)}: __init__() leaves {', '.join(lacking)} unset; call super().__init__() with the same arguments first, "
            "and set what the contract names"
        )


def build_method(resolved: Resolved, task: Task, plugins: Registry) -> Method:
    """Returns the method of a run with its resolved terms; its initial weights are drawn from the replicate's seed.

    Raises:
        UnsupportedError: with the method's own reason.
    """
    from semibench.training.seeding import seed_construction

    names, options = resolved.names, resolved.options
    with calling(options.method, "unsupported"):
        reason = options.method.unsupported(task, options.method_options)
    if reason:
        raise UnsupportedError(f"method {names.method.name!r}: {reason}")
    seed_construction(resolved.spec.replicate.seed)
    builder = Builder(plugins, names.backbone, options.backbone_options, task, options.recipe, resolved.request.weights)
    with calling(options.method, "__init__"):
        method: Method = options.method(task, builder, options.method_options)
    _check_initialised(method, ("notes",))
    method.terms = options.weighted_terms()
    limit_averages(method, options.recipe)
    return method


def limit_averages(method: Method, recipe: Recipe) -> None:
    """Limits the teachers of a method to the longest average that the recipe allows."""
    from semibench.blocks import Teacher

    for module in method.modules():
        if isinstance(module, Teacher):
            module.limit(recipe.longest_average * recipe.iterations)
