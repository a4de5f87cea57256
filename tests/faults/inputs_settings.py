"""Malformed `--set` values, options, and configuration files."""

from __future__ import annotations

from collections.abc import Iterator

from faults.damage import NOISE
from faults.feeding import SMOKE, Given

PLAN = (*SMOKE, "--plan", "--no-track")

NUMBERS = (
    "nan",
    ".nan",
    ".inf",
    "-.inf",
    "-1",
    "1e400",
    "99999999999999999999",
    "abc",
    "[1]",
    "{a: 1}",
    "null",
    "2020-99-99",
)
"""Values that no numeric field takes, except that -1 or abc may be right for a few."""

NUMERIC = {
    "iterations": (),
    "lr": (),
    "labeled_batch": (),
    "backbone.width": (),
    "phantom.scale": (),
    "term.consistency": (),
    "weight_decay": (),
    "momentum": (),
    "power": (),
    "evaluate_every": (),
    "phantom.cases": ("null",),
    "clip_norm": ("null",),
    "method.decay": (),
}
"""Field -> values that are right for it."""

LEVELS = ", ".join(f"&a{level} [{', '.join([f'*a{level - 1}' if level else 'x'] * 10)}]" for level in range(7))
REPEATED = f"patch=[{LEVELS}]"

OTHERS = (
    "iterations=0",
    "iterations=-5",
    "iterations=2.5",
    "iterations=true",
    "lr=0",
    "lr=-0.1",
    "backbone.width=0",
    "phantom.scale=0",
    "phantom.cases=0",
    "phantom.cases=1",
    "phantom.scale=1e9",
    "phantom.cases=1000000000",
    "patch=[]",
    "patch=[64]",
    "patch=[64,64,64]",
    "patch=[0,0]",
    "patch=[-64,64]",
    "patch=64",
    "patch=[1000000,1000000]",
    "patch=[a,b]",
    "patch=[64.5,64]",
    "patch=[7,7]",
    "slab=0",
    "slab=-1",
    "slab=1000000000",
    "betas=[2,2]",
    "betas=[0.9]",
    "betas=[-1,0.9]",
    "betas=nan",
    "warm_up=1",
    "warm_up=-0.1",
    "warm_up=2",
    "clip_value=0",
    "clip_value=-1",
    "clip_norm=0",
    "precision=fp8",
    "precision=",
    "optimiser=lion",
    "schedule=cosine",
    "weak.flip=2",
    "weak.flip=-1",
    "weak.flip=.nan",
    "weak.rotate=[2,20]",
    "weak.rotate=[0.5]",
    "weak.rotate=[0.5,.inf]",
    "weak.scale=[1,0,0]",
    "weak.scale=[0.5,2,1]",
    "weak.scale=[.nan,1,1]",
    "weak.blur=[1,-1,-1]",
    "weak.gamma=[1,0,0]",
    "weak.brightness=x",
    "weak=3",
    "weak=[]",
    "weak.banana=1",
    "strong.jitter=[2,1]",
    "strong.blur=[1,-1]",
    "strong.noise=[1,.inf]",
    "strong=off",
    "widths={'*': 0}",
    "widths={'*': -1}",
    "widths={'*': .nan}",
    "widths=3",
    "widths={1: 2}",
    "widths=[1]",
    "networks={'*': 3}",
    "networks=3",
    "networks={unet: {banana: 1}}",
    "evaluate_cases=-1",
    "checkpoint_every=-1",
    "checkpoint_every=x",
    "keep_best=perhaps",
    "compile=maybe",
    "channels_last=2",
    "term.consistency.ramp=3",
    "term.consistency.ramp.kind=banana",
    "term.consistency.ramp.end=-1",
    "term.consistency.ramp.levels=-3",
    "term.consistency.weight=x",
    "term.consistency.active=[3]",
    "term.consistency.active=[2,1]",
    "term.consistency.active=x",
    "term.consistency.banana=1",
    "term.banana=1",
    "term=3",
    "banana=1",
    "method.banana=1",
    "method.decay=2",
    "protocol.labeled=0",
    "protocol.labeled=-3",
    "protocol.labeled=1000000",
    "protocol.labeled=.nan",
    "protocol.labeled=x",
    "protocol.folds=1",
    "protocol.folds=-1",
    "protocol.folds=1000000",
    "protocol.test=0",
    "protocol.test=1",
    "protocol.test=2",
    "protocol.test=.nan",
    "protocol.validation=2",
    "protocol.validation=-1",
    "protocol.source=banana",
    "dataset.edition=banana",
    "dataset.size=[0,0]",
    "dataset.size=[-1,64]",
    "dataset.size=x",
    "dataset.size=[1]",
    "phantom.seed=x",
    "phantom.seed=-1",
    "phantom.seed=1e30",
    "phantom.banana=1",
    "",
    "=",
    "=1",
    "lr",
    "lr=",
    "lr==1",
    "lr.x=1",
    "a.b.c.d.e=1",
    ".lr=1",
    "lr=[",
    "lr={",
    "lr=!!int x",
    "lr=!!python/object/apply:os.system [true]",
    "lr=&a [*a]",
    "lr=*a",
    "lr=<<",
    "lr={<<: 1}",
    "lr=? [a]",
    "lr=\x00",
    "lr=\x1b[31m",
    "lr=" + "[" * 2000,
    "lr=" + "9" * 100_000,
    "lr=" + "a" * 100_000,
    "lr=\ud800",
    "recipe.name=x",
    "recipe.dims=3",
    "recipe=3",
    REPEATED,
)

