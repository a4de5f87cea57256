"""Every check of the battery over every plug-in that Semibench registers. The checks of a plug-in share what they compute, so
they are one test: `pytest tests/battery -k cps`. `tox -e learning` (`pytest --learn`) makes all checks in all dims. (Whether
methods learn: test_learning.py.)"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from semibench.discovery.registry import registry

pytestmark = pytest.mark.no_cover  # the other tests measure coverage; tracing costs these a quarter more time

SMALL: Mapping[str, Mapping[str, Any]] = {
    "adaoutput": {"critic_filters": 4},
    "caml": {"width": 8, "positions": 64},
    "dan": {"critic_filters": 4},
    "ctct": {"second_width": 0.125},
    "s4cvnet": {"second_width": 0.125},
    "cnt-b": {"second_width": 0.125},
    "medfct": {"second_width": 0.125},
    "diff-cl": {"samples": 128, "extremes": 16, "anchors": 32, "bank": 64, "added": 64, "width": 8},
    "a-and-d": {"ddim_steps": 2},
    "dtlp-net": {"ddim_steps": 2},
    "sassnet": {"critic_filters": 4},
    "dsan": {"critic_filters": 4},
    "lmisa-3d": {"critic_filters": 4},
    "pnp-adanet": {"critic_filters": 4, "critic_steps": 1},
    "dgnet": {"modality_filters": 2, "first_order": True},
    "vmfnet": {"width": 4, "positions": 32, "first": 0.5},
    "sdnet-aug": {"modality_filters": 4, "segmentor_filters": 4},
    "ps-mt": {"warm_up": 0.5},
    "u2pl": {"bank": 64, "anchors": 16, "samples": 8},
    "ph-net": {"width": 8},
    "dk-hrs": {"width": 8},
    "cyclegan": {"filters": 2, "residual_blocks": 1, "pool": 3},
    "cycada": {"filters": 2, "residual_blocks": 1, "pool": 3, "critic_filters": 4},
    "sifa": {"filters": 2, "residual_blocks": 1, "pool": 3},
    "dsfn": {"filters": 2, "residual_blocks": 1, "pool": 3},
    "lddg": {"width": 8, "samples": 256},
    "latent-diffusion": {"vae_steps": 2, "unet_steps": 2, "ddim_steps": 2},
}
"""Options that make a plug-in small enough for tests."""

SMALL_NETWORKS: Mapping[str, Mapping[str, Any]] = {"cpc-sam": {"width": 0.125, "depth": 4, "window": 2}}
"""Options of a method's network where an eighth of its width is still too large for tests."""

ELSEWHERE = {"import_of_cards_is_light"}
"""A fact of a module of cards: a process for each card in it would say nothing more (test_cards_are_light)."""

ONCE = {
    "zero_weight_changes_no_digit", "losses_are_unweighted", "same_seed_same_losses", "hidden_labels_change_no_digit",
    "trains_in_half_precision", "touches_no_file_and_no_network", "options_validate", "options_refuse_unknown_keys",
    "presets_are_valid",
}  # fmt: skip
"""Facts of a method that dims have no part in: they are checked in its lowest dims. (`bench check` makes them in each.)"""

ONCE_IF_RECORDED = {
    "resumes_to_the_same_digits", "begin_runs_once", "empty_foreground", "runs_with_four_classes", "runs_with_three_channels",
    "a_short_run_on_a_phantom", "writes_only_into_the_run_folder",
}  # fmt: skip
"""Facts that are checked in each of the dims where the code of the method isn't the recorded one (learning_record.json), and
else in its lowest dims: they take half of the time in 3D, and `tox -e learning`, which writes the record, checked them."""


def plugins() -> list[Any]:
    """(kind, name, dims) of everything built in; dims: of the networks, 0 where the kind has none."""
    found = []
    for kind in ("method", "backbone", "dataset", "protocol", "generator"):
        for item in registry().cards(f"{kind}s"):
            if item.distribution == "semibench":
                for dims in item.card.dims if kind in ("method", "backbone") else (0,):
                    name = f"{item.name}-{dims}d" if dims else item.name
                    found.append(pytest.param(kind, item.name, dims, id=f"{kind}-{name}"))
    return found


def checked_once(every: list[Any]) -> set[str]:
    """Facts of a method that are checked in its lowest dims only."""
    from support.learning_record import code_of, known

    from semibench.conformance import MethodSubject

    subject = next(check.subject for check in every if isinstance(check.subject, MethodSubject))
    return ONCE | ONCE_IF_RECORDED if known(every[0].name, code_of(subject)) else ONCE


@pytest.mark.parametrize(("kind", "name", "dims"), plugins())
def test_every_fact_holds(kind: str, name: str, dims: int, pytestconfig: pytest.Config) -> None:
    """A known failure that a class declares is to fail; once it holds, its declaration goes."""
    import torch

    from semibench.conformance import checks_of
    from semibench.conformance.verdicts import FAILED, verdict

    torch.set_num_threads(1)
    every = checks_of(name, kind, options=SMALL.get(name), network=SMALL_NETWORKS.get(name))
    lowest = min(check.dims for check in every if check.dims) if dims else 0
    skipped = set(ELSEWHERE)
    if kind == "method" and dims != lowest and not pytestconfig.getoption("--learn"):
        skipped |= checked_once(every)
    verdicts = [verdict(check) for check in every if check.dims in (0, dims) and check.fact not in skipped]
    assert len(verdicts) > 5
    failed = {found.id: found.reason for found in verdicts if found.state in FAILED}
    assert not failed, "\n".join(f"{check}: {reason}" for check, reason in failed.items())


@pytest.mark.parametrize("name", ["mean-teacher", "unet", "tus", "self", "latent-diffusion"])
def test_cards_are_light(name: str) -> None:
    from semibench.conformance import checks_of

    (check,) = [check for check in checks_of(name) if check.fact == "import_of_cards_is_light"]
    assert check.reason() is None
