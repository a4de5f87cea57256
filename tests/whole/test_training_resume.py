"""Killed at any step and resumed, a run gives the same digits (real processes, SIGKILL)."""

from __future__ import annotations

import os
import random
import signal
import struct
import time
import zipfile
from pathlib import Path

import pandas as pd
import pytest
import torch
from support import training_killed
from support import training_toys as toys
from support.forked import Forked
from support.places import with_tests

from semibench import files
from semibench.contracts.errors import IdentityError, SemibenchError
from semibench.training import checkpoints, loop


def program(*arguments: object) -> Forked:
    """Starts the training that is to be killed in a process of its own."""
    environment = {**os.environ, "PYTHONPATH": with_tests()}
    return Forked(list(map(str, arguments)), Path.cwd(), environment, module="support.training_killed")


def killed_and_resumed(tmp_path: Path, kind: str, every: int, moments: list[str]) -> str:
    """What differs from a training that was left alone; "" is success."""
    with program(tmp_path / "toys", kind, every, ",".join(moments)) as process:
        out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    return out


def test_killed_at_every_step_of_a_staged_method(tmp_path: Path) -> None:
    """12 iterations: "pretrain" has 5, "train" 7; checkpoints at 4, 5 (stage), 5 (begun), 8, 12."""
    assert killed_and_resumed(tmp_path, "staged", 4, [f"after:{k}" for k in range(12)]) == ""


@pytest.mark.slow
def test_killed_at_the_boundary_of_stages_in_begin_validation_and_while_writing(tmp_path: Path) -> None:
    boundaries = ["batch:4", "batch:5", "begin:pretrain", "begin:train", "validate:3", "validate:5", "validate:12"]
    assert killed_and_resumed(tmp_path, "staged", 4, [*boundaries, *(f"write:{k}" for k in range(2, 6))]) == ""


@pytest.mark.parametrize("kind", ["adversarial", "meta"])
def test_killed_with_several_optimisers(tmp_path: Path, kind: str) -> None:
    assert killed_and_resumed(tmp_path, kind, 3, ["after:4", "batch:7"]) == ""


@pytest.mark.slow
def test_killed_from_outside_at_random_moments(tmp_path: Path) -> None:
    """Another process sends SIGKILL again and again, until the training got through."""
    rng = random.Random(5)
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    method = toys.build(toys.Staged)
    toys.run(method, whole, checkpoint_every=2, key="toy")
    torch.save(toys.state_of(method), whole / "final.pt")
    broken.mkdir()
    kills = 0
    for attempt in range(8):
        process = program(broken, "staged", 2, "wait")
        while process.poll() is None and attempt < 3:
            if (broken / "checkpoints").exists():
                time.sleep(0.05 + rng.random() * 0.15)  # of the quarter of a second that all iterations take
                process.kill()
                break
            time.sleep(0.005)
        code = process.wait()
        kills += code == -signal.SIGKILL
        if code == 0:
            break
    assert code == 0 and kills
    assert training_killed.differences(whole, broken) == []


def test_a_signal_saves_and_raises_keyboard_interrupt(tmp_path: Path) -> None:
    whole = toys.build(toys.Staged)
    toys.run(whole, tmp_path / "whole", key="toy")

    data = toys.ToyData()
    plain = data.batch

    def batch(iteration: int) -> object:
        if iteration == 6:
            os.kill(os.getpid(), signal.SIGTERM)
        return plain(iteration)

    data.batch = batch  # type: ignore[method-assign, assignment]
    handlers = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    folder = tmp_path / "stopped"
    with pytest.raises(KeyboardInterrupt):
        toys.run(toys.build(toys.Staged), folder, data, key="toy")
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == handlers
    saved = torch.load(folder / "checkpoints" / "last.pt", weights_only=True)
    assert (saved["iteration"], saved["stage_name"], saved["step"]) == (7, "train", 2)

    resumed = toys.build(toys.Staged)
    result = toys.run(resumed, folder, resume=True, key="toy")
    toys.assert_same(toys.state_of(whole), toys.state_of(resumed))
    assert result.iterations == 12


