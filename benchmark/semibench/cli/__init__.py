"""The command line `bench`. Heavy packages are imported only by the commands that need them."""

from __future__ import annotations

from semibench.cli.app import build, main

__all__ = ["build", "main"]
