"""Presets for Table I of DTLP-Net and for different readings of the text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from semibench_plugins.methods.generalisation.a_and_d import TRAINING

TABLE: Mapping[str, tuple[tuple[int, int, int], float, float, float, float, float, float]] = {
    "la": ((112, 112, 80), 1e-2, 0.7, 2.0, 0.1, 0.2, 1.2),
    "synapse": ((64, 128, 128), 3e-2, 0.5, 0.1, 0.2, 0.5, 1.0),
    "amos22": ((64, 128, 128), 3e-2, 0.5, 0.1, 0.2, 0.5, 1.3),
    "mmwhs": ((128, 128, 128), 5e-3, 0.5, 1.0, 0.1, 0.1, 0.9),
    "mnms": ((32, 128, 128), 1e-2, 0.5, 1.0, 0.1, 0.1, 1.0),
}
"""Data set -> patch, learning rate, mask ratio r, alpha (mic), beta (kd), gamma (rec), eta (coor)."""

ITERATIONS: Mapping[str, int] = {"la": 11400, "synapse": 2700, "amos22": 31800, "mmwhs": 2400, "mnms": 66000}
"""300 epochs at 2 + 2, an epoch being one pass over the longer pool, with each data set's smaller label budget: 76, 18,
212 and 16 volumes, 440 on M&Ms with A as target. With the larger budget: la 10800, synapse 2400, amos22 30900, mnms (A)
63600."""
AS_PRINTED: Mapping[str, Any] = {"weighted": "both", "teachers": "t1+t2", "mixing": 0.01}
"""Eq. 3 and 10, and A&D's blending of theta. In short runs all three fail: with class weights in the cross-entropy psi is worse;
teacher 2, the average of theta, is surer than teacher 1 though it is wrong, so that theta learns what it already does; and blending
pulls theta towards decoders that answer other questions (docs/systems/dtlp-net.md)."""
NO_LABELS: Mapping[str, float] = {"sup": 0.0}
"""Eq. 22: theta sees labels only where they are pasted into an unlabeled sample."""


def _preset(name: str, *, swapped: bool = False) -> dict[str, Any]:
    patch, lr, ratio, alpha, beta, gamma, eta = TABLE[name]
    kd, rec = (gamma, beta) if swapped else (beta, gamma)
    return {
        "options": {**AS_PRINTED, "mask_ratio": ratio, "nesterov": True},
        "terms": {**NO_LABELS, "mic": alpha, "kd": kd, "rec": rec, "coor": eta},
        "recipe": {**TRAINING, "patch": patch, "lr": lr, "iterations": ITERATIONS[name],
                   "labeled_batch": 2, "unlabeled_batch": 2},
    }  # fmt: skip


RAMP: Mapping[str, Any] = {"ramp": {"kind": "sigmoid", "end": 1.0}}
PRESETS: Mapping[str, Mapping[str, Any]] = {
    **{name: _preset(name) for name in TABLE},
    **{f"{name}-swapped": _preset(name, swapped=True) for name in ("la", "synapse", "amos22")},
    "ramped": {"terms": dict.fromkeys(("mix", "mic", "kd", "rec", "coor"), RAMP)},
    "both-teachers": {"options": AS_PRINTED, "terms": NO_LABELS},
    "printed": {"options": {**AS_PRINTED, "scale": "outside", "difficulty": "window"}, "terms": NO_LABELS},
    "corrmatch": {"options": {"embedding": "classes", "detach_logits": True}},
}
"""One for each row of Table I. NAME-swapped: beta and gamma exchanged, as in section IV-E (equal on mmwhs and mnms);
both-teachers: eq. 3, 10 and 22 without a budget; ramped: the weights of pseudo-label losses grow over the run, as in A&D; printed:
eq. 3, 5, 6, 10, 18 and 22 to the letter; corrmatch: the correlation as in CorrMatch's code, where it comes from."""
