"""Prints the plan of a run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from semibench.cli.console import Output, cell, duration, table
from semibench.cli.describe import gate_text, ramp_text
from semibench.run.settings import write

if TYPE_CHECKING:
    from semibench.runfolder.plans import PlanRecord


STATES = {
    "new": "new",
    "done": "already done: nothing will be computed (--force runs it again)",
    "resumable": "resumes from its last checkpoint",
    "running": "another process is working on it",
    "interrupted": "was stopped before its first checkpoint; it starts again",
    "failed": "failed before its first checkpoint; it starts again",
    "stale": "produced by other code or on another split; it is run again",
}


def show_plan(console: Output, facts: PlanRecord, *, brief: bool = False) -> None:
    """Prints the plan of a run (`Plan.summary()`), with a prominent warning for phantom data.

    brief: print one line with the replicate instead, for further runs of a row."""
    phantom = facts.data == "phantom"
    if brief:
        console.show(f"the same with {facts.axes}: {STATES[facts.state]}, run {facts.key} in {facts.folder}")
        return
    patch = " x ".join(str(side) for side in facts.patch)
    rows = [
        ("task", f"{facts.protocol} on {facts.dataset}, {facts.dims}D, classes {cell(facts.classes)}"),
        ("data", "PHANTOM (procedural stand-in)" if phantom else "real files"),
        ("split", _split(facts)),
        ("method", f"{facts.method}, {f'preset {facts.preset}' if facts.preset else 'no preset'}"),
        *([("control", "the unlabeled images are the labeled ones")] if facts.control else []),
        ("network", f"{facts.backbone} ({cell(facts.backbone_options)})"),
        (
            "training",
            f"recipe {facts.recipe}: {facts.iterations} iterations of {facts.batch.labeled} labeled + "
            f"{facts.batch.unlabeled} unlabeled, patch {patch}, {facts.precision} on {facts.device}",
        ),
        ("optimiser", _optimiser(facts.settings["recipe"])),
        ("weak views", _weak(facts.settings["recipe"]["weak"])),
        *([("strong views", _strong(facts.settings["recipe"]["strong"]))] if facts.strong_views else []),
        *((f"loss {name}", _term(term)) for name, term in facts.settings["term"].items()),
        *_changes(facts),
        ("replicate", facts.axes),
    ]
    synthetic, estimate = facts.synthetic, facts.estimate
    if synthetic:
        rows.append(("synthetic", f"{synthetic.count} cases by {synthetic.generator}, added to unlabeled"))
    if estimate.source and estimate.training_seconds is None:
        rows.append(("time", f"unknown: {estimate.source}"))
    if estimate.training_seconds is not None:
        time = f"training about {duration(estimate.training_seconds)} ({estimate.source})"
        if synthetic:
            seconds = estimate.generator_seconds
            time += "; generator " + (f"about {duration(seconds)}" if seconds is not None else "not measured yet")
        rows.append(("time", time))
    rows += [("state", STATES[facts.state]), ("run", f"{facts.key} in {facts.folder}")]
    rows += [("", reason) for reason in facts.reasons]
    console.show(table(("plan", ""), rows))
    console.show()
    roles = [(role, pool.cases, pool.groups, cell(pool.domains)) for role, pool in facts.cases.items()]
    console.show(table(("role", "cases", "groups", "by domain"), roles))
    labels = f"labels used: {facts.label_budget} (labeled and validation) · validation from: {facts.validation_from}"
    console.show(f"{labels} · excluded: {len(facts.excluded)}")
    for warning in facts.warnings:
        console.show(f"WARNING: {warning}", style="bold yellow")
    if phantom:
        console.show(
            "PHANTOM DATA: these are not patients; never compare with results on real files.", style="bold red"
        )
    console.show()


def _split(facts: PlanRecord) -> str:
    """ "drawn (labeled=0.5, test=0.3 ...)", or "acdc-7, published"."""
    options = {
        name: value
        for name, value in facts.settings["protocol"].items()
        if name in SPLIT_OPTIONS and value is not None and value != facts.split
    }
    return f"{facts.split} ({cell(options)})" if facts.split == "drawn" else f"{facts.split}, published"


SPLIT_OPTIONS = ("labeled", "test", "folds", "validation", "validation_from")
"""Options of a protocol that decide who is in which role of a drawn split."""


def _optimiser(recipe: Mapping[str, Any]) -> str:
    kind = recipe["optimiser"]
    inertia = (
        f"betas {' and '.join(map(cell, recipe['betas']))}"
        if kind.startswith("adam")
        else f"momentum {cell(recipe['momentum'])}"
    )
    schedule = f"poly, power {cell(recipe['power'])}" if recipe["schedule"] == "poly" else recipe["schedule"]
    clip = [
        f"{name.replace('_', ' ')} {cell(recipe[name])}"
        for name in ("clip_norm", "clip_value")
        if recipe[name] is not None
    ]
    return ", ".join(
        [
            kind,
            f"rate {cell(recipe['lr'])} ({schedule})",
            *([f"warm-up over {recipe['warm_up']:.0%}"] if recipe["warm_up"] else []),
            inertia,
            f"weight decay {cell(recipe['weight_decay'])}",
            *clip,
        ]
    )


def _weak(policy: Mapping[str, Any]) -> str:
    """What the weak views change, each with its probability."""
    flip = policy["flip"]
    if isinstance(flip, list | tuple):
        parts = [f"flip of axis {axis} p={cell(chance)}" for axis, chance in enumerate(flip) if chance]
    else:
        parts = [f"flip of each axis p={cell(flip)}"] if flip else []
    parts += [f"right-angle turn p={cell(policy['rotate90'])}"] if policy["rotate90"] else []
    chance, degrees = policy["rotate"]
    parts += [f"rotation up to {cell(degrees)}° p={cell(chance)}"] if chance and degrees else []
    for name in ("scale", "blur", "brightness", "contrast", "gamma"):
        chance, low, high = policy[name]
        parts += [f"{name} {cell(low)} – {cell(high)} p={cell(chance)}"] if chance else []
    parts += ["random crops" if policy["crop"] else "central crops"]
    return ", ".join(parts)


def _strong(policy: Mapping[str, Any]) -> str:
    parts = [
        f"{name} up to {cell(reach)} p={cell(chance)}" for name, (chance, reach) in policy.items() if chance and reach
    ]
    return ", ".join(parts) or "the weak view"


def _term(term: Mapping[str, Any]) -> str:
    """ "weight 0.1, ramp sigmoid to 1, 200 levels, active 0.05 – end"; without what leaves the weight as it is."""
    ramp, gate = ramp_text(term["ramp"]), gate_text(term["active"])
    parts = [f"ramp {ramp}"] if ramp != "constant" else []
    return ", ".join([f"weight {cell(term['weight'])}", *parts, *([f"active {gate}"] if gate != "always" else [])])


def _changes(facts: PlanRecord) -> list[tuple[str, str]]:
    """A row for each part with settings that differ from the default."""
    by_part: dict[str, list[str]] = {}
    for name, change in facts.changed.items():
        part, _, option = name.partition(".")
        by_part.setdefault(part, []).append(f"{option}={write(change.value)} (default {write(change.default)})")
    rows = [(f"changed {part}", ", ".join(texts)) for part, texts in by_part.items()]
    return rows or [("changed", "nothing: every setting has its default")]
