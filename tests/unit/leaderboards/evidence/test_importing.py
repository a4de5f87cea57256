"""Bundles that are put into a folder of runs: they count there as they did where they were made, and nothing is overwritten."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from support.bundles import changed
from support.command_line import bench
from support.leaderboard_toys import write_run

from semibench.contracts.errors import UsageError
from semibench.runfolder.reading import RunFolder, planned_state
from semibench_leaderboards.evidence.containers import ContainerError
from semibench_leaderboards.evidence.export import MANIFEST, export
from semibench_leaderboards.evidence.importing import bundles_in, import_bundle
from semibench_leaderboards.reading.records import read_runs


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """The bundle of a finished run, without predictions."""
    run = write_run(tmp_path / "theirs", [0.5, 0.75, 0.625])
    export(run, tmp_path / "run.zip", predictions=False)
    return tmp_path / "run.zip"


def with_file(bundle: Path, name: str, change: Callable[[bytes], bytes], *, digests: bool = True) -> Path:
    """A copy of a bundle with one other file."""
    return changed(bundle, lambda files: files.update({name: change(files.get(name, b""))}), digests=digests)


def test_an_imported_run_is_the_run(bundle: Path, tmp_path: Path) -> None:
    theirs = next(path for path in (tmp_path / "theirs").iterdir() if path.is_dir())
    done = import_bundle(bundle, tmp_path / "ours")
    assert done.outcome == "imported" and done.folder.name == theirs.name
    first, second = RunFolder(theirs), RunFolder(done.folder)
    assert (first.spec, first.result, first.split, first.provenance) == (
        second.spec, second.result, second.split, second.provenance
    )  # fmt: skip
    pd.testing.assert_frame_equal(
        pd.read_parquet(theirs / "scores.parquet"), pd.read_parquet(done.folder / "scores.parquet")
    )
    [record] = read_runs(tmp_path / "ours")
    assert record.counts and record.state == "done"
    assert second.split is not None
    assert planned_state(done.folder, first.spec, first.provenance, second.split) == ("done", [])
    assert import_bundle(bundle, tmp_path / "ours").outcome == "there already"
    assert not [path for path in (tmp_path / "ours").iterdir() if path.name.endswith(".import")]


def test_what_is_there_is_never_changed(bundle: Path, tmp_path: Path) -> None:
    folder = import_bundle(bundle, tmp_path / "ours").folder
    record = json.loads((folder / "result.json").read_text())
    record["scores"][0]["mean"] = 0.123
    (folder / "result.json").write_text(json.dumps(record))
    with pytest.raises(UsageError, match="with other numbers"):
        import_bundle(bundle, tmp_path / "ours")
    (folder / "status.json").write_text('{"state": "failed"}')
    (folder / "result.json").unlink()
    with pytest.raises(UsageError, match="which is failed"):
        import_bundle(bundle, tmp_path / "ours")
    (folder / "status.json").write_text("{")
    with pytest.raises(UsageError, match="can't be read"):
        import_bundle(bundle, tmp_path / "ours")
    assert (folder / "status.json").read_text() == "{"


@pytest.mark.parametrize(
    ("name", "change", "digests", "words"),
    [
        ("result.json", lambda data: data.replace(b"0.", b"1.", 1), False, "result.json was changed"),
        ("result.json", lambda data: b"{", True, "result.json"),
        ("spec.json", lambda data: b"[]", True, "not a run spec"),
        ("checkpoints/last.pt", lambda data: b"pickle", True, "doesn't belong in a bundle"),
        ("predictions/../last.npz", lambda data: b"", True, "leads outside"),
        (MANIFEST, lambda data: data.replace(b"semibench-bundle-1", b"semibench-bundle-9"), False, "expected a bundle"),
    ],
)
def test_damaged_and_hostile_bundles_are_refused(
    bundle: Path, tmp_path: Path, name: str, change: Callable[[bytes], bytes], digests: bool, words: str
) -> None:
    with pytest.raises(ContainerError, match=words):
        import_bundle(with_file(bundle, name, change, digests=digests), tmp_path / "ours")
    assert not (tmp_path / "ours").exists() or not list((tmp_path / "ours").iterdir())


def test_another_spec_under_the_same_key_is_refused(bundle: Path, tmp_path: Path) -> None:
    def other_seed(data: bytes) -> bytes:
        spec = json.loads(data)
        spec["replicate"]["seed"] += 1
        return json.dumps(spec).encode()

    with pytest.raises(ContainerError, match="its manifest names the run"):
        import_bundle(with_file(bundle, "spec.json", other_seed), tmp_path / "ours")


def test_the_commands(bundle: Path, tmp_path: Path) -> None:
    theirs, many, ours = (str(tmp_path / name) for name in ("theirs", "many", "ours"))
    result = bench("export", "--runs", theirs, "--no-predictions", "--out", many)
    assert result.exit_code == 0, result.output
    [file] = bundles_in([Path(many)])
    assert file.read_bytes() == bundle.read_bytes()  # the same bytes every time
    (Path(many) / "torn.zip").write_bytes(bundle.read_bytes()[:200])
    result = bench("import", many, "--runs", ours, "--json")
    document = json.loads(result.stdout)
    assert result.exit_code == 1
    assert [run["outcome"] for run in document["runs"]] == ["imported"]
    assert "torn.zip" in next(iter(document["refused"]))
    result = bench("import", str(bundle), "--runs", ours)
    assert result.exit_code == 0 and "1 there already" in result.stdout
    assert bench("import", str(tmp_path / "nothing"), "--runs", ours).exit_code == 2
    assert bench("export", "--runs", theirs, "--method", "cps-x", "--out", many).exit_code == 2
    assert bench("export", file.stem, "--runs", theirs, "--method", "cps", "--out", many).exit_code == 2
