"""The semantic memory of AllSpark: for each class, a queue of channels of unlabeled samples."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


@torch.no_grad()
def class_of_channels(features: Tensor, scores: Tensor) -> Tensor:
    """The class whose score map each channel resembles most, (B, C): argmax over k of cos(f[:, j], s_k).

    features: (B, N, C), N numbers of each channel; scores: (B, K, N), the score maps at the same N positions.
    """
    similarity = F.normalize(scores.float(), dim=2) @ F.normalize(features.float(), dim=1)
    return similarity.argmax(1)


class SemanticMemory(nn.Module):
    """For each class, the last channels that unlabeled samples gave to it, as many as a map has; first in, first out.

    The authors fill the queues with noise at the start. Here an empty place is 0, which adds nothing to the keys, and a class
    without a channel is no key at all.
    """

    queue: Tensor
    pointer: Tensor
    filled: Tensor

    def __init__(self, classes: int, channels: int, tokens: int) -> None:
        super().__init__()
        self.register_buffer("queue", torch.zeros(classes, channels, tokens))
        self.register_buffer("pointer", torch.zeros(classes, dtype=torch.int64))
        self.register_buffer("filled", torch.zeros(classes, dtype=torch.int64))

    @torch.no_grad()
    def add(self, features: Tensor, classes: Tensor) -> None:
        """Appends channels in the order of samples. features: (B, N, C); classes: (B, C), the class of each channel."""
        places = self.queue.shape[1]
        rows, kind = features.transpose(1, 2).flatten(0, 1).float(), classes.flatten()
        chosen = F.one_hot(kind, len(self.queue))
        count = chosen.sum(0)
        rank = chosen.cumsum(0).gather(1, kind.unsqueeze(1)).squeeze(1) - 1
        last = rank >= (count - places)[kind]  # of more than a queue holds, the last stay
        place = (self.pointer[kind] + rank) % places
        self.queue[kind[last], place[last]] = rows[last]
        self.pointer.copy_((self.pointer + count) % places)
        self.filled.copy_((self.filled + count).clamp(max=places))

    def contents(self) -> Tensor:
        """The queues of the classes that have a channel, (classes, N, C)."""
        return self.queue[self.filled > 0].transpose(1, 2)