SERVED = (
    "iterations=2.0",
    "lr=1e-3",
    "widths={unet: 0.5}",
    "clip_norm=1",
    "phantom.cases=30",
    "term.consistency=0",
    "patch=[32, 32]",
)
EITHER = (
    "term.consistency.ramp.end=-1",
    "patch=[7,7]",
    "protocol.folds=1000000",
    "phantom.cases=1000000000",
    "networks={unet: {banana: 1}}",
    "phantom.scale=1e9",
    "phantom.cases=1",
    "channels_last=2",
    "widths={1: 2}",
    "phantom.seed=-1",
    "strong=off",
    "method.decay=2",
)


def settings() -> Iterator[Given]:
    """Yields values of `--set`."""
    for field, fine in NUMERIC.items():
        for value in NUMBERS:
            if value not in fine:
                right = (
                    "either"
                    if (field, value) in {("term.consistency", "-1"), ("power", "-1"), ("momentum", "-1")}
                    else "refuse"
                )
                yield Given("set", f"--set {field}={value}", (*PLAN, "--set", f"{field}={value}"), right=right)
    for text in OTHERS:
        right = "either" if text in EITHER else "refuse"
        yield Given("set", f"--set {text[:60]!r}", (*PLAN, "--set", text), right=right)
    for text in SERVED:
        yield Given("set", f"--set {text!r}", (*PLAN, "--set", text), right="serve")
    yield Given("set", "--set twice", (*PLAN, "--set", "lr=1", "--set", "lr=1"))


SHOWN = ("--runs is a file", "--runs under a file", "verify /dev/zero")
"""Options with which a plan can be shown, or that fail in their own way."""


def options() -> Iterator[Given]:
    """Yields values of other options."""
    base = PLAN[:5]
    for name, words in {
        "--seeds huge range": (*PLAN, "--seeds", "0-99999999999"),
        "--seeds backwards": (*PLAN, "--seeds", "3-1"),
        "--seeds text": (*PLAN, "--seeds", "x"),
        "--seeds empty": (*PLAN, "--seeds", ""),
        "--seeds negative": (*PLAN, "--seeds", "-1"),
        "--seeds many digits": (*PLAN, "--seeds", "9" * 5000),
        "--seeds superscript": (*PLAN, "--seeds", "²"),
        "--seed huge": (*PLAN, "--seed", "9" * 40),
        "--seed negative": (*PLAN, "--seed", "-1"),
        "--seed text": (*PLAN, "--seed", "x"),
        "--draw huge": (*PLAN, "--draw", "9" * 40),
        "--fold without folds": (*PLAN, "--fold", "3"),
        "--runs is a file": (*PLAN, "--runs", "/etc/passwd"),
        "--runs under a file": (*PLAN, "--runs", "/etc/passwd/x"),
        "--runs too long": (*PLAN, "--runs", "x" * 5000),
        "--runs /proc": ("run", *base[1:], "--runs", "/proc/nothing", "--no-track"),
        "--data-root too long": (*PLAN, "--data-root", "x" * 5000),
        "--data-root missing": (*PLAN, "--data-root", "nothing"),
        "--data-root a file": (*PLAN, "--data-root", "/etc/passwd"),
        "--weights missing": (*PLAN, "--weights", "nothing.pt"),
        "--weights folder": (*PLAN, "--weights", "/tmp"),
        "--device banana": (*PLAN, "--device", "banana"),
        "--device cuda:99": (*PLAN, "--device", "cuda:99"),
        "--device empty": (*PLAN, "--device", ""),
        "--device meta": (*PLAN, "--device", "meta"),
        "--threads 0": (*PLAN, "--threads", "0"),
        "--threads -1": (*PLAN, "--threads", "-1"),
        "--threads huge": (*PLAN, "--threads", "99999999999"),
        "--dims 4": (*PLAN, "--dims", "4"),
        "--recipe banana": (*PLAN, "--recipe", "banana"),
        "--recipe empty": (*PLAN, "--recipe", ""),
        "--preset banana": (*PLAN, "--preset", "banana"),
        "--method banana": (*PLAN[:7], "--method", "banana", "--plan"),
        "--method escape": (*PLAN[:7], "--method", "\x1b[31mred", "--plan"),
        "--method long": (*PLAN[:7], "--method", "x" * 100_000, "--plan"),
        "--backbone banana": (*PLAN, "--backbone", "banana"),
        "--dataset surrogate": ("run", "--protocol", "self", "--dataset", "\udcff", "--plan"),
        "--dataset empty": ("run", "--protocol", "self", "--dataset", "", "--plan"),
        "--convention banana": (*PLAN, "--convention", "banana"),
        "--tuned nothing": (*PLAN, "--tuned", "nothing"),
        "--tuned /etc": (*PLAN, "--tuned", "/etc"),
        "matrix seeds huge range": (
            "matrix",
            "-p",
            "self",
            "-d",
            "tus",
            "-m",
            "supervised",
            "--seeds",
            "0-99999999999",
            "--plan",
        ),
        "matrix draws huge range": (
            "matrix",
            "-p",
            "self",
            "-d",
            "tus",
            "-m",
            "supervised",
            "--draws",
            "0-9999999999",
            "--plan",
        ),
        "matrix no method": ("matrix", "-p", "self", "-d", "tus", "-m", ",,", "--plan"),
        "verify nothing": ("verify", "nothing.zip"),
        "verify /dev/zero": ("verify", "/dev/zero"),
        "verify /etc/passwd": ("verify", "/etc/passwd"),
        "export nothing": ("export", "zzz", "--out", "x.zip"),
        "export to a folder that isn't there": ("export", "KEY", "--out", "/proc/nothing/x.zip"),
        "export over a folder": ("export", "KEY", "--out", "runs"),
        "leaderboard of a file": ("leaderboard", "--runs", "/etc/passwd"),
        "leaderboard out folder": ("leaderboard", "--all", "--out", "runs"),
        "leaderboard out /proc": ("leaderboard", "--all", "--out", "/proc/x/y"),
        "runs of nothing": ("runs", "--runs", "nothing"),
        "runs limit": ("runs", "--limit", "-1"),
        "runs sort": ("runs", "--sort", "banana"),
        "split out /proc": ("split", "--protocol", "self", "--dataset", "tus", "--out", "/proc/nothing/x"),
        "new in /proc": ("new", "method", "toy", "--out", "/proc/nothing"),
        "show nothing": ("show", "method", "\x1b[31m"),
        "study elsewhere": ("tune", *PLAN[1:5], "--study", "../../elsewhere", "--trials", "1"),
        "join elsewhere": ("tune", "--join", "../../elsewhere"),
        "command of nobody": ("nobody:banana",),
        "unknown command": ("banana",),
    }.items():
        yield Given("options", name, words, right="either" if name in SHOWN else "refuse")


