"""A protocol whose split stands in a JSON file, as a third party may ship one: role -> ids of cases."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from semibench import Catalog, DrawProtocol, ProtocolCard, ProtocolOptions, Split, hookimpl


class FileOptions(ProtocolOptions, frozen=True, extra="forbid"):
    file: Path


class SplitFile(DrawProtocol):
    Options = FileOptions

    def draw(self, catalog: Catalog, options: Any, draw: int | None, fold: int | None) -> Split:
        roles = json.loads(options.file.read_text())
        known = {ref.id: ref for ref in catalog.cases()}
        return Split(
            **{role: tuple(known[name] for name in names) for role, names in roles.items()}, validation_from="labeled"
        )

    def replicate(self, options: Any) -> tuple[bool, bool]:
        return (False, False)


@hookimpl
def semibench_protocols() -> list[ProtocolCard]:
    return [ProtocolCard(name="split-file", title="A split file", load=f"{__name__}:SplitFile")]
