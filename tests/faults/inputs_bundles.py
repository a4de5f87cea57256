"""Malformed bundles."""

from __future__ import annotations

import hashlib
import io
import json
import struct
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from faults.damage import BINARY_FILE, NOISE, TEXT_FILE, Damage, put
from faults.feeding import Given
from faults.inputs_records import fields, run_folder

HARMLESS = ("a file more", "prediction without conventions")
"""Changes that hide nothing: the other files say for which conventions the predictions were made."""

VERIFY = ("verify", "bundle.zip")
Files = dict[str, bytes]


def bundles() -> Iterator[Given]:
    """Yields damaged bundles. Unless a name says otherwise, the manifest fits the damaged files."""
    for name, damage in BINARY_FILE.items():
        right = "refuse" if "middle" not in name and "start" not in name else "either"
        yield Given("bundles", f"bundle {name}", VERIFY, lambda work, d=damage: d(work / "bundle.zip"), right)  # type: ignore[misc, arg-type]
    for name, change in whole().items():
        yield Given("bundles", name, VERIFY, rebuilt(change), "either" if name in HARMLESS else "refuse")
    for name, change in untrusted().items():
        yield Given("bundles", name, VERIFY, lambda work, c=change: c(work / "bundle.zip"))  # type: ignore[misc]
    for record in ("spec.json", "split.json", "result.json", "provenance.json"):
        for name, damage in TEXT_FILE.items():
            if name not in ("folder", "link to nothing", "link to itself"):
                right = "either" if record == "provenance.json" and name in ("empty object", "NaN") else "refuse"
                yield Given("bundles", f"{record} {name}", VERIFY, rebuilt(_one(record, damage)), right)
    for name, record, damage in fields():
        if record not in ("status.json", "provenance.json") and name != "escape sequences in names":
            yield Given("bundles", name, VERIFY, rebuilt(_one(record, damage)))
    for name, record, damage in claims():
        yield Given(
            "bundles", name, VERIFY, rebuilt(_one(record, damage)), "either" if name.startswith("code") else "refuse"
        )
    yield Given("bundles", "well", VERIFY, right="serve")
    yield Given("bundles", "folder", ("verify", "runs"))
    yield Given("bundles", "a run folder with a prediction less", ("verify", "RUN"), _prediction_lost)


def _prediction_lost(work: Path) -> None:
    folder = run_folder(work)
    next((folder / "predictions").rglob("*.npz")).unlink()
    folder.rename(work / "RUN")


def claims() -> Iterator[tuple[str, str, Damage]]:
    """Yields (name, file, damage) of single wrong claims."""
    yield "spec phantom of 10^9 cases", "spec.json", put("track.dataset.options.phantom.cases", 10**9)
    yield "spec phantom scale 200", "spec.json", put("track.dataset.options.phantom.scale", 200.0)
    yield "spec phantom scale 1e300", "spec.json", put("track.dataset.options.phantom.scale", 1e300)
    yield "spec phantom text", "spec.json", put("track.dataset.options.phantom", "yes")
    yield "spec size huge", "spec.json", put("track.dataset.options.size", [10**6, 10**6])
    yield "spec dims text", "spec.json", put("entry.backbone.options.dims", "three")
    yield "spec dims huge", "spec.json", put("entry.backbone.options.dims", 10**9)
    yield "spec dataset unknown", "spec.json", put("track.dataset.name", "semibench:banana")
    yield "spec protocol options list", "spec.json", put("track.protocol.options.labeled", [1])
    yield "spec draw -1", "spec.json", put("replicate.draw", -1)
    yield "mean a little better", "result.json", put("scores.0.mean", 0.5)
    yield "mean null", "result.json", put("scores.0.mean", None)
    yield "convention unknown", "result.json", put("scores.0.convention", "banana")
    yield "predictor unknown", "result.json", put("scores.0.predictor", "banana")
    yield "test case of another data set", "split.json", put("test.0.0", "busi")
    yield "code of the method text", "provenance.json", put("plugins.dataset.source", "x")


