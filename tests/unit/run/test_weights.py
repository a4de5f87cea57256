"""What a plan says about start weights."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from semibench.contracts.cards import WeightFile
from semibench.run.prepare import _start_weights
from semibench.run.request import Request
from semibench.run.resolve import resolve


def warnings(weights: Path | None, sha256: str | None, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    request = Request(
        protocol="self", dataset="tus", method="supervised", backbone="sam", recipe="smoke", phantom="always",
        weights=weights, settings=("phantom.scale=0.25",),
    )  # fmt: skip
    resolved = resolve(request)
    card = resolved.names.backbone.card
    (file,) = card.weights
    monkeypatch.setitem(card.__dict__, "weights", (WeightFile(name=file.name, sha256=sha256),))
    return _start_weights(resolved)


def test_weights_are_compared_with_the_published_digest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "weights.pth"
    path.write_bytes(b"weights")
    digest = hashlib.sha256(b"weights").hexdigest()
    assert warnings(path, digest, monkeypatch) == []
    assert warnings(path, None, monkeypatch) == [], "a card without a digest takes any file"
    (other,) = warnings(path, "0" * 64, monkeypatch)
    assert f"its sha256 is {digest}" in other and f"SAM ViT-B ({'0' * 64})" in other
    (none,) = warnings(None, digest, monkeypatch)
    assert "starts from random weights" in none and "--weights" in none
