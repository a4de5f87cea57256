"""The page: boards as a static site that needs no server and no network.

from semibench_leaderboards import site

site.write([(board, rank(board))], Path("site"), runs=Path("runs"))

Every page holds its styles, scripts, values and pictures, so that it works from a file, in a mail or behind any server.
"""

from semibench_leaderboards.site.pages import render, write

__all__ = ["render", "write"]
