"""The command line `bench`. Nothing heavy is imported before a command needs it."""

from __future__ import annotations

from semibench.cli.app import build, main

__all__ = ["build", "main"]
