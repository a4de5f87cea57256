"""Are the phantoms hard enough? Compares a small plain U-Net trained on few labels with the same network on all labels.

    python speed/phantom_difficulty.py --dataset tus --dataset busi --iterations 400

Groups are split into training (75 %) and test; the few labels are whole groups, the first in a fixed order. Both networks
get the same number of iterations. The harness's training isn't used, because this measures the data.
"""

from __future__ import annotations

import argparse
import hashlib
import time

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from semibench import DatasetOptions, PhantomOptions
from semibench.registry import registry
from semibench_plugins.datasets.cards import CARDS


class SmallUNet(nn.Module):
    """Four levels, two 3-wide convolutions with batch normalisation each, nearest upsampling; dims 2 or 3."""

    def __init__(self, dims: int, channels: int, outputs: int, width: int) -> None:
        super().__init__()
        conv, norm = (nn.Conv2d, nn.BatchNorm2d) if dims == 2 else (nn.Conv3d, nn.BatchNorm3d)
        sizes = [width * 2**k for k in range(4)]

        def block(a: int, b: int) -> nn.Sequential:
            return nn.Sequential(
                conv(a, b, 3, padding=1, bias=False),
                norm(b),
                nn.ReLU(),
                conv(b, b, 3, padding=1, bias=False),
                norm(b),
                nn.ReLU(),
            )

        self.down = nn.ModuleList(block(a, b) for a, b in zip([channels, *sizes[:-1]], sizes, strict=True))
        self.up = nn.ModuleList(block(a + b, b) for a, b in zip(sizes[:0:-1], sizes[-2::-1], strict=True))
        self.head = conv(width, outputs, 1)
        self.pool = F.max_pool2d if dims == 2 else F.max_pool3d

    def forward(self, x: Tensor) -> Tensor:
        skips = []
        for k, block in enumerate(self.down):
            x = block(x if k == 0 else self.pool(x, 2))
            skips.append(x)
        for block, skip in zip(self.up, skips[-2::-1], strict=True):
            x = block(torch.cat([F.interpolate(x, skip.shape[2:]), skip], 1))
        return self.head(x)


def loss_of(logits: Tensor, label: Tensor) -> Tensor:
    """Cross entropy plus soft Dice over the foreground classes."""
    p = logits.softmax(1)
    t = F.one_hot(label, logits.shape[1]).movedim(-1, 1).float()
    axes = [0, *range(2, p.dim())]
    dice = (2 * (p * t).sum(axes) + 1) / ((p + t).sum(axes) + 1)
    return F.cross_entropy(logits, label) + 1 - dice[1:].mean()


def dice_of(prediction: Tensor, label: Tensor, classes: int) -> Tensor:
    """(cases,) mean foreground Dice; 1 if both are empty."""
    axes = tuple(range(1, label.dim()))
    scores = []
    for k in range(1, classes):
        p, t = prediction == k, label == k
        total = p.sum(axes) + t.sum(axes)
        scores.append(torch.where(total > 0, 2 * (p & t).sum(axes) / total.clamp_min(1), 1.0))
    return torch.stack(scores).mean(0)


def train(
    images: Tensor, labels: Tensor, classes: int, iterations: int, batch: int, width: int, seed: int
) -> nn.Module:
    torch.manual_seed(seed)
    dims = labels.dim() - 1
    net = SmallUNet(dims, images.shape[1], classes, width)
    optimiser = torch.optim.AdamW(net.parameters(), lr=2e-3, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 4e-3, total_steps=iterations)
    for _ in range(iterations):
        pick = torch.randint(len(images), (batch,))
        x, y = images[pick], labels[pick].long()
        if torch.rand(()) < 0.5:
            x, y = x.flip(-1), y.flip(-1)
        x = x * (1 + 0.2 * (torch.rand(batch, *[1] * (dims + 1)) - 0.5)) + 0.1 * (
            torch.rand(batch, *[1] * (dims + 1)) - 0.5
        )
        optimiser.zero_grad()
        loss_of(net(x), y).backward()
        optimiser.step()
        schedule.step()
    return net.eval()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", action="append", help="phantom; repeatable (default: tus and busi)")
    parser.add_argument("--ratio", type=float, default=0.05, help="share of labeled training groups")
    parser.add_argument("--iterations", type=int, default=400)
    parser.add_argument("--side", type=int, default=80, help="pixels per side of the working grid for images")
    parser.add_argument("--volume", type=int, default=32, help="voxels per side of the working grid for volumes")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--width", type=int, default=12)
    parser.add_argument("--cases", type=int, default=None)
    parser.add_argument("--seeds", type=int, default=1)
    arguments = parser.parse_args()
    cards = {card.name: card for card in CARDS}
    for name in arguments.dataset or ["tus", "busi"]:
        card = cards[name]
        size = (arguments.side,) * 2 if card.dims == 2 else (arguments.volume,) * 3
        phantom_class = registry().get("datasets", name).resolve().phantom_class
        data = phantom_class(card, DatasetOptions(size=size), PhantomOptions(cases=arguments.cases))
        begun = time.perf_counter()
        refs = data.index()
        cases = [data.read(ref) for ref in refs]
        each = (time.perf_counter() - begun) / len(refs)
        images = torch.stack([case.image for case in cases])
        images = (images - images.mean()) / images.std()
        labels = torch.stack([case.label for case in cases if case.label is not None])
        order = sorted({ref.group for ref in refs}, key=lambda group: hashlib.sha256(f"0/{group}".encode()).digest())
        cut = round(0.75 * len(order))
        few = set(order[: max(1, int(cut * arguments.ratio + 0.5))])
        full = set(order[:cut])
        rows = {}
        for title, groups in (("few", few), ("all", full)):
            labeled = torch.tensor([ref.group in groups for ref in refs])
            held = torch.tensor([ref.group not in full for ref in refs])
            scores = []
            begun = time.perf_counter()
            for seed in range(arguments.seeds):
                net = train(
                    images[labeled],
                    labels[labeled],
                    len(card.classes),
                    arguments.iterations,
                    arguments.batch,
                    arguments.width,
                    seed,
                )
                with torch.no_grad():
                    predicted = torch.cat([net(x).argmax(1) for x in images[held].split(8)])
                scores.append(dice_of(predicted, labels[held], len(card.classes)).mean().item())
            rows[title] = sum(scores) / len(scores)
            print(
                f"{name:16s} {title}: {int(labeled.sum()):4d} labeled of {len(groups):3d} groups  test {int(held.sum())}  "
                f"Dice {' '.join(f'{s:.3f}' for s in scores)}  {time.perf_counter() - begun:.0f} s",
                flush=True,
            )
        print(f"{name:16s} gap {rows['all'] - rows['few']:+.3f}   ({each * 1000:.0f} ms per case)", flush=True)


if __name__ == "__main__":
    main()
