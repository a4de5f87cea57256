"""Checks that were run, as records: what holds, what doesn't, and JUnit's XML for CI."""

from __future__ import annotations

import time
import xml.etree.ElementTree as ET
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from semibench.conformance.battery import BoundCheck
from semibench.files import write_atomically

State = Literal["holds", "broken", "error", "known", "unexpected"]
FAILED: tuple[State, ...] = ("broken", "error", "unexpected")


@dataclass(frozen=True)
class Verdict:
    """One check that was run. state: holds; broken: the fact doesn't hold; error: the check couldn't be made; known: a
    declared failure; unexpected: a declared failure that holds by now. must: what must hold; reason: what is wrong; found:
    what a check that holds has to say, such as by how much."""

    id: str
    fact: str
    dims: int
    state: State
    must: str
    reason: str
    seconds: float
    found: str = ""

    def record(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


def verdict(check: BoundCheck) -> Verdict:
    """Runs a check; never raises for what the plug-in does wrong."""
    began = time.perf_counter()
    state: State = "holds"
    reason = found = ""
    try:
        found = check() or ""
    except AssertionError as error:
        state, reason = "broken", str(error) or "an assertion failed"
    except Exception as error:
        state, reason = "error", f"{type(error).__name__}: {error}"
    if check.known:
        if state == "holds":
            state, reason = "unexpected", f"declared as failing ({check.known}), and it holds: remove the declaration"
        else:
            state, reason = "known", f"{check.known} ({reason})"
    must = " ".join((check.function.__doc__ or "").split())
    return Verdict(str(check), check.fact, check.dims, state, must, reason, time.perf_counter() - began, found)


def write_junit(path: Path, suite: str, verdicts: Sequence[Verdict]) -> None:
    """JUnit's XML as CI services read it; a known failure is a skipped test with its reason."""
    counts = {
        state: sum(found.state == state for found in verdicts) for state in ("broken", "error", "known", "unexpected")
    }
    root = ET.Element(
        "testsuite",
        name=f"bench check {suite}",
        tests=str(len(verdicts)),
        failures=str(counts["broken"] + counts["unexpected"]),
        errors=str(counts["error"]),
        skipped=str(counts["known"]),
        time=f"{sum(found.seconds for found in verdicts):.3f}",
    )
    tags = {"broken": "failure", "unexpected": "failure", "error": "error", "known": "skipped"}
    for found in verdicts:
        case = ET.SubElement(
            root, "testcase", classname=f"semibench.{suite}", name=found.id, time=f"{found.seconds:.3f}"
        )
        if found.state in tags:
            ET.SubElement(case, tags[found.state], message=found.reason).text = found.must
    text = ET.tostring(root, encoding="unicode", xml_declaration=True) + "\n"
    write_atomically(path, lambda draft: draft.write_text(text, encoding="utf-8"))
