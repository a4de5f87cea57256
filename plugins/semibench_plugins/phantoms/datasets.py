"""Phantoms as data sets: the same card, channels, classes and domains as the real one, and no file."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from semibench import Case, CaseRef, Dataset, DatasetCard, DatasetOptions, Frame, PhantomOptions, Truth
from semibench_plugins.datasets.working_grid import resize_image, resize_label, scaled_spacing
from semibench_plugins.phantoms import volumes
from semibench_plugins.phantoms.brain import glioma
from semibench_plugins.phantoms.fetal import fetal_head
from semibench_plugins.phantoms.fields import REVISION, Array, stream
from semibench_plugins.phantoms.organs import ORGANS_OF, organs
from semibench_plugins.phantoms.pelvis import prostate
from semibench_plugins.phantoms.radiology import Scanner
from semibench_plugins.phantoms.skin import Dermatoscope, lesion
from semibench_plugins.phantoms.specs import SPECS, Spec
from semibench_plugins.phantoms.tissue import Extent, Label, breast, thyroid
from semibench_plugins.phantoms.ultrasound import Machine, scan

Normalise = Callable[[Tensor], Tensor]
"""Stored values (C, *spatial), float32, to what the network sees."""

_SCENE, _VIEW, _LAYOUT = 0, 1, 2
RIGHT_FIRST = np.array([0, 3, 2, 1], np.uint8)
"""From the classes of M&Ms (left ventricle, myocardium, right ventricle) to those of ACDC, which begins on the right."""


@dataclass(frozen=True)
class Drawing:
    """A case on its native grid. image: stored values, float64 (*spatial), or (3, *spatial) in colour; label: uint8; spacing:
    mm, or None."""

    image: Array
    label: Label
    spacing: tuple[float, ...] | None


def draw(name: str, seed: int, group: int, frame: int = 0, scale: float = 1.0, *, image: bool = True) -> Drawing:
    """Render one case of the phantom `name`. It depends on the arguments and `REVISION` and on nothing else. image: whether
    the image is asked for; where it isn't and takes long (the scan of tissue by ultrasound), it is left blank."""
    spec = SPECS[name]
    look = spec.looks[group % len(spec.looks)]
    layout = stream(name, seed, group, 0, _LAYOUT)
    body, view = stream(name, seed, group, 0, _SCENE), stream(name, seed, group, frame, _VIEW)
    if isinstance(look, Machine):
        return _ultrasound(spec, look, group, layout, body, view, scale, image)
    if isinstance(look, Dermatoscope):
        sides = [round(int(layout.integers(a, b + 1)) * scale) for a, b in (look.rows, look.columns)]
        return Drawing(*lesion(body, view, look, *sides), None)
    return _volume(spec, look, layout, body, view, frame, scale)


def is_normal(spec: Spec, group: int) -> bool:
    """Whether a group has no lesion: spread evenly, so that any run of groups has its share of normals."""
    return int((group + 1) * spec.normals) > int(group * spec.normals)


def _ultrasound(
    spec: Spec,
    machine: Machine,
    group: int,
    layout: np.random.Generator,
    body: np.random.Generator,
    view: np.random.Generator,
    scale: float,
    wanted: bool,
) -> Drawing:
    rows = round(int(layout.integers(machine.rows[0], machine.rows[1] + 1)) * scale)
    columns = round(int(layout.integers(machine.columns[0], machine.columns[1] + 1)) * scale)
    depth = layout.uniform(*machine.depth)
    extent = Extent(depth, depth * columns / rows, rows, columns)
    gain = layout.uniform(*machine.gain) + view.normal(0, 0.5)
    if spec.scene == "fetal-head":
        image, label = fetal_head(body, view, extent, machine, gain)
    else:
        scene = {"breast": breast, "thyroid": thyroid}[spec.scene]
        lesions = 0 if is_normal(spec, group) else 2 if layout.random() < spec.several else 1
        tissue, label = scene(body, view, extent, lesions, spec.shift)
        image = scan(tissue, machine, extent.pixel, gain, view) if wanted else np.zeros(label.shape)
    return Drawing(np.rint(image), label, extent.pixel if spec.pixel_size else None)


def _volume(
    spec: Spec,
    scanner: Scanner,
    layout: np.random.Generator,
    body: np.random.Generator,
    view: np.random.Generator,
    frame: int,
    scale: float,
) -> Drawing:
    assert spec.shape is not None and spec.spacing is not None
    drawn = [n + int(layout.integers(0, v + 1)) for n, v in zip(spec.shape, spec.vary, strict=True)]
    shape = (round(drawn[0] * scale), round(drawn[1] * scale), round(drawn[2] * scale))
    real = [s * n / m for s, n, m in zip(spec.spacing, drawn, shape, strict=True)]
    spacing = (real[0], real[1], real[2])
    if spec.scene in ("short-axis", "short-axis-right-first"):
        image, label = volumes.short_axis(body, view, scanner, shape, spacing, phase=frame)
        if spec.scene == "short-axis-right-first":
            label = RIGHT_FIRST[label]
    elif spec.scene in ORGANS_OF:
        image, label = organs(body, scanner, shape, spacing, spec.scene)
    else:
        scene = {
            "left-atrium": volumes.left_atrium,
            "whole-heart": volumes.whole_heart,
            "hippocampus": volumes.hippocampus,
            "prostate": prostate,
            "glioma": glioma,
        }[spec.scene]
        image, label = scene(body, scanner, shape, spacing)
    return Drawing(image, label, spacing)


