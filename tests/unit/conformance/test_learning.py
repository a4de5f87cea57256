"""What counts as learning, by given scores. (Whether the built-in methods learn: tests/battery/test_learning.py.)"""

from __future__ import annotations

import pytest
from support.conformance_toys import Good, Tiny

from semibench.conformance import MethodSubject
from semibench.conformance.learning import LEARNING_CHECKS, LearningSubject


@pytest.mark.parametrize(
    ("scores", "broken"),
    [
        ((0.8, 0.7, 0.2), set()),
        ((0.7, 0.71, 0.2), set()),
        ((0.6, 0.8, 0.2), {"unlabeled_samples_help"}),
        ((0.21, 0.8, 0.2), {"beats_chance", "unlabeled_samples_help"}),
    ],
)
def test_what_counts_as_learning(scores: tuple[float, float, float], broken: set[str]) -> None:
    case = LearningSubject(MethodSubject(Good, Tiny))
    case.__dict__.update(zip(("own", "reference", "chance"), scores, strict=True))
    found = set()
    for fact, check in LEARNING_CHECKS.items():
        try:
            words = check(case)
        except AssertionError as error:
            assert f"{scores[0]:.3f}" in str(error)
            found.add(fact)
        else:
            assert f"{scores[0] - scores[2 if fact == 'beats_chance' else 1]:+.3f}" in words, "by how much"
    assert found == broken
