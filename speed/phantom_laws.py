"""Do phantoms obey the laws of docs/phantoms.md? Prints a Markdown table.

    python speed/phantom_laws.py                                    # the atlas figures of all phantoms, without training
    python speed/phantom_laws.py --dataset la --train --few 3       # and what labels are worth: 3 patients against all
    python speed/phantom_laws.py --dataset la --train --longer 10   # and whether ten times the iterations change the bound

Groups are split into training (75 %) and test. The atlas copies label maps of training cases onto test cases and reads no
image. The few labels are the smallest setting of the papers on the data set, or --few groups. Both networks get the same
number of iterations. The harness's training isn't used, because this measures the data.
"""

from __future__ import annotations

import argparse
import hashlib
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from atlas_scores import AtlasScores, atlas_scores, mean_dice
from torch import Tensor, nn
from torch.nn import functional as F

from semibench import CaseRef, Dataset, DatasetCard, PhantomOptions
from semibench.discovery.registry import registry
from semibench_plugins.datasets.cards import CARDS

TRAINING_SHARE = 0.75
LEVELS = 4


@dataclass(frozen=True)
class Few:
    """The smallest published setting. share: of the training groups that are labeled. source: the domains of the labeled
    groups (empty: all). target: the domain of the test cases (empty: all)."""

    share: float = 0.05
    source: tuple[str, ...] = ()
    target: str = ""


SMALLEST = {
    "la": Few(4 / 80),
    "mmwhs": Few(1.0, ("mr",), "ct"),
    "mnms": Few(0.02, ("A", "B", "C"), "D"),
    "acdc": Few(1 / 70),
    "promise12": Few(1 / 35),
    "pancreas": Few(6 / 62),
    "brats19": Few(25 / 250),
    "synapse": Few(0.1),
    "amos22": Few(4 / 216),
    "isic2018": Few(55 / 1838),
    "busi": Few(64 / 517),
    "udiat": Few(16 / 130),
    "tus": Few(0.5),
}
"""Data set -> its smallest published setting; those without one take 5 %."""


@dataclass
class Phantom:
    """A phantom and its division. few: the few labeled groups, of the training groups."""

    name: str
    card: DatasetCard
    data: Dataset
    refs: list[CaseRef]
    training: list[str]
    few: list[str]
    target: str

    def cases(self, groups: Sequence[str]) -> list[int]:
        """Returns the positions of the cases of groups."""
        return [i for i, ref in enumerate(self.refs) if ref.group in set(groups)]

    def tests(self) -> list[int]:
        """Returns the positions of the test cases."""
        apart = [i for i, ref in enumerate(self.refs) if ref.group not in set(self.training)]
        return [i for i in apart if not self.target or self.refs[i].domain == self.target]


def load(name: str, cases: int | None, few: int | None, size: tuple[int, ...] | None = None) -> Phantom:
    """Builds a phantom with the default edition of its data set and divides its groups in a fixed order."""
    card = {card.name: card for card in CARDS}[name]
    dataset_class = registry().get("datasets", name).resolve()
    data = dataset_class.phantom(dataset_class.Options(size=size), PhantomOptions(cases=cases))
    refs = data.index()
    domains = {ref.group: ref.domain for ref in refs}
    order = sorted(domains, key=lambda group: hashlib.sha256(f"0/{group}".encode()).digest())
    training = order[: round(TRAINING_SHARE * len(order))]
    if few is not None:
        return Phantom(name, card, data, refs, training, training[:few], "")
    setting = SMALLEST.get(name, Few())
    source = [group for group in training if not setting.source or domains[group] in setting.source]
    labeled = source[: max(1, int(len(source) * setting.share + 0.5))]
    return Phantom(name, card, data, refs, training, labeled, setting.target)


def atlas(phantom: Phantom) -> AtlasScores:
    """Scores the atlas of all training cases on the test cases, on the native grids."""
    labels = [phantom.data.truth(ref).label.numpy() for ref in phantom.refs]
    known = phantom.cases(phantom.training)
    tests = [i for i in range(len(labels)) if i not in set(known)]
    return atlas_scores([labels[i] for i in known], [labels[i] for i in tests], len(phantom.card.classes))


