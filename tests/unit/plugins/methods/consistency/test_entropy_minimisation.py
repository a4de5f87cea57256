"""EM against worked numbers, a plain loop and the published schedule."""

from __future__ import annotations

import math

import pytest
import torch
from support.methods_support import Constant, blank, case_of, clock, quiet, reached
from torch import Tensor

from semibench import Term
from semibench.run.settings import term_records
from semibench_plugins.methods.consistency.entropy_minimisation import EntropyMinimisation

torch.set_num_threads(1)


@pytest.mark.parametrize(
    ("logits", "expected"),
    [(torch.zeros(4), 1.0), (torch.zeros(2), 1.0), (torch.tensor([100.0, -100.0]), 0.0), (torch.tensor([-100.0, 100.0]), 0.0)],
)  # fmt: skip
def test_uniform_predictions_have_one_and_certain_ones_none(logits: Tensor, expected: float) -> None:
    """With 1e-6 inside its logarithm, SSL4MIS has .999997 and -6.9e-7."""
    method = case_of(EntropyMinimisation, classes=len(logits)).build()
    method.net = Constant(logits)  # type: ignore[assignment]
    assert method.losses(blank(), clock())["entropy"].item() == pytest.approx(expected, abs=3e-6)


@pytest.mark.parametrize("on", ["unlabeled", "all"])
def test_the_entropy_is_that_of_a_loop_over_the_positions_of_the_chosen_samples(on: str) -> None:
    case = case_of(EntropyMinimisation, classes=3, options={"on": on})
    method, batch = quiet(case.build()).train(), case.data().batch(0)
    batch["unlabeled"].valid[0, :20] = False
    names = ("unlabeled",) if on == "unlabeled" else ("labeled", "unlabeled")
    with torch.no_grad():
        both = method.net(torch.cat([batch["labeled"].image, batch["unlabeled"].image])).softmax(1)
    maps = dict(zip(("labeled", "unlabeled"), both.split(2), strict=True))
    total, positions = 0.0, 0
    for name in names:
        kept = maps[name].movedim(1, -1)[batch[name].valid].tolist()
        total += sum(-sum(p * math.log(p) for p in each) for each in kept) / math.log(3)
        positions += len(kept)
    found = method.losses(batch, clock())["entropy"]
    assert found.item() == pytest.approx(total / positions, rel=1e-4)
    assert reached(found, method.net)


def test_weights_of_the_paper_and_of_the_published_code() -> None:
    assert EntropyMinimisation.terms["entropy"].at(0.0) == EntropyMinimisation.terms["entropy"].at(0.9) == 1e-3
    records = term_records(EntropyMinimisation.terms, EntropyMinimisation.presets["ssl4mis"]["terms"])
    published = Term.restore(records["entropy"])
    assert [published.at(t) for t in (0.0, 0.5, 1.0)] == pytest.approx([6.738e-4, 0.02865, 0.1], abs=1e-5)
