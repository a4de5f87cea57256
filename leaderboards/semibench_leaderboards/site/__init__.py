"""Leaderboards as a static site that needs neither a server nor a network.

from semibench_leaderboards import site

site.write([(board, rank(board))], Path("site"), runs=Path("runs"))

Every page contains its styles, scripts, values and pictures, so it works from a file, in an e-mail or on any server.
"""

from semibench_leaderboards.site.pages import render, write

__all__ = ["render", "write"]
