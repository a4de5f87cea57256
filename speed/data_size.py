"""Measures how the time and the memory of the data side grow with the number of images of a data set.

    python speed/data_size.py                                        # 1,250, 5,000 and 20,000 images
    python speed/data_size.py --images 500 --images 2000 --step verify --step "first batch"
    python speed/data_size.py --images 5000 --workers 1 --workers 2 --turns 3

Makes a folder of small PNG images with masks for each number, without a declaration (docs/own_data.md), and takes the steps of a
user: looks at the folder, indexes it, hashes it for the data digest, verifies it, decodes it, opens the cache again and draws the
first batch, audits it for duplicates. Each step runs in a process of its own, with a cache of its own; the clock starts after the
imports. Prints, for each step and number of images, the CPU time per image (with that of processes that it started) and the memory
at the peak above that after the imports: a step that is linear has the same CPU time per image in every column. The last column is
the growth of the time per image from the first number of images to the last one. A row "a later batch" is the CPU time of a batch
after the first one, which must not depend on the number of images.

With --workers, the images are decoded by so many processes, in turns and into a new cache each time; the table shows the time by
the clock, the CPU time of all processes, and the ratio of the times by the clock to the first number of processes.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

SIZES = (1250, 5000, 20000)
BATCHES = 50
"""Batches after the first one whose time is averaged."""


def write_images(folder: Path, count: int, side: int) -> None:
    """Writes images of noise with a bright disc, and masks of the disc. Noise doesn't compress, so each file is read in full."""
    random = np.random.default_rng(0)
    for name in ("images", "masks"):
        (folder / name).mkdir(parents=True)
    rows, columns = np.mgrid[:side, :side]
    for number in range(count):
        y, x, radius = random.uniform(0.3, 0.7) * side, random.uniform(0.3, 0.7) * side, random.uniform(0.1, 0.3) * side
        mask = (rows - y) ** 2 + (columns - x) ** 2 < radius**2
        image = random.integers(0, 128, (side, side)) + 100 * mask
        Image.fromarray(image.astype(np.uint8)).save(folder / "images" / f"p{number:06d}.png", compress_level=1)
        Image.fromarray((255 * mask).astype(np.uint8)).save(folder / "masks" / f"p{number:06d}.png", compress_level=1)


# ---- the steps, each in a process of its own -------------------------------------------------------------------------


def opened(folder: Path) -> Any:
    """Returns the data set of a folder, as `bench run -d FOLDER` does."""
    from semibench.data.declared.naming import declared_set
    from semibench.discovery.registry import registry

    item = declared_set(folder, registry())
    return item.resolve()(folder, item.resolve().Options())


def look(folder: Path) -> None:
    """Finds the cases and reads the values of all labels."""
    opened(folder)


def index(folder: Path) -> Callable[[], None]:
    from semibench.data.catalog import DataCatalog

    dataset = opened(folder)
    return lambda: DataCatalog({dataset.card.name: dataset}).all_cases() and None


def digest(folder: Path) -> Callable[[], None]:
    from semibench.data.hashes import data_digest

    dataset = opened(folder)
    refs = dataset.index()
    return lambda: data_digest({dataset.card.name: dataset}, refs) and None


def verified(folder: Path) -> Callable[[], None]:
    from semibench.data.verify import verify

    dataset = opened(folder)

    def step() -> None:
        wrong = [finding for finding in verify(dataset) if finding.level == "error"]
        assert not wrong, wrong[:3]

    return step


def audited(folder: Path) -> Callable[[], None]:
    from semibench.data.audit import audit

    dataset = opened(folder)
    return lambda: audit(dataset) and None


def decoded(folder: Path) -> Callable[[], None]:
    from semibench.data.cache import CaseStore

    dataset = opened(folder)
    refs = dataset.index()
    return lambda: CaseStore.build({dataset.card.name: dataset}, refs) and None


def first_batch(folder: Path) -> Callable[[], dict[str, float]]:
    """Opens the cache, draws a first batch and more; a half of the cases is labeled, and crops must contain foreground."""
    from semibench import Recipe, Split, Stream
    from semibench.data.cache import CaseStore
    from semibench.data.training import TrainingData

    dataset = opened(folder)
    refs = dataset.index()
    half = len(refs) // 2

    def step() -> dict[str, float]:
        store = CaseStore.build({dataset.card.name: dataset}, refs)
        recipe = Recipe(name="size", dims=2, patch=(32, 32), iterations=100, labeled_batch=4, unlabeled_batch=4)
        streams = {"labeled": Stream("labeled", foreground=0.5), "unlabeled": Stream("unlabeled", strong=1)}
        split = Split(tuple(refs[:half]), tuple(refs[half:]), (), ())
        data = TrainingData(split, store, card=dataset.card, recipe=recipe, dims=2, streams=streams, seed=0)
        data.batch(0)
        start = work()
        for number in range(1, BATCHES + 1):
            data.batch(number)
        return {"batch": (work() - start) / BATCHES}

    return step


STEPS: dict[str, Callable[[Path], Any]] = {
    "look": lambda folder: lambda: look(folder),
    "index": index,
    "data digest": digest,
    "verify": verified,
    "decode": decoded,
    "first batch": first_batch,
    "audit": audited,
}
KEEPS = ("decode", "first batch")
"""Steps that share a cache, in this order; the others begin with an empty one."""


