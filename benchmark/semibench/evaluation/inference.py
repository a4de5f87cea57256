"""Apply a network to a whole case (whole image, slices of a volume, sliding window) and return to the native grid.

How a case is cut and put together again stands in `pieces`, how pieces of several cases become batches in `stream`.

A predictor is a callable from images (B, C, *spatial) to logits (B, K, *spatial). Nothing here changes its mode, or records
gradients beyond what the caller allows: see `semibench.evaluation.scoring.evaluating`.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from semibench.contracts.cases import Frame
from semibench.contracts.errors import UnsupportedError
from semibench.contracts.metric import Inference
from semibench.evaluation.geometry import resize
from semibench.evaluation.network import Network, Predictor
from semibench.evaluation.stream import Stream


def resolve(inference: Inference, *, dims: int, case_dims: int) -> Inference:
    """Replace "auto", and reset to the default what the mode does not use.

    Two conventions with equal resolved inferences share one prediction. Raise UnsupportedError if a network of `dims`
    dimensions cannot be applied to cases of `case_dims` in this way.
    """
    if dims > case_dims:
        raise UnsupportedError(
            f"a {dims}D network cannot be applied to {case_dims}D cases; choose a {case_dims}D backbone"
        )
    mode = inference.mode
    if mode == "auto":
        mode = "slices" if dims < case_dims else ("whole" if dims == 2 else "window")
    if (mode == "slices") != (dims < case_dims):
        needed = "a 2D network on volumes" if mode == "slices" else f"a {case_dims}D network"
        raise UnsupportedError(f"inference {mode!r} needs {needed}; got a {dims}D network on {case_dims}D cases")
    default = Inference()
    if mode != "window":
        return Inference(
            mode=mode, flips=inference.flips, resize=inference.resize if mode == "slices" else default.resize
        )
    overlap = default.overlap if inference.stride is not None else inference.overlap
    return Inference(mode=mode, overlap=overlap, stride=inference.stride, blend=inference.blend, flips=inference.flips)


def predict(predictor: Predictor, image: Tensor, inference: Inference, network: Network) -> Tensor:
    """Predict the class probabilities of one case on its working grid.

    Args:
        predictor: images to logits.
        image: (C, *spatial).
        inference: how the network is applied.
        network: what is known about it.

    Returns:
        float32 (K, *spatial), on the network's device.

    Raises:
        UnsupportedError: for an impossible combination.
        ValueError: if the predictor returns another shape.
    """
    return predict_many(predictor, image[None], inference, network)[0]


def predict_many(predictor: Predictor, images: Tensor, inference: Inference, network: Network) -> Tensor:
    """Run `predict` on several cases of the same shape: (B, C, *spatial) -> (B, K, *spatial).

    In mode "whole" they pass through the network together; volumes go one by one, in batches of slices or windows.
    """
    plan = resolve(inference, dims=network.dims, case_dims=images.ndim - 2)
    stream = Stream([predictor], [plan], network)
    found: list[Tensor] = []
    for image in images:
        stream.add(image)
        if images.ndim > 4:
            stream.flush()
        found += [result[0][0] for result in stream.finished()]
    stream.flush()
    return torch.stack([*found, *(result[0][0] for result in stream.finished())])


def native_labels(probabilities: Tensor, frame: Frame, how: str = "linear") -> NDArray[np.uint8]:
    """Turn probabilities (K, *working) into a label map (*native): resize to the frame's box, take the argmax, paste.

    Outside the box everything is background; parts of the box beyond the native grid are dropped. Of equal probabilities the
    lower class wins. Classes are resized one by one to save memory.
    """
    sides = tuple(stop - start for start, stop in frame.extent)
    if tuple(probabilities.shape[1:]) == sides:
        labels = working_labels(probabilities)
    else:
        maps = (probabilities[index : index + 1][None] for index in range(len(probabilities)))
        labels = _likeliest(resize(one, sides, how)[0, 0] for one in maps)
    native = np.zeros(frame.shape, dtype=np.uint8)
    target = tuple(slice(max(a, 0), min(b, n)) for (a, b), n in zip(frame.extent, frame.shape, strict=True))
    source = tuple(slice(t.start - a, t.stop - a) for t, (a, _) in zip(target, frame.extent, strict=True))
    native[target] = labels[source]
    return native


def working_labels(probabilities: Tensor) -> NDArray[np.uint8]:
    """Turn probabilities (K, *working) into a label map, uint8 (*working). Of equal probabilities the lower class wins."""
    return _likeliest(iter(probabilities))


def _likeliest(maps: Iterator[Tensor]) -> NDArray[np.uint8]:
    """Return the class with the highest value, uint8 (*spatial). maps: one (*spatial) for each class, in their order.

    It compares class by class, because torch's argmax along an outer axis takes seven times as long on a CPU.
    """
    first = next(maps)
    best, winner = first.clone(), torch.zeros(first.shape, dtype=torch.uint8, device=first.device)
    for index, candidate in enumerate(maps, start=1):
        winner.masked_fill_(candidate > best, index)
        torch.maximum(best, candidate, out=best)
    labels: NDArray[np.uint8] = winner.cpu().numpy()
    return labels
