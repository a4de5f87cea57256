"""What a user says about a data set of their own: the content of semibench.yaml."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field, field_validator, model_validator

from semibench.contracts.cards import DatasetCard
from semibench.contracts.errors import UsageError
from semibench.contracts.identity import Grid
from semibench.documents import read_document

FILE = "semibench.yaml"
"""The name of the file, in the folder of the data set."""

BACKGROUND = "background"

LayoutKind = Literal["nnunet", "folders", "arrays", "list"]
Scale = Literal["divide by 255", "z-score", "percentiles", "window", "none"]

Text = Annotated[str, Field(min_length=1, max_length=200)]


class Declaration(BaseModel, frozen=True, extra="forbid"):
    """A data set of one's own. A field that is None is decided by looking at the files, and told."""

    name: str | None = None
    """The name of the data set; None: that of its folder."""
    title: str = ""
    """The name that tables and pages show."""
    modality: str = "not stated"
    """Imaging modality, e.g. "ultrasound"."""
    layout: LayoutKind | None = None
    """How the files lie: "nnunet" (imagesTr, labelsTr), "folders" (images and masks), "arrays" (h5 or npz files), "list"."""
    images: str | None = None
    """The folder of the images, for "folders" and "arrays"."""
    masks: str | None = None
    """The folder of the masks, for "folders"."""
    list: str | None = None
    """The CSV or JSON file with the cases, for "list"."""
    image_name: str | None = None
    """A regular expression; its group is the name of the case in the name of an image file."""
    mask_name: str | None = None
    """The same for mask files."""
    image_key: str = "image"
    """The name of the image in an h5 or npz file."""
    label_key: str = "label"
    """The name of the label in an h5 or npz file."""
    dims: Literal[2, 3] | None = None
    """2 for images, 3 for volumes."""
    network_dims: Literal[2, 3] | None = None
    """Dimensions of the network of a run that names none; None: those of the data."""
    channels: tuple[Text, ...] | None = None
    """Names of the channels."""
    classes: dict[int, Text] | None = None
    """Label value -> name of the class. Values with the same name are merged."""
    ignore: tuple[int, ...] = ()
    """Label values of voxels that are neither trained nor scored."""
    spacing: tuple[Annotated[float, Field(gt=0, le=1e6)], ...] | None = None
    """mm per axis, in the order of the axes; None: what the files say."""
    slice_axis: int | None = Field(None, ge=0, le=2)
    """The axis along which a 2D network slices volumes."""
    groups: str | None = None
    """A regular expression; its group, found in the path of an image, is the patient. None: as `look` decides."""
    domains: str | None = None
    """A regular expression; its group, found in the path of an image, is the device or centre. None: one domain."""
    scale: Scale | None = None
    """What is done to the values of each image."""
    window: tuple[float, float] | None = None
    """The values that become 0 and 1, for the scale "window"."""
    size: Grid | None = None
    """The working grid; None: the recipe's for images, their own for volumes."""
    test_images: Literal["left out", "unlabeled"] = "left out"
    """What imagesTs without labels are: never test cases."""

    @field_validator("image_name", "mask_name", "groups", "domains")
    @classmethod
    def _expression(cls, value: str | None) -> str | None:
        if value is None:
            return None
        try:
            groups = re.compile(value).groups
        except (re.error, OverflowError, RecursionError) as error:
            raise ValueError(f"expected a regular expression ({error})") from error
        if groups < 1:
            raise ValueError('expected a group in parentheses that holds the name, e.g. "(patient[0-9]+)"')
        return value

    @field_validator("images", "masks", "list")
    @classmethod
    def _inside(cls, value: str | None) -> str | None:
        if value is not None and (Path(value).is_absolute() or ".." in Path(value).parts or "\\" in value):
            raise ValueError("expected a path inside the folder of the data set, with /")
        return value

    @field_validator("classes")
    @classmethod
    def _classes(cls, value: dict[int, str] | None) -> dict[int, str] | None:
        if value is None:
            return None
        if len(set(value.values())) < 2:
            raise ValueError("expected at least two classes with different names, the background among them")
        if 0 not in value:
            raise ValueError("expected the value 0, which is the background")
        if len(set(value.values())) > 255:
            raise ValueError("expected at most 255 classes")
        return dict(sorted(value.items()))

    @model_validator(mode="after")
    def _together(self) -> Declaration:
        if self.window is not None and not self.window[0] < self.window[1]:
            raise ValueError("window: expected [low, high] with low < high")
        if self.scale == "window" and self.window is None:
            raise ValueError("scale: window needs the values that become 0 and 1, e.g. window: [-160, 240]")
        both = sorted(set(self.ignore) & set(self.classes or {}))
        if both:
            raise ValueError(f"classes and ignore both list the value {both[0]}; keep one")
        if self.dims is not None:
            for name in ("spacing", "size"):
                given = getattr(self, name)
                if given is not None and len(given) != self.dims:
                    raise ValueError(f"{name}: expected {self.dims} numbers, found {len(given)}")
        return self

    def class_names(self) -> tuple[str, ...]:
        """Returns the names of the classes, the background first, then in the order of their smallest values."""
        values = self.classes or {0: BACKGROUND, 1: "foreground"}
        return tuple(dict.fromkeys(values[value] for value in sorted(values, key=lambda value: (value != 0, value))))

    def class_of(self) -> Mapping[int, int]:
        """Returns stored label value -> class, without the values to ignore."""
        names = self.class_names()
        values = self.classes or {0: BACKGROUND, 1: "foreground"}
        return {value: names.index(name) for value, name in values.items()}

    def record(self) -> dict[str, Any]:
        """Returns what enters the key of a run: everything that decides what a case is, and no title."""
        return self.model_dump(mode="json", exclude={"name", "title", "modality", "network_dims"})

    def card(self, name: str, domains: tuple[str, ...], cases_have_labels: bool) -> DatasetCard:
        """Returns the card of the data set that this declares, once nothing is left to decide."""
        assert self.dims is not None and self.channels is not None
        return DatasetCard(
            name=name,
            title=self.title or name,
            load="semibench.data.declared.dataset:DeclaredDataset",
            summary="declared by its folder",
            dims=self.dims,
            modality=self.modality,
            channels=len(self.channels),
            classes=self.class_names(),
            domains=domains,
            slice_axis=self.slice_axis if self.dims == 3 else None,
            network_dims=self.network_dims,
            labeled_cases=cases_have_labels,
            public=False,
            tree=f"the folder of {name}, as {FILE} describes it",
            obtain="it is a data set of one's own",
        )


def read_declaration(folder: Path) -> Declaration:
    """Reads the semibench.yaml of a folder; an empty declaration where there is none.

    Raises:
        UsageError: for a file that is no such declaration; names file and line.
    """
    file = folder / FILE
    if not file.is_file():
        return Declaration()
    try:
        if not any(line.split("#")[0].strip() for line in file.read_text(encoding="utf-8-sig").splitlines()):
            return Declaration()
    except UnicodeDecodeError:  # read_document says it
        pass
    except OSError as error:
        raise UsageError(f"{file}: can't be read ({error.strerror}); make it readable") from error
    return read_document(file, Declaration)
