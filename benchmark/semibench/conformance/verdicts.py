"""Runs checks, records their outcomes, and writes JUnit XML for CI."""

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
    """The outcome of one check.

    state: "holds"; "broken": the fact doesn't hold; "error": the check itself failed; "known": a declared failure;
    "unexpected": a declared failure, but the fact holds. must: the fact that must hold. reason: what is wrong. found: what the
    check reports when the fact holds, such as by how much.
    """

    id: str
    fact: str
    dims: int
    state: State
    must: str
    reason: str
    seconds: float
    found: str = ""

    def record(self) -> dict[str, Any]:
        """Returns plain values for JSON."""
        return asdict(self)


def verdict(check: BoundCheck) -> Verdict:
    """Runs a check. Exceptions of the plug-in are recorded, not propagated."""
    began = time.perf_counter()
    state: State = "holds"
    reason = report = ""
    try:
        report = check() or ""
    except AssertionError as error:
        state, reason = "broken", str(error) or "an assertion failed"
    except Exception as error:
        state, reason = "error", f"{type(error).__name__}: {error}"
    if check.known:
        if state == "holds":
            state, reason = "unexpected", f"declared as failing ({check.known}), but it holds: remove the declaration"
        else:
            state, reason = "known", f"{check.known} ({reason})"
    must = " ".join((check.function.__doc__ or "").split())
    return Verdict(str(check), check.fact, check.dims, state, must, reason, time.perf_counter() - began, report)


def write_junit(path: Path, suite: str, verdicts: Sequence[Verdict]) -> None:
    """Writes JUnit XML for CI services. A known failure appears as a skipped test with its reason."""
    counts = {
        state: sum(one.state == state for one in verdicts) for state in ("broken", "error", "known", "unexpected")
    }
    root = ET.Element(
        "testsuite",
        name=f"bench check {suite}",
        tests=str(len(verdicts)),
        failures=str(counts["broken"] + counts["unexpected"]),
        errors=str(counts["error"]),
        skipped=str(counts["known"]),
        time=f"{sum(one.seconds for one in verdicts):.3f}",
    )
    tags = {"broken": "failure", "unexpected": "failure", "error": "error", "known": "skipped"}
    for one in verdicts:
        test = ET.SubElement(root, "testcase", classname=f"semibench.{suite}", name=one.id, time=f"{one.seconds:.3f}")
        if one.state in tags:
            ET.SubElement(test, tags[one.state], message=one.reason).text = one.must
    text = ET.tostring(root, encoding="unicode", xml_declaration=True) + "\n"
    write_atomically(path, lambda draft: draft.write_text(text, encoding="utf-8"))