def test_begin_is_not_called_again_and_what_it_froze_stays_frozen(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        toys.run(toys.build(toys.Staged), tmp_path, interrupted(toys.ToyData(), 8), key="toy")
    method = toys.build(toys.Staged)
    assert method.stem.weight.requires_grad
    toys.run(method, tmp_path, resume=True, key="toy")
    assert int(method.begun) == 2
    assert not method.stem.weight.requires_grad


def interrupted(data: toys.ToyData, at: int) -> toys.ToyData:
    plain = data.batch

    def batch(iteration: int) -> object:
        if iteration == at:
            os.kill(os.getpid(), signal.SIGINT)
        return plain(iteration)

    data.batch = batch  # type: ignore[method-assign, assignment]
    return data


@pytest.mark.parametrize("damage", ["truncated", "flipped", "empty", "gone"])
def test_a_damaged_last_checkpoint_falls_back_to_the_one_before(tmp_path: Path, damage: str) -> None:
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    first = toys.build(toys.Staged)
    toys.run(first, whole, key="toy")
    with pytest.raises(KeyboardInterrupt):
        toys.run(toys.build(toys.Staged), broken, interrupted(toys.ToyData(), 9), key="toy")
    last = broken / "checkpoints" / "last.pt"
    content = bytearray(last.read_bytes())
    if damage == "truncated":
        last.write_bytes(content[: len(content) // 2])
    elif damage == "flipped":
        with zipfile.ZipFile(last) as archive:
            largest = max(archive.infolist(), key=lambda entry: entry.file_size)
        name, extra = struct.unpack_from("<HH", content, largest.header_offset + 26)
        content[largest.header_offset + 30 + name + extra + largest.file_size // 2] ^= 1
        last.write_bytes(content)
    elif damage == "empty":
        last.write_bytes(b"")
    else:
        last.unlink()
    reporter = toys.Collecting()
    method = toys.build(toys.Staged)
    toys.run(method, broken, resume=True, key="toy", reporter=reporter)
    toys.assert_same(toys.state_of(first), toys.state_of(method))
    a, b = (pd.read_parquet(folder / "steps.parquet") for folder in (whole, broken))
    pd.testing.assert_frame_equal(a, b, check_categorical=False)
    assert (len(reporter.warnings) == 0) == (damage == "gone")
    if damage != "gone":
        assert "damaged" in reporter.warnings[0]


def test_all_checkpoints_damaged_is_an_error(tmp_path: Path) -> None:
    toys.run(toys.build(toys.Supervised), tmp_path)
    for name in ("last.pt", "previous.pt"):
        (tmp_path / "checkpoints" / name).write_bytes(b"x")
    with pytest.raises(SemibenchError, match="no checkpoint to resume from"):
        toys.run(toys.build(toys.Supervised), tmp_path, resume=True)


def test_a_checkpoint_of_another_run_is_refused(tmp_path: Path) -> None:
    toys.run(toys.build(toys.Supervised), tmp_path, key="a" * 64)
    with pytest.raises(IdentityError, match="belongs to run aaaaaaaaaaaa, not to bbbbbbbbbbbb"):
        toys.run(toys.build(toys.Supervised), tmp_path, key="b" * 64, resume=True)
    with pytest.raises(IdentityError):
        checkpoints.load_method(tmp_path / "checkpoints" / "last.pt", toys.build(toys.Supervised), "b" * 64)


def test_without_a_key_recipe_and_seed_identify_the_training(tmp_path: Path) -> None:
    toys.run(toys.build(toys.Supervised), tmp_path)
    with pytest.raises(IdentityError):
        toys.run(toys.build(toys.Supervised), tmp_path, seed=4, resume=True)
    with pytest.raises(IdentityError):
        toys.run(toys.build(toys.Supervised), tmp_path, lr=0.06, resume=True)


def test_a_checkpoint_that_doesnt_fit_the_method_says_so(tmp_path: Path) -> None:
    toys.run(toys.build(toys.Supervised), tmp_path, key="toy")
    with pytest.raises(IdentityError, match="does not fit the present Meta"):
        toys.run(toys.build(toys.Meta), tmp_path, key="toy", resume=True)


def test_another_layout_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "old.pt"
    torch.save({"format": 0, "key": "toy"}, path)
    with pytest.raises(IdentityError, match="layout"):
        checkpoints.load_method(path, toys.build(toys.Supervised))
    with pytest.raises(SemibenchError, match="checkpoint does not exist"):
        checkpoints.load_method(tmp_path / "none.pt", toys.build(toys.Supervised))
    path.write_bytes(b"no checkpoint")
    with pytest.raises(SemibenchError, match="damaged"):
        checkpoints.load_method(path, toys.build(toys.Supervised))


def test_resuming_a_finished_training_changes_nothing(tmp_path: Path) -> None:
    method = toys.build(toys.Staged)
    first = toys.run(method, tmp_path)
    again = toys.build(toys.Staged)
    second = toys.run(again, tmp_path, resume=True)
    toys.assert_same(toys.state_of(method), toys.state_of(again))
    assert (second.iterations, second.best) == (first.iterations, first.best)
    assert second.seconds > 0.0


def test_without_resume_training_starts_anew_and_old_files_go(tmp_path: Path) -> None:
    toys.run(toys.build(toys.Staged), tmp_path)
    rows = len(pd.read_parquet(tmp_path / "steps.parquet"))
    assert (tmp_path / "checkpoints" / "best-pretrain.pt").exists()
    toys.run(toys.build(toys.Supervised), tmp_path, validate=None)
    names = sorted(path.name for path in (tmp_path / "checkpoints").iterdir())
    assert names == ["last.pt", "previous.pt"]
    assert len(pd.read_parquet(tmp_path / "steps.parquet")) != rows


def test_resume_without_a_checkpoint_starts_at_the_beginning(tmp_path: Path) -> None:
    first, second = toys.build(toys.Supervised), toys.build(toys.Supervised)
    toys.run(first, tmp_path / "a")
    toys.run(second, tmp_path / "b", resume=True)
    toys.assert_same(toys.state_of(first), toys.state_of(second))


def test_lost_figures_are_reported(tmp_path: Path) -> None:
    toys.run(toys.build(toys.Supervised), tmp_path)
    (tmp_path / "steps.parquet").unlink()
    reporter = toys.Collecting()
    toys.run(toys.build(toys.Supervised), tmp_path, resume=True, reporter=reporter)
    assert "values of the first 12 iterations are lost" in reporter.warnings[0]


def test_a_write_that_fails_leaves_the_old_file_and_no_temporary_one(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("old")

    def fail(temporary: Path) -> None:
        temporary.write_text("half", encoding="utf-8")
        raise RuntimeError("disk full")

    with pytest.raises(RuntimeError, match="disk full"):
        files.write_atomically(path, fail)
    assert [p.name for p in tmp_path.iterdir()] == ["file"]
    assert path.read_text() == "old"


def test_best_holds_the_weights_that_were_best(tmp_path: Path) -> None:
    values = iter([0.2, 0.7, 0.7, 0.1])
    kept = []

    def validate(method: toys.Method) -> float:
        assert not method.training
        assert not torch.is_grad_enabled()
        kept.append(toys.state_of(method))
        return next(values)

    result = toys.run(toys.build(toys.Supervised), tmp_path, validate=validate, key="toy")
    assert result.best == (0.7, 6), "ties keep the earlier"
    method = toys.build(toys.Supervised, seed=9)
    best = checkpoints.load_method(tmp_path / "checkpoints" / "best.pt", method, "toy")
    assert best == checkpoints.Best(0.7, 6)
    toys.assert_same(kept[1], toys.state_of(method))
    assert result.record() == {
        "iterations": 12,
        "seconds": result.seconds,
        "iterations_per_second": result.throughput,
        "peak_memory_mb": result.peak_memory,
        "best_iteration": 6,
        "best_validation": 0.7,
    }
    assert isinstance(result, loop.TrainingResult)
