"""What lesions and grey levels of the image phantoms are like, beside real images of BUS-BRA. Prints Markdown tables.

    python speed/image_statistics.py                                        # every image phantom
    python speed/image_statistics.py --dataset bus-bra --real data/BUSBRA   # bus-bra beside the real set

Darkness is the area under the curve of "darker than the rest" per image (see semibench_plugins.phantoms.darkness). The second
table compares the devices of bus-bra: images are brought to 220 rows, figures are means over images.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, zoom

from semibench import DatasetOptions, PhantomOptions
from semibench.blocks import FloatArray
from semibench.discovery.registry import registry
from semibench_plugins.datasets.cards import CARDS
from semibench_plugins.phantoms.darkness import darkness

ROWS = 220
SHARES = (0.05, 0.25, 0.5, 0.75, 0.95)

Case = tuple[str, FloatArray, NDArray[np.bool_]]
"""Domain, grey levels and labeled pixels of a case."""


def phantom_cases(name: str, cases: int | None) -> Iterator[Case]:
    """Yields the stored cases of a phantom, before any resizing."""
    dataset_class = registry().get("datasets", name).resolve()
    data = dataset_class.phantom(dataset_class.Options(), PhantomOptions(cases=cases))
    for ref in data.index():
        drawing = data.native(ref)
        yield ref.domain, drawing.image, drawing.label > 0


def real_cases(root: str, cases: int | None) -> Iterator[Case]:
    """Yields cases of the real BUS-BRA, spread over the set."""
    dataset_class = registry().get("datasets", "bus-bra").resolve()
    data = dataset_class(Path(root), DatasetOptions())
    refs = data.index()
    for ref in refs[:: max(1, len(refs) // cases)] if cases else refs:
        case = data.read(ref)
        assert case.label is not None
        yield ref.domain, 255.0 * case.image[0].numpy().astype(np.float64), case.label.numpy() > 0


def darkness_row(title: str, cases: list[Case]) -> str:
    """Returns the row of darkness and area of the labeled part."""
    labeled = [(image, mask) for _, image, mask in cases if mask.any()]
    dark = np.quantile([darkness(image, mask) for image, mask in labeled], SHARES)
    area = np.quantile([mask.mean() for _, mask in labeled], (0.05, 0.5, 0.95))
    cells = [title, str(len(labeled)), *(f"{value:.2f}" for value in dark), *(f"{value:.3f}" for value in area)]
    return f"| {' | '.join(cells)} |"


def grey_row(title: str, images: list[FloatArray]) -> str:
    """Returns the row of grey levels and speckle of one device."""
    return f"| {title}, {len(images)} | " + " | ".join(
        f"{value:.2f}" if k in (4, 5) else f"{value:.0f}"
        for k, value in enumerate(np.mean([grey_figures(image) for image in images], axis=0))
    ) + " |"  # fmt: skip


def grey_figures(image: FloatArray) -> list[float]:
    """Returns mean, standard deviation, 2 % and 98 % quantile, the autocorrelation of the high-passed image at lag 1 down and
    across, and the means of the top and the bottom third."""
    grey = zoom(image, ROWS / image.shape[0], order=1)
    fine = grey - gaussian_filter(grey, 4.0)
    down = float((fine[1:] * fine[:-1]).mean() / (fine**2).mean())
    across = float((fine[:, 1:] * fine[:, :-1]).mean() / (fine**2).mean())
    third = len(grey) // 3
    low, high = np.quantile(grey, (0.02, 0.98))
    return [*map(float, (grey.mean(), grey.std(), low, high)), down, across, float(grey[:third].mean()),
            float(grey[-third:].mean())]  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", action="append", help="phantom of images; repeatable (default: all)")
    parser.add_argument("--cases", type=int, default=None, help="cases of each set (default: all)")
    parser.add_argument("--real", default=None, help="folder of the real BUS-BRA")
    given = parser.parse_args()
    names = given.dataset or sorted(card.name for card in CARDS if card.dims == 2)
    print("| set | images | 5 % | 25 % | median | 75 % | 95 % | area, 5 % | median | 95 % |\n|" + " --- |" * 10)
    found: dict[str, list[Case]] = {}
    for name in names:
        found[name] = list(phantom_cases(name, given.cases))
        print(darkness_row(name, found[name]), flush=True)
    if given.real:
        found["real"] = list(real_cases(given.real, given.cases))
        print(darkness_row("BUS-BRA, real", found["real"]))
    if "bus-bra" not in found:
        return
    print("\n| device | mean | std | 2 % | 98 % | ac down | ac across | top third | bottom third |\n|" + " --- |" * 9)
    for device in sorted({domain for domain, _, _ in found["bus-bra"]}):
        for title in ("real", "bus-bra"):
            images = [image for domain, image, _ in found.get(title, []) if domain == device]
            if images:
                print(grey_row(f"{device}, {'real' if title == 'real' else 'phantom'}", images))


if __name__ == "__main__":
    main()
