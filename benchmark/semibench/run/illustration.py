"""Draws the pictures of a run: overlays of the best, middle and worst test cases, loss curves, synthetic samples."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from semibench.contracts.cards import DatasetCard
from semibench.contracts.cases import Split
from semibench.contracts.identity import Score
from semibench.contracts.metric import Inference
from semibench.data.cache import CaseStore
from semibench.evaluation.inference import predict, resolve, working_labels
from semibench.evaluation.network import Network
from semibench.evaluation.scoring import evaluating
from semibench.pictures import Overlay, loss_curves, overlays, sheet, slice_of, spread
from semibench.run.reconstructions import Illustrated, Shown, draw_pictures
from semibench.runfolder.tables import STEPS_FILE, has_rows

RANKED = Score().checkpoint
"""The checkpoint that boards rank unless a reader asks for another."""

if TYPE_CHECKING:
    from semibench.contracts.method import Method
    from semibench.data.synthesis import Synthesised


def illustrate(
    folder: Path, method: Method, load: Callable[[str], bool], store: CaseStore, split: Split, card: DatasetCard,
    network: Network, table: pd.DataFrame, synthesised: Synthesised | None, phantom: bool,
) -> list[Path]:  # fmt: skip
    """Writes pictures/*.png into a run folder and returns their paths.

    Overlays show what boards rank: the default predictor of the last weights, on the working grid."""
    pictures = folder / "pictures"
    checkpoint = RANKED
    load(checkpoint)
    name, predictor = next(iter(method.predictors().items()))
    kind = "phantom" if phantom else "real"
    main = table[(table["checkpoint"] == checkpoint) & (table["predictor"] == name) & (table["metric"] == "dice")]
    first = main["convention"].iloc[0] if len(main) else ""
    main = main[main["convention"] == ("semibench-1" if "semibench-1" in set(main["convention"]) else first)]
    per_case = {str(case): float(value) for case, value in main.groupby("case")["value"].mean().items()}
    by_id = {ref.id: ref for ref in split.test}
    panels: list[Overlay] = []
    shown: list[Shown] = []
    paths: list[Path] = []
    with evaluating(method, predictor):
        for case_id, rank in spread(per_case):
            case = store.case(by_id[case_id])
            plan = resolve(Inference(), dims=network.dims, case_dims=case.image.ndim - 1)
            labels = working_labels(predict(predictor, case.image, plan, network))
            title = f"{rank}: {case_id}, Dice {per_case[case_id]:.3f}"
            shown.append(Shown(title, case))
            truth = None if case.label is None else case.label.cpu().numpy()
            image = case.image.cpu().numpy()
            if image.ndim == 4:
                panels.append(slice_of(title, image, truth, labels, axis=card.slice_axis or 0))
            else:
                panels.append(Overlay(title, image, truth, labels))
        if shown and isinstance(method, Illustrated):
            title = f"{card.title} ({kind}), {checkpoint} weights: what the method makes of test images"
            paths.append(draw_pictures(method, shown, network, pictures / "method.png", title=title))
    if panels:
        title = f"{card.title} ({kind}), {checkpoint} weights, predictor {name}"
        paths.append(overlays(panels, pictures / "overlays.png", classes=card.classes, title=title))
    if has_rows(folder / STEPS_FILE):
        title = f"{card.title} ({kind}), validation of predictor {name}; boards rank its {checkpoint} weights"
        paths.append(loss_curves(folder / STEPS_FILE, pictures / "losses.png", title=title))
    if synthesised is not None:
        samples = np.load(synthesised.folder / "samples.npy", mmap_mode="r")[:16]
        record = synthesised.record
        caption = (
            f"Synthetic cases of {card.title} ({kind}): {record['kept']} kept, "
            f"{record['memorised']} rejected as memorised, {record['unrealistic']} as unrealistic"
        )
        paths.append(sheet(np.asarray(samples), pictures / "synthetic.png", title=caption))
    return paths
