"""Checkpoints that are whole zip files and yet no checkpoints of this training: a clear line, or the one before."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from support import training_toys as toys

from semibench.contracts.errors import DivergedError, IdentityError, SemibenchError
from semibench.training.checkpoints import load_method

Content = dict[str, Any]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A training of 6 iterations with checkpoints after 3 and 6, of which the last says that it was stopped after 3."""
    toys.run(toys.build(toys.Supervised), tmp_path, iterations=6, checkpoint_every=3, key="toy")
    previous = tmp_path / "checkpoints" / "previous.pt"
    previous.replace(tmp_path / "checkpoints" / "last.pt")
    return tmp_path


def resumed(folder: Path) -> Any:
    return toys.run(
        toys.build(toys.Supervised),
        folder,
        iterations=6,
        checkpoint_every=3,
        key="toy",
        resume=True,
        reporter=toys.Collecting(),
    )


def edit(folder: Path, change: Callable[[Content], Any]) -> None:
    file = folder / "checkpoints" / "last.pt"
    content = torch.load(file, weights_only=True)
    replaced = change(content)
    torch.save(content if replaced is None else replaced, file)


def without(key: str) -> Callable[[Content], Any]:
    return lambda content: {name: value for name, value in content.items() if name != key}


def put(**values: Any) -> Callable[[Content], Any]:
    return lambda content: content | values


def renamed(content: Content) -> Content:
    return content | {"optimisers": {"banana": next(iter(content["optimisers"].values()))}}


def other_shapes(content: Content) -> Content:
    (state,) = content["optimisers"].values()
    state["state"] = {number: {"momentum_buffer": torch.zeros(7)} for number in state["state"]}
    return content


KEYS = ("method", "optimisers", "stage", "step", "iteration", "frozen", "scale", "best", "seconds", "busy")
CHANGES: dict[str, Callable[[Content], Any]] = {
    **{f"no {key}": without(key) for key in KEYS},
    **{f"{key} is text": put(**{key: "abc"}) for key in KEYS},
    **{f"{key} is -1": put(**{key: -1}) for key in ("stage", "step", "iteration")},
    **{f"{key} is huge": put(**{key: 10**12}) for key in ("stage", "step", "iteration")},
    "step is a fraction": put(step=2.5),
    "a step that doesn't fit the iteration": put(step=2),
    "other optimisers": renamed,
    "no optimiser": put(optimisers={}),
    "states of other shapes": other_shapes,
    "weights of other names": lambda content: content | {"method": {"x": torch.zeros(1)}},
    "weights that are numbers": lambda content: content | {"method": dict.fromkeys(content["method"], 1.0)},
    "unknown frozen weights": put(frozen=["nothing"]),
    "a list": lambda content: [content],
    "a tensor": lambda content: torch.zeros(2),
    "another layout": put(format=99),
    "another run": put(key="other"),
    "best is a number": put(best=3),
    "seconds without end": put(seconds=float("inf")),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", CHANGES)
def test_what_is_no_checkpoint_of_this_training_is_refused_in_words(folder: Path, name: str) -> None:
    edit(folder, CHANGES[name])
    with pytest.raises(SemibenchError) as refused:
        resumed(folder)
    assert "checkpoint" in str(refused.value) or "last.pt" in str(refused.value)


def test_weights_that_are_no_numbers_are_refused(folder: Path) -> None:
    edit(
        folder,
        lambda c: (
            c | {"method": {name: v * torch.nan if v.is_floating_point() else v for name, v in c["method"].items()}}
        ),
    )
    with pytest.raises(DivergedError):
        resumed(folder)


def empty_zip(file: Path) -> None:
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("nothing", b"")


def folder_instead(file: Path) -> None:
    file.unlink()
    file.mkdir()


@pytest.mark.parametrize(
    "spoil", [empty_zip, lambda file: file.write_bytes(b""), lambda file: file.write_bytes(b"\x80\x02" * 99)]
)
def test_a_file_that_is_no_checkpoint_gives_way_to_the_one_before(tmp_path: Path, spoil: Callable[[Path], Any]) -> None:
    whole = toys.build(toys.Supervised)
    toys.run(whole, tmp_path, iterations=6, checkpoint_every=3, key="toy")
    spoil(tmp_path / "checkpoints" / "last.pt")
    again = toys.build(toys.Supervised)
    said = toys.Collecting()
    toys.run(again, tmp_path, iterations=6, checkpoint_every=3, key="toy", resume=True, reporter=said)
    toys.assert_same(toys.state_of(whole), toys.state_of(again))


def test_a_folder_in_the_place_of_the_only_checkpoint_is_named(folder: Path) -> None:
    folder_instead(folder / "checkpoints" / "last.pt")
    with pytest.raises(SemibenchError, match=r"last\.pt damaged"):
        resumed(folder)


def test_nothing_in_a_checkpoint_is_executed(folder: Path) -> None:
    class Trap:
        def __reduce__(self) -> Any:
            return Path.touch, (folder / "executed",)

    torch.save({"format": 1, "key": "toy", "method": Trap()}, folder / "checkpoints" / "last.pt")
    with pytest.raises(SemibenchError):
        resumed(folder)
    with pytest.raises(IdentityError):
        load_method(folder / "checkpoints" / "last.pt", toys.build(toys.Supervised))
    assert not (folder / "executed").exists()


@pytest.mark.parametrize("content", [b"", b"garbage", None])
def test_values_that_cannot_be_read_are_lost_and_the_training_goes_on(folder: Path, content: bytes | None) -> None:
    steps = folder / "steps.parquet"
    steps.unlink() if content is None else steps.write_bytes(content)
    assert resumed(folder).iterations == 6
