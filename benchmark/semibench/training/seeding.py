"""Randomness without stored state: every iteration is seeded from (seed, stage, step).

A killed run therefore continues with the same digits, and the random numbers of one iteration do not affect the next.
Batches and views have separate generators (`semibench.data`).
"""

from __future__ import annotations

import random

import numpy as np
import torch

from semibench.blocks.seeds import derive_seed


def seed_all(value: int) -> None:
    """Seed the global generators of torch (all devices), numpy and random; plugins use these."""
    torch.manual_seed(value)
    np.random.seed(value & 0xFFFFFFFF)  # noqa: NPY002 - the global generator is the one that plugins draw from
    random.seed(value)


def seed_construction(seed: int) -> None:
    """Seed the initial weights; call it right before building a method and its networks."""
    seed_all(derive_seed(seed, "construction"))


def seed_begin(seed: int, stage: str) -> None:
    """Seed `Method.begin` of a stage."""
    seed_all(derive_seed(seed, "begin", stage))


def seed_step(seed: int, stage: str, step: int) -> None:
    """Seed an iteration; takes about 0.1 ms."""
    seed_all(derive_seed(seed, "step", stage, step))


def seed_validation(seed: int, stage: str, step: int) -> None:
    """Seed a validation, for predictors that use random numbers."""
    seed_all(derive_seed(seed, "validation", stage, step))