class SmallUNet(nn.Module):
    """Four levels with two 3-wide convolutions each, instance norm, leaky ReLU, linear upsampling; dims 2 or 3."""

    def __init__(self, dims: int, channels: int, outputs: int, width: int) -> None:
        super().__init__()
        conv, norm = (nn.Conv2d, nn.InstanceNorm2d) if dims == 2 else (nn.Conv3d, nn.InstanceNorm3d)
        sizes = [width * 2**k for k in range(LEVELS)]

        def block(a: int, b: int) -> nn.Sequential:
            layers: list[nn.Module] = []
            for start in (a, b):
                layers += [conv(start, b, 3, padding=1, bias=False), norm(b, affine=True), nn.LeakyReLU(0.01)]
            return nn.Sequential(*layers)

        self.down = nn.ModuleList(block(a, b) for a, b in zip([channels, *sizes[:-1]], sizes, strict=True))
        self.up = nn.ModuleList(block(a + b, b) for a, b in zip(sizes[:0:-1], sizes[-2::-1], strict=True))
        self.head = conv(width, outputs, 1)
        self.pool = F.max_pool2d if dims == 2 else F.max_pool3d
        self.how = "bilinear" if dims == 2 else "trilinear"

    def forward(self, x: Tensor) -> Tensor:
        skips = []
        for k, block in enumerate(self.down):
            x = block(x if k == 0 else self.pool(x, 2))
            skips.append(x)
        for block, skip in zip(self.up, skips[-2::-1], strict=True):
            x = block(torch.cat([F.interpolate(x, skip.shape[2:], mode=self.how, align_corners=False), skip], 1))
        return self.head(x)


def loss_of(logits: Tensor, label: Tensor) -> Tensor:
    """Cross entropy plus soft Dice over the foreground classes."""
    p = logits.softmax(1)
    t = F.one_hot(label, logits.shape[1]).movedim(-1, 1).float()
    axes = [0, *range(2, p.dim())]
    dice = (2 * (p * t).sum(axes) + 1) / ((p + t).sum(axes) + 1)
    return F.cross_entropy(logits, label) + 1 - dice[1:].mean()


