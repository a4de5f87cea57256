"""Run folders and a browser for tests of the leaderboard page."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from semibench.contracts.identity import RunSpec
from semibench.evaluation.run_scores import prediction_name
from support.leaderboard_toys import spec_of, write_run

EVIL = "<img src=x onerror=window.hit=1>"
WORSE = "</script><script>window.hit=2</script>"

CHROMIUM = ("chromium", "chromium-browser", "google-chrome")
FLAGS = (
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
)  # fmt: skip


def no_browser() -> str:
    """Returns why no browser is available, or "" if one is."""
    try:
        import playwright.sync_api  # noqa: F401
    except ImportError:
        return "playwright isn't installed: pip install 'semibench[test]'"
    if not any(shutil.which(name) for name in CHROMIUM):
        return "no chromium on this machine: apt-get install chromium"
    return ""


@contextmanager
def chromium() -> Iterator[Any]:
    """Opens the system's Chromium without background network traffic."""
    from playwright.sync_api import sync_playwright

    path = next(found for name in CHROMIUM if (found := shutil.which(name)))
    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=path, args=list(FLAGS))
        try:
            yield browser
        finally:
            browser.close()


def phantom_spec(method: str, seed: int, *, cases: int = 20) -> RunSpec:
    """Returns a spec whose data set can be opened: the phantom of `tus` at 64 x 64."""
    base = spec_of(method, seed=seed)
    dataset = base.track.dataset.model_copy(
        update={"options": {"edition": "mgcc", "size": [64, 64], "phantom": {"cases": cases, "seed": 0, "scale": 1.0}}}
    )
    return base.model_copy(update={"track": base.track.model_copy(update={"dataset": dataset})})


def phantom_runs(runs: Path, methods: tuple[str, ...] = ("alpha", "beta"), *, count: int = 8) -> dict[str, list[str]]:
    """Writes three runs of each method on the phantom of `tus` with stored predictions: the truth shifted by some pixels
    (more for later methods and seeds). Returns the ids of the test cases and their groups."""
    from semibench_leaderboards.reading.records import read_runs
    from semibench_leaderboards.showing.case_pictures import Viewer

    write_run(runs, [0.5], phantom_spec(methods[0], 0), cases=["x"])
    viewer = Viewer(read_runs(runs)[0])
    refs = sorted(viewer.refs.values(), key=lambda ref: ref.key)[:count]
    ids = [ref.id for ref in refs]
    truths = [np.asarray(viewer.dataset.truth(ref).label) for ref in refs]
    for position, method in enumerate(methods):
        for seed in range(3):
            shift = 2 + 3 * position + seed
            labels = [np.roll(truth, shift, axis=1) for truth in truths]
            dice = [
                2 * float(((a > 0) & (b > 0)).sum()) / max(1.0, float((a > 0).sum() + (b > 0).sum()))
                for a, b in zip(labels, truths, strict=True)
            ]
            folder = write_run(runs, dice, phantom_spec(method, seed), cases=ids, groups=[ref.group for ref in refs])
            predictions = folder / "predictions" / "last" / "main"
            predictions.mkdir(parents=True, exist_ok=True)
            for ref, label in zip(refs, labels, strict=True):
                np.savez_compressed(predictions / f"{prediction_name(ref)}.npz", label=label.astype(np.uint8))
    return {"cases": ids, "groups": [ref.group for ref in refs]}
