"""Parts that protocols, generators and conventions are built with: hash order, seeds, atomic writing, KL by voxel."""

from __future__ import annotations

import hashlib
import math
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from semibench import CaseRef, write_atomically
from semibench.blocks import derive_seed, hash_order, kl_divergence, seeded_generator, voxel_kl
from semibench.protocols.ordering import ordered

NAMES = st.lists(st.text("abcdef0123456789-", min_size=1, max_size=6), max_size=12)


@given(NAMES, st.integers(0, 50))
def test_hash_order_is_that_of_the_digests_whatever_the_order_of_the_names(names: list[str], salt: int) -> None:
    def digest(name: str) -> str:
        return hashlib.sha256(f"{salt}/{name}".encode()).hexdigest()

    assert hash_order(names, salt) == hash_order(names[::-1], salt) == sorted(set(names), key=digest)


@given(NAMES, st.text("xyz", min_size=1, max_size=3))
def test_a_group_more_leaves_the_others_in_their_order(names: list[str], new: str) -> None:
    assert [name for name in hash_order([*names, new], 3) if name != new] == hash_order(names, 3)


def test_hash_order_is_the_order_of_the_built_in_protocols() -> None:
    refs = [CaseRef("toy", f"case-{n}", f"patient-{n % 9}", "one", True) for n in range(30)]
    built_in = [group for _, group in ordered(refs, 5)["one"]]
    assert built_in == hash_order((ref.group for ref in refs), 5)


def test_other_salts_give_other_orders() -> None:
    assert len({tuple(hash_order(map(str, range(8)), salt)) for salt in range(20)}) == 20


def test_a_seed_depends_on_every_part() -> None:
    seeds = {derive_seed(seed, name, step) for seed in range(5) for name in ("a", "b") for step in range(5)}
    assert len(seeds) == 50 and all(0 <= seed < 2**63 for seed in seeds)
    digest = hashlib.sha256(b"7/denoiser/3").hexdigest()
    assert derive_seed(7, "denoiser", 3) == int(digest[:16], 16) // 2


def test_a_seeded_generator_repeats_itself_and_leaves_the_global_stream_alone() -> None:
    before = torch.random.get_rng_state()
    first, second = (torch.rand(4, generator=seeded_generator(1, "noise", 2)) for _ in range(2))
    assert torch.equal(first, second) and torch.equal(before, torch.random.get_rng_state())
    assert not torch.equal(first, torch.rand(4, generator=seeded_generator(1, "noise", 3)))


def test_voxel_kl_is_the_sum_over_classes_at_each_position() -> None:
    p, q = torch.randn(2, 3, 2, 2, dtype=torch.float64), torch.randn(2, 3, 2, 2, dtype=torch.float64)
    found = voxel_kl(p, q)
    assert found.shape == (2, 2, 2) and bool((found > 0).all()) and not voxel_kl(p, p).any()
    for sample in range(2):
        for row in range(2):
            for column in range(2):
                a, b = (z[sample, :, row, column].softmax(0).tolist() for z in (p, q))
                naive = sum(b[c] * math.log(b[c] / a[c]) for c in range(3))
                assert float(found[sample, row, column]) == pytest.approx(naive, rel=1e-12)
    assert float(kl_divergence(p, q)) == pytest.approx(float(found.mean()), rel=1e-12)


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "record.json"
    write_atomically(path, lambda temporary: temporary.write_text("old"))

    def dies_half_way(temporary: Path) -> None:
        temporary.write_text("ne", encoding="utf-8")
        raise OSError("no space left")

    with pytest.raises(OSError, match="no space left"):
        write_atomically(path, dies_half_way)
    assert path.read_text() == "old" and list(path.parent.iterdir()) == [path]
    write_atomically(path, lambda temporary: temporary.write_text("new"))
    assert path.read_text() == "new"
