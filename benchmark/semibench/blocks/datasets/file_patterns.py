"""File patterns of an official layout: they find the cases and report missing, misnamed and stray files."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from semibench.blocks.datasets.folder_walk import FoundFile, composed, walk_files
from semibench.blocks.datasets.official_layout import first_folder
from semibench.contracts.cases import LayoutProblem

NEVER_STRAY = ("readme*", "license*", "licence*", "attribution*", "mandatory_citation*", "*.pdf", "dataset.json",
               "semibench_groups.csv", "sha256sums*")  # fmt: skip
"""Names that occur in any archive. Like hidden files and those of an operating system, they are never reported."""

RASTER_ENDINGS = r"\.(?:png|jpe?g|bmp|tiff?)"
"""Regular expression that matches the endings of image files."""


@dataclass(frozen=True)
class FilePattern:
    """The files of one role, e.g. all masks.

    Attributes:
        role: the name of the role, as error messages show it.
        regex: matches the path relative to the folder of the data set, with "/" between folders, ignoring case. Its named
            groups fill in `case` and `path`.
        case: the name shared by the files of one case, e.g. "{case}".
        path: the path of the file in the official layout, e.g. "masks/{case}.png".
        required: True if every case must have such a file.
        many: True if a case may have several such files.

    Examples:
        >>> FilePattern("mask", r"masks/(?P<case>[^/]+)\\.png", "{case}", "masks/{case}.png").ending
        '.png'
    """

    role: str
    regex: str
    case: str
    path: str
    required: bool = True
    many: bool = False

    @property
    def ending(self) -> str:
        """The ending of the expected path, e.g. ".nii.gz"."""
        return "".join(PurePosixPath(self.path.replace("{", "_").replace("}", "_")).suffixes)


@dataclass
class CaseFiles:
    """The files of one case.

    Attributes:
        files: role -> paths, sorted by name.
        groups: the named groups of all patterns that matched its files.

    Examples:
        >>> CaseFiles({"mask": [Path("a_1.png"), Path("a_2.png")]}).one("mask").name
        'a_1.png'
    """

    files: dict[str, list[Path]] = field(default_factory=dict)
    groups: dict[str, str] = field(default_factory=dict)

    def one(self, role: str) -> Path | None:
        """Returns the file of a role (the first by name if there are several), or None."""
        return next(iter(self.files.get(role, ())), None)

    def every(self) -> tuple[Path, ...]:
        """Returns all files of the case."""
        return tuple(path for paths in self.files.values() for path in paths)


def find_case_files(base: Path, patterns: Sequence[FilePattern]) -> dict[str, CaseFiles]:
    """Finds the cases under a folder.

    Args:
        base: the folder of the data set. Sub-folders are searched too, linked ones as well; hidden files are passed over.
        patterns: the files of a case. If several patterns match a file, the first one counts.

    Returns:
        Case name -> its files, sorted by case name.

    Raises:
        LayoutError: if a folder can't be listed, or a file has a name that isn't UTF-8.
    """
    cases: dict[str, CaseFiles] = {}
    for file in walk_files(base):
        pattern, match = _match(file.relative, patterns)
        if pattern is not None and match is not None:
            case = cases.setdefault(pattern.case.format(**match), CaseFiles())
            case.files.setdefault(pattern.role, []).append(file.path)
            case.groups |= match
    return dict(sorted(cases.items()))


def layout_problems(
    base: Path, cases: Mapping[str, CaseFiles], patterns: Sequence[FilePattern], known: Sequence[str], title: str
) -> list[LayoutProblem]:
    """Reports files in a folder that are missing, misnamed, duplicated or unexpected.

    Args:
        base: the folder of the data set.
        cases: the cases in it, from `find_case_files`.
        patterns: the files of a case.
        known: globs (relative paths) of official files that the reader ignores.
        title: the title of the data set, for messages.

    Returns:
        One problem for each missing required file, each file with the wrong ending, each duplicate, and each file that
        doesn't belong there.
    """
    stray = _stray(base, patterns, known)
    problems: list[LayoutProblem] = []
    of_role = {pattern.role: pattern for pattern in reversed(patterns)}  # the first pattern of a role shows its place
    for case, files in cases.items():
        for pattern in reversed(of_role.values()):
            if not files.files.get(pattern.role) and pattern.required:
                beside = base if "/" in pattern.path else files.every()[0].parent
                problems.append(_missing(beside / pattern.path.format(**files.groups), pattern, case, files, stray))
    problems += clashes(cases, patterns)
    expected = ", ".join(dict.fromkeys(pattern.path for pattern in patterns))
    for file in stray:
        endings = _other_ending(file, patterns)
        words = f"only files of {title} ({expected}), found another" if endings is None else _endings(*endings)
        advice = "" if endings is None else f"rename it if it belongs to {title}, else "
        problems.append(
            LayoutProblem(f"{file.path}: expected {words}; {advice}move it out of the folder", (file.path,))
        )
    return problems


def clashes(cases: Mapping[str, CaseFiles], patterns: Sequence[FilePattern]) -> list[LayoutProblem]:
    """Reports cases with several files where one is expected: nobody can tell which one is meant.

    Args:
        cases: the cases of a folder, from `find_case_files`.
        patterns: the files of a case.

    Returns:
        One problem for each such case and role.
    """
    roles = {pattern.role for pattern in patterns if not pattern.many}
    return [
        _clash(have, role, case, files)
        for case, files in cases.items()
        for role, have in files.files.items()
        if role in roles and len(have) > 1
    ]


def incomplete(
    cases: Mapping[str, CaseFiles], patterns: Sequence[FilePattern], roles: Sequence[str]
) -> list[LayoutProblem]:
    """Reports cases that lack a file of one of some roles.

    Args:
        cases: the cases of a folder, from `find_case_files`.
        patterns: the files of a case.
        roles: the roles that every case must have.

    Returns:
        One problem for each missing file.
    """
    return [
        LayoutProblem(
            f"{files.every()[0]}: expected the {role} of {case} beside it, found none; unpack the archive again or take the "
            "case out",
            files.every(),
        )
        for case, files in cases.items()
        for role in dict.fromkeys(pattern.role for pattern in patterns if pattern.role in roles)
        if not files.files.get(role)
    ]


def image_and_mask_patterns(
    base: Path, images: Sequence[str], masks: Sequence[str], *, required: bool
) -> tuple[FilePattern, ...]:
    """Returns the patterns of an image folder and a mask folder.

    Args:
        base: the folder of the data set.
        images: possible names of the image folder, in any case of letters. The first existing one is used, else the first
            one. "" is `base` itself.
        masks: possible names of the mask folder, chosen the same way. A mask is named like its image, optionally followed by
            _mask, _GT, _seg or _label.
        required: True if every image must have a mask.

    Returns:
        The patterns of the roles "image" and "mask".

    Examples:
        >>> [pattern.path for pattern in image_and_mask_patterns(folder, ["images"], ["masks"], required=True)]
        ['images/{case}.png', 'images/{case}_mask.png']
    """
    image_folder, mask_folder = first_folder(base, images), first_folder(base, masks)
    image = images[0] if image_folder is None else _inside(base, image_folder)
    mask = masks[0] if mask_folder is None else _inside(base, mask_folder)
    lead = f"{re.escape(image)}/" if image else ""
    separate = mask_folder is not None and mask != image
    marked = r"[_-](?:mask|gt|seg|label|segmentation)"
    if separate and image_folder is not None and _named_like_masks(image_folder, marked):
        marked = (
            r"(?!)"  # the images themselves end in _seg, or the like: a mask then has exactly the name of its image
        )
    stem = r"(?P<case>[^/]+?)" if separate else rf"(?P<case>(?:(?!{marked}\.)[^/])+)"
    drawn = (
        rf"{re.escape(mask)}/(?P<case>[^/]+?)(?:{marked})?{RASTER_ENDINGS}"
        if separate
        else rf"{lead}(?P<case>[^/]+?){marked}{RASTER_ENDINGS}"
    )
    shown = f"{image}/" if image else ""
    where = f"{mask}/{{case}}.png" if separate else f"{shown}{{case}}_mask.png"
    return (
        FilePattern("image", rf"{lead}{stem}{RASTER_ENDINGS}", "{case}", f"{shown}{{case}}.png"),
        FilePattern("mask", drawn, "{case}", where, required=required),
    )


def _inside(base: Path, folder: Path) -> str:
    """Returns the name of a folder inside another one, in composed Unicode; "" for the same folder."""
    return "" if folder == base else composed(folder.relative_to(base).as_posix())


def _named_like_masks(folder: Path, marked: str) -> bool:
    """Returns whether any image of a folder has the ending that otherwise marks a mask."""
    return any(re.search(rf"{marked}{RASTER_ENDINGS}$", path.name, re.IGNORECASE) for path in folder.iterdir())


def _missing(
    expected: Path, pattern: FilePattern, case: str, files: CaseFiles, stray: list[FoundFile]
) -> LayoutProblem:
    """Reports a missing file, or a file of that name with the wrong ending, which is then removed from `stray`."""
    stem = composed(expected.name).removesuffix(pattern.ending)
    for file in stray:
        name = composed(file.path.name)
        if file.path.parent == expected.parent and (name == stem or name.startswith(f"{stem}.")):
            stray.remove(file)
            return LayoutProblem(
                f"{file.path}: expected {_endings(pattern.ending, name.removeprefix(stem))}; rename it, or convert it where "
                "it has another format",
                (file.path, *files.every()),
            )
    others = ", ".join(path.name for path in files.every()[:2])
    return LayoutProblem(
        f"{expected}: expected the {pattern.role} of {case}, found only {others}; unpack the archive again or take the "
        "case out",
        files.every(),
    )


def _endings(ending: str, found: str) -> str:
    return f"the ending {ending}, found {found or 'none'}"


def _other_ending(file: FoundFile, patterns: Sequence[FilePattern]) -> tuple[str, str] | None:
    """Returns the ending that would make a stray file part of the layout, and its own; None if no ending would."""
    suffixes = PurePosixPath(file.relative).suffixes
    for first in range(len(suffixes) - 1, -2, -1):  # the last suffix alone, then more of them, then none
        found = "".join(suffixes[first:]) if first >= 0 else ""
        stem = file.relative.removesuffix(found)
        for pattern in patterns:
            if _match(stem + pattern.ending, (pattern,))[0] is not None:
                return pattern.ending, found
    return None


def _clash(have: Sequence[Path], role: str, case: str, files: CaseFiles) -> LayoutProblem:
    names = " and ".join(str(path) for path in have)
    form = (
        " (their names differ only in the form of Unicode)" if len({composed(str(path)) for path in have}) == 1 else ""
    )
    return LayoutProblem(
        f"{names}: expected one file as the {role} of {case}, found {len(have)}{form}; remove all but the right one",
        files.every(),
    )


def _stray(base: Path, patterns: Sequence[FilePattern], known: Sequence[str]) -> list[FoundFile]:
    """Finds files that no pattern matches, in the folders of the layout only: other folders may hold other data sets."""
    files = [(file, _match(file.relative, patterns)[0] is not None) for file in walk_files(base)]
    ours = {_top(file.relative) for file, matched in files if matched}
    ours |= {_top(pattern.path) for pattern in patterns if "/" in pattern.path}
    return [
        file
        for file, matched in files
        if not matched
        and _top(file.relative) in ours
        and not any(fnmatch.fnmatch(file.path.name.lower(), glob) for glob in NEVER_STRAY)
        and not any(fnmatch.fnmatch(file.relative.lower(), glob.lower()) for glob in known)
    ]


def _top(relative: str) -> str:
    """Returns the first folder of a relative path; "" if there is none."""
    return relative.partition("/")[0] if "/" in relative else ""


def _match(relative: str, patterns: Sequence[FilePattern]) -> tuple[FilePattern | None, dict[str, str] | None]:
    for pattern in patterns:
        match = re.fullmatch(pattern.regex, relative, re.IGNORECASE)
        if match:
            return pattern, {name: value for name, value in match.groupdict().items() if value is not None}
    return None, None
