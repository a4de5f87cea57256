"""Ctrl-C and SIGTERM while the latent diffusion model of a synthetic run trains: obeyed at once, nothing lost, equal digits."""

from __future__ import annotations

import os
import shutil
import signal
import time
from pathlib import Path

import numpy as np
import pandas as pd
import psutil
import pytest
from support.forked import Forked

WORDS = (
    "run", "--protocol", "synthetic", "--dataset", "tus", "--method", "mgcc", "--recipe", "smoke", "--phantom", "--no-pictures",
    "--no-track", "--set", "phantom.scale=0.1", "--set", "phantom.cases=30", "--set", "count=4", "--set", "iterations=1",
    "--set", "generator.checkpoint_every=4", "--set", "generator.vae_steps=60", "--set", "generator.unet_steps=60",
)  # fmt: skip
PROCESSOR = 2.0
"""Seconds of the processor that a stopped command may still take. Clocks mean nothing on a machine with other work."""


def started(folder: Path, cache: Path) -> Forked:
    """Starts the run; what it prints goes to the file `said`."""
    folder.mkdir(exist_ok=True)
    with (folder / "said").open("w", encoding="utf-8") as said:
        return Forked(WORDS, folder, {**os.environ, "SEMIBENCH_CACHE": str(cache), "OMP_NUM_THREADS": "1"}, said, said)


def ended(process: Forked, folder: Path) -> tuple[int, str]:
    """Waits for the run; returns its exit code and what it printed."""
    return process.wait(timeout=900), (folder / "said").read_text(encoding="utf-8")


def stopped(folder: Path, cache: Path, stage: str, sign: signal.Signals) -> str:
    """Starts the run, sends it a signal once a stage of the fit has saved its state, and returns what it printed."""
    process = started(folder, cache)
    try:
        began = time.monotonic()
        while not list(cache.glob(f"generated/*/model/{stage}.pt")):
            assert process.poll() is None and time.monotonic() - began < 600
            time.sleep(0.01)
        before = psutil.Process(process.pid).cpu_times()
        process.send_signal(sign)
        code, text = ended(process, folder)
        spent = process.seconds - before.user - before.system
        assert spent < PROCESSOR, f"{sign.name} in {stage}: {spent:.1f} s of the processor until the end"
    finally:
        if process.returncode is None:
            process.kill()
    assert code == 1 and "interrupted: the same command resumes" in text and "Traceback" not in text
    return text


def results(folder: Path, cache: Path) -> tuple[np.ndarray, pd.DataFrame]:
    """The synthetic images and the scores."""
    (samples,), (scores,) = cache.glob("generated/*/samples.npy"), folder.glob("runs/*/scores.parquet")
    return np.load(samples), pd.read_parquet(scores)


@pytest.mark.slow
def test_a_generator_that_is_stopped_twice_gives_the_same_digits(tmp_path: Path) -> None:
    whole, cache = tmp_path / "whole", tmp_path / "cache"
    code, text = ended(started(whole, cache), whole)
    assert code == 0, text
    own = tmp_path / "own-cache"
    shutil.copytree(cache, own, ignore=shutil.ignore_patterns("generated"))
    folder = tmp_path / "stopped"
    stopped(folder, own, "autoencoder", signal.SIGINT)
    assert list(own.glob("generated/*/model/autoencoder.pt")) and not list(own.glob("generated/*/samples.npy"))
    stopped(folder, own, "denoiser", signal.SIGTERM)
    code, text = ended(started(folder, own), folder)
    assert code == 0, text
    assert "autoencoder" not in text, "the first stage was finished, and isn't trained again"
    (right_images, right_scores), (images, scores) = results(whole, cache), results(folder, own)
    assert np.array_equal(images, right_images)
    pd.testing.assert_frame_equal(scores, right_scores, check_exact=True)
