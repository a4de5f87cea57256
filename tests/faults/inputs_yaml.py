"""Malformed matrix and suite files."""

from __future__ import annotations

from collections.abc import Iterator

from faults.damage import NOISE
from faults.feeding import Given

MATRIX = """\
cells:
  - protocols: self
    datasets: tus
    methods: [supervised]
    recipes: smoke
    seeds: [0]
"""
BOMB = "".join(f"k{level}: &a{level} [{', '.join([f'*a{level - 1}' if level else 'x'] * 10)}]\n" for level in range(10))

TEXTS: dict[str, bytes] = {
    "empty": b"",
    "binary": NOISE,
    "latin-1": "name: Müller\n".encode("latin-1"),
    "utf-16": MATRIX.encode("utf-16"),
    "only comments": b"# nothing\n",
    "number": b"3\n",
    "text": b"hello\n",
    "list": b"- 1\n- 2\n",
    "null": b"null\n",
    "tab": b"cells:\n\t- protocols: self\n",
    "cut": MATRIX[:40].encode(),
    "no cells": b"cells: []\n",
    "product without end": MATRIX.replace("[0]", "0-9999").encode() + b"    draws: 0-9999\n    folds: 0-9999\n",
    "bomb": BOMB.encode(),
    "bomb under cells": ("cells: [1]\n" + BOMB).encode(),
    "recursive": b"cells: &a [*a]\n",
    "recursive mapping": b"cells: &a {x: *a}\n",
    "unknown alias": b"cells: *nothing\n",
    "python object": b"cells: !!python/object/apply:os.system ['true']\n",
    "python name": b"cells: !!python/name:os.system\n",
    "unknown tag": b"cells: !banana 3\n",
    "date that isn't": b"cells: 2020-99-99\n",
    "float that isn't": b"cells: !!float abc\n",
    "int that isn't": b"cells: !!int abc\n",
    "binary that isn't": b"cells: !!binary '!!!'\n",
    "bool that isn't": b"cells: !!bool perhaps\n",
    "timestamp that isn't": b"cells: !!timestamp x\n",
    "null that isn't": b"cells: !!null x\n",
    "merge of a scalar": b"<<: 3\ncells: 1\n",
    "merge of a list": b"<<: [1, 2]\n",
    "key is a mapping": b"? {a: 1}\n: 2\n",
    "key is a list": b"? [a]\n: 2\n",
    "key is null": b"null: 3\n",
    "key twice": b"cells: 1\ncells: 2\n",
    "key unknown": b"banana: 1\n",
    "two documents": MATRIX.encode() + b"---\n" + MATRIX.encode(),
    "directive": b"%YAML 9.9\n---\ncells: 1\n",
    "deep": b"cells: " + b"[" * 20_000,
    "deep block": b"".join(b" " * n + b"a:\n" for n in range(2000)),
    "long line": b"cells: " + b"x" * 10_000_000 + b"\n",
    "nul": b"cells: \0\n",
    "control": b"cells: \x07\n",
    "escape in a key": b'"\\e[31mred": 1\n',
    "surrogate": b'cells: "\\uD800"\n',
    "omap": b"cells: !!omap 3\n",
    "set": b"cells: !!set [1]\n",
    "many keys": b"".join(b"k%d: 1\n" % n for n in range(100_000)),
    "sexagesimal": b"cells: 1:99:99\n",
    "octal": b"cells: 0o99\n",
    "huge integer": b"cells: " + b"9" * 10_000 + b"\n",
    "colon": b"a: b: c\n",
    "unclosed": b"cells: 'abc\n",
    "percent": b"%\n",
}

FIELDS: dict[str, str] = {
    "seeds negative": "seeds: [-1]",
    "seed huge": "seeds: [99999999999999999999999]",
    "seeds huge range": "seeds: 0-99999999999",
    "seeds text": "seeds: x",
    "seeds float": "seeds: [1.5]",
    "seeds empty": "seeds: []",
    "seeds null": "seeds: null",
    "seeds mapping": "seeds: {a: 1}",
    "seeds bool": "seeds: [true]",
    "draws negative": "draws: [-3]",
    "folds negative": "folds: [-3]",
    "dims four": "dims: 4",
    "weights path": "weights: /nothing/here.pt",
    "weights number": "weights: 3",
    "set text": "set: lr",
    "set list": "set: [lr]",
    "set mapping": "set: {lr: [a]}",
    "set recursive": "set: &a {lr: *a}",
    "set nan": "set: {lr: .nan}",
    "set keys": "set: {3: 4}",
    "set date": "set: {lr: 2020-01-01}",
    "methods number": "methods: 3",
    "methods nested": "methods: [[a]]",
    "methods unknown": "methods: [banana]",
    "methods empty": "methods: []",
    "recipes unknown": "recipes: banana",
    "unknown field": "banana: 1",
    "conventions number": "conventions: 3",
    "data root number": "data_root: 3",
    "data root nul": 'data_root: "a\\0b"',
    "phantom perhaps": "phantom: perhaps",
    "controls perhaps": "controls: perhaps",
    "preset unknown": "presets: banana",
    "tuned nothing": "tuned: nothing",
    "backbones unknown": "backbones: [banana]",
    "protocols null": "protocols: null",
}


def matrices() -> Iterator[Given]:
    """Yields matrix files and suite files."""
    served = ("two documents",)
    for name, content in TEXTS.items():
        assert name not in served or content
        yield Given(
            "yaml",
            f"matrix file {name}",
            ("matrix", "m.yaml", "--plan"),
            lambda work, c=content: (work / "m.yaml").write_bytes(c),
        )  # type: ignore[misc]
        yield Given(
            "yaml",
            f"suite file {name}",
            ("suite", "show", "s.yaml"),
            lambda work, c=content: (work / "s.yaml").write_bytes(c),
        )  # type: ignore[misc]
    for name, line in FIELDS.items():
        field = line.split(":")[0]
        lines = [old for old in MATRIX.splitlines() if old.strip().removeprefix("- ").split(":")[0] != field]
        if field == "protocols":
            lines[1:1] = [f"  - {line}"]
        text = "\n".join([*lines, "" if field == "protocols" else f"    {line}"]) + "\n"
        yield Given(
            "yaml",
            f"matrix file {name}",
            ("matrix", "m.yaml", "--plan"),
            lambda work, t=text: (work / "m.yaml").write_text(t),
        )  # type: ignore[misc]
    yield Given(
        "yaml",
        "matrix file well",
        ("matrix", "m.yaml", "--plan"),
        lambda work: (work / "m.yaml").write_text(MATRIX),
        "serve",
    )
    yield Given("yaml", "matrix file a folder", ("matrix", "m.yaml", "--plan"), lambda work: (work / "m.yaml").mkdir())
