"""Plug-ins in files without a package: found, told, digested, and refused in one line."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from support.command_line import bench, in_one_line
from support.local_files import BESIDE, METHOD, TINY

from semibench.cli.tune_command import make_spec
from semibench.cli.tune_options import Search
from semibench.contracts.errors import PluginError, UsageError
from semibench.discovery import on_demand
from semibench.discovery.registry import registry
from semibench.documents import parse_document
from semibench.matrix.cells import MatrixFile, without_needless_controls
from semibench.matrix.driver import _portable
from semibench.matrix.planning import plan_cells
from semibench.run.comparison import comparison
from semibench.run.prepare import prepare
from semibench.run.request import Cell, Request
from semibench.run.resolve import resolve
from semibench.runfolder.provenance import plugin_used
from semibench.source_digest import file_digest, source_digest
from semibench_leaderboards.reading.installed_code import installed_source

NAME = "./sharpened.py:Sharpened"


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with a method in a file that imports another one beside it."""
    (tmp_path / "sharpened.py").write_text(METHOD)
    (tmp_path / "confidence.py").write_text(BESIDE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(on_demand, "_found", {})
    return tmp_path


def request(**fields: object) -> Request:
    given = {"protocol": "self", "dataset": "tus", "recipe": "smoke", "phantom": "always", "settings": tuple(TINY)}
    return Request(**{**given, "method": NAME, **fields})  # type: ignore[arg-type]


def test_a_file_has_a_name_of_its_own_and_no_path_in_the_key(here: Path) -> None:
    spec = resolve(request()).spec
    assert spec.entry.method.name == "local:sharpened" and spec.entry.method.short == "local:sharpened"
    assert str(here) not in spec.model_dump_json() and "sharpened.py" not in spec.model_dump_json()
    absolute = resolve(request(method=str(here / "sharpened.py") + ":Sharpened")).spec
    assert absolute.key == spec.key
    only = resolve(request(method="sharpened.py")).spec
    assert only.key == spec.key, "the one method of a file needs no class"


def test_what_a_card_would_say_is_inferred_and_told(here: Path) -> None:
    item = registry().get("methods", NAME)
    assert item.card.dims == (2, 3) and item.card.protocols == () and item.card.uses_unlabeled
    assert item.card.summary == "Learns from labels and from its own confidence."
    plan = prepare(request(), estimate=False)
    told = [text for text in plan.warnings if "sharpened.py" in text]
    assert told == [
        "no card in sharpened.py: Sharpened is taken for a method of 2D and 3D, for every protocol, that uses unlabeled images"
    ]
    assert registry().label(item) == "local:sharpened", "boards show that it is local"


def test_a_card_and_attributes_of_the_class_are_believed(here: Path) -> None:
    text = METHOD.replace(
        "    terms = {",
        '    dims = (2,)\n    protocols = ("self",)\n    streams = {"labeled": Stream("labeled")}\n    terms = {',
    )
    (here / "declared.py").write_text(
        text.replace("import Method,", "import Method, Stream,").replace("Sharpened", "Declared")
    )
    card = registry().get("methods", "./declared.py:Declared").card
    assert (card.dims, card.protocols, card.uses_unlabeled) == ((2,), ("self",), False)
    own = 'card = MethodCard(name="carded", title="With a card", load="carded:Carded", dims=(3,))\n    terms = {'
    text = METHOD.replace("    terms = {", f"    {own}").replace("import Method,", "import Method, MethodCard,")
    (here / "carded.py").write_text(text.replace("Sharpened", "Carded"))
    item = registry().get("methods", "./carded.py:Carded")
    assert (item.full_name, item.card.title, item.card.dims, item.assumed) == ("local:carded", "With a card", (3,), "")


def test_the_digest_covers_what_lies_beside_and_is_the_same_in_another_folder(here: Path, tmp_path: Path) -> None:
    used = plugin_used(registry().get("methods", NAME))
    assert used.file == "sharpened.py:Sharpened" and used.version == "file" and used.distribution == "local"
    assert used.source == file_digest(here / "sharpened.py")
    elsewhere = here / "copy"
    elsewhere.mkdir()
    for name in ("sharpened.py", "confidence.py"):
        shutil.copy(here / name, elsewhere / name)
    assert file_digest(elsewhere / "sharpened.py") == used.source
    (elsewhere / "confidence.py").write_text(BESIDE + "# a comment changes nothing\n")
    assert file_digest(elsewhere / "sharpened.py") == used.source
    (elsewhere / "confidence.py").write_text(BESIDE.replace("1e-6", "1e-5"))
    assert file_digest(elsewhere / "sharpened.py") != used.source


def test_a_file_gets_what_lies_beside_it_and_not_its_namesake_elsewhere(here: Path) -> None:
    for name, value in (("one", 1), ("two", 2)):
        (here / name).mkdir()
        (here / name / "confidence.py").write_text(f"{BESIDE}\nVALUE = {value}\n")
        (here / name / "valued.py").write_text(
            METHOD.replace("class Sharpened(Method):", f"class {name.title()}(Method):\n    value = confidence.VALUE")
        )
    first, second = (registry().get("methods", f"{name}/valued.py").resolve() for name in ("one", "two"))
    assert (first.value, second.value) == (1, 2)


def test_two_files_with_one_class_are_refused(here: Path) -> None:
    (here / "other").mkdir()
    shutil.copy(here / "confidence.py", here / "other" / "confidence.py")
    (here / "other" / "sharpened.py").write_text(METHOD.replace("Term(0.1", "Term(0.2"))
    assert registry().get("methods", NAME) is registry().get("methods", "local:sharpened")
    with pytest.raises(UsageError, match=r"two files define method 'local:sharpened': .*; rename one of the classes"):
        registry().get("methods", "other/sharpened.py")


def test_the_digest_covers_the_blocks_that_a_file_uses(here: Path) -> None:
    (here / "without.py").write_text(METHOD.replace("from semibench.blocks import supervised_loss\n", ""))
    item = registry().get("methods", "./without.py:Sharpened")
    assert source_digest(item.card.load.split(":")[0]) != file_digest(here / "sharpened.py")


def test_other_processes_get_the_file_by_its_path(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cell = Cell(protocol="self", dataset="tus", method=NAME)
    elsewhere = _portable(cell)
    assert elsewhere.method == f"{here / 'sharpened.py'}:Sharpened" and elsewhere.backbone is None
    assert elsewhere.dataset == "tus" and elsewhere.data_root is None
    own = _portable(Cell(protocol="self", dataset="./mydata", split=Path("split.json"), data_root=Path("others")))
    assert (own.dataset, own.split, own.data_root) == (
        str(here / "mydata"), here / "split.json", here / "others",
    )  # fmt: skip
    beside = comparison(request(), registry())
    assert beside[-1].request.method == NAME
    assert [row.title for row in comparison(request(protocol="synthetic"), registry())][1] == "sharpened, self"
    without = comparison(request(protocol="synthetic"), registry())[1].request
    assert without.method == f"{here / 'sharpened.py'}:Sharpened"


def test_a_method_that_uses_no_unlabeled_image_is_its_own_control(here: Path) -> None:
    text = METHOD.replace("    terms = {", '    streams = {"labeled": Stream("labeled")}\n    terms = {')
    (here / "alone.py").write_text(
        text.replace("import Method,", "import Method, Stream,").replace("Sharpened", "Alone")
    )
    cells = [
        Cell(protocol="self", dataset="tus", method=name, control=control)
        for name in (NAME, "./alone.py:Alone")
        for control in (False, True)
    ]
    assert without_needless_controls(cells, registry()) == cells[:3]


@pytest.mark.parametrize(
    ("name", "error", "words"),
    [
        ("./no_such.py:Sharpened", UsageError, "no such file; expected FILE.py:CLASS"),
        ("./sharpened.py:Sharpend", UsageError, "has no class 'Sharpend'; its plug-ins: Sharpened"),
        ("./sharpened.py:Plain", PluginError, "expected a subclass of semibench.Method, found"),
        ("./sharpened", UsageError, "names no class in a Python file; expected FILE.py:CLASS"),
        ("./a-b.py:Sharpened", UsageError, "rename the file to a_b.py"),
        ("./broken.py:Sharpened", PluginError, "broken.py can't be imported (line 3): ModuleNotFoundError"),
        ("./syntax.py:Sharpened", PluginError, "syntax.py can't be imported (line 2): SyntaxError"),
        ("./confidence.py", UsageError, "expected one method in the file, found none"),
        ("./folder.py", UsageError, "is a folder"),
        ("local:never-seen", UsageError, "name the file (./FILE.py:CLASS), or its folder (--plugins FOLDER)"),
    ],
)  # fmt: skip
def test_bad_references_are_one_clear_line(here: Path, name: str, error: type[Exception], words: str) -> None:
    (here / "a-b.py").write_text(METHOD)
    (here / "broken.py").write_text("import json\n\nimport no_such_module_anywhere\n")
    (here / "syntax.py").write_text("x = 1\nclass Sharpened(:\n")
    (here / "folder.py").mkdir()
    with pytest.raises(error) as caught:
        registry().get("methods", name)
    assert words in str(caught.value) and "\n" not in str(caught.value)
    shown = bench("run", "-p", "self", "-d", "tus", "-m", name, "--plan")
    assert shown.exit_code == (2 if error is UsageError else 1)
    assert words in in_one_line(shown.output) and "Traceback" not in shown.output


def test_a_network_is_no_method(here: Path) -> None:
    (here / "net.py").write_text("from torch import nn\nclass Net(nn.Module):\n    pass\n")
    with pytest.raises(PluginError, match=r"can't be used as a method: expected a subclass of semibench.Method, found"):
        registry().get("methods", "./net.py:Net")
    with pytest.raises(PluginError, match=r"can't be used as a backbone: expected a subclass of .*, found a method"):
        registry().get("backbones", NAME)


@pytest.mark.slow
def test_a_run_is_shown_as_local_and_its_changed_or_missing_file_is_told(here: Path) -> None:
    words = ["-p", "self", "-d", "tus", "-m", NAME, "--recipe", "smoke", "--phantom", "--no-track", "--device", "cpu",
             "--threads", "1", "-c", "semibench-1", "--no-predictions", "--no-pictures"]  # fmt: skip
    words += [word for text in TINY for word in ("--set", text)]
    done = bench("run", *words, "--json")
    assert done.exit_code == 0, done.output
    key = json.loads(done.stdout)["key"]
    board = bench("leaderboard")
    assert "local:sharpened" in board.output and "stale" not in board.output
    again = bench("rerun", key[:12], "--json")
    assert again.exit_code == 0 and json.loads(again.stdout)["same"], again.output
    (here / "confidence.py").write_text(BESIDE.replace("1e-6", "1e-3"))
    installed_source.cache_clear()
    stale = bench("leaderboard")
    assert "stale, run it again: the code of method local:sharpened has changed since" in in_one_line(stale.output)
    (here / "gone").mkdir()
    for name in ("sharpened.py", "confidence.py"):
        (here / name).rename(here / "gone" / name)
    gone = bench("rerun", key[:12], "--into", "third")
    assert gone.exit_code == 2
    assert (
        "used the method 'local:sharpened' from the file sharpened.py:Sharpened, which isn't in this folder"
        in in_one_line(gone.output)
    )


# ---- folders -------------------------------------------------------------------------------------------------------


@pytest.fixture
def folder(here: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of files: a method and what it imports, a network, a recipe by its hook, and a file that is broken."""
    monkeypatch.setenv("SEMIBENCH_PLUGINS", "")
    made = here / "ideas"
    made.mkdir()
    for name in ("sharpened.py", "confidence.py"):
        (here / name).rename(made / name)
    (made / "net.py").write_text("from torch import nn\n\n\nclass Net(nn.Module):\n    pass\n")
    (made / "short.py").write_text(
        "from semibench import RecipeCard, hookimpl\n\n\n@hookimpl\ndef semibench_recipes():\n"
        '    return [RecipeCard(name="short", extends="smoke", values={"iterations": 3}, source="ours")]\n'
    )
    (made / "broken.py").write_text("import semibench, no_such_module_anywhere\n")
    return made


def test_a_named_folder_is_listed_shown_and_examined(folder: Path) -> None:
    shown = bench("list", "methods", "--plugins", "ideas")
    assert "sharpened" in shown.output and "local" in shown.output
    assert "net" in bench("list", "backbones").output, "the option holds for the whole process"
    assert "short" in bench("show", "recipe", "short").output
    described = in_one_line(bench("show", "method", "local:sharpened").output)
    assert "method local:sharpened" in described and "from local file" in described and "sharpened.py" in described
    problems = [problem for problem in registry().problems if problem.distribution == "local"]
    assert [(problem.outcome, problem.entry_point) for problem in problems] == [("import", "broken.py")]
    assert "broken.py can't be imported (line 1): ModuleNotFoundError" in problems[0].message
    assert registry().get("methods", "sharpened") is registry().get("methods", "ideas/sharpened.py")
    assert resolve(request(method="local:sharpened")).spec.key == resolve(request(method="sharpened")).spec.key


def test_the_configuration_file_names_folders_relative_to_itself(folder: Path, here: Path) -> None:
    (here / "semibench.toml").write_text('plugins = ["ideas"]\n')
    assert registry().get("methods", "sharpened").full_name == "local:sharpened"
    (here / "semibench.toml").write_text('plugins = ["nowhere"]\n')
    (missing,) = [problem for problem in registry().problems if problem.distribution == "local"]
    assert "nowhere" in missing.message and "is neither a file nor a folder" in missing.message
    (here / "semibench.toml").write_text("plugins = 3\n")
    (wrong,) = [problem for problem in registry().problems if problem.distribution == "local"]
    assert 'expected plugins = ["FILE OR FOLDER", ...]' in wrong.message
    assert bench("list", "methods").exit_code == 0, "a damaged list of plug-ins ends no command"


def test_a_folder_that_does_not_exist_is_one_clear_line(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEMIBENCH_PLUGINS", "")
    result = bench("list", "--plugins", "no-such-folder")
    assert result.exit_code == 2 and "no-such-folder: no such file or folder" in in_one_line(result.output)


def test_matrix_files_and_studies_take_a_file(here: Path) -> None:
    text = f"cells:\n  - {{protocols: self, datasets: tus, methods: [{NAME}], recipes: smoke, phantom: always}}\n"
    (planned,) = plan_cells(parse_document(text, MatrixFile, "x.yaml").expand(), here / "runs")
    assert planned.state == "missing" and planned.key == resolve(planned.cell.request()).spec.key
    cell = Cell(**{name: getattr(request(), name) for name in Cell.model_fields})
    study = make_spec(cell, Search(ranges=("entropy=0.01:1",)), name=None, storage=None)
    assert study.request.method == f"{here / 'sharpened.py'}:Sharpened", "later processes may start elsewhere"
    assert study.name == "self-tus-sharpened" and study.request.backbone == "unet"