def rebuilt(change: Callable[[Files], object]) -> Callable[[Path], object]:
    """Returns a damage that changes the files of bundle.zip and writes the manifest anew, unless `change` touched it."""

    def damage(work: Path) -> None:
        path = work / "bundle.zip"
        with zipfile.ZipFile(path) as archive:
            files = {name: archive.read(name) for name in archive.namelist()}
        before = files["bundle.json"]
        change(files)
        if files.get("bundle.json") == before:
            manifest = json.loads(before)
            manifest["files"] = {
                name: {**manifest["files"].get(name, {}), "sha256": hashlib.sha256(data).hexdigest(), "size": len(data)}
                for name, data in files.items()
                if name != "bundle.json"
            }
            files["bundle.json"] = json.dumps(manifest).encode()
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, data in files.items():
                archive.writestr(name, data)

    return damage


def _one(name: str, damage: Damage) -> Callable[[Files], object]:
    def change(files: Files) -> None:
        scratch = Path(f"/tmp/.faults-{hashlib.sha256(name.encode()).hexdigest()[:8]}")
        scratch.write_bytes(files[name])
        try:
            damage(scratch)
            files[name] = scratch.read_bytes()
        finally:
            scratch.unlink(missing_ok=True)

    return change


def first_prediction(files: Files) -> str:
    """Returns the name of the first prediction."""
    return min(name for name in files if name.startswith("predictions/"))


