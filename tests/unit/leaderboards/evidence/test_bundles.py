"""Bundles, predictions made elsewhere and stored ones: what is computed again, what is refused, that nothing is trusted."""

from __future__ import annotations

import io
import json
import stat
import unicodedata
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pandas as pd
import pytest
from PIL import Image
from support.bundles import changed
from support.command_line import bench

from semibench.contracts.cases import CaseRef
from semibench.contracts.errors import CaseError, IdentityError, UsageError
from semibench.evaluation.run_scores import prediction_name
from semibench.run.prepare import draw_split
from semibench.run.request import Cell
from semibench_leaderboards.evidence import containers
from semibench_leaderboards.evidence import score as submissions
from semibench_leaderboards.evidence.containers import ContainerError, open_container, read_labels
from semibench_leaderboards.evidence.export import export
from semibench_leaderboards.evidence.requests import Submission
from semibench_leaderboards.evidence.rescore import rescore
from semibench_leaderboards.evidence.score import files_by_case, score_submission
from semibench_leaderboards.evidence.stored_predictions import checked_labels
from semibench_leaderboards.evidence.verify import Verification, verify_run

SETTINGS = ("phantom.cases=100", "phantom.scale=0.25", "test=0.2")
TASK = Cell(protocol="self", dataset="tus", recipe="smoke", settings=SETTINGS, phantom="always")


@pytest.fixture(scope="module")
def truths() -> dict[str, np.ndarray]:
    """References of the test cases by id."""
    resolved, _ = submissions.resolve_submission(Submission(name="x", cell=TASK))
    split, _ = draw_split(resolved)
    return {ref.id: np.asarray(resolved.data.catalog.datasets[ref.dataset].truth(ref).label) for ref in split.test}  # type: ignore[union-attr]


def shifted(label: np.ndarray) -> np.ndarray:
    return np.roll(label, 3, axis=0)


def naive_dice(prediction: np.ndarray, truth: np.ndarray) -> float:
    return 2 * float((prediction & truth).sum()) / float(prediction.sum() + truth.sum())


