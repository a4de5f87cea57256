"""`bench new`: what is refused, what is written, and that the packages work with nothing edited: installed, listed, checked,
run."""

from __future__ import annotations

import ast
import io
import json
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.command_line import bench
from support.plugin_places import Place

from semibench import UnknownNameError, UsageError
from semibench.scaffold import SCAFFOLDS, Scaffold, check_name, write

KINDS = list(SCAFFOLDS)


def code_lines(text: str) -> int:
    """Lines that hold code: no blank ones, no comments, no docstrings."""
    silent = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER}
    found: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type not in silent:
            found.update(range(token.start[0], token.end[0] + 1))
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            found -= set(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    return len(found)


@pytest.mark.parametrize("kind", KINDS)
def test_a_whole_package_is_written(kind: str, tmp_path: Path) -> None:
    made = write(kind, "my-plugin", tmp_path)
    assert made.folder == tmp_path / "my-plugin"
    names = {str(path.relative_to(made.folder)) for path in made.files}
    assert names == {
        ".github/workflows/tests.yml", ".gitignore", "README.md", "pyproject.toml", "semibench_my_plugin/__init__.py",
        "semibench_my_plugin/cards.py", f"semibench_my_plugin/{kind}.py", "tests/test_conformance.py",
    }  # fmt: skip
    assert set(made.files) == {path for path in made.folder.rglob("*") if path.is_file()}
    assert [path.name for path in tmp_path.iterdir()] == ["my-plugin"]
    for path in made.files:
        text = path.read_text(encoding="utf-8")
        assert "${" not in text, f"{path} holds an unfilled place"
        assert all(len(line) <= 120 for line in text.splitlines() if path.suffix == ".py"), path
        if path.suffix == ".py":
            compile(text, str(path), "exec")


def test_the_method_is_short(tmp_path: Path) -> None:
    made = write("method", "my-method", tmp_path)
    text = (made.folder / "semibench_my_method" / "method.py").read_text(encoding="utf-8")
    assert code_lines(text) <= 40


def test_lines_of_code_are_counted() -> None:
    assert (
        code_lines(
            '"""Doc\nstring."""\n\n# comment\nx = 1  # more\n\n\ndef f():\n    """One."""\n    return """a\nb"""\n'
        )
        == 4
    )


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("MyMethod", "Did you mean 'my-method'"),
        ("my_method", "Did you mean 'my-method'"),
        ("3d-net", "Did you mean 'my-3d-net'"),
        ("a--b", "Did you mean 'a-b'"),
        ("", "Did you mean 'my-method'"),
        ("../x", "cannot be the name"),
        ("mean-teacher", "already installed. Did you mean 'my-mean-teacher'"),
        ("plugins", "semibench_plugins"),
    ],
)
def test_bad_and_taken_names_are_refused_with_a_proposal(name: str, words: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r".") as caught:
        write("method", name, tmp_path, taken=["mean-teacher"])
    assert words in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    with pytest.raises(UsageError, match="already exists"):
        write("method", "mine", tmp_path)
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["thesis.txt"]
    with pytest.raises(UsageError, match="does not exist; create it"):
        write("method", "mine", tmp_path / "nowhere")


def test_unknown_kinds_have_a_hint() -> None:
    with pytest.raises(UnknownNameError, match="Did you mean 'method'"):
        check_name("metod", "mine")


@pytest.mark.parametrize("name", ["method", "task", "tensor", "none", "any", "field"])
def test_classes_never_hide_what_they_need(name: str, tmp_path: Path) -> None:
    made = write("method", name, tmp_path)
    tree = ast.parse((made.folder / f"semibench_{name}" / "method.py").read_text(encoding="utf-8"))
    imported = {alias.name for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) for alias in node.names}
    assert not imported & {node.name for node in tree.body if isinstance(node, ast.ClassDef)}


def test_the_command_says_what_to_do_next(tmp_path: Path) -> None:
    done = bench("new", "dataset", "my-clinic", "--dir", str(tmp_path), "--json", width=None)
    assert done.exit_code == 0, done.output
    record = json.loads(done.stdout)
    assert (record["folder"], record["distribution"]) == (str(tmp_path / "my-clinic"), "semibench-my-clinic")
    assert record["next"][1:3] == ["pip install -e .", "bench check my-clinic"]
    again = bench("new", "dataset", "my-clinic", "--dir", str(tmp_path), width=None)
    assert again.exit_code == 2 and "already exists" in again.stderr
    taken = bench("new", "dataset", "tus", "--dir", str(tmp_path), width=None)
    assert taken.exit_code == 2 and "my-tus" in taken.stderr


# As third parties have them


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Place, dict[str, Scaffold], Path]]:
    """An environment with one plug-in of each kind, installed with `pip install -e`."""
    folder = tmp_path_factory.mktemp("third-party")
    found = Place(folder / "environment")
    made = {kind: write(kind, f"my-{kind}", folder) for kind in KINDS}
    found.install(*(word for scaffold in made.values() for word in ("-e", str(scaffold.folder))), cwd=folder)
    yield found, made, folder


