"""Call listeners (the plug point `semibench_listeners`) after runs finish. The harness does not know any of them."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Sequence
from pathlib import Path

from semibench.contracts.errors import one_line
from semibench.discovery.guard import calling
from semibench.discovery.registry import Registry, registry
from semibench.reporting import Reporter

log = logging.getLogger("semibench")


def announce(
    folders: Sequence[Path], tracking_uri: str | None, reporter: Reporter | None = None, plugins: Registry | None = None
) -> int:
    """Call every listener with the run folders; return how many succeeded.

    An exception becomes a warning that names the listener: the runs are complete, and the other listeners are still called.
    """
    reporter = reporter or Reporter()
    succeeded = 0
    for item in (plugins or registry()).cards("listeners"):
        try:
            listener = item.resolve()
            with calling(item, item.card.load.partition(":")[2]):
                listener(list(folders), tracking_uri=tracking_uri, reporter=reporter)
            succeeded += 1
        except Exception as error:  # PluginError, and what the guard lets pass, such as a full disk
            log.error("%s", traceback.format_exc())
            reporter.warn(f"the runs are complete, but a listener failed after them: {one_line(error)}")
    return succeeded
