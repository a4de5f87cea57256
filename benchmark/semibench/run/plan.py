"""A run that is fully determined: what `prepare` returns and `execute` carries out."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from semibench.contracts.cases import Split
from semibench.contracts.identity import SHORT, RunSpec
from semibench.run.changes import changed_settings, split_name
from semibench.run.request import Request, parts_of
from semibench.run.resolve import Resolved
from semibench.runfolder.plans import Estimate, PlanRecord
from semibench.runfolder.records import Provenance
from semibench.runfolder.state import State


@dataclass
class Plan:
    """A run that is fully determined but not started.

    state: of the run folder. reasons: why it is stale. record: the provenance that the run would have.
    """

    resolved: Resolved
    split: Split
    folder: Path
    state: State
    record: Provenance
    device: Any
    warnings: list[str] = field(default_factory=list)
    reasons: list[str] = field(default_factory=list)
    estimate: Estimate = field(default_factory=Estimate)

    @property
    def spec(self) -> RunSpec:
        return self.resolved.spec

    @property
    def key(self) -> str:
        return self.spec.key

    @property
    def resumes(self) -> bool:
        """Whether the run goes on from its last checkpoint."""
        return goes_on(self.resolved.request, self.state)

    def summary(self) -> PlanRecord:
        """Returns the facts that users see before the run starts."""
        names, options, data = self.resolved.names, self.resolved.options, self.resolved.data
        recipe, synthesis, replicate = options.recipe, data.synthesis, self.spec.replicate
        pools = {
            pool: {
                "cases": len(refs),
                "groups": len({(ref.dataset, ref.group) for ref in refs}),
                "domains": dict(Counter(ref.domain for ref in refs)),
            }
            for pool, refs in self.split.roles().items()
        }
        synthetic = None if synthesis is None else {
            "generator": synthesis.generator,
            "count": synthesis.count or len(self.split.labeled) + len(self.split.unlabeled),
            "options": dict(synthesis.options),
        }  # fmt: skip
        return PlanRecord.make(
            key=self.key[:SHORT], state=self.state, reasons=self.reasons, folder=str(self.folder),
            protocol=names.protocol.name, dataset=names.card.name, data="phantom" if data.phantom else "real",
            split=split_name(self.spec.track.protocol.options), method=self.spec.entry.method.short, preset=options.preset,
            backbone=self.spec.entry.backbone.short, backbone_options=dict(options.backbone_options), settings=parts_of(self.spec),
            changed=changed_settings(self.resolved),
            strong_views=any(stream.strong for stream in options.method.streams.values()),
            recipe=recipe.name, dims=names.dims, classes=list(names.card.classes), iterations=recipe.iterations,
            batch={"labeled": recipe.labeled_batch, "unlabeled": recipe.unlabeled_batch}, patch=list(recipe.patch),
            precision=recipe.precision, device=str(self.device), draw=replicate.draw, fold=replicate.fold,
            seed=replicate.seed, control=options.control, cases=pools, validation_from=self.split.validation_from,
            label_budget=len(self.split.labeled) + len(self.split.validation), synthetic=synthetic,
            excluded=dict(self.split.excluded), warnings=self.warnings, estimate=self.estimate,
        )  # fmt: skip


def goes_on(request: Request, state: State) -> bool:
    """Whether a run in this state goes on from its last checkpoint."""
    return request.resume and state in ("resumable", "running")