@pytest.mark.slow
def test_they_are_listed(place: tuple[Place, dict[str, Scaffold], Path]) -> None:
    environment, _, folder = place
    listed = environment.json("list", cwd=folder)
    for kind, many in SCAFFOLDS.items():
        assert f"my-{kind}" in listed[many]
    states = {state["distribution"]: state["state"] for state in environment.json("list", "plugins", cwd=folder)}
    assert all(states[f"semibench-my-{kind}"] == "healthy" for kind in KINDS)


@pytest.mark.slow
def test_their_tests_pass_with_nothing_edited(place: tuple[Place, dict[str, Scaffold], Path]) -> None:
    """In one process, which imports torch once. (The tutorial calls pytest in the folder of one of them.)"""
    environment, made, folder = place
    words = ("-m", "pytest", "-v", "-p", "no:cacheprovider", "--import-mode=importlib", f"--rootdir={folder}")
    done = environment.call(*words, *(f"my-{kind}/tests" for kind in made), cwd=folder)
    for kind in made:
        assert f"my-{kind}/tests/test_conformance.py::" in done.stdout
    assert "passed" in done.stdout and "failed" not in done.stdout and "skipped" not in done.stdout


COMMANDS = """
import json, sys
from typer.testing import CliRunner
from semibench.cli import build

done = [CliRunner().invoke(build(), words, prog_name="bench") for words in json.loads(sys.argv[1])]
print(json.dumps([[one.exit_code, one.stdout, one.stderr] for one in done]))
"""


SMALL = ("--set", "phantom.cases=40", "--set", "phantom.scale=0.25")
"""A phantom that is drawn and scored in a second."""


@pytest.mark.slow
def test_their_commands_run(place: tuple[Place, dict[str, Scaffold], Path], tmp_path: Path) -> None:
    """One after the other in one process, which imports torch once."""
    environment, made, _ = place
    runs = {kind: scaffold for kind, scaffold in made.items() if kind != "split"}  # phantoms have no published splits
    words = [[*scaffold.command.split()[1:], *SMALL, "--no-track", "--json"] for scaffold in runs.values()]
    for later in words[1:]:
        later.append("--no-pictures")
    told = environment.call("-c", COMMANDS, json.dumps(words), cwd=tmp_path).stdout
    for kind, (code, output, errors) in zip(runs, json.loads(told.splitlines()[-1]), strict=True):
        assert code == 0, f"{kind}: {errors}"
        assert any(score["metric"] == "dice" for score in json.loads(output)["scores"]), kind
    shown = environment.json(*made["split"].command.split()[1:], cwd=tmp_path)
    assert shown["card"]["dataset"] == "tus"


@pytest.mark.slow
def test_the_data_set_reads_its_files_too(place: tuple[Place, dict[str, Scaffold], Path], tmp_path: Path) -> None:
    environment, _, _ = place
    code = """
import sys
from pathlib import Path
import numpy as np
from PIL import Image
from semibench.conformance import DATASET_CHECKS, DatasetSubject
from semibench.discovery.registry import registry
item = registry().get("datasets", "my-dataset")
root = Path("files")
for name in ("images", "masks"):
    (root / name).mkdir(parents=True)
for number in range(6):
    picture = np.random.default_rng(number).integers(0, 255, (60, 80)).astype(np.uint8)
    mask = np.zeros((60, 80), np.uint8)
    mask[10:40, 20 : 50 + number] = 255
    Image.fromarray(picture).save(root / "images" / f"p{number // 2}_{number}.png")
    if number < 5:
        Image.fromarray(mask).save(root / "masks" / f"p{number // 2}_{number}.png")
case = DatasetSubject(item.resolve(), item.card, root=root)
for check in DATASET_CHECKS.values():
    check(case)
assert [ref.has_label for ref in case.refs] == [True] * 5 + [False]
assert len({ref.group for ref in case.refs}) == 3
"""
    assert environment.call("-c", code, cwd=tmp_path).returncode == 0
    (tmp_path / "files").rename(tmp_path / "my-dataset")
    checked = environment.json(
        "check", "my-dataset", "--data-root", ".", "--only", "two_steps_are_trained", cwd=tmp_path
    )
    assert checked["failed"] == 0
    for number in (0, 3):
        (tmp_path / "my-dataset" / "images" / f"p{number // 2}_{number}.png").write_bytes(b"damaged")
    words = ("check", "my-dataset", "--data-root", ".", "--only", "every_case_is_read")
    broken = environment.call("-m", "semibench.cli", *words, cwd=tmp_path, code=1)
    assert "(and 1 more)" in " ".join(broken.stdout.split())
