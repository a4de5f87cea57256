"""The book of a campaign: a file with a line for each answer and each finished kind of fault, so that a campaign that is stopped
goes on where it was, and its tables are of one commit."""

from __future__ import annotations

import json
import subprocess
from dataclasses import asdict
from pathlib import Path
from typing import Any

from faults.feeding import Answer, Answered, Given
from faults.trials import Line


def commit() -> str:
    """Returns the commit of this checkout, marked if files were changed since."""
    place = Path(__file__).parent
    words = ["git", "-C", str(place), "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]
    return subprocess.run(words, capture_output=True, text=True, check=False).stdout.strip() or "unknown"


class Book:
    """What a campaign has found so far. file: where it stands; None: nowhere."""

    def __init__(self, file: Path | None) -> None:
        self.file = file
        self.answers: dict[tuple[str, str], dict[str, Any]] = {}
        self.lines: dict[str, Line] = {}
        now = commit()
        if file is not None and file.is_file():
            first, *others = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
            if first != {"commit": now}:
                raise SystemExit(f"{file} is of {first}, this checkout is at {now}: name another file")
            for one in others:
                if "fault" in one:
                    self.lines[one["fault"]] = Line(**one)
                else:
                    self.answers[one["group"], one["name"]] = one
        elif file is not None:
            self._add({"commit": now})

    def answer_to(self, given: Given) -> Answered | None:
        """Returns the answer to an input, if it was given before."""
        known = self.answers.get((given.group, given.name))
        if known is None:
            return None
        answer: Answer = known["answer"]
        return Answered(given, answer, known["text"], known["seconds"])

    def note(self, answered: Answered) -> None:
        """Adds an answer."""
        given = answered.given
        facts = {"answer": answered.answer, "text": answered.text, "seconds": round(answered.seconds, 1)}
        self._add({"group": given.group, "name": given.name, **facts})

    def finish(self, line: Line) -> None:
        """Adds a kind of fault that was tried to the end."""
        self.lines[line.fault] = line
        self._add(asdict(line))

    def _add(self, record: dict[str, Any]) -> None:
        if self.file is not None:
            with self.file.open("a", encoding="utf-8") as file:
                file.write(json.dumps(record) + "\n")
