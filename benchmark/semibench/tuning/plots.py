"""Pictures of a study: history, importances, slices, and the courses of the trials."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from semibench.files import write_atomically
from semibench.tuning.study import Study


def draw(study: Study) -> list[Path]:
    """Writes the pictures that the study has enough trials for into folder/plots and returns their paths."""
    import matplotlib
    import optuna.visualization.matplotlib as views
    from optuna.exceptions import ExperimentalWarning

    matplotlib.use("Agg")
    from matplotlib import pyplot

    standing = study.standing()
    wanted: dict[str, Callable[[], Any]] = {}
    if standing.completed:
        wanted["history"] = lambda: views.plot_optimization_history(study.optuna, target_name="validation Dice")
        wanted["slices"] = lambda: views.plot_slice(study.optuna, target_name="validation Dice")
    if standing.finished:
        wanted["courses"] = lambda: views.plot_intermediate_values(study.optuna)
    if study.importance():
        from optuna.importance import FanovaImportanceEvaluator

        wanted["importances"] = lambda: views.plot_param_importances(
            study.optuna, evaluator=FanovaImportanceEvaluator(seed=0), target_name="validation Dice"
        )
    found = []
    for name, make in wanted.items():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)
            made = make()
        axes = list(made.flat) if hasattr(made, "flat") else [made]
        figure = axes[0].figure
        _tidy(name, axes)
        figure.set_size_inches(max(7.0, 3.5 * len(axes)), 4.0)
        path = study.folder / "plots" / f"{name}.png"
        write_atomically(path, partial(figure.savefig, format="png", dpi=120, bbox_inches="tight"))
        pyplot.close(figure)
        found.append(path)
    return found


def _tidy(name: str, axes: list[Any]) -> None:
    """Plain numbers on logarithmic axes, our words, and no legend of thirty trials."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    if name == "courses":
        axes[0].set(title="Validation during the trials", xlabel="iterations", ylabel="validation Dice")
        if axes[0].get_legend() is not None:
            axes[0].get_legend().remove()
    for one in axes:
        if one.get_xscale() == "log":
            one.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
            one.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
            one.xaxis.set_minor_formatter(NullFormatter())
