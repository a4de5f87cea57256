"""Puts together what trains: decoded cases, synthetic ones, batches, the method on its device, the validation."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from semibench.contracts.cases import CaseRef, Dataset, Split
from semibench.contracts.identity import canonical, sha256
from semibench.files import write_json
from semibench.registry import registry
from semibench.reporting import Reporter
from semibench.run.building import build_method
from semibench.run.resolve import Resolved
from semibench.runfolder.records import Machine, SplitRecord

if TYPE_CHECKING:
    from semibench.contracts.method import Method
    from semibench.data.cache import CaseStore
    from semibench.data.synthesis import Synthesised
    from semibench.data.training import TrainingData
    from semibench.evaluation.inference import Network


@dataclass
class Assembled:
    """What a run trains with. split: with the synthetic cases among the unlabeled ones; datasets: by name, for truths;
    validate: mean foreground Dice on the validation cases."""

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
    """Decodes the cases of a split, fits the generator where the protocol wants one (on training cases only), and builds
    batches and method. Writes split.json and synthetic.json into the folder."""
    from semibench.data.cache import CaseStore
    from semibench.data.training import TrainingData
    from semibench.evaluation.inference import Network
    from semibench.evaluation.run_scores import divisor_of, validator

    card, recipe = resolved.card, resolved.recipe
    datasets: dict[str, Dataset] = dict(resolved.catalog.datasets)
    every = unique(ref for refs in split.roles().values() for ref in refs)
    store = CaseStore.build(datasets, every, reporter=reporter)
    synthesised = _synthetic(resolved, split, store, datasets, device, machine, reporter)
    if synthesised is not None:
        datasets[synthesised.dataset.card.name] = synthesised.dataset
        split = replace(split, unlabeled=split.unlabeled + tuple(synthesised.dataset.index()))
        store = CaseStore.build(datasets, unique((*every, *split.unlabeled)), reporter=reporter)
        write_json(folder / "synthetic.json", synthesised.record | {"folder": str(synthesised.folder)})
    SplitRecord.of(split).to_disk(folder)

    pools = store.restrict(unique((*split.labeled, *split.unlabeled)), labels=split.labeled)
    data = TrainingData(
        split, pools, card=card, recipe=recipe, dims=resolved.dims, streams=resolved.method.streams,
        seed=resolved.spec.replicate.seed, device=device,
    )  # fmt: skip
    method = build_method(resolved, data.task, registry())
    method.to(device)
    network = Network(
        resolved.dims, recipe.patch, divisor_of(method), card.slice_axis, device, batch=8 if resolved.dims == 2 else 2,
        slab=recipe.slab,
    )  # fmt: skip
    validate = validator(method, store, datasets, split.validation, card.classes, network, recipe.evaluate_cases)
    return Assembled(split, datasets, store, data, method, network, validate, synthesised)


def _synthetic(
    resolved: Resolved, split: Split, store: CaseStore, datasets: Mapping[str, Dataset], device: Any,
    machine: Machine, reporter: Reporter,
) -> Synthesised | None:  # fmt: skip
    """The synthetic cases of this draw, from the training cases only; None where the protocol wants none."""
    if resolved.synthesis is None:
        return None
    from semibench.data.hashes import HashMemory, case_contents
    from semibench.data.roots import cache_dir
    from semibench.data.synthesis import synthesise
    from semibench.run.timing import Timings

    training = unique((*split.labeled, *split.unlabeled))
    contents = list(case_contents(dict(datasets), training, HashMemory()).values())
    made = synthesise(
        resolved.items["generator"], resolved.synthesis, store.restrict(training), training, contents,
        card=resolved.card, cache=cache_dir(), device=str(device), reporter=reporter,
    )  # fmt: skip
    if made.new:
        seconds = made.record["fit_seconds"] + made.record["sample_seconds"]
        Timings(cache_dir()).put(generator_setting(resolved, machine), seconds)
    return made


def generator_setting(resolved: Resolved, machine: Machine) -> str:
    """Names what the time of a generator depends on, for `Timings`."""
    options = dict(resolved.synthesis.options) if resolved.synthesis else {}
    return "generator-" + sha256(canonical([machine.device_name, machine.threads, options]))[:24]


def unique(refs: Iterable[CaseRef]) -> tuple[CaseRef, ...]:
    """Each once, in order."""
    return tuple(dict.fromkeys(refs))