def vary(images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Turns (up to 12 degrees in the last two axes), scales and brightens half of the samples; no flips."""
    count, dims = len(images), labels.dim() - 1
    chosen = (torch.rand(count) < 0.5).float()
    angle, scale = chosen * (torch.rand(count) - 0.5) * 0.42, 1 + chosen * (torch.rand(count) - 0.5) * 0.3
    matrix = torch.eye(dims, dims + 1).repeat(count, 1, 1)
    matrix[:, 0, 0] = matrix[:, 1, 1] = angle.cos()
    matrix[:, 0, 1], matrix[:, 1, 0] = -angle.sin(), angle.sin()
    matrix[:, :, :dims] *= scale[:, None, None]
    grid = F.affine_grid(matrix, list(images.shape), align_corners=False)
    images = F.grid_sample(images, grid, padding_mode="border", align_corners=False)
    turned = F.grid_sample(labels[:, None].float(), grid, mode="nearest", align_corners=False)[:, 0].long()
    gain, shift = (chosen * (torch.rand(count) - 0.5) * size for size in (0.5, 0.4))
    flat = (count, *[1] * (dims + 1))
    return images * (1 + gain.view(flat)) + shift.view(flat), turned


def train(
    images: Tensor, labels: Tensor, classes: int, iterations: int, batch: int, width: int, seed: int
) -> nn.Module:
    """Trains with AdamW at .004, a tenth of the iterations to warm up, then polynomial decay."""
    torch.manual_seed(seed)
    net = SmallUNet(labels.dim() - 1, images.shape[1], classes, width)
    optimiser = torch.optim.AdamW(net.parameters(), lr=4e-3, weight_decay=1e-2)
    warm = max(1, iterations // 10)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimiser, lambda step: (step + 1) / warm if step < warm else (1 - step / iterations) ** 0.9
    )
    for _ in range(iterations):
        pick = torch.randint(len(images), (batch,))
        x, y = vary(images[pick], labels[pick])
        optimiser.zero_grad()
        loss_of(net(x), y).backward()
        nn.utils.clip_grad_norm_(net.parameters(), 5.0)
        optimiser.step()
        schedule.step()
    return net.eval()


def working_size(phantom: Phantom, side: int) -> tuple[int, ...]:
    """Returns a grid of the phantom's proportions whose longest axis has about `side` voxels; multiples of 8, for four levels."""
    shapes = [phantom.data.truth(ref).label.shape for ref in phantom.refs[:8]]
    shape = np.median(np.array(shapes), axis=0)
    factor = min(1.0, side / float(shape.max()))
    step = 2 ** (LEVELS - 1)
    return tuple(step * max(1, math.floor(n * factor / step + 0.5)) for n in shape)


def scores_of(phantom: Phantom, given: argparse.Namespace) -> dict[str, float]:
    """Trains on the few labels, on all and, if asked for, on all for longer; returns the test Dice of each."""
    flat = phantom.card.dims == 2
    phantom = load(phantom.name, given.cases, given.few, working_size(phantom, given.side or (96 if flat else 40)))
    cases = [phantom.data.read(ref) for ref in phantom.refs]
    images = torch.stack([(c.image - c.image.mean()) / c.image.std().clamp_min(1e-6) for c in cases])
    labels = torch.stack([c.label for c in cases if c.label is not None]).long()
    tests, classes = phantom.tests(), len(phantom.card.classes)
    runs = [("few", phantom.few, given.iterations), ("all", phantom.training, given.iterations)]
    if given.longer:
        runs.append(("longer", phantom.training, given.longer * given.iterations))
    scores = {}
    for title, groups, iterations in runs:
        labeled, begun = phantom.cases(groups), time.perf_counter()
        batch = given.batch or (8 if flat else 2)
        net = train(images[labeled], labels[labeled], classes, iterations, batch, given.width, given.seed)
        with torch.no_grad():
            found = torch.cat([net(images[i : i + 1]).argmax(1) for i in tests]).to(torch.uint8).numpy()
        scores[title] = mean_dice(list(found), list(labels[tests].to(torch.uint8).numpy()), classes)
        print(
            f"<!-- {phantom.name} {title}: {len(labeled)} cases of {len(groups)} groups, {len(tests)} tests, "
            f"{'x'.join(map(str, images.shape[2:]))}, {iterations} iterations, Dice {scores[title]:.3f}, "
            f"{time.perf_counter() - begun:.0f} s -->",
            flush=True,
        )
    return scores


def row_of(name: str, given: argparse.Namespace) -> str:
    """Measures one phantom and returns its row of the table."""
    phantom = load(name, given.cases, given.few)
    begun = time.process_time()
    for ref in phantom.refs:
        phantom.data.read(ref)
    decoding = time.process_time() - begun
    found = atlas(phantom)
    limit = 0.35 if len(phantom.card.classes) == 2 else 0.25
    kept = "yes" if max(found.copied, found.voted) < limit else "**no**"
    cells = [name, str(len(phantom.card.classes) - 1), f"{len(phantom.refs)} ({len({r.group for r in phantom.refs})})"]
    cells += [f"{decoding:.1f}", f"{found.copied:.3f}", f"{found.voted:.3f}", f"{limit}", kept]
    if given.train:
        scores = scores_of(phantom, given)
        cells += [f"{scores['few']:.3f}", f"{scores['all']:.3f}", f"{scores['all'] - scores['few']:+.3f}"]
        if given.longer:
            cells.append(f"{scores['longer']:.3f}")
    return f"| {' | '.join(cells)} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", action="append", help="phantom; repeatable (default: all)")
    parser.add_argument("--cases", type=int, default=None, help="cases of the phantom (default: its own number)")
    parser.add_argument("--train", action="store_true", help="also train on few and on all labels")
    parser.add_argument(
        "--few", type=int, default=None, help="labeled groups instead of the smallest published setting"
    )
    parser.add_argument("--iterations", type=int, default=300)
    parser.add_argument(
        "--longer", type=int, default=0, help="also train on all labels for so many times the iterations"
    )
    parser.add_argument("--side", type=int, default=None, help="longest axis of the grid (default: 96 in 2D, 40 in 3D)")
    parser.add_argument("--batch", type=int, default=None, help="default: 8 in 2D, 2 in 3D")
    parser.add_argument("--width", type=int, default=8, help="channels of the first level")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    head = ["phantom", "classes", "cases (groups)", "decoding, s", "atlas of 1", "atlas of all", "limit", "kept"]
    head += [*["few labels", "all labels", "gap"], *["longer"] * bool(given.longer)] if given.train else []
    print(f"| {' | '.join(head)} |\n|{' --- |' * len(head)}", flush=True)
    for name in given.dataset or sorted(card.name for card in CARDS):
        print(row_of(name, given), flush=True)


if __name__ == "__main__":
    main()