def whole() -> dict[str, Callable[[Files], object]]:
    """Returns changes of the files of a bundle."""

    def manifest(**values: Any) -> Callable[[Files], object]:
        def change(files: Files) -> None:
            files["bundle.json"] = json.dumps(json.loads(files["bundle.json"]) | values).encode()

        return change

    def table(edit: Callable[[Any], Any]) -> Callable[[Files], object]:
        def change(files: Files) -> None:
            import pandas as pd

            out = io.BytesIO()
            edit(pd.read_parquet(io.BytesIO(files["scores.parquet"]), engine="pyarrow")).to_parquet(out, index=False)
            files["scores.parquet"] = out.getvalue()

        return change

    def prediction(edit: Callable[[dict[str, Any]], dict[str, Any]]) -> Callable[[Files], object]:
        def change(files: Files) -> None:
            name = first_prediction(files)
            with np.load(io.BytesIO(files[name])) as stored:
                arrays = edit({key: stored[key] for key in stored.files})
            out = io.BytesIO()
            np.savez_compressed(out, allow_pickle=True, **arrays)
            files[name] = out.getvalue()

        return change

    def raw_prediction(data: Callable[[bytes], bytes]) -> Callable[[Files], object]:
        return lambda files: files.update({first_prediction(files): data(files[first_prediction(files)])})

    def with_label(change: Callable[[Any], Any]) -> Callable[[Files], object]:
        return prediction(lambda arrays: arrays | {"label": change(arrays["label"])})

    return {
        "manifest files is a list": manifest(files=[]),
        "manifest files are numbers": manifest(files={"spec.json": 3}),
        "manifest of the future": manifest(format=99),
        "manifest key other": manifest(key="0" * 64),
        "manifest empty": lambda files: files.update({"bundle.json": b""}),
        "manifest deep": lambda files: files.update({"bundle.json": b"[" * 100_000}),
        "manifest gone": lambda files: files.pop("bundle.json"),
        "manifest lists a file more": lambda files: files.update(
            {"bundle.json": files["bundle.json"].replace(b'"files": {', b'"files": {"x": {"sha256": "0"}, ')}
        ),
        "spec gone": lambda files: files.pop("spec.json"),
        "split gone": lambda files: files.pop("split.json"),
        "scores gone": lambda files: files.pop("scores.parquet"),
        "result gone": lambda files: files.pop("result.json"),
        "predictions gone": lambda files: [files.pop(name) for name in list(files) if name.startswith("predictions/")],
        "a prediction gone": lambda files: files.pop(first_prediction(files)),
        "a file more": lambda files: files.update({"bundle.json": files["bundle.json"], "extra.bin": NOISE}),
        "scores doubled": table(lambda frame: frame.loc[frame.index.repeat(2)]),
        "scores halved": table(lambda frame: frame.iloc[::2]),
        "scores empty": table(lambda frame: frame.iloc[:0]),
        "scores better": table(lambda frame: frame.assign(value=frame["value"] + 0.1)),
        "scores nan": table(lambda frame: frame.assign(value=np.nan)),
        "scores text": table(lambda frame: frame.assign(value="good")),
        "scores without a column": table(lambda frame: frame.drop(columns="case")),
        "scores of other cases": table(lambda frame: frame.assign(case="banana")),
        "scores of another convention": table(lambda frame: frame.assign(convention="banana")),
        "scores with a predictor more": table(
            lambda frame: __import__("pandas").concat([frame, frame.assign(predictor="oracle")])
        ),
        "scores with a row more": table(
            lambda frame: __import__("pandas").concat([frame, frame.iloc[:1].assign(case="x")])
        ),
        "scores garbage": lambda files: files.update({"scores.parquet": NOISE}),
        "scores cut": lambda files: files.update({"scores.parquet": files["scores.parquet"][:200]}),
        "prediction half": raw_prediction(lambda data: data[: len(data) // 2]),
        "prediction empty": raw_prediction(lambda data: b""),
        "prediction garbage": raw_prediction(lambda data: NOISE),
        "prediction text": raw_prediction(lambda data: b"hello"),
        "prediction inner deflate garbage": raw_prediction(spoil_deflate),
        "prediction is an empty zip": raw_prediction(lambda data: zip_bytes({})),
        "prediction of pickles": prediction(lambda arrays: arrays | {"label": np.array([{}], dtype=object)}),
        "prediction other shape": with_label(lambda label: label[:-1]),
        "prediction turned": with_label(lambda label: label.T),
        "prediction of no voxel": with_label(lambda label: label[:0]),
        "prediction a number": with_label(lambda label: np.uint8(1)),
        "prediction other labels": with_label(lambda label: 1 - np.minimum(label, 1)),
        "prediction label 200": with_label(lambda label: label + 200),
        "prediction negative": with_label(lambda label: -1 - label.astype(np.int16)),
        "prediction fractions": with_label(lambda label: label + 0.5),
        "prediction nan": with_label(lambda label: label + np.nan),
        "prediction huge floats": with_label(lambda label: label + 1e300),
        "prediction complex": with_label(lambda label: label + 1j),
        "prediction texts": with_label(lambda label: label.astype(str)),
        "prediction dates": with_label(lambda label: label.astype("datetime64[s]")),
        "prediction without label": prediction(
            lambda arrays: {"conventions": arrays["conventions"], "x": arrays["label"]}
        ),
        "prediction without conventions": prediction(
            lambda arrays: {key: value for key, value in arrays.items() if key != "conventions"}
        ),
        "prediction conventions unknown": prediction(lambda arrays: arrays | {"conventions": np.array(["banana"])}),
        "prediction conventions numbers": prediction(lambda arrays: arrays | {"conventions": np.arange(3)}),
        "prediction conventions scalar": prediction(lambda arrays: arrays | {"conventions": np.array(7)}),
        "prediction working other shape": prediction(lambda arrays: arrays | {"working": arrays["label"][:3]}),
        "prediction working fractions": prediction(lambda arrays: arrays | {"working": np.full((64, 64), 0.5)}),
        "prediction without working": prediction(
            lambda arrays: {key: value for key, value in arrays.items() if key != "working"}
        ),
        "prediction header negative": raw_prediction(
            lambda data: zip_bytes(
                {"label.npy": npy_bytes("(-1, 24)", 24), "conventions.npy": _member(data, "conventions.npy")}
            )
        ),
        "prediction header 4000^3": raw_prediction(
            lambda data: zip_bytes(
                {"label.npy": npy_bytes("(4000, 4000, 4000)", 24), "conventions.npy": _member(data, "conventions.npy")}
            )
        ),
        "prediction header 30000^2": raw_prediction(
            lambda data: zip_bytes(
                {"label.npy": npy_bytes("(30000, 30000)", 24), "conventions.npy": _member(data, "conventions.npy")}
            )
        ),
        "prediction header nested": raw_prediction(
            lambda data: zip_bytes(
                {"label.npy": npy_bytes("(" * 300 + ")" * 300, 24), "conventions.npy": _member(data, "conventions.npy")}
            )
        ),
        "prediction header code": raw_prediction(
            lambda data: zip_bytes(
                {"label.npy": npy_bytes("__import__('os')", 24), "conventions.npy": _member(data, "conventions.npy")}
            )
        ),
        "prediction conventions bomb": raw_prediction(
            lambda data: zip_bytes({"label.npy": _member(data, "label.npy"), "conventions.npy": bytes(10**9)})
        ),
        "prediction label bomb": raw_prediction(
            lambda data: zip_bytes({"label.npy": bytes(10**9), "conventions.npy": _member(data, "conventions.npy")})
        ),
    }


def untrusted() -> dict[str, Callable[[Path], object]]:
    """Returns ways to write a zip file that a bundle never is."""

    def added(name: str, data: bytes = b"x", **attributes: Any) -> Callable[[Path], object]:
        def change(path: Path) -> None:
            with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive:
                info = zipfile.ZipInfo(name)
                info.compress_type = zipfile.ZIP_DEFLATED
                for key, value in attributes.items():
                    setattr(info, key, value)
                archive.writestr(info, data)

        return change

    def size_lies(path: Path) -> None:
        data = bytearray(path.read_bytes())
        at = data.rfind(b"PK\x01\x02")
        data[at + 24 : at + 28] = struct.pack("<I", 2**31)
        path.write_bytes(bytes(data))

    def many(path: Path) -> None:
        with zipfile.ZipFile(path, "w") as archive:
            for number in range(210_000):
                archive.writestr(zipfile.ZipInfo(f"{number}"), b"")

    def big_entry(path: Path) -> None:
        with (
            zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive,
            archive.open("bomb.bin", "w", force_zip64=True) as stream,
        ):
            for _ in range(1900):
                stream.write(bytes(2**20))

    return {
        "entry leads outside": added("../../evil"),
        "entry absolute": added("/tmp/evil"),
        "entry with a drive": added("C:\\evil"),
        "entry is a link": added("link", b"/etc/passwd", external_attr=0o120777 << 16),
        "entry twice": added("spec.json"),
        "entry encrypted": added("secret", flag_bits=1),
        "entry size lies": size_lies,
        "entry of 1.9 GiB of zeros": big_entry,
        "210000 entries": many,
        "entry with an escape sequence": added("\x1b[31mred"),
        "entry not listed": added("predictions/x/y/z.npz"),
    }


def zip_bytes(files: Files) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return out.getvalue()


def _member(data: bytes, name: str) -> bytes:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return archive.read(name)


def npy_bytes(shape: str, count: int) -> bytes:
    header = f"{{'descr': '|u1', 'fortran_order': False, 'shape': {shape}, }}".encode()
    header += b" " * (-(len(header) + 11) % 64) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + bytes(count)


def spoil_deflate(data: bytes) -> bytes:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        info = archive.infolist()[0]
    name, extra = struct.unpack("<HH", data[info.header_offset + 26 : info.header_offset + 30])
    start = info.header_offset + 30 + name + extra
    return data[:start] + b"\xff" * min(20, info.compress_size) + data[start + min(20, info.compress_size) :]
