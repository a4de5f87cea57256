"""Apply predictors to a stream of cases in full batches: pieces of several cases pass through the networks together."""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from semibench.contracts.metric import Inference
from semibench.evaluation.network import Network, Predictor, probabilities
from semibench.evaluation.pieces import Blend, pieces_of
from semibench.evaluation.shared_passes import SharedPasses

TOGETHER = 2**22
"""Voxels of all channels up to which unfinished cases are held, so that memory doesn't depend on the number of cases."""

SMALL_WINDOWS = 2**18
"""Voxels up to which windows of a volume pass in larger batches than the network's, at most MOST of them. Nine windows of 32^3 at
once take nine tenths of the time of nine in pairs; from 64^3 on, larger batches gain nothing (measured on one CPU thread)."""

MOST = 8

Results = list[list[Tensor]]
"""The probabilities of a case: one list for each predictor, with (K, *spatial) for each inference."""


class RandomPredictor(Exception):
    """A predictor of a steady stream drew random numbers in the first batch."""


class _Open:
    """A case of which not all pieces are predicted."""

    def __init__(self, image: Tensor, predictors: int, plans: Sequence[Inference], network: Network) -> None:
        self.voxels = image.numel()
        pieces = [pieces_of(image, plan, network) for plan in plans]
        self.blends: list[list[Blend]] = [[cut.blend() for cut in pieces] for _ in range(predictors)]
        takers: dict[tuple[bool, Any], list[int]] = {}
        for number, (cut, plan) in enumerate(zip(pieces, plans, strict=True)):
            for key in cut.keys:
                takers.setdefault((plan.flips and not network.whole_cases, key), []).append(number)
        self.takers = dict(sorted(takers.items()))
        self.cuts = {(flips, key): (pieces[numbers[0]], key) for (flips, key), numbers in takers.items()}
        self.missing = len(takers)

    def results(self) -> Results:
        return [[blend.result() for blend in blends] for blends in self.blends]


class Stream:
    """Predicts cases one after the other. Pieces wait until they fill a batch, also with those of the next cases.

    Batches depend on the order and sizes of the cases alone, so equal cases give equal digits. Against pieces that pass one by
    one, probabilities change by float rounding, if at all.

    Args:
        predictors: images to logits.
        plans: resolved inferences; pieces that several of them have are predicted once.
        network: what is known about the network.
        shared: where several predictors may share passes through a network; they do if the first batch shows that it changes no
            digit.
        steady: the predictors draw no random numbers, so that batches may have other sizes and pieces be repeated. The first batch
            is watched: if it draws some, the state of the random numbers is put back and RandomPredictor raised.
    """

    def __init__(
        self,
        predictors: Sequence[Predictor],
        plans: Sequence[Inference],
        network: Network,
        *,
        shared: SharedPasses | None = None,
        steady: bool = False,
    ) -> None:
        self.predictors, self.plans, self.network = predictors, plans, network
        self.shared, self.steady, self.first = shared, steady, True
        self.open: deque[_Open] = deque()
        self.waiting: dict[Any, list[tuple[_Open, tuple[bool, Any], Tensor]]] = {}

    def add(self, image: Tensor) -> None:
        """Take a case (C, *spatial). Full batches are predicted at once; so is all that waits, if it holds too many voxels."""
        if self.open and sum(case.voxels for case in self.open) + image.numel() > TOGETHER:
            self.flush()
        image = image.to(self.network.device, torch.float32)
        case = _Open(image, len(self.predictors), self.plans, self.network)
        self.open.append(case)
        for entry in case.takers:
            pieces, key = case.cuts[entry]
            piece = pieces.cut(key)
            kind = (entry[0], tuple(piece.shape))
            batch = self.waiting.setdefault(kind, [])
            batch.append((case, entry, piece))
            if len(batch) >= self._full(piece):
                self._predict(self.waiting.pop(kind), flips=entry[0])

    def _full(self, piece: Tensor) -> int:
        """Return how many pieces (C, *size) a batch has."""
        larger = min(MOST, SMALL_WINDOWS // piece.numel()) if self.steady and piece.ndim == 4 else 0
        return max(self.network.batch, larger)

    def flush(self) -> None:
        """Predict all pieces that wait."""
        for (flips, _), batch in self.waiting.items():
            self._predict(batch, flips=flips)
        self.waiting.clear()

    def finished(self) -> Iterator[Results]:
        """Return the cases that are done, in their order; each is returned once."""
        while self.open and self.open[0].missing == 0:
            yield self.open.popleft().results()

    def _predict(self, batch: Sequence[tuple[_Open, tuple[bool, Any], Tensor]], *, flips: bool) -> None:
        images = torch.stack([piece for _, _, piece in batch])
        if self.steady and len(batch) == 1 and images.ndim == 5 and images.device.type == "cpu":
            images = images.expand(
                2, *images.shape[1:]
            )  # one thread takes four times as long for one volume as for two
        for number, found in enumerate(self._apply(images, flips)):
            for (case, entry, _), values in zip(batch, found, strict=False):
                for plan in case.takers[entry]:
                    case.blends[number][plan].add(entry[1], values)
        for case, _, _ in batch:
            case.missing -= 1

    def _apply(self, images: Tensor, flips: bool) -> Iterator[Tensor]:
        """Yield each predictor's probabilities, (B, K, *spatial)."""
        divisor = 1 if self.network.whole_cases else self.network.divisor
        first, self.first = self.first and self.steady, False
        if not first:
            with contextlib.nullcontext() if self.shared is None else self.shared:
                yield from (probabilities(predictor, images, divisor, flips) for predictor in self.predictors)
            return
        cpu, gpu = torch.get_rng_state(), _gpu_state(images.device)
        with contextlib.nullcontext() if self.shared is None else self.shared.watching():
            found = [probabilities(predictor, images, divisor, flips) for predictor in self.predictors]
        if not (torch.equal(cpu, torch.get_rng_state()) and torch.equal(gpu, _gpu_state(images.device))):
            torch.set_rng_state(cpu)
            if images.is_cuda:
                torch.cuda.set_rng_state(gpu, images.device)
            raise RandomPredictor
        if self.shared is not None:
            few = images[-2:] if images.ndim == 5 else images[-1:]
            calls = [partial(probabilities, predictor, few, divisor, flips) for predictor in self.predictors]
            self.shared = self.shared if self.shared.seen and self.shared.agree(calls) else None
        yield from found


def _gpu_state(device: torch.device) -> Tensor:
    """Return the state of the random numbers of a GPU; an empty tensor for another device."""
    return torch.cuda.get_rng_state(device) if device.type == "cuda" else torch.empty(0)
