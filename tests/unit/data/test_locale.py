"""The tests' own writers leave the process as it was."""

from __future__ import annotations

import locale
from pathlib import Path

import numpy as np
from support.official_layouts import save_dicom


def test_writing_dicom_keeps_the_locale(tmp_path: Path) -> None:
    """Else files that are read later in this process, by other tests, are read as ASCII."""
    before = locale.setlocale(locale.LC_ALL), locale.getencoding()
    save_dicom(tmp_path / "series", np.zeros((8, 8, 3)))
    assert len(list((tmp_path / "series").glob("*.dcm"))) == 3
    assert (locale.setlocale(locale.LC_ALL), locale.getencoding()) == before
