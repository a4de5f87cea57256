"""Stored features of the classes, and the distance of a batch's features from them."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from semibench.blocks import evaluating


def _perceptron(inputs: int, hidden: int, outputs: int, activation: nn.Module) -> nn.Sequential:
    return nn.Sequential(nn.Linear(inputs, hidden), nn.BatchNorm1d(hidden), activation, nn.Linear(hidden, outputs))


def _weighted_mean(features: Tensor, scores: Tensor | None) -> Tensor:
    """(N, D), (N, 1) or None -> (D,): mean of the features scaled to length 1, weighted by sigmoid(score)."""
    directions = F.normalize(features, dim=1)
    if scores is None:
        return directions.mean(0)
    share = scores.sigmoid()
    return (share * directions).sum(0) / share.sum()


class Separation(nn.Module):
    """For each foreground class up to `size` projected features of labeled positions, and the heads that compare with them.

    A feature f becomes g = prediction(projection(f)). With cosine similarity, the distance of a class is
    mean_ij w_i v_j (1 - cos(g_i, m_j)) over its positions i and its stored features j; w and v are sigmoids of two selectors,
    scaled to mean 1. The mean over pairs equals 1 - a b, a and b the weighted means of both sides' directions, so pairs are
    never formed. The background stores nothing. Features are scored for storing with the selectors in eval mode, so a score
    doesn't depend on the rest of the batch; in the published 3D script they are in training mode at that point.

    features: channels of f. classes: K, background included. best: store the features with the highest selector scores,
    or else the lowest. weighted: whether stored features have weights v of their own; else v = 1.
    """

    memory: Tensor
    stored: Tensor

    def __init__(self, features: int, classes: int, size: int, width: int, *, best: bool, weighted: bool) -> None:
        super().__init__()
        self.classes, self.size, self.best = classes, size, best
        self.projection = _perceptron(features, width, width, nn.ReLU())
        self.prediction = _perceptron(width, width, width, nn.ReLU())
        self.selectors = self._selectors(width)
        self.memory_selectors = self._selectors(width) if weighted else None
        self.register_buffer("memory", torch.zeros(classes - 1, size, width))
        self.register_buffer("stored", torch.zeros(classes - 1, dtype=torch.int64))

    def _selectors(self, width: int) -> nn.ModuleList:
        return nn.ModuleList(_perceptron(width, width, 1, nn.LeakyReLU(0.2)) for _ in range(self.classes - 1))

    @torch.no_grad()
    def store(self, features: Tensor, label: Tensor) -> None:
        """Replaces the stored features of every class that is in the label.

        features: (B, C, *spatial). label: (B, *spatial), IGNORE where nothing may be stored."""
        rows = features.movedim(1, -1)
        for number, selector in enumerate(self.selectors):
            inside = rows[label == number + 1]
            if not len(inside):
                continue
            with evaluating(self):
                projected = self.projection(inside).float()
                scores = selector(projected).squeeze(1)
            chosen = projected[scores.topk(min(self.size, len(inside)), largest=self.best).indices]
            self.memory[number].zero_()
            self.memory[number, : len(chosen)] = chosen
            self.stored[number] = len(chosen)

    def forward(self, features: Tensor, label: Tensor) -> Tensor:
        """(B, C, *spatial), labels (B, *spatial) -> sum over the foreground classes of their distances / K. A class counts if
        two positions have it and two features are stored."""
        compared = self.prediction(self.projection(features.movedim(1, -1).flatten(0, -2)))
        kinds = label.flatten()
        total = compared.new_zeros((), dtype=torch.float32)
        for number, selector in enumerate(self.selectors):
            inside, count = compared[kinds == number + 1], int(self.stored[number])
            if len(inside) < 2 or count < 2:
                continue
            memory = self.memory[number, :count]
            weights = None if self.memory_selectors is None else self.memory_selectors[number](memory).float()
            own = _weighted_mean(inside.float(), selector(inside.detach()).float())
            total = total + 1.0 - own @ _weighted_mean(memory, weights)
        return total / self.classes
