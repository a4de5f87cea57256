"""Pictures of a study: history, importances, slices, and the course of each trial."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from semibench.files import write_atomically
from semibench.tuning.study import Study


def draw(study: Study) -> list[Path]:
    """Draw the pictures for which the study has enough trials into folder/plots; return their paths."""
    import matplotlib
    import optuna.visualization.matplotlib as views
    from optuna.exceptions import ExperimentalWarning

    matplotlib.use("Agg")
    from matplotlib import pyplot

    progress = study.progress()
    plots: dict[str, Callable[[], Any]] = {}
    if progress.completed:
        plots["history"] = lambda: views.plot_optimization_history(study.optuna, target_name="validation Dice")
        plots["slices"] = lambda: views.plot_slice(study.optuna, target_name="validation Dice")
    if progress.finished:
        plots["courses"] = lambda: views.plot_intermediate_values(study.optuna)
    if study.importance():
        from optuna.importance import FanovaImportanceEvaluator

        plots["importances"] = lambda: views.plot_param_importances(
            study.optuna, evaluator=FanovaImportanceEvaluator(seed=0), target_name="validation Dice"
        )
    paths = []
    for name, plot in plots.items():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)
            warnings.simplefilter("ignore", UserWarning)  # of axes with one value
            drawn = plot()
        axes = list(drawn.flat) if hasattr(drawn, "flat") else [drawn]
        figure = axes[0].figure
        _tidy(name, axes)
        figure.set_size_inches(max(7.0, 3.5 * len(axes)), 4.0)
        path = study.folder / "plots" / f"{name}.png"
        write_atomically(path, partial(figure.savefig, format="png", dpi=120, bbox_inches="tight"))
        pyplot.close(figure)
        paths.append(path)
    return paths


def _tidy(name: str, axes: list[Any]) -> None:
    """Use plain numbers on logarithmic axes and our own words, and drop the legend of thirty trials."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    if name == "courses":
        axes[0].set(title="Validation during the trials", xlabel="iterations", ylabel="validation Dice")
        if axes[0].get_legend() is not None:
            axes[0].get_legend().remove()
    for panel in axes:
        if panel.get_xscale() == "log":
            panel.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
            panel.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
            panel.xaxis.set_minor_formatter(NullFormatter())