def toml_files() -> Iterator[Given]:
    """Yields semibench.toml files."""
    words = ("run", "--protocol", "self", "--dataset", "tus", "--recipe", "smoke", "--plan", "--no-track")
    contents: dict[str, tuple[bytes, str]] = {
        "binary": (NOISE, "refuse"),
        "empty": (b"", "serve"),
        "latin-1": ('[data]\nroot = "Müller"\n'.encode("latin-1"), "refuse"),
        "cut": (b'[data]\nroot = "a', "refuse"),
        "root number": (b"[data]\nroot = 3\n", "refuse"),
        "root list": (b'[data]\nroot = ["a"]\n', "refuse"),
        "root nul": (b'[data]\nroot = "a\\u0000b"\n', "refuse"),
        "root too long": (b'[data]\nroot = "' + b"x" * 5000 + b'"\n', "either"),
        "root missing": (b'[data]\nroot = "nothing"\n', "either"),
        "root a file": (b'[data]\nroot = "/etc/passwd"\n', "either"),
        "data number": (b"data = 3\n", "refuse"),
        "data list": (b"data = []\n", "refuse"),
        "paths number": (b"[data]\npaths = 3\n", "refuse"),
        "paths of numbers": (b"[data.paths]\ntus = 3\n", "refuse"),
        "path nul": (b'[data.paths]\ntus = "\\u0000"\n', "refuse"),
        "path too long": (b'[data.paths]\ntus = "' + b"x" * 5000 + b'"\n', "either"),
        "twice": (b'[data]\nroot = "a"\n[data]\nroot = "b"\n', "refuse"),
        "deep": (b"x = " + b"[" * 20_000 + b"]" * 20_000, "refuse"),
        "deep tables": (b"[" + b".".join([b"a"] * 20_000) + b"]\n", "either"),
        "unknown table": (b"[banana]\nx = 1\n", "either"),
        "utf-16": ('[data]\nroot = "a"\n'.encode("utf-16"), "refuse"),
        "mark": (b"\xef\xbb\xbf[data]\n", "either"),
        "date": (b"[data]\nroot = 2020-99-99\n", "refuse"),
        "big number": (b"x = " + b"9" * 6000 + b"\n", "either"),
    }
    for name, (content, right) in contents.items():
        yield Given(
            "toml",
            f"semibench.toml {name}",
            words,
            lambda work, content=content: (work / "semibench.toml").write_bytes(content),
            right,
        )  # type: ignore[misc, arg-type]
    yield Given("toml", "semibench.toml a folder", words, lambda work: (work / "semibench.toml").mkdir(), "either")
