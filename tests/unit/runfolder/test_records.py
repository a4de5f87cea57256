"""The records of a run folder: their layout's version, what they refuse, and that every reader refuses the same."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from support.leaderboard_toys import spec_of, write_run

from semibench.contracts.cases import SYNTHETIC, CaseRef, Split
from semibench.contracts.errors import IdentityError
from semibench.files import DamagedFileError, jsonable, read_cached_json, read_json, write_json
from semibench.runfolder.format import FORMAT, NewerFormatError, RunFolderError
from semibench.runfolder.provenance import machine
from semibench.runfolder.reading import RunFolder, planned_state
from semibench.runfolder.records import (
    Machine,
    PluginUsed,
    Provenance,
    Result,
    ScoreSummary,
    SplitRecord,
    Status,
    TrainingFigures,
)
from semibench_leaderboards.ranking.boards import boards
from semibench_leaderboards.reading.records import left_out, read_runs

OLD = Path(__file__).parent / "format_1"
"""A run as the harness wrote it before its files carried a number."""

JSON_FILES = ("spec.json", "status.json", "provenance.json", "split.json", "result.json")


# ---- versions ------------------------------------------------------------------------------------------------------


def test_a_folder_of_format_1_is_read_and_lifted(tmp_path: Path) -> None:
    assert all("format" not in json.loads((OLD / name).read_text()) for name in JSON_FILES)
    folder = tmp_path / "0892a2712a59"
    shutil.copytree(OLD, folder)
    run = RunFolder(folder)
    run.check()
    assert run.state == "done" and run.spec.key.startswith(folder.name)
    assert run.result is not None and run.split is not None and run.plan is not None
    assert {run.result.format, run.split.format, run.plan.format, run.provenance.format} == {FORMAT}
    assert run.result.scores[7].model_dump(include={"convention", "metric", "mean", "n"}) == {
        "convention": "semibench-1", "metric": "dice", "mean": 0.2, "n": 5,
    }  # fmt: skip
    assert len(run.split.labeled) == 6 and run.split.test[0].key == "busi/phantom-00003"
    (board,) = boards(read_runs(tmp_path))
    assert [row.statistics.mean for row in board.rows] == [0.2] and left_out(tmp_path) == []
    assert planned_state(folder, run.spec, run.provenance, run.split) == ("done", [])


def test_what_format_1_wrote_otherwise_is_lifted() -> None:
    score = {
        "checkpoint": "last",
        "predictor": "main",
        "convention": "semibench:mgcc-2023",
        "metric": "iou",
        "mean": 0.5,
    }
    record = {"scores": [{**score, "per_class": {"left": {"mean": 0.25}, "right": 0.75}}, {**score, "per_class": None}]}
    first, second = Result.from_bytes(json.dumps(record).encode(), "result.json").scores
    assert (first.convention, first.per_class, second.per_class) == ("mgcc-2023", {"left": 0.25, "right": 0.75}, {})
    status = Status.from_bytes(b'{"state": "done", "started": 1767225600, "ended": null}', "status.json")
    assert (status.started, status.ended, status.host) == ("2026-01-01T00:00:00+00:00", None, None)


@pytest.mark.parametrize("name", JSON_FILES[1:])
def test_a_newer_format_is_refused_also_with_force(tmp_path: Path, name: str) -> None:
    folder = write_run(tmp_path, [0.5])
    write_json(folder / name, read_json(folder / name) | {"format": FORMAT + 1})
    with pytest.raises(NewerFormatError, match=rf"{name} has format {FORMAT + 1}, .* up to {FORMAT}: update Semibench"):
        RunFolder(folder).check()
    with pytest.raises(NewerFormatError):
        planned_state(folder, spec_of(), Provenance(), SplitRecord(), force=True)
    assert read_runs(tmp_path) == [] and "update Semibench" in left_out(tmp_path)[0]


def test_what_is_written_says_its_format_and_comes_back(tmp_path: Path) -> None:
    score = ScoreSummary(checkpoint="last", predictor="main", convention="c", metric="dice", mean=None, n=3)
    result = Result(scores=(score,), training=TrainingFigures(seconds=1.5))
    result.to_disk(tmp_path)
    assert json.loads((tmp_path / "result.json").read_text())["format"] == FORMAT
    assert Result.from_disk(tmp_path) == result
    assert [path.name for path in tmp_path.iterdir()] == ["result.json"]


def test_fields_of_others_are_kept(tmp_path: Path) -> None:
    write_json(tmp_path / "status.json", {"format": FORMAT, "state": "running", "note": {"by": "a site"}})
    status = Status.from_disk(tmp_path)
    assert status is not None
    status.model_copy(update={"state": "failed"}).to_disk(tmp_path)
    assert read_json(tmp_path / "status.json")["note"] == {"by": "a site"}


# ---- damage --------------------------------------------------------------------------------------------------------

BROKEN = {
    "empty": b"",
    "cut": b'{"a": [1, 2',
    "a list": b"[]",
    "a null": b"null",
    "deep": b'{"a": ' + b"[" * 100_000,
    "latin-1": '{"state": "für"}'.encode("latin-1"),
    "binary": bytes(range(256)),
    "an empty object": b"{}",
}


@pytest.mark.parametrize("name", ("spec.json", "status.json", "result.json"))
@pytest.mark.parametrize("kind", BROKEN)
def test_a_damaged_file_is_named_by_every_reader_and_stops_nothing_else(tmp_path: Path, name: str, kind: str) -> None:
    write_run(tmp_path, [0.5], spec_of("alpha"))
    folder = write_run(tmp_path, [0.9], spec_of("beta"))
    (folder / name).write_bytes(BROKEN[kind])
    with pytest.raises(RunFolderError, match=name):
        RunFolder(folder).check()
    with pytest.raises(IdentityError, match=rf"{name}.*--force"):
        planned_state(folder, spec_of("beta"), Provenance(), SplitRecord())
    assert planned_state(folder, spec_of("beta"), Provenance(), SplitRecord(), force=True) == ("new", [])
    assert [record.method for record in read_runs(tmp_path)] == ["alpha"]
    (line,) = left_out(tmp_path)
    assert line.startswith(f"left out: {folder}: {name}") and "\n" not in line


WRONG: list[tuple[str, Callable[[dict[str, Any]], Any], str]] = [
    ("status.json", lambda record: record.update(state="finished"), "status.json: state"),
    ("status.json", lambda record: record.update(ended=12.5), "status.json: ended"),
    ("status.json", lambda record: record.update(started="yesterday"), "status.json: started: expected a time"),
    ("status.json", lambda record: record.update(process=2**70), "status.json: process"),
    ("status.json", lambda record: record.update(error=["a"]), "status.json: error"),
    ("provenance.json", lambda record: record.update(plugins=[]), "provenance.json: plugins"),
    ("provenance.json", lambda record: record.update(machine=[1]), "provenance.json: machine"),
    ("provenance.json", lambda record: record["versions"].update(numerics=1), "provenance.json: versions.numerics"),
    ("split.json", lambda record: record.update(test=[1, 2]), "split.json: test.0"),
    ("split.json", lambda record: record.update(test="all"), "split.json: test"),
    ("split.json", lambda record: record.update(drawn="0" * 64), "split.json: its cases don't have the digest"),
    ("result.json", lambda record: record.update(scores=[1]), "result.json: scores.0"),
    ("result.json", lambda record: record.update(scores=[]), "result.json: scores"),
    ("result.json", lambda record: record["scores"][0].update(mean="good"), "result.json: scores.0.mean"),
    ("result.json", lambda record: record["scores"][0].update(mean=float("nan")), "result.json: scores.0.mean"),
    ("result.json", lambda record: record["scores"][0].pop("metric"), "result.json: scores.0.metric"),
    ("result.json", lambda record: record.update(training=["x"]), "result.json: training"),
    ("result.json", lambda record: record.update(label_budget=True), "result.json: label_budget"),
    ("result.json", lambda record: record.update(key="0" * 64), "result.json belongs to run 000000000000"),
    ("result.json", lambda record: record.update(split="0" * 64), "result.json belongs to another split"),
]


@pytest.mark.parametrize(("name", "change", "words"), WRONG, ids=[words for _, _, words in WRONG])
@pytest.mark.parametrize("version", [1, FORMAT])
def test_a_value_of_the_wrong_kind_is_named(
    tmp_path: Path, name: str, change: Callable[[dict[str, Any]], Any], words: str, version: int
) -> None:
    folder = write_run(tmp_path, [0.5, 0.7])
    record = json.loads((folder / name).read_text()) | {"format": version}
    change(record)
    if version == 1 and words == "status.json: ended":
        record["ended"] = True  # a number is a time there
    (folder / name).write_text(json.dumps(record))
    with pytest.raises(RunFolderError) as caught:
        RunFolder(folder).check()
    assert words in str(caught.value)
    assert read_runs(tmp_path) == [] and words in left_out(tmp_path)[0]


@pytest.mark.parametrize("name", [*JSON_FILES, "scores.parquet"])
def test_a_file_that_a_finished_run_lost_is_named(tmp_path: Path, name: str) -> None:
    folder = write_run(tmp_path, [0.5])
    (folder / name).unlink()
    with pytest.raises(RunFolderError, match=name):
        RunFolder(folder).check()
    assert read_runs(tmp_path) == [] and name in left_out(tmp_path)[0]


def test_a_folder_in_the_place_of_a_file_is_named(tmp_path: Path) -> None:
    folder = write_run(tmp_path, [0.5])
    (folder / "result.json").unlink()
    (folder / "result.json").mkdir()
    assert read_runs(tmp_path) == [] and "result.json can't be read (Is a directory)" in left_out(tmp_path)[0]


def test_a_run_that_is_not_done_needs_no_result(tmp_path: Path) -> None:
    RunFolder(write_run(tmp_path, state="failed", error="it broke")).check()


# ---- what the records say ------------------------------------------------------------------------------------------


def ref(number: int, dataset: str = "tus") -> CaseRef:
    return CaseRef(dataset, f"c{number}", f"g{number}", "a", True)


def test_the_digest_of_a_split_is_that_of_what_was_drawn() -> None:
    split = Split((ref(1),), (ref(2), ref(3)), (ref(4),), (ref(5),), excluded={"tus/c9": "twice"})
    synthetic = Split((ref(1),), (ref(2), ref(3), ref(0, SYNTHETIC)), (ref(4),), (ref(5),), "labeled", {})
    record = SplitRecord.of(split)
    assert record.drawn == record.digest == SplitRecord.of(synthetic).digest
    assert record.changes(SplitRecord.of(synthetic)) == []
    turned = SplitRecord.of(Split((ref(1),), (ref(3), ref(2)), (ref(4),), (ref(5),)))
    assert record.changes(turned) == ["the protocol now draws another split (unlabeled: in another order)"]
    moved = SplitRecord.of(Split((ref(1),), (ref(2), ref(3)), (), (ref(4), ref(5))))
    assert record.changes(moved) == [
        "the protocol now draws another split (validation: 1 cases removed, 0 added; test: 0 cases removed, 1 added)"
    ]


def test_the_code_is_what_decides_the_digits() -> None:
    def made(source: str, numerics: str = "1", torch_version: str = "2") -> Provenance:
        plugins = {"method": PluginUsed(name="x:m", version="9", source=source)}
        return Provenance(plugins=plugins, versions={"numerics": numerics, "torch": torch_version})

    first = made("a")
    assert len(first.code) == 12 and Provenance().code == ""
    assert first.code == made("a", torch_version="3").code and first.changes(made("a", torch_version="3")) == []
    assert first.changes(made("b")) == ["method x:m: its code has changed"]
    assert first.changes(made("a", "2")) == ["harness numerics 1 -> 2"]
    assert Provenance().changes(first) == ["method x:m: its code has changed", "harness numerics None -> 1"]


# ---- JSON ----------------------------------------------------------------------------------------------------------


def test_the_conversion_to_json() -> None:
    value = {
        1: np.float32(0.5), "nan": np.float64("nan"), "inf": [float("-inf")], "array": np.array([[1, 2]]),
        "tensor": torch.tensor([1.5, float("nan")]), "path": Path("a/b"), "tuple": (np.int64(3), True, None),
        "record": TrainingFigures(seconds=1.0), "odd": complex(1, 2),
    }  # fmt: skip
    converted = jsonable(value)
    assert converted.pop("record")["seconds"] == 1.0
    assert converted == {
        "1": 0.5, "nan": None, "inf": [None], "array": [[1, 2]], "tensor": [1.5, None], "path": "a/b",
        "tuple": [3, True, None], "odd": "1+2j",
    }  # fmt: skip
    assert jsonable({"a": [0.123456789, 7]}, 3) == {"a": [0.123, 7]}


def test_json_files_that_are_no_records(tmp_path: Path) -> None:
    file = tmp_path / "note.json"
    assert read_json(file) == {}
    for text in BROKEN.values():
        file.write_bytes(text)
        if text != b"{}":
            with pytest.raises(DamagedFileError, match=r"note\.json"):
                read_json(file)
        assert read_cached_json(file) == {}


def test_the_machine_of_a_run_names_the_instructions_of_its_processor() -> None:
    """With other vector instructions the same code gives other digits, so such machines have different labels."""
    here = machine("cpu")
    assert here.instructions and here.label.endswith(here.instructions) and str(here.device_name) in here.label
    other = here.model_copy(update={"instructions": "other"})
    assert other.label != here.label
    assert Machine(device="cuda", device_name="H200").label == "H200"
    assert Machine.model_validate_json('{"device_name": "AMD EPYC"}').label == "AMD EPYC", "of an earlier version"
