"""`tox -e faults`: see the package's docstring."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

from faults.base import make_base
from faults.feeding import BAD, GOOD, Answered, Given, feed
from faults.kills import killed
from faults.places import taken
from faults.servers import absent
from faults.trials import Line
from faults.trials import table as trial_table


def inputs(key: str) -> list[Given]:
    """Returns all malformed inputs. key: of the run in the base folder."""
    from faults import (
        inputs_bundles,
        inputs_data,
        inputs_predictions,
        inputs_records,
        inputs_settings,
        inputs_yaml,
    )

    return [
        *inputs_data.pictures(),
        *inputs_data.volumes(),
        *inputs_yaml.matrices(),
        *inputs_settings.toml_files(),
        *inputs_settings.settings(),
        *inputs_settings.options(),
        *inputs_bundles.bundles(),
        *inputs_predictions.predictions(),
        *inputs_records.checkpoints(),
        *inputs_predictions.weights(),
        *inputs_records.records(key),
    ]


PARTS = ("inputs", "kills", "places", "servers")


def main() -> int:
    """Runs the parts of the campaign and prints their tables; returns the exit code."""
    parser = argparse.ArgumentParser(prog="faults", description=__doc__)
    parser.add_argument("parts", nargs="*", default=[], help=f"some of {', '.join(PARTS)} (default: all)")
    parser.add_argument("--group", action="append", help="only these groups of inputs")
    parser.add_argument("--every", type=int, default=1, help="only every n-th input")
    parser.add_argument("--moments", type=int, default=50, help="how often runs are killed")
    parser.add_argument("--sizes", type=int, default=8, help="how many small disks are filled")
    parser.add_argument("--out", type=Path, help="write the answers to inputs to this file as JSON")
    chosen = parser.parse_args()
    parts = chosen.parts or PARTS
    with tempfile.TemporaryDirectory(prefix="faults-") as name:
        place = Path(name)
        lines: list[Line] = []
        if "kills" in parts:
            lines += printed(killed(place / "kills", chosen.moments))
        if "places" in parts:
            lines += printed(taken(place / "places", chosen.sizes))
        if "servers" in parts:
            lines += printed(absent(place / "servers"))
        answered = list(told(fed(place, chosen.group, chosen.every))) if "inputs" in parts else []
    if chosen.out:
        facts = [[one.given.group, one.given.name, one.answer, one.text, one.seconds] for one in answered]
        chosen.out.write_text(json.dumps(facts, indent=1), encoding="utf-8")
    if lines:
        print(trial_table(lines))
    if answered:
        print(f"\n{table(answered)}")
    return int(any(line.faults for line in lines) or any(one.answer in BAD for one in answered))


def printed(lines: Iterable[Line]) -> Iterator[Line]:
    """Prints each line as it comes, since the table is long in coming."""
    for line in lines:
        print(f"{line.fault}: {line.good} of {line.tried} well, {line.equal} digits equal", file=sys.stderr, flush=True)
        yield line


def fed(place: Path, groups: list[str] | None, every: int) -> Iterator[Answered]:
    """Yields the answers to malformed inputs."""
    key = make_base(place / "base")
    given = [item for item in inputs(key) if not groups or item.group in groups][::every]
    yield from feed(given, place / "base", place / "work")


def told(answers: Iterable[Answered]) -> Iterable[Answered]:
    """Prints each bad answer as it comes."""
    for item in answers:
        if item.answer in BAD:
            print(
                f"{item.given.group}: {item.given.name}: {item.answer}\n    " + "\n    ".join(item.text.splitlines()),
                file=sys.stderr,
                flush=True,
            )
        yield item


def table(answered: Iterable[Answered]) -> str:
    """Returns the counts of answers by group, as Markdown."""
    counts: dict[str, Counter[str]] = {}
    for item in answered:
        counts.setdefault(item.given.group, Counter())[item.answer] += 1
    names = (*GOOD, *BAD)
    lines = [f"| group | inputs | {' | '.join(names)} |", "| --- " * (len(names) + 2) + "|"]
    for group, by_answer in counts.items():
        lines.append(f"| {group} | {by_answer.total()} | " + " | ".join(str(by_answer[name]) for name in names) + " |")
    total: Counter[str] = sum(counts.values(), Counter())
    lines.append(f"| **all** | {total.total()} | " + " | ".join(str(total[name]) for name in names) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
