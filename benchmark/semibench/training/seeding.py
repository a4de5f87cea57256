"""Randomness without stored state: every iteration is seeded from (seed, stage, step).

So a run that was killed continues with the same digits, and what a method draws in one iteration can't move what it
draws in the next. Batches and views have generators of their own (`semibench.data`).
"""

from __future__ import annotations

import random

import numpy as np
import torch

from semibench.blocks.seeds import derive_seed


def seed_all(value: int) -> None:
    """Seeds the global generators of torch (all devices), numpy and random, which is what plugins may use."""
    torch.manual_seed(value)
    np.random.seed(value & 0xFFFFFFFF)  # noqa: NPY002 - the global generator is the one that plugins draw from
    random.seed(value)


def seed_construction(seed: int) -> None:
    """To be called right before a method and its networks are built: their first weights."""
    seed_all(derive_seed(seed, "construction"))


def seed_begin(seed: int, stage: str) -> None:
    """Before `Method.begin` of a stage."""
    seed_all(derive_seed(seed, "begin", stage))


def seed_step(seed: int, stage: str, step: int) -> None:
    """Before an iteration (about 0.1 ms)."""
    seed_all(derive_seed(seed, "step", stage, step))


def seed_validation(seed: int, stage: str, step: int) -> None:
    """Before validation cases are predicted, for predictors that draw."""
    seed_all(derive_seed(seed, "validation", stage, step))
