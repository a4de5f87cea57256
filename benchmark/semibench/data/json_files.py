"""Reads JSON files that users write or that come with data."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from semibench.contracts.errors import LayoutError

LARGEST = 1 << 28
"""Most bytes of such a file."""


def json_document(file: Path) -> Any:
    """Reads a JSON file, in UTF-8, with or without a byte order mark.

    Raises:
        LayoutError: if it can't be read or isn't JSON; names file and line.
    """
    try:
        if file.stat().st_size > LARGEST:
            raise LayoutError(
                f"{file}: expected a JSON file of at most {LARGEST} bytes, found {file.stat().st_size}; split it"
            )
        return json.loads(file.read_text(encoding="utf-8-sig"), parse_constant=_refused)
    except json.JSONDecodeError as error:
        raise LayoutError(
            f"{file}: expected JSON, found in line {error.lineno}: {error.msg}; correct the file"
        ) from error
    except UnicodeDecodeError as error:
        raise LayoutError(
            f"{file}: expected JSON in UTF-8, found other bytes ({error.reason}); save it as UTF-8"
        ) from error
    except (ValueError, RecursionError) as error:
        raise LayoutError(f"{file}: expected plain JSON, found {error}; correct the file") from error
    except OSError as error:
        raise LayoutError(f"{file}: can't be read ({error.strerror or error}); make it readable") from error


def _refused(text: str) -> Any:
    raise ValueError(f"the value {text}")
