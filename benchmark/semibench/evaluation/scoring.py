"""Per-case results: every predictor on every case, under several conventions, with one prediction for each inference."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from semibench.blocks.components import largest_component
from semibench.blocks.metrics import overlap
from semibench.contracts.cases import Case, Truth
from semibench.contracts.errors import CaseError, PluginError, UnsupportedError
from semibench.contracts.method import IGNORE
from semibench.contracts.metric import Convention, Inference
from semibench.discovery.guard import calling, who, wrong_return
from semibench.evaluation.inference import native_labels, resolve, working_labels
from semibench.evaluation.network import Network, Predictor
from semibench.evaluation.predictions import predictions

if TYPE_CHECKING:
    import pandas as pd

Labels = NDArray[np.uint8]
Keep = Callable[[Case, str, tuple[str, ...], Labels, Labels], None]
"""keep(case, predictor, conventions, native, working): called once for each prediction with its label maps on both grids."""

KEYS = ("case", "group", "domain", "predictor", "convention", "class", "label")
COUNTS = ("empty_truth", "empty_prediction", "truth_voxels", "prediction_voxels", "common_voxels")


@contextmanager
def evaluating(*models: object) -> Iterator[None]:
    """Run the block in evaluation mode without gradients; then restore every training flag and torch's random state.

    Inside the block, torch is seeded with 0, so that predictors that use random numbers always give the same digits.

    Args:
        models: modules, or bound methods of modules; anything else is ignored.
    """
    # The flags are set directly, because a teacher may refuse eval(). no_grad and not inference mode turns gradients off,
    # because a module could keep tensors of inference mode.
    roots = [m if isinstance(m, nn.Module) else getattr(m, "__self__", None) for m in models]
    modules = {id(part): part for root in roots if isinstance(root, nn.Module) for part in root.modules()}
    before = [(part, part.training) for part in modules.values()]
    on_cuda = [p.device.index for part in modules.values() for p in part.parameters(recurse=False) if p.is_cuda]
    if torch.cuda.is_initialized():
        on_cuda.append(torch.cuda.current_device())
    cuda = sorted(set(on_cuda))
    with torch.random.fork_rng(devices=cuda), torch.no_grad():
        torch.manual_seed(0)
        try:
            for part, _ in before:
                part.training = False
            yield
        finally:
            for part, flag in before:
                part.training = flag


def score_cases(
    predictors: Mapping[str, Predictor],
    cases: Iterable[tuple[Case, Truth | None]],
    conventions: Mapping[str, Convention],
    *,
    classes: Sequence[str],
    network: Network,
    model: nn.Module | None = None,
    keep: Keep | None = None,
    progress: Callable[[int], None] | None = None,
) -> pd.DataFrame:
    """Score every case, with one row for each case, predictor, convention and foreground class.

    Voxels labeled 255 in the reference are background in both maps.

    Args:
        predictors: name -> function from images (B, C, *spatial) to logits (B, K, *spatial).
        cases: cases with their reference on the native grid (a convention on the working grid reads `case.label`).
        conventions: conventions by their name in the table.
        classes: names of the K classes; the first is the background.
        network: what inference needs to know.
        model: also put into evaluation mode, for predictors that are plain functions.
        keep: receives each prediction on both grids.
        progress: called with the number of cases done.

    Returns:
        Columns KEYS, COUNTS (after the convention's post-processing, on its grid), and the metrics of all conventions; NaN if
        a metric is undefined or not one of the row's convention.

    Raises:
        CaseError: if a reference is missing, has another shape or an unknown label; names the case.
        UnsupportedError: for an impossible inference.
    """
    import pandas as pd

    metrics = list(dict.fromkeys(name for convention in conventions.values() for name in convention.metrics))
    rows: list[dict[str, Any]] = []
    done: set[str] = set()

    def members(case: Case) -> dict[Inference, tuple[str, ...]]:
        return _plans(conventions, network, case.image.ndim - 1)

    with evaluating(model, *predictors.values()):
        for case, truth, name, plan, probabilities in predictions(
            predictors, cases, lambda case: list(members(case)), len(classes), network, model
        ):
            if progress is not None and done and case.ref.key not in done:
                progress(len(done))
            done.add(case.ref.key)
            _check_classes(probabilities, classes, name, model)
            grids: dict[str, Labels] = {}
            sharing = members(case)[plan]
            if keep is not None or any(conventions[m].grid == "native" for m in sharing):
                grids["native"] = native_labels(probabilities, case.frame, plan.resize)
            if keep is not None or any(conventions[m].grid != "native" for m in sharing):
                grids["working"] = working_labels(probabilities)
            if keep is not None:
                keep(case, name, sharing, grids["native"], grids["working"])
            for member in sharing:
                convention = conventions[member]
                for row in _rows(case, truth, grids[convention.grid], convention, classes):
                    rows.append({"predictor": name, "convention": member} | row)
    if progress is not None and done:
        progress(len(done))
    return pd.DataFrame(rows, columns=[*KEYS, *COUNTS, *metrics])


def applicable(convention: Convention, *, dims: int, case_dims: int) -> str | None:
    """Return why a convention cannot score cases of `case_dims` with a network of `dims` dimensions, or None if it can."""
    if case_dims not in convention.card.dims:
        scored = " or ".join(f"{n}D" for n in convention.card.dims)
        return f"convention {convention.card.name!r} scores {scored} cases; these are {case_dims}D"
    try:
        resolve(convention.inference, dims=dims, case_dims=case_dims)
    except UnsupportedError as error:
        return str(error)
    return None


def score_prediction(
    case: Case, truth: Truth | None, prediction: Labels, convention: Convention, classes: Sequence[str]
) -> list[dict[str, Any]]:
    """Score a stored prediction, on the convention's grid, without a network.

    The rows have the columns of `score_cases`, without predictor and convention.
    """
    return _rows(case, truth, prediction, convention, classes)


def validate(
    predictors: Mapping[str, Predictor],
    cases: Iterable[tuple[Case, Truth | None]],
    *,
    classes: Sequence[str],
    network: Network,
    model: nn.Module | None = None,
) -> dict[str, float]:
    """Return the mean foreground Dice of `semibench-1` for each predictor, the measure of model selection.

    Dice is averaged over cases for each foreground class, then over classes; NaN without cases.
    """
    totals = {name: np.zeros(len(classes) - 1) for name in predictors}
    counts = dict.fromkeys(predictors, 0)

    def plans(case: Case) -> list[Inference]:
        return [resolve(Inference(), dims=network.dims, case_dims=case.image.ndim - 1)]

    with evaluating(model, *predictors.values()):
        for case, truth, name, _, probabilities in predictions(predictors, cases, plans, len(classes), network, model):
            _check_classes(probabilities, classes, name, model)
            native = native_labels(probabilities, case.frame)
            prediction, label, _ = _pair(case, truth, native, "native", len(classes))
            totals[name] += [overlap(prediction == k, label == k).dice() for k in range(1, len(classes))]
            counts[name] += 1
    return {
        name: float((total / counts[name]).mean()) if counts[name] else float("nan") for name, total in totals.items()
    }


def _plans(conventions: Mapping[str, Convention], network: Network, case_dims: int) -> dict[Inference, tuple[str, ...]]:
    """Return resolved inference -> the conventions that share it, in the order of their first convention."""
    plans: dict[Inference, tuple[str, ...]] = {}
    for name, convention in conventions.items():
        plan = resolve(convention.inference, dims=network.dims, case_dims=case_dims)
        plans[plan] = (*plans.get(plan, ()), name)
    return plans


def _check_classes(probabilities: Tensor, classes: Sequence[str], predictor: str, model: nn.Module | None) -> None:
    if probabilities.shape[0] != len(classes):
        owner = "" if model is None else f"{who(model)}: "
        raise PluginError(
            f"{owner}predictor {predictor!r} returns {probabilities.shape[0]} classes; the task has {len(classes)}: "
            f"{', '.join(classes)}"
        )


def _pair(
    case: Case, truth: Truth | None, prediction: Labels, grid: str, classes: int
) -> tuple[Labels, Labels, tuple[float, ...] | None]:
    """Return prediction, reference and spacing on one grid; voxels to ignore become background."""
    if grid == "native":
        label, spacing = (None, None) if truth is None else (truth.label, truth.spacing)
    else:
        label, spacing = case.label, case.spacing
    if label is None:
        raise CaseError(f"{case.ref.key}: scoring on the {grid} grid needs a reference there, but the case has none")
    reference: Labels = label.cpu().numpy()
    if reference.shape != prediction.shape:
        raise CaseError(
            f"{case.ref.key}: the reference on the {grid} grid is {reference.shape}, the prediction {prediction.shape}; "
            "the frame of the case and its reference must describe the same grid"
        )
    ignored = reference == IGNORE
    if ignored.any():
        prediction, reference = np.where(ignored, 0, prediction), np.where(ignored, 0, reference)
    if reference.size and int(reference.max()) >= classes:
        raise CaseError(f"{case.ref.key}: expected labels 0..{classes - 1}, found {int(reference.max())}")
    return prediction, reference, spacing


def _numbers(values: Any, convention: Convention, classes: int) -> dict[int, dict[str, float]]:
    """Return what a convention's `score` returned as numbers: foreground class -> metric -> value."""
    try:
        return {k: {name: float(values[k][name]) for name in convention.metrics} for k in range(1, classes)}
    except (TypeError, KeyError, IndexError, ValueError) as error:
        expected = f"class -> metric -> number for the classes 1..{classes - 1} and the metrics {', '.join(convention.metrics)}"
        raise wrong_return(convention, "score", expected, values) from error


def _rows(
    case: Case, truth: Truth | None, prediction: Labels, convention: Convention, classes: Sequence[str]
) -> list[dict[str, Any]]:
    prediction, reference, spacing = _pair(case, truth, prediction, convention.grid, len(classes))
    if convention.largest_component:
        prediction = largest_component(torch.from_numpy(prediction)[None])[0].numpy()
    with calling(convention, "score"):
        values = convention.score(prediction, reference, spacing, len(classes))
    numbers = _numbers(values, convention, len(classes))
    rows = []
    for index in range(1, len(classes)):
        counts = overlap(prediction == index, reference == index)
        rows.append(
            {
                "case": case.ref.key,
                "group": case.ref.group,
                "domain": case.ref.domain,
                "class": classes[index],
                "label": index,
                "empty_truth": counts.reference == 0,
                "empty_prediction": counts.prediction == 0,
                "truth_voxels": counts.reference,
                "prediction_voxels": counts.prediction,
                "common_voxels": counts.true_positive,
                **numbers[index],
            }
        )
    return rows
