"""Damaged and read-only caches: what can be made again is made again, and what is whole is served."""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import psutil
import pytest
import torch
from support.data_toys import Procedural, card
from torch import Tensor

from semibench.contracts.errors import SemibenchError
from semibench.contracts.generator import Fitted, Generator, GeneratorOptions
from semibench.contracts.protocol import Synthesis
from semibench.data.cache import CaseStore
from semibench.data.hashes import HashMemory
from semibench.data.shards import DamagedShard
from semibench.data.synthesis import DRAFT, FORGOTTEN, Synthesised, synthesise
from semibench.reporting import Reporter
from semibench.run.timing import Timings


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SEMIBENCH_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


class Notes(Reporter):
    """Keeps notes and warnings."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def note(self, message: str) -> None:
        self.lines.append(message)

    def warn(self, message: str) -> None:
        self.lines.append(message)


# ---- hashes ------------------------------------------------------------------------------------------------------------


def old_file(folder: Path, content: bytes = b"abc") -> Path:
    """A file that is old enough to be remembered."""
    file = folder / "file.bin"
    file.write_bytes(content)
    os.utime(file, (1e9, 1e9))
    return file


@pytest.mark.parametrize("damage", ["garbage", "cut", "text", "spoilt inside"])
def test_a_damaged_memory_of_hashes_is_made_anew_with_a_note(tmp_path: Path, own_cache: Path, damage: str) -> None:
    file, base = old_file(tmp_path), own_cache / "hashes.sqlite"
    right = HashMemory().sha256(file)
    data = base.read_bytes()
    spoilt = {
        "garbage": os.urandom(5000), "cut": data[: len(data) // 2], "text": b"nothing to see here" * 50,
        "spoilt inside": data[:200] + b"\xff" * (len(data) - 200),
    }  # fmt: skip
    base.write_bytes(spoilt[damage])
    notes, memory = Notes(), HashMemory()
    assert memory.many([file], reporter=notes) == {file: right}
    assert HashMemory().many([file], reporter=notes) == {file: right}
    assert len([line for line in notes.lines if "made anew" in line]) == 1
    assert HashMemory().known(file) == right, "the new memory remembers"


def test_a_memory_that_cannot_be_made_costs_time_only(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("a file")
    memory = HashMemory(tmp_path / "taken" / "hashes.sqlite")
    file = old_file(tmp_path)
    assert memory.sha256(file) == memory.sha256(file) == HashMemory().sha256(file)
    assert memory.known(file) is None


# ---- times -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "content", [b"", b'{"a": 1', b"\xff\xfe", b"[1]", b'{"a": "fast"}', b'{"a": -1}', b'{"a": 1e999}']
)
def test_damaged_times_count_as_none_and_are_written_anew(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "timings.json").write_bytes(content)
    timings = Timings(tmp_path)
    assert timings.get("a") is None
    timings.put("a", 0.25)
    assert timings.get("a") == 0.25


def test_times_that_cannot_be_kept_are_no_error(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("a file")
    timings = Timings(tmp_path / "taken")
    timings.put("a", 1.0)
    assert timings.get("a") is None


# ---- decoded cases -----------------------------------------------------------------------------------------------------


def test_a_file_that_is_cut_while_it_is_read_is_an_error_and_no_crash(own_cache: Path) -> None:
    dataset = Procedural([(64, 64)] * 4)
    refs = dataset.index()
    store = CaseStore.build({"toy": dataset}, refs)
    before = store.image(refs[3]).clone()
    (images,) = own_cache.rglob("images.f32")
    os.truncate(images, 1000)
    for read in (store.check_sizes, lambda: store.image(refs[3]), lambda: store.label(refs[0])):
        with pytest.raises(DamagedShard, match="Run the same command again"):
            read()
    notes = Notes()
    again = CaseStore.build({"toy": dataset}, refs, reporter=notes)
    assert torch.equal(again.image(refs[3]), before) and any("decoding again" in line for line in notes.lines)


def test_folders_of_the_cache_follow_the_umask(own_cache: Path) -> None:
    earlier = os.umask(0o002)
    try:
        CaseStore.build({"toy": Procedural([(8, 8)] * 2)}, Procedural([(8, 8)] * 2).index())
    finally:
        os.umask(earlier)
    for path in own_cache.rglob("*"):
        mode = stat.S_IMODE(path.stat().st_mode)
        assert mode == (0o775 if path.is_dir() else 0o664), path


def test_cases_that_cannot_be_stored_name_the_cache(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("a file")
    with pytest.raises((SemibenchError, OSError), match="taken"):
        CaseStore.build({"toy": Procedural([(8, 8)])}, Procedural([(8, 8)]).index(), tmp_path / "taken")


# ---- generated sets ----------------------------------------------------------------------------------------------------


class Counting(Generator):
    """Its model is a file with the number of times that its fit was begun; a fit that is told to stop leaves it."""

    Options = GeneratorOptions
    stops = False

    def fit(self, images: Iterable[Tensor], directory: Path, *, seed: int, device: str, progress: Any = None) -> Fitted:
        directory.mkdir(exist_ok=True)
        begun = directory / "begun"
        begun.write_text(str(int(begun.read_text()) + 1 if begun.is_file() else 1))
        if Counting.stops:
            raise KeyboardInterrupt
        return Fitted(directory, {"begun": int(begun.read_text())})

    def sample(self, directory: Path, count: int, *, seed: int, device: str, progress: Any = None) -> Tensor:
        return torch.full((count, 1, 8, 8), 0.5)


def made(cache: Path, reporter: Reporter | None = None) -> Synthesised:
    """The artifact of a toy generator on two cases."""
    dataset = Procedural([(8, 8)] * 2)
    refs = dataset.index()
    store = CaseStore.build({"toy": dataset}, refs)
    item: Any = SimpleNamespace(
        name="counting",
        full_name="toy:counting",
        resolve=lambda: Counting,
        card=SimpleNamespace(dims=(2,), load="json:loads"),
    )
    synthesis = Synthesis("counting", {}, 3, 2.0, {})
    return synthesise(
        item,
        synthesis,
        store,
        refs,
        ["a", "b"],
        card=card(),
        cache=cache,
        device="cpu",
        reporter=reporter or Reporter(),
    )


def spoil(name: str, content: bytes | None) -> Any:
    def damage(folder: Path) -> None:
        (folder / name).unlink() if content is None else (folder / name).write_bytes(content)

    return damage


DAMAGES: Mapping[str, Any] = {
    "record gone": spoil("record.json", None),
    "record garbage": spoil("record.json", b"\x81\x82"),
    "record cut": spoil("record.json", b'{"key": '),
    "record of nothing": spoil("record.json", b"{}"),
    "samples gone": spoil("samples.npy", None),
    "samples empty": spoil("samples.npy", b""),
    "samples cut": lambda folder: os.truncate(folder / "samples.npy", 200),
    "samples garbage": spoil("samples.npy", b"\x93NUMPY" + bytes(90)),
    "samples of another number": lambda folder: np.save(folder / "samples.npy", np.zeros((1, 1, 8, 8), np.float32)),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_set_is_generated_again_with_a_note(tmp_path: Path, damage: str) -> None:
    first = made(tmp_path)
    assert first.new and not made(tmp_path).new
    DAMAGES[damage](first.folder)
    notes = Notes()
    again = made(tmp_path, notes)
    assert again.new and any("generated again" in line for line in notes.lines)
    assert len(again.dataset.index()) == 3 and not made(tmp_path).new


def test_a_stopped_generator_goes_on_from_its_draft(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Counting, "stops", True)
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            made(tmp_path)
    monkeypatch.setattr(Counting, "stops", False)
    assert made(tmp_path).record["fit"] == {"begun": 3}
    assert not list((tmp_path / "generated").glob(f"*{DRAFT}*"))


def test_a_draft_that_cannot_be_used_is_begun_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Counting, "stops", True)
    with pytest.raises(KeyboardInterrupt):
        made(tmp_path)
    monkeypatch.setattr(Counting, "stops", False)
    (draft,) = (tmp_path / "generated").glob(f"*{DRAFT}")
    (draft / "model" / "begun").write_text("garbage")
    notes = Notes()
    assert made(tmp_path, notes).record["fit"] == {"begun": 1}
    assert any("starting anew" in line for line in notes.lines)


def test_drafts_of_nobody_are_swept(tmp_path: Path) -> None:
    home = tmp_path / "generated"
    gone = next(number for number in range(400_000, 10**7) if not psutil.pid_exists(number))
    names = {f"a{DRAFT}-{gone}": False, f"b{DRAFT}-{os.getpid()}": True, f"c{DRAFT}": False, f"d{DRAFT}": True}
    for name in names:
        (home / name / "model").mkdir(parents=True)
    for path in (home / f"c{DRAFT}", home / f"c{DRAFT}" / "model"):
        os.utime(path, (path.stat().st_mtime - FORGOTTEN - 60,) * 2)
    made(tmp_path)
    assert {name: (home / name).is_dir() for name in names} == names


def test_a_whole_set_is_served_where_nothing_can_be_locked(tmp_path: Path) -> None:
    first = made(tmp_path)
    lock = first.folder.with_name(f"{first.folder.name}.lock")
    lock.unlink(missing_ok=True)
    lock.mkdir()
    assert not made(tmp_path).new
    shutil.rmtree(lock)
