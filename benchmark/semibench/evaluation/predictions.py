"""Predict cases with every predictor under every inference, with as few passes through the networks as possible."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping

import torch
from torch import Tensor, nn

from semibench.contracts.cases import Case, Truth
from semibench.contracts.metric import Inference
from semibench.discovery.guard import calling
from semibench.evaluation.inference import predict_many
from semibench.evaluation.network import Network, Predictor, checked
from semibench.evaluation.shared_passes import SharedPasses
from semibench.evaluation.stream import RandomPredictor, Stream

HELD = 2**30
"""Bytes that the probabilities of one case may take for all predictors and inferences together; else they come one by one."""

Scored = tuple[Case, Truth | None]
Found = tuple[Case, Truth | None, str, Inference, Tensor]


def predictions(
    predictors: Mapping[str, Predictor],
    cases: Iterable[Scored],
    plans: Callable[[Case], list[Inference]],
    classes: int,
    network: Network,
    model: nn.Module | None,
) -> Iterator[Found]:
    """Yield (case, reference, predictor, inference, probabilities); the cases in their order.

    Pieces of several cases pass through the networks together, and predictors share passes. Where a predictor draws random
    numbers, chunks of cases of the same shape pass by themselves, one predictor after the other.

    Args:
        predictors: name -> function from images to logits.
        cases: the cases with their references.
        plans: returns the resolved inferences of a case.
        classes: number of classes.
        network: what inference needs to know.
        model: the method; what a predictor raises, or a wrong shape, is an error that names it.
    """
    guarded = {name: _guarded(name, predictor, model) for name, predictor in predictors.items()}
    waiting, rest = deque[Scored](), iter(cases)
    try:
        yield from _streamed(guarded, waiting, rest, plans, classes, network, model)
    except RandomPredictor:
        yield from _apart(guarded, itertools.chain(tuple(waiting), rest), plans, network)


def _streamed(
    predictors: Mapping[str, Predictor],
    waiting: deque[Scored],
    rest: Iterator[Scored],
    plans: Callable[[Case], list[Inference]],
    classes: int,
    network: Network,
    model: nn.Module | None,
) -> Iterator[Found]:
    """Predict cases in full batches, all predictors and inferences of a case together if there is memory for it.

    waiting: receives the cases that were taken from `rest` and not yielded.
    """
    shared = SharedPasses(model) if model is not None and len(predictors) > 1 else None
    stream: Stream | None = None
    wanted: list[Inference] = []

    def done() -> Iterator[Found]:
        for results in () if stream is None else stream.finished():
            case, truth = waiting.popleft()
            for name, of_predictor in zip(predictors, results, strict=True):
                for plan, probabilities in zip(wanted, of_predictor, strict=True):
                    yield case, truth, name, plan, probabilities

    for case, truth in rest:
        needed = plans(case)
        size = case.image[0].numel() * classes * len(predictors) * len(needed) * case.image.element_size()
        if stream is not None and (needed != wanted or size > HELD):
            stream.flush()
            yield from done()
            stream = None
        waiting.append((case, truth))
        if size > HELD:
            for name, predictor in predictors.items():
                for plan in needed:
                    yield case, truth, name, plan, _one(predictor, case.image, plan, network)
            waiting.popleft()
            continue
        if stream is None:
            stream, wanted = Stream(list(predictors.values()), needed, network, shared=shared, steady=True), needed
        stream.add(case.image)
        yield from done()
    if stream is not None:
        stream.flush()
        yield from done()


def _one(predictor: Predictor, image: Tensor, plan: Inference, network: Network) -> Tensor:
    """Predict one case with one predictor under one inference."""
    stream = Stream([predictor], [plan], network, steady=True)
    try:
        stream.add(image)
        stream.flush()
    except RandomPredictor:
        return predict_many(predictor, image[None], plan, network)[0]
    return next(stream.finished())[0][0]


def _apart(
    predictors: Mapping[str, Predictor],
    cases: Iterable[Scored],
    plans: Callable[[Case], list[Inference]],
    network: Network,
) -> Iterator[Found]:
    """Predict chunks of cases of the same shape with one predictor and inference after the other."""
    for chunk in same_shape(cases, network.batch):
        images = torch.stack([case.image for case, _ in chunk])
        for name, predictor in predictors.items():
            for plan in plans(chunk[0][0]):
                found = predict_many(predictor, images, plan, network)
                yield from ((case, truth, name, plan, one) for (case, truth), one in zip(chunk, found, strict=True))


def _guarded(name: str, predictor: Predictor, model: nn.Module | None) -> Predictor:
    """Return a predictor whose errors, and whose logits of a wrong shape, are errors that name the method."""

    def guarded(images: Tensor) -> Tensor:
        with calling(predictor if model is None else model, f"predictors()[{name!r}]"):
            return checked(predictor, images)

    return guarded


def same_shape(cases: Iterable[tuple[Case, Truth | None]], size: int) -> Iterator[list[tuple[Case, Truth | None]]]:
    """Yield chunks of at most `size` neighbouring cases of the same image shape, in order; volumes come one by one."""
    for _, group in itertools.groupby(cases, key=lambda pair: tuple(pair[0].image.shape)):
        chunk: list[tuple[Case, Truth | None]] = []
        for pair in group:
            chunk.append(pair)
            if len(chunk) >= size or pair[0].image.ndim > 3:
                yield chunk
                chunk = []
        if chunk:
            yield chunk