def grey(image: Tensor) -> Tensor:
    """8-bit grey levels to 0..1."""
    return image / 255.0


def robust(image: Tensor) -> Tensor:
    """Volumes: clip to the 0.5 and 99.5 percentiles of the volume, then zero mean and unit variance."""
    low, high = torch.quantile(image.flatten(), torch.tensor([0.005, 0.995]))
    image = image.clamp(low, high)
    return (image - image.mean()) / image.std().clamp_min(1e-6)


class Phantom(Dataset):
    """Stand-in for the data set of `card`; made by `phantom`. `read` gives the working grid as the options say."""

    def __init__(
        self,
        name: str,
        card: DatasetCard,
        options: DatasetOptions,
        phantom: PhantomOptions,
        normalise: Normalise | None,
    ) -> None:
        super().__init__(None, options)
        self.card = card  # type: ignore[misc]
        self.name, self.spec, self.settled = name, SPECS[name], phantom
        self.count = self.spec.cases if phantom.cases is None else phantom.cases
        self.normalise: Normalise = normalise or (grey if card.dims == 2 else robust)
        table = hashlib.sha256(repr(self.spec).encode()).hexdigest()[:16]
        self.fingerprint = f"phantom:{name}:r{REVISION}:{table}:seed{phantom.seed}:n{self.count}:x{phantom.scale}"
        several = len(self.spec.looks) > 1 and len(card.domains) == len(self.spec.looks)
        self._domains = card.domains if several else card.domains[:1]
        wanted = getattr(options, "include", ("normal",))
        self._lesions_only = bool(self.spec.normals) and (
            getattr(options, "lesions_only", False) or "normal" not in wanted
        )
        self._last: tuple[str, Drawing] | None = None

    def index(self) -> list[CaseRef]:
        """The cases; case i is the same whatever their number. Groups have `frames` cases and take the machines in
        turn. Where the data set's options leave out images without a lesion, so does this."""
        groups = -(-self.count // self.spec.frames)
        kept = {g for g in range(groups) if not (self._lesions_only and is_normal(self.spec, g))}
        return [self._ref(i) for i in range(self.count) if i // self.spec.frames in kept]

    def _ref(self, i: int) -> CaseRef:
        group, frame = divmod(i, self.spec.frames)
        patient = f"phantom-{group:05d}"
        name = patient if self.spec.frames == 1 else f"{patient}-{frame:02d}"
        return CaseRef(self.card.name, name, patient, self._domains[group % len(self._domains)], True)

    def files(self, ref: CaseRef) -> tuple[Path, ...]:
        """None: the fingerprint stands for the content."""
        return ()

    def native(self, ref: CaseRef) -> Drawing:
        """Stored values and labels on the native grid (the last one is remembered)."""
        if self._last is None or self._last[0] != ref.id:
            self._last = (ref.id, self._draw(ref))
        return self._last[1]

    def _draw(self, ref: CaseRef, *, image: bool = True) -> Drawing:
        parts = ref.id.split("-")
        frame = int(parts[2]) if len(parts) > 2 else 0
        return draw(self.name, self.settled.seed, int(parts[1]), frame, self.settled.scale, image=image)

    def read(self, ref: CaseRef) -> Case:
        """Resize to `options.size` where it is given (linear image, nearest label), normalise, repeat the channels."""
        drawing = self.native(ref)
        shape = drawing.label.shape
        image = torch.from_numpy(drawing.image).float().reshape(-1, *shape)
        label = torch.from_numpy(drawing.label)
        size = tuple(self.options.size or shape)
        image, label = resize_image(image, size), resize_label(label, size)
        spacing = scaled_spacing(drawing.spacing, tuple((0, n) for n in shape), size)
        image = image.expand(self.card.channels, *image.shape[1:]).contiguous()
        return Case(ref, self.normalise(image), label, spacing, Frame(tuple(shape), drawing.spacing))

    def truth(self, ref: CaseRef) -> Truth:
        """The label on the native grid."""
        drawn = self._last is not None and self._last[0] == ref.id
        drawing = self.native(ref) if drawn else self._draw(ref, image=False)
        return Truth(torch.from_numpy(drawing.label), drawing.spacing)


def phantom(
    name: str,
    *,
    card: DatasetCard,
    options: DatasetOptions | None = None,
    phantom: PhantomOptions | None = None,
    normalise: Normalise | None = None,
) -> Phantom:
    """The stand-in for data set `name`. normalise: the edition's own, from stored values (0..255, or MR units, or HU) with
    the card's channels; default: `grey` for images, `robust` for volumes. Raises LookupError for an unknown name."""
    if name not in SPECS:
        raise LookupError(f"no phantom is called {name!r}; there are: {', '.join(sorted(SPECS))}")
    return Phantom(name, card, options or DatasetOptions(), phantom or PhantomOptions(), normalise)
