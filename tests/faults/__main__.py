"""`tox -e faults`: see the package's docstring."""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

from faults.base import make_base
from faults.book import Book
from faults.feeding import BAD, GOOD, Answered, Given, feed
from faults.kills import killed
from faults.places import taken
from faults.servers import absent
from faults.trials import Line, digits
from faults.trials import table as trial_table


def inputs(base: Path) -> list[Given]:
    """Returns all malformed inputs. base: the folder that they are made in copies of."""
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
        *inputs_predictions.predictions(base),
        *inputs_records.checkpoints(),
        *inputs_predictions.weights(),
        *inputs_records.records(inputs_records.run_folder(base).name),
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
    parser.add_argument("--out", type=Path, help="keep what was found in this file, and go on from what it holds")
    chosen = parser.parse_args()
    parts = chosen.parts or PARTS
    book = Book(chosen.out)
    with tempfile.TemporaryDirectory(prefix="faults-") as name:
        place = Path(name)
        answered = list(fed(place, chosen.group, chosen.every, book)) if "inputs" in parts else []
        lines: list[Line] = []
        if "kills" in parts:
            lines += kept(killed(place / "kills", chosen.moments, done=set(book.lines)), book)
        if "places" in parts:
            lines += kept(taken(place / "places", chosen.sizes), book) if PLACES not in book.lines else []
        if "servers" in parts:
            lines += kept(absent(place / "servers"), book) if SERVERS not in book.lines else []
    lines = list(book.lines.values()) if chosen.out else lines
    if lines:
        print(trial_table(lines))
    if answered:
        print(f"\n{table(answered)}")
    return int(any(line.faults for line in lines) or any(one.answer in BAD for one in answered))


PLACES, SERVERS = "read-only cache, which is empty", "tracking server that goes away after ten answers"
"""The last lines of two parts, which are tried as wholes."""


def kept(lines: Iterable[Line], book: Book) -> Iterator[Line]:
    """Prints each line as it comes, since the table is long in coming, and keeps it."""
    for line in lines:
        print(f"{line.fault}: {line.good} of {line.tried} well, {line.equal} digits equal", file=sys.stderr, flush=True)
        book.finish(line)
        yield line


def fed(place: Path, groups: list[str] | None, every: int, book: Book) -> Iterator[Answered]:
    """Yields the answers to malformed inputs; prints each bad one as it comes."""
    make_base(place / "base")
    given = [item for item in inputs(place / "base") if not groups or item.group in groups][::every]
    known = {id(item): book.answer_to(item) for item in given}
    yield from (answer for answer in known.values() if answer is not None)
    right = digits(place / "base" / "runs")
    for item in feed([item for item in given if known[id(item)] is None], place / "base", place / "work"):
        other = item.given.equal and item.answer == "served" and digits(place / "work" / "runs") != right
        answer = replace(item, answer="wrongly served", text=f"{item.text}\nother digits") if other else item
        if answer.answer in BAD:
            words = "\n    ".join(answer.text.splitlines())
            print(f"{item.given.group}: {item.given.name}: {answer.answer}\n    {words}", file=sys.stderr, flush=True)
        book.note(answer)
        yield answer


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
