"""Cards of the leaderboards: the commands they add to `bench`. Light: a command's module is imported when it is called."""

from __future__ import annotations

from semibench import CommandCard, hookimpl


@hookimpl
def semibench_commands() -> list[CommandCard]:
    """The commands of this package."""
    return []