@pytest.fixture(scope="module")
def submitted(truths: dict[str, np.ndarray], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder made of predictions: the references, shifted by three pixels."""
    place = tmp_path_factory.mktemp("submitted")
    (place / "theirs").mkdir()
    for name, label in truths.items():
        np.save(place / "theirs" / f"{name}.npy", shifted(label))
    with open_container(place / "theirs") as container:
        folder, _ = score_submission(Submission(name="Ours 1.0", about="a paper", cell=TASK), container, place / "runs")
    return folder


@pytest.fixture
def bundle(submitted: Path, tmp_path: Path) -> Path:
    export(submitted, tmp_path / "run.zip")
    return tmp_path / "run.zip"


def verified(path: Path) -> Verification:
    with open_container(path) as container:
        return verify_run(container)


def wrong(found: Verification) -> dict[str, str]:
    return {check.name: check.text for check in found.checks if check.outcome == "wrong"}


# ---- predictions made elsewhere ------------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_number_is_the_harness_s_and_the_row_says_submitted(submitted: Path, truths: dict[str, np.ndarray]) -> None:
    table = pd.read_parquet(submitted / "scores.parquet")
    dice = table[(table["metric"] == "dice") & (table["convention"] == "semibench-1")].set_index("case")["value"]
    assert set(dice.index) == set(truths)
    for name, label in truths.items():
        assert dice[name] == pytest.approx(naive_dice(shifted(label) > 0, label > 0), abs=1e-12)
    spec = json.loads((submitted / "spec.json").read_text())
    assert spec["entry"]["method"]["name"] == "submitted:Ours 1.0 (submitted)"
    assert spec["track"]["recipe"]["name"] == "submitted"  # a board of its own
    assert json.loads((submitted / "provenance.json").read_text())["predictions"]["about"] == "a paper"
    assert verified(submitted).well


def test_ranked_goes_to_the_recipe_s_own_track() -> None:
    apart = submissions.resolve_submission(Submission(name="x", cell=TASK))
    among = submissions.resolve_submission(Submission(name="x", ranked=True, cell=TASK))
    assert among[1].track == among[0].spec.track
    assert apart[1].track.digest() != among[1].track.digest()


def test_missing_extra_and_double_files_are_named(truths: dict[str, np.ndarray], tmp_path: Path) -> None:
    names = sorted(truths)
    for name in names[1:]:
        np.save(tmp_path / f"{name}.npy", truths[name])
    np.save(tmp_path / "phantom-99999-00.npy", truths[names[0]])
    np.save(tmp_path / f"{names[1]}.nii.npy", truths[names[1]])
    Image.fromarray(truths[names[2]]).save(tmp_path / f"{names[2]}.png")
    with pytest.raises(UsageError) as error, open_container(tmp_path) as container:
        score_submission(Submission(name="x", cell=TASK), container, tmp_path / "runs")
    text = str(error.value)
    assert f"1 of {len(names)} test cases have no prediction: tus/{names[0]}" in text
    assert "2 files don't belong to a test case of this split" in text and "phantom-99999-00.npy" in text
    assert f"1 cases have several files: {names[2]}.npy and {names[2]}.png" in text
    assert not (tmp_path / "runs").exists()


def test_other_predictions_under_one_name_need_force(
    submitted: Path, truths: dict[str, np.ndarray], tmp_path: Path
) -> None:
    for name, label in truths.items():
        np.savez(tmp_path / f"{name}.npz", label=label)
    runs = submitted.parent
    with open_container(tmp_path) as container:
        with pytest.raises(IdentityError, match=r"has other predictions of 'Ours 1\.0'"):
            score_submission(Submission(name="Ours 1.0", cell=TASK), container, runs)
        folder, result = score_submission(
            Submission(name="Ours 1.0", cell=TASK.model_copy(update={"seed": 1})), container, runs
        )
    assert folder != submitted
    dice = [s.mean for s in result.scores if s.metric == "dice"]
    assert dice and all(value == pytest.approx(1.0, abs=1e-5) for value in dice)


REF = CaseRef("tus", "a/b c", "g", "d", True)


@pytest.mark.parametrize(
    ("array", "words"),
    [
        (np.zeros((5, 4)), "axes are in reverse order"),
        (np.zeros((1, 4, 5)), "an axis too many"),
        (np.full((4, 5), 2), "labels are 0..1, found 2"),
        (np.eye(4, 5, dtype=np.uint8) * 255, "must be divided by 255"),
        (np.full((4, 5), -1), "found -1"),
    ],
)
def test_wrong_label_maps_say_what_is_wrong(array: np.ndarray, words: str) -> None:
    with pytest.raises(CaseError, match=words):
        checked_labels(array.astype(int), (4, 5), 2, REF)


def test_predictions_of_another_form_of_unicode_are_found(tmp_path: Path) -> None:
    case = CaseRef("tus", unicodedata.normalize("NFC", "Übung"), "g", "d", True)
    name = f"{unicodedata.normalize('NFD', 'Übung')}.npy"
    np.save(tmp_path / name, np.zeros(3))
    assert files_by_case(open_container(tmp_path), [case]) == {case.key: name}


def test_files_are_found_by_id_and_by_safe_name(tmp_path: Path) -> None:
    second = CaseRef("tus", "c", "g", "d", True)
    (tmp_path / "deep" / "a").mkdir(parents=True)
    np.save(tmp_path / "deep" / "a" / "b c.npy", np.zeros(3))
    np.save(tmp_path / "c.npy", np.zeros(3))
    (tmp_path / "readme.txt").write_text("no label map")
    assert files_by_case(open_container(tmp_path), [REF, second]) == {"tus/a/b c": "deep/a/b c.npy", "tus/c": "c.npy"}
    (tmp_path / "deep" / "a" / "b c.npy").rename(tmp_path / f"{prediction_name(REF)}.npy")
    assert files_by_case(open_container(tmp_path), [REF, second])["tus/a/b c"] == f"{prediction_name(REF)}.npy"


# ---- files of label maps -------------------------------------------------------------------------------------------


def saved(write: Callable[[io.BytesIO], Any]) -> bytes:
    stream = io.BytesIO()
    write(stream)
    return stream.getvalue()


def test_every_kind_of_file_gives_the_same_labels() -> None:
    label = np.arange(12, dtype=np.uint8).reshape(3, 4) % 3
    volume = np.stack([label, label.T[:3, :3].repeat(4, 1)[:, :4]], -1)
    image = nibabel.Nifti1Image(volume, np.eye(4))
    files = {
        "a.npz": (saved(lambda s: np.savez_compressed(s, label=label, other=label + 1)), label),
        "one.npz": (saved(lambda s: np.savez(s, anything=label)), label),
        "a.npy": (saved(lambda s: np.save(s, label.astype(float))), label),
        "b.npy": (saved(lambda s: np.save(s, label > 0)), label > 0),
        "a.png": (saved(lambda s: Image.fromarray(label).save(s, "PNG")), label),
        "a.nii": (image.to_bytes(), volume),
    }
    for name, (data, wanted) in files.items():
        assert (read_labels(data, name) == wanted).all(), name


def bomb() -> bytes:
    """An array that claims to be huge."""
    return saved(
        lambda s: np.lib.format.write_array_header_1_0(s, {"descr": "|u1", "fortran_order": False, "shape": (2**40,)})
    )


@pytest.mark.parametrize(
    ("name", "data", "words"),
    [
        ("a.npy", saved(lambda s: np.save(s, np.array([{}]), allow_pickle=True)), "Python objects"),
        ("a.npz", saved(lambda s: np.savez(s, label=np.array([{}]))), "Python objects"),
        ("a.npy", bomb(), "more than"),
        ("a.npy", saved(lambda s: np.save(s, np.array([0.5]))), "fractions"),
        ("a.npy", saved(lambda s: np.save(s, np.array(["a"]))), "whole numbers"),
        ("a.npz", saved(lambda s: np.savez(s, a=np.zeros(1), b=np.zeros(1))), "an array called 'label', found a, b"),
        ("a.png", saved(lambda s: Image.new("RGB", (2, 2)).save(s, "PNG")), "one channel"),
        ("a.png", b"\x89PNG nothing", "not a readable"),
        ("a.nii", b"nothing", "not a NIfTI"),
        ("a.npz", b"nothing", "not a readable"),
        ("a.pkl", b"nothing", "label maps are"),
    ],
)  # fmt: skip
def test_what_is_no_label_map_is_refused(name: str, data: bytes, words: str) -> None:
    with pytest.raises(ContainerError, match=words):
        read_labels(data, name)


@pytest.mark.parametrize("name", ["../spec.json", "/etc/passwd", "a/../../b", "C:\\x", "a\\..\\b"])
def test_paths_that_lead_out_are_refused(name: str, tmp_path: Path) -> None:
    file = tmp_path / "evil.zip"
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr(zipfile.ZipInfo(name), b"x")
    with pytest.raises(ContainerError, match="leads outside"):
        open_container(file)


def test_links_doubles_and_sizes_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    link = zipfile.ZipInfo("predictions/a.npz")
    link.create_system, link.external_attr = 3, (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(tmp_path / "link.zip", "w") as archive:
        archive.writestr(link, b"/etc/passwd")
    with pytest.raises(ContainerError, match="is a link"):
        open_container(tmp_path / "link.zip")
    with zipfile.ZipFile(tmp_path / "twice.zip", "w") as archive, pytest.warns(UserWarning, match="Duplicate"):
        archive.writestr("a", b"1")
        archive.writestr("a", b"2")
    with pytest.raises(ContainerError, match="twice"):
        open_container(tmp_path / "twice.zip")
    with zipfile.ZipFile(tmp_path / "large.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a", bytes(10**6))
    for limit in ("LARGEST_FILE", "LARGEST_TOTAL"):
        monkeypatch.setattr(containers, limit, 10**5)
        with pytest.raises(ContainerError, match=r"larger than|unpack to more than"):
            open_container(tmp_path / "large.zip")
        monkeypatch.undo()
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "out.npy").symlink_to("/etc/passwd")
    assert open_container(tmp_path / "folder").names() == []


# ---- bundles -------------------------------------------------------------------------------------------------------


def test_two_exports_are_equal_and_agree_digit_for_digit(submitted: Path, bundle: Path, tmp_path: Path) -> None:
    export(submitted, tmp_path / "again.zip")
    assert bundle.read_bytes() == (tmp_path / "again.zip").read_bytes()
    found = verified(bundle)
    assert found.well and wrong(found) == {}
    assert found.scores and all(score["largest_difference"] == 0.0 for score in found.scores)
    with zipfile.ZipFile(bundle) as archive:
        assert not any(name.endswith((".pt", ".pkl", ".txt")) for name in archive.namelist())
        assert str(submitted).encode() not in b"".join(archive.read(name) for name in archive.namelist())


@pytest.mark.slow
def test_a_better_mean_a_better_case_and_a_changed_prediction_are_found(
    bundle: Path, truths: dict[str, np.ndarray]
) -> None:
    def mean(files: dict[str, bytes]) -> None:
        result = json.loads(files["result.json"])
        next(s for s in result["scores"] if s["metric"] == "dice" and s["convention"] == "semibench-1")["mean"] += 0.01
        files["result.json"] = json.dumps(result).encode()

    found = verified(changed(bundle, mean))
    assert not found.well
    assert (
        set(wrong(found)) == {"last/main/semibench-1/dice"} and "claimed" in wrong(found)["last/main/semibench-1/dice"]
    )

    def case(files: dict[str, bytes]) -> None:
        table = pd.read_parquet(io.BytesIO(files["scores.parquet"]))
        table.loc[table["metric"] == "dice", "value"] += 2e-6
        files["scores.parquet"] = saved(lambda s: table.to_parquet(s, index=False))

    assert "last/main/semibench-1/dice" in wrong(verified(changed(bundle, case)))

    def prediction(files: dict[str, bytes]) -> None:
        name = next(name for name in files if name.startswith("predictions/"))
        label = truths[Path(name).stem]
        files[name] = saved(lambda s: np.savez(s, label=label, conventions=np.array(["semibench-1"])))

    assert "last/main/semibench-1/dice" in wrong(verified(changed(bundle, prediction)))
    assert "was changed" in wrong(verified(changed(bundle, prediction, digests=False)))["files"]


@pytest.mark.slow
def test_another_key_split_or_data_and_lost_files_are_found(bundle: Path) -> None:
    def easier(files: dict[str, bytes]) -> None:
        split = json.loads(files["split.json"])
        split["test"] = split["test"][:-1]
        del split["drawn"]
        files["split.json"] = json.dumps(split).encode()

    assert "test: 0 cases removed, 1 added" in wrong(verified(changed(bundle, easier)))["split"]

    def empty(files: dict[str, bytes]) -> None:
        files["split.json"] = b"{}"

    assert "expected test cases" in wrong(verified(changed(bundle, empty)))["data"]

    def careless(files: dict[str, bytes]) -> None:
        files["split.json"] = files["split.json"].replace(b'"tus"', b'"sut"')

    assert 'digest under "drawn"' in wrong(verified(changed(bundle, careless)))["records"]

    def other_seed(files: dict[str, bytes]) -> None:
        spec = json.loads(files["spec.json"])
        spec["replicate"]["seed"] = 5
        files["spec.json"] = json.dumps(spec).encode()

    assert "its result says" in wrong(verified(changed(bundle, other_seed)))["key"]

    def other_data(files: dict[str, bytes]) -> None:
        spec = json.loads(files["spec.json"])
        spec["track"]["data"] = "0" * 64
        files["spec.json"] = json.dumps(spec).encode()

    assert "the run 000000000000" in wrong(verified(changed(bundle, other_data)))["data"]

    def lost(files: dict[str, bytes]) -> None:
        del files[next(name for name in files if name.startswith("predictions/"))]

    found = wrong(verified(changed(bundle, lost, digests=False)))
    assert "is missing" in found["files"] and "no prediction of case" in found["last/main"]
    with pytest.raises(ContainerError, match=r"missing: result\.json"):
        verified(changed(bundle, lambda files: files.pop("result.json") and None))
    with pytest.raises(ContainerError, match="is not a readable zip"):
        verified(Path(__file__))


def test_a_run_without_predictions_or_an_end_is_not_exported(submitted: Path, tmp_path: Path) -> None:
    for name in ("spec.json", "provenance.json", "split.json", "result.json", "scores.parquet", "status.json"):
        (tmp_path / name).write_bytes((submitted / name).read_bytes())
    with pytest.raises(UsageError, match="stored no predictions"):
        export(tmp_path, tmp_path / "a.zip")
    (tmp_path / "status.json").write_text('{"state": "failed"}')
    with pytest.raises(UsageError, match="not a finished run"):
        export(tmp_path, tmp_path / "a.zip")


# ---- another convention --------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_rescoring_adds_a_convention_and_finds_the_same_digits(submitted: Path, truths: dict[str, np.ndarray]) -> None:
    before = pd.read_parquet(submitted / "scores.parquet")
    names = set(before["convention"])
    assert "csc-pa" not in names
    report = rescore(submitted, ["semibench-1"])
    assert (report.same, report.new, report.written) == (["semibench-1"], [], False)
    report = rescore(submitted, ["csc-pa"])
    assert (report.new, report.written) == (["csc-pa"], True)
    after = pd.read_parquet(submitted / "scores.parquet")
    assert set(after["convention"]) == {*names, "csc-pa"}
    pd.testing.assert_frame_equal(after[after["convention"] != "csc-pa"].reset_index(drop=True), before)
    dice = after[(after["convention"] == "csc-pa") & (after["metric"] == "dice")].set_index("case")["value"]
    for name, label in truths.items():  # as the convention smooths: 1e-5 above and below
        prediction, truth = shifted(label) > 0, label > 0
        assert dice[name] == pytest.approx(
            (2 * (prediction & truth).sum() + 1e-5) / (prediction.sum() + truth.sum() + 1e-5), abs=1e-6
        )
    scores = json.loads((submitted / "result.json").read_text())["scores"]
    assert {score["convention"] for score in scores} == {*names, "csc-pa"}
    assert verified(submitted).well
    assert rescore(submitted, ["csc-pa"]).same == ["csc-pa"]


def test_what_cannot_be_rescored_says_why(submitted: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="scores 3D cases"):
        rescore(submitted, ["la-sliding"])
    with pytest.raises(UsageError, match="working grid"):
        rescore(submitted, ["mgcc-2023"])
    with pytest.raises(IdentityError, match=r"expected a run folder with a spec\.json"):
        rescore(tmp_path, ["semibench-1"])


# ---- commands ------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_commands(submitted: Path, truths: dict[str, np.ndarray], tmp_path: Path) -> None:
    runs = str(submitted.parent)
    out = tmp_path / "run.zip"
    result = bench("export", submitted.name[:8], "--runs", runs, "--out", str(out))
    assert result.exit_code == 0 and "files" in result.stdout
    result = bench("verify", str(out))
    assert result.exit_code == 0, result.output
    assert "agree digit for digit" in result.stdout
    result = bench("verify", str(changed(out, lambda files: files.update({"result.json": b'{"scores": []}'}))))
    assert result.exit_code == 1 and "NOT VERIFIED" in result.stdout
    words = ["--protocol", "self", "--dataset", "tus", "--recipe", "smoke", "--phantom"]
    words += [word for text in SETTINGS for word in ("--set", text)]
    listed = bench("score", "--list", *words)
    assert listed.stdout.split() == list(truths)
    for name, label in truths.items():
        Image.fromarray(label).save(tmp_path / f"{name}.png")
    out.unlink()
    (tmp_path / "changed.zip").unlink()
    result = bench(
        "score", str(tmp_path), *words, "--name", "Perfect", "--runs", str(tmp_path / "runs"), "--no-track", "--json"
    )
    assert result.exit_code == 0, result.output
    made = json.loads(result.stdout)
    assert made["submitted"] and made["phantom"]
    result = bench("leaderboard", "--runs", str(tmp_path / "runs"), "--wide")
    assert "Perfect (submitted)" in result.stdout and "· submitted ·" in result.stdout
    assert bench("rerun", "Perfect (submitted)", "--runs", str(tmp_path / "runs")).exit_code == 2
    result = bench("rescore", made["key"][:10], "--runs", str(tmp_path / "runs"), "-c", "csc-pa", "--no-track")
    assert result.exit_code == 0 and "csc-pa: added" in result.stdout


# ---- bundles that are made to deceive or to do harm -----------------------------------------------------------------


def scores(edit: Callable[[pd.DataFrame], pd.DataFrame]) -> Callable[[dict[str, bytes]], None]:
    def change(files: dict[str, bytes]) -> None:
        out = io.BytesIO()
        edit(pd.read_parquet(io.BytesIO(files["scores.parquet"]), engine="pyarrow")).to_parquet(out, index=False)
        files["scores.parquet"] = out.getvalue()

    return change


def first_prediction(arrays: Callable[[dict[str, Any]], dict[str, Any]]) -> Callable[[dict[str, bytes]], None]:
    def change(files: dict[str, bytes]) -> None:
        name = min(name for name in files if name.startswith("predictions/"))
        with np.load(io.BytesIO(files[name])) as stored:
            edited = arrays({key: stored[key] for key in stored.files})
        out = io.BytesIO()
        np.savez_compressed(out, allow_pickle=True, **edited)
        files[name] = out.getvalue()

    return change


def test_repeated_rows_are_wrong(bundle: Path) -> None:
    found = verified(changed(bundle, scores(lambda table: table.loc[table.index.repeat(2)])))
    assert not found.well and "repeat another one" in wrong(found)["scores.parquet"]


def test_a_table_of_texts_is_refused(bundle: Path) -> None:
    with pytest.raises(ContainerError, match="expected numbers in the column value"):
        verified(changed(bundle, scores(lambda table: table.assign(value="good"))))


def without_conventions(files: dict[str, bytes]) -> None:
    for name in [name for name in files if name.startswith("predictions/")]:
        with np.load(io.BytesIO(files[name])) as stored:
            arrays = {key: stored[key] for key in stored.files if key != "conventions"}
        out = io.BytesIO()
        np.savez_compressed(out, **arrays)
        files[name] = out.getvalue()


def test_what_cannot_be_computed_again_is_not_verified(bundle: Path) -> None:
    whole = verified(bundle)
    assert whole.well and not whole.unverified
    found = verified(changed(bundle, without_conventions))
    assert not found.well and found.unverified
    answer = bench("verify", str(changed(bundle, without_conventions)))
    assert answer.exit_code == 1 and "NOT VERIFIED" in answer.stdout


def test_one_file_without_its_conventions_hides_no_other(bundle: Path) -> None:
    lost = first_prediction(lambda arrays: {key: value for key, value in arrays.items() if key != "conventions"})
    assert verified(changed(bundle, lost)).well


def npy(shape: str, body: bytes, kind: str = "|u1") -> bytes:
    """An array file whose header may lie."""
    header = f"{{'descr': '{kind}', 'fortran_order': False, 'shape': {shape}, }}".encode()
    header += b" " * (-(len(header) + 11) % 64) + b"\n"
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + body


def zipped(**members: bytes) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(f"{name}.npy", data)
    return out.getvalue()


LIES = {
    "more voxels than bytes": npy("(4000, 4000)", b"abc"),
    "more than any volume": npy("(4000, 4000, 4000)", b"abc"),
    "a negative side": npy("(-3, 4)", bytes(12)),
    "sides beyond numbers": npy("(" + "9" * 300 + ",)", b""),
    "nested": npy("(" * 99 + ")" * 99, b""),
    "code": npy("exit()", b""),
    "no header": b"hello",
    "a newer version": b"\x93NUMPY\x09\x00" + bytes(99),
    "cut": npy("(3, 4)", bytes(11)),
    "huge fractions": npy("(1,)", np.float64(1e300).tobytes(), "<f8"),
    "no numbers": npy("(1,)", np.float64(np.nan).tobytes(), "<f8"),
    "texts": npy("(1,)", "a".encode("utf-32-le"), "<U1"),
    "objects": npy("(1,)", b"abc", "|O"),
}


@pytest.mark.parametrize("name", LIES)
def test_headers_that_lie_are_refused_before_anything_is_allocated(name: str) -> None:
    for ending, data in ((".npy", LIES[name]), (".npz", zipped(label=LIES[name]))):
        with pytest.raises(ContainerError, match="case"):
            read_labels(data, f"case{ending}")


def test_damaged_compression_is_refused() -> None:
    data = bytearray(zipped(label=npy("(40, 40)", bytes(range(200)) * 8)))
    start = data.index(b"label.npy") + len(b"label.npy")
    data[start : start + 12] = b"\xff" * 12
    with pytest.raises(ContainerError):
        read_labels(bytes(data), "case.npz")


def test_headers_of_volumes_are_compared_with_the_file() -> None:
    data = bytearray(nibabel.Nifti1Image(np.zeros((5, 5, 5), np.uint8), np.eye(4)).to_bytes())
    data[42:48] = b"".join(int(side).to_bytes(2, "little") for side in (900, 900, 900))
    with pytest.raises(ContainerError, match=r"case\.nii"):
        read_labels(bytes(data), "case.nii")


def test_bombs_are_refused_unopened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(containers, "SUSPICIOUS", 10**6)
    with zipfile.ZipFile(tmp_path / "bomb.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("bomb.bin", bytes(3 * 10**6))
    with open_container(tmp_path / "bomb.zip") as container:
        for read in (container.read, container.digest):
            with pytest.raises(ContainerError, match="don't trust this file"):
                read("bomb.bin")
    with pytest.raises(ContainerError, match="don't trust this file"):
        read_labels(zipped(label=npy("(3000000,)", bytes(3 * 10**6))), "case.npz")
    names = zipped(label=npy("(1,)", b"a"), conventions=bytes(containers.MOST_NAMES + 10))
    with pytest.raises(ContainerError, match="would unpack"):
        containers.read_names(names, "case.npz", "conventions")
