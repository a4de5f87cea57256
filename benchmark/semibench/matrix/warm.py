"""Import everything that a cell needs. The local engine's server process imports this module once, before it forks."""

from __future__ import annotations

import importlib

from semibench.process import environment

environment()

for name in (
    "matplotlib.figure",
    "pandas",
    "pyarrow.parquet",
    "scipy.ndimage",
    "scipy.sparse",
    "scipy.spatial",
    "sympy",
    "torch",
    "torch.utils.flop_counter",
    "yaml",
    "semibench.evaluation.run_scores",
    "semibench.data.cache",
    "semibench.data.training",
    "semibench.run.illustration",
    "semibench.matrix.worker",
    "semibench.run.execute",
    "semibench.data.synthesis",
    "semibench.training.cost",
    "semibench.training.loop",
):
    importlib.import_module(name)
