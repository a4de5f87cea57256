"""Randomness as a function of names, so that interrupted work continues with the same digits."""

from __future__ import annotations

import hashlib

import torch


def derive_seed(seed: int, *parts: str | int) -> int:
    """Derives a seed from a seed and the names of what it is used for.

    Args:
        seed: the seed of the run, study or fit.
        parts: what the new seed is for, for example a stage and a step. Any other part gives another seed.

    Returns:
        An integer in [0, 2^63): the head of sha256("seed/part/part..."), the same on every machine.

    Examples:
        >>> derive_seed(0, "autoencoder", 7) == derive_seed(0, "autoencoder", 7) != derive_seed(0, "autoencoder", 8)
        True
    """
    text = "/".join(str(part) for part in (seed, *parts))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def seeded_generator(seed: int, *parts: str | int) -> torch.Generator:
    """Makes a CPU generator that is seeded by `derive_seed`.

    Drawing each step from a generator of its own means that no random state has to be stored to resume work.

    Args:
        seed: the seed of the run, study or fit.
        parts: what is drawn, for example a stage and a step.

    Returns:
        A new `torch.Generator` on the CPU.

    Examples:
        >>> torch.rand(3, generator=seeded_generator(0, "noise", 7)).shape
        torch.Size([3])
    """
    return torch.Generator().manual_seed(derive_seed(seed, *parts))
