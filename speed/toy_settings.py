"""Trains a method with other settings on the toy of `bench check NAME --slow`, beside the labels alone.

    python speed/toy_settings.py saml --preset printed --set outer_lr=0.01 --seed 0 --seed 1

The settings are those of `bench run`: options of the method and `term.NAME=WEIGHT`. A training takes 10 to 20 seconds.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from typing import Any

import torch

from semibench import Term
from semibench.conformance import MethodSubject, checks_of
from semibench.conformance.learning import ITERATIONS, LEARNING_CHECKS, LearningSubject
from semibench.run.settings import assign, merge, parse, term_records


def subject_with(small: MethodSubject, preset: str | None, settings: list[str]) -> MethodSubject:
    """Returns the subject with the options and terms of a preset, changed by settings."""
    method: Any = small.method
    layer = method.presets[preset] if preset else {}
    given = assign(parse(settings), {"method": method.Options.model_fields, "term": method.terms})
    records = term_records(method.terms, merge(layer.get("terms", {}), given["term"]))
    terms = {name: Term.restore(record) for name, record in records.items()}
    options = merge(small.options, layer.get("options", {}), given["method"])
    return replace(small, method=type(method.__name__, (method,), {"terms": terms}), options=options)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("method")
    parser.add_argument("--preset")
    parser.add_argument("--set", action="append", default=[], dest="settings", metavar="NAME=VALUE")
    parser.add_argument("--seed", action="append", type=int, help="repeatable; 0 by default")
    parser.add_argument("--iterations", type=int, default=ITERATIONS)
    given = parser.parse_args()
    torch.set_num_threads(1)
    checks = checks_of(given.method, "method", slow=True)
    small = next(check.subject.small for check in checks if check.fact in LEARNING_CHECKS)
    for seed in given.seed or [0]:
        subject = LearningSubject(subject_with(small, given.preset, given.settings), given.iterations, (seed,))
        print(f"seed {seed}: Dice {subject.own:.3f}; labels alone {subject.reference:.3f}", flush=True)


if __name__ == "__main__":
    main()