def work() -> float:
    """Returns the CPU seconds of this process and of those that it started and that have ended."""
    used = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(one.ru_utime + one.ru_stime for one in used)


def peak() -> int:
    """Returns the memory at the peak of this process, in kB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def take(step: str, folder: Path) -> dict[str, float]:
    """Takes one step in this process; returns CPU seconds and memory."""
    from semibench.process import environment

    environment()
    for module in ("audit", "declared.dataset", "declared.look", "training", "verify"):
        importlib.import_module(f"semibench.data.{module}")
    prepared = STEPS[step](folder)
    memory, start, clock = peak(), work(), time.perf_counter()
    more = prepared() or {}
    return {"cpu": work() - start - BATCHES * more.get("batch", 0.0), "clock": time.perf_counter() - clock,
            "memory": (peak() - memory) / 1e3, **more}  # fmt: skip


def measured(step: str, folder: Path, cache: Path) -> dict[str, float]:
    """Takes one step in a fresh process."""
    if step not in KEEPS:
        shutil.rmtree(cache, ignore_errors=True)
    done = subprocess.run(
        [sys.executable, __file__, "--take", step, str(folder)],
        capture_output=True, text=True, check=False, env={**os.environ, "SEMIBENCH_CACHE": str(cache)},
    )  # fmt: skip
    if done.returncode:
        raise RuntimeError(done.stderr)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def by_workers(folder: Path, numbers: list[int], turns: int) -> None:
    """Decodes a data set with one number of processes after the other, and prints the medians."""
    from semibench.data.cache import CaseStore
    from semibench.process import environment

    environment()
    dataset = opened(folder)
    refs = dataset.index()
    found: dict[int, list[tuple[float, float]]] = {number: [] for number in numbers}
    for _ in range(turns):
        for number in numbers:
            with tempfile.TemporaryDirectory() as cache:
                clock, start = time.perf_counter(), work()
                CaseStore.build({dataset.card.name: dataset}, refs, Path(cache), threads=number)
                found[number].append((time.perf_counter() - clock, work() - start))
                print(number, found[number][-1], file=sys.stderr, flush=True)
    print(f"| processes | {len(refs):,} images by the clock | CPU time | ratio |\n| --- | --- | --- | --- |")
    first = statistics.median(clock for clock, _ in found[numbers[0]])
    for number, times in found.items():
        clock, cpu = (statistics.median(column) for column in zip(*times, strict=True))
        print(f"| {number} | {clock:.1f} s | {cpu:.1f} s | {clock / first:.2f} |")


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, action="append", help=f"number of images; repeatable (default: {SIZES})")
    parser.add_argument("--side", type=int, default=48, help="side of the images in pixels")
    parser.add_argument("--step", choices=list(STEPS), action="append", help="repeatable (default: all)")
    parser.add_argument("--folder", type=Path, help="where images and caches go; kept where it is named")
    parser.add_argument("--workers", type=int, action="append", help="decode with so many processes; repeatable")
    parser.add_argument("--turns", type=int, default=3, help="with --workers")
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    parser.add_argument("--take", nargs=2, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.take:
        print(json.dumps(take(args.take[0], Path(args.take[1]))))
        return
    sizes = args.images or list(SIZES)
    steps = [step for step in STEPS if step in (args.step or STEPS)]
    if "first batch" in steps and "decode" not in steps:
        steps.insert(steps.index("first batch"), "decode")
    home = args.folder or Path(tempfile.mkdtemp())
    if args.workers:
        folder = home / f"images-{sizes[0]}-{args.side}"
        if not folder.is_dir():
            write_images(folder, sizes[0], args.side)
        by_workers(folder, args.workers, args.turns)
        return
    figures: dict[int, dict[str, dict[str, float]]] = {}
    for count in sizes:
        folder = home / f"images-{count}-{args.side}"
        if not folder.is_dir():
            write_images(folder, count, args.side)
        figures[count] = {}
        for step in steps:
            figures[count][step] = measured(step, folder, home / f"cache-{count}")
            print(count, step, json.dumps(figures[count][step]), file=sys.stderr, flush=True)
    print("| step | " + " | ".join(f"{count:,} images" for count in sizes) + " | growth of the time per image |")
    print("| --- |" + " --- |" * (len(sizes) + 1))
    for step in steps:
        found = [figures[count][step] for count in sizes]
        each = [one["cpu"] / count for one, count in zip(found, sizes, strict=True)]
        cells = [f"{cpu * 1e6:.0f} µs of CPU, {one['memory']:.0f} MB" for cpu, one in zip(each, found, strict=True)]
        print(f"| {step} | " + " | ".join(cells) + f" | {each[-1] / each[0]:.2f} |")
        if "batch" in found[0]:
            later = [one["batch"] for one in found]
            print("| a later batch, not per image | " + " | ".join(f"{one * 1e3:.2f} ms of CPU" for one in later)
                  + f" | {later[-1] / later[0]:.2f} |")  # fmt: skip
    if args.json:
        args.json.write_text(json.dumps(figures))
    if args.folder is None:
        shutil.rmtree(home)


if __name__ == "__main__":
    main()
