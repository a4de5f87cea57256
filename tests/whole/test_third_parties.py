"""Third parties as they are: wheels of Semibench and of a plug-in in a fresh environment, run beside a built-in, seen by
another Semibench, uninstalled; ten broken plug-ins at once."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from support.places import DOCS
from support.plugin_places import Place, module_wheel, semibench_wheel

from semibench.contracts.cards import API, OLDEST_API
from semibench.discovery.registry import KINDS
from semibench.scaffold import write

SETTING = ("--protocol", "self", "--dataset", "tus", "--recipe", "smoke", "--set", "phantom.cases=60",
           "--set", "phantom.scale=0.25", "--no-pictures")  # fmt: skip
ROWS = """
import json, mlflow
client = mlflow.MlflowClient("sqlite:///mlflow.db")
ids = [experiment.experiment_id for experiment in client.search_experiments()]
print(json.dumps([{**run.data.tags, **run.data.params, "metrics": len(run.data.metrics)} for run in client.search_runs(ids)
                  if 'semibench.key' in run.data.tags]))  # not the rows that they belong to
"""


def another_semibench(place: Place, api: int, oldest: int) -> None:
    """The installed wheel, as if its contracts had these versions."""
    cards = place.site / "semibench" / "contracts" / "cards.py"
    lines = cards.read_text(encoding="utf-8").splitlines()
    changed = {"API = ": f"API = {api}", "OLDEST_API = ": f"OLDEST_API = {oldest}"}
    for number, line in enumerate(lines):
        for start, text in changed.items():
            lines[number] = text if line.startswith(start) else lines[number]
    cards.write_text("\n".join(lines) + "\n", encoding="utf-8")


@pytest.mark.slow
def test_a_wheel_runs_beside_a_built_in_and_leaves_no_trace(tmp_path: Path) -> None:
    environment = Place(tmp_path / "environment", bare=True)
    assert "No module named 'semibench'" in environment.call("-c", "import semibench", cwd=tmp_path, code=1).stderr
    made, wheels = write("method", "my-method", tmp_path), tmp_path / "wheels"
    wheels.mkdir()
    semibench_wheel(wheels, environment)
    pack = ("-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", "wheels", str(made.folder))
    environment.call(*pack, cwd=tmp_path)
    # dependencies are resolved: Semibench comes from its wheel, what it needs is there
    environment.call("-m", "pip", "install", "-q", "--find-links", "wheels", made.distribution, cwd=tmp_path)
    work = tmp_path / "work"
    work.mkdir()
    modules = ("semibench", "semibench_plugins", "semibench_leaderboards", "semibench_my_method")
    code = f"import {', '.join(modules)}\nfor one in ({', '.join(modules)}): print(one.__path__[0])"
    where = environment.call("-c", code, cwd=work).stdout.split()
    assert [Path(path) for path in where] == [environment.site / module for module in modules]
    states = environment.json("list", "plugins", cwd=work)
    assert {state["state"] for state in states} == {"healthy"}
    assert {state["distribution"] for state in states} == {"semibench", made.distribution}

    environment.script("bench", "run", *SETTING, "--method", "my-method", cwd=work)
    environment.script("bench", "run", *SETTING, "--method", "mean-teacher", cwd=work)
    rows = json.loads(environment.call("-c", ROWS, cwd=work).stdout.splitlines()[-1])
    methods = {value for row in rows for value in row.values() if value in ("my-method", "mean-teacher")}
    assert methods == {"my-method", "mean-teacher"}
    assert all(row["metrics"] > 0 for row in rows)

    plan = ("run", *SETTING, "--method", "my-method", "--plan", "--seed", "1")
    another_semibench(environment, API + 1, OLDEST_API)  # the next one, which still takes plug-ins of this one
    environment.bench(*plan, cwd=work)
    another_semibench(environment, API + 2, API + 1)  # a later one, which doesn't
    refused = environment.bench(*plan, cwd=work, code=1)
    words = (
        f"made for contract version {API}, this Semibench has {API + 2}, and takes plug-ins from {API + 1} on: update"
    )
    assert words in " ".join(refused.stderr.split())
    environment.bench("run", *SETTING, "--method", "mean-teacher", "--plan", cwd=work)
    another_semibench(environment, API, OLDEST_API)

    environment.call("-m", "pip", "uninstall", "-q", "-y", made.distribution, cwd=tmp_path)
    assert not [path for path in environment.site.iterdir() if "my_method" in path.name]
    assert "my-method" not in environment.json("list", cwd=work)["methods"]
    lost = environment.bench("run", *SETTING, "--method", "my-method", "--plan", cwd=work, code=2)
    assert "my-method" in lost.stderr and "Known:" in lost.stderr
    again = environment.bench("run", *SETTING, "--method", "mean-teacher", cwd=work)
    assert "done" in (again.stdout + again.stderr).lower()
    assert environment.json("doctor", cwd=work)["problems"] == []


CARD = "from semibench import hookimpl, MethodCard, BackboneCard\n@hookimpl\ndef semibench_methods():\n    return ["
BROKEN = {
    "broken-syntax": ("def (", "SyntaxError"),
    "broken-missing": ("import no_such_library_here", "No module named 'no_such_library_here'"),
    "broken-raising": ("raise RuntimeError('no licence file')", "RuntimeError: no licence file"),
    "broken-exiting": ("raise SystemExit('needs a GPU')", "SystemExit: needs a GPU"),
    "broken-misspelt": (
        "from semibench import hookimpl\n@hookimpl\ndef semibench_metods():\n    return []",
        "there is no hook 'semibench_metods'; did you mean 'semibench_methods'?",
    ),
    "broken-hook": (
        "from semibench import hookimpl\n@hookimpl\ndef semibench_methods():\n    return 1 / 0",
        "hook semibench_methods raised ZeroDivisionError",
    ),
    "broken-card": (CARD + "BackboneCard(name='net', title='Net', load='a:B')]", "must return MethodCard records"),
    "broken-future": (CARD + f"MethodCard(name='future', title='t', load='a:B', api={API + 1})]", "update Semibench"),
    "broken-name": (CARD + "MethodCard(name='Two Words', title='t', load='a:B')]", "a name is lower case"),
    "broken-nothing": ("x = 1", "no function marked @semibench.hookimpl"),
}
PAGE = DOCS / "plugin_errors.md"


@pytest.mark.slow
def test_ten_broken_plugins_give_ten_reports_and_a_working_harness(tmp_path: Path) -> None:
    environment = Place(tmp_path / "environment")
    wheels = [str(module_wheel(tmp_path / "wheels", name, source)) for name, (source, _) in BROKEN.items()]
    environment.install(*wheels, cwd=tmp_path)
    states = environment.json("list", "plugins", cwd=tmp_path)
    broken = {state["entry_point"]: state for state in states if state["distribution"].startswith("broken-")}
    assert set(broken) == set(BROKEN) and len(broken) == 10
    for name, (_, words) in BROKEN.items():
        assert broken[name]["state"].startswith("broken"), name
        (problem,) = broken[name]["problems"]
        assert words in problem["message"], (name, problem["message"])
    assert all(state["state"] == "healthy" for state in states if not state["distribution"].startswith("broken-"))
    doctor = environment.bench("doctor", cwd=tmp_path, code=1).stdout
    shown = [line for line in doctor.splitlines() if line.startswith("PROBLEM")]
    assert len(shown) == 10
    asked = environment.bench("show", "method", "future", cwd=tmp_path, code=1).stderr
    hooks = {kind.hook for kind in KINDS.values()}
    listed = environment.bench("list", "protocols", cwd=tmp_path).stderr
    page = PAGE.read_text(encoding="utf-8").replace("<!-- semibench:hooks -->", ", ".join(sorted(hooks)))
    on_page = {line for line in page.splitlines() if line.startswith(("PROBLEM", "error:"))}
    on_page = {line for line in on_page if not line.startswith("PROBLEM (metadata)")}  # see test_installed_packages.py
    assert on_page == {*shown, *[line for line in asked.splitlines() if line.startswith("error:")]}
    assert " ".join(listed.split()) in " ".join(page.split())
    run = environment.json("run", *SETTING, "--method", "mean-teacher", "--no-track", cwd=tmp_path)
    assert run["scores"]
