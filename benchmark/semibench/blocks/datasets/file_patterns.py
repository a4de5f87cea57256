"""File patterns of an official layout: they find the cases and report missing, misnamed and stray files."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from semibench.contracts.cases import LayoutProblem

NEVER_STRAY = ("readme*", "license*", "licence*", "attribution*", "mandatory_citation*", "*.pdf", "thumbs.db",
               "dataset.json", "semibench_groups.csv", "sha256sums*")  # fmt: skip
"""Names that occur in any archive. Like hidden files, they are never reported."""

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
        base: the folder of the data set. Sub-folders are searched too; hidden files are skipped.
        patterns: the files of a case. If several patterns match a file, the first one counts.

    Returns:
        Case name -> its files, sorted by case name.
    """
    cases: dict[str, CaseFiles] = {}
    for path, relative in _walk(base):
        pattern, match = _match(relative, patterns)
        if pattern is not None and match is not None:
            case = cases.setdefault(pattern.case.format(**match), CaseFiles())
            case.files.setdefault(pattern.role, []).append(path)
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
    for case, files in cases.items():
        for pattern in patterns:
            have = files.files.get(pattern.role, [])
            if not have and pattern.required:
                beside = base if "/" in pattern.path else files.every()[0].parent
                problems.append(_missing(beside / pattern.path.format(**files.groups), pattern, case, files, stray))
            elif len(have) > 1 and not pattern.many:
                problems.append(_clash(have, pattern, case, files))
    expected = ", ".join(dict.fromkeys(pattern.path for pattern in patterns))
    for path in stray:
        ending = _other_ending(path, base, patterns)
        words = f"only files of {title} ({expected}), found another" if ending is None else _endings(ending, path)
        advice = "" if ending is None else f"rename it if it belongs to {title}, else "
        problems.append(LayoutProblem(f"{path}: expected {words}; {advice}move it out of the folder", (path,)))
    return problems


def image_and_mask_patterns(
    base: Path, images: Sequence[str], masks: Sequence[str], *, required: bool
) -> tuple[FilePattern, ...]:
    """Returns the patterns of an image folder and a mask folder.

    Args:
        base: the folder of the data set.
        images: possible names of the image folder. The first existing one is used, else the first one. "" is `base` itself.
        masks: possible names of the mask folder, chosen the same way. A mask is named like its image, optionally followed by
            _mask, _GT, _seg or _label.
        required: True if every image must have a mask.

    Returns:
        The patterns of the roles "image" and "mask".

    Examples:
        >>> [pattern.path for pattern in image_and_mask_patterns(folder, ["images"], ["masks"], required=True)]
        ['images/{case}.png', 'images/{case}_mask.png']
    """
    image, mask = (next((n for n in names if (base / n).is_dir()), names[0]) for names in (images, masks))
    lead = f"{image}/" if image else ""
    separate = (base / mask).is_dir() and mask != image
    marked = r"[_-](?:mask|gt|seg|label|segmentation)"
    stem = r"(?P<case>[^/]+?)" if separate else rf"(?P<case>(?:(?!{marked}\.)[^/])+)"
    drawn = (
        rf"{mask}/(?P<case>[^/]+?)(?:{marked})?{RASTER_ENDINGS}"
        if separate
        else rf"{lead}(?P<case>[^/]+?){marked}{RASTER_ENDINGS}"
    )
    where = f"{mask}/{{case}}.png" if separate else f"{lead}{{case}}_mask.png"
    return (
        FilePattern("image", rf"{lead}{stem}{RASTER_ENDINGS}", "{case}", f"{lead}{{case}}.png"),
        FilePattern("mask", drawn, "{case}", where, required=required),
    )


def _missing(expected: Path, pattern: FilePattern, case: str, files: CaseFiles, stray: list[Path]) -> LayoutProblem:
    """Reports a missing file, or a file of that name with the wrong ending, which is then removed from `stray`."""
    stem = expected.name.removesuffix(pattern.ending)
    for path in stray:
        if path.parent == expected.parent and path.name.partition(".")[0] == stem:
            stray.remove(path)
            return LayoutProblem(
                f"{path}: expected {_endings(pattern.ending, path)}; rename it, or convert it where it has another format",
                (path, *files.every()),
            )
    others = ", ".join(path.name for path in files.every()[:2])
    return LayoutProblem(
        f"{expected}: expected the {pattern.role} of {case}, found only {others}; unpack the archive again or take the "
        "case out",
        files.every(),
    )


def _endings(ending: str, path: Path) -> str:
    return f"the ending {ending}, found {''.join(path.suffixes) or 'none'}"


def _other_ending(path: Path, base: Path, patterns: Sequence[FilePattern]) -> str | None:
    """Returns the ending that would make a stray file part of the layout, or None."""
    stem = path.relative_to(base).as_posix().removesuffix("".join(path.suffixes))
    endings = (pattern.ending for pattern in patterns if _match(stem + pattern.ending, (pattern,))[0] is not None)
    return next(endings, None)


def _clash(have: Sequence[Path], pattern: FilePattern, case: str, files: CaseFiles) -> LayoutProblem:
    names = " and ".join(str(path) for path in have)
    return LayoutProblem(
        f"{names}: expected one file as the {pattern.role} of {case}, found {len(have)}; remove all but the right one",
        files.every(),
    )


def _stray(base: Path, patterns: Sequence[FilePattern], known: Sequence[str]) -> list[Path]:
    """Finds files that no pattern matches, in the folders of the layout only: other folders may hold other data sets."""
    files = [(path, relative, _match(relative, patterns)[0] is not None) for path, relative in _walk(base)]
    ours = {relative.partition("/")[0] if "/" in relative else "" for _, relative, matched in files if matched}
    ours |= {pattern.path.partition("/")[0] for pattern in patterns if "/" in pattern.path}
    return [
        path
        for path, relative, matched in files
        if not matched
        and (relative.partition("/")[0] if "/" in relative else "") in ours
        and not any(fnmatch.fnmatch(path.name.lower(), glob) for glob in NEVER_STRAY)
        and not any(fnmatch.fnmatch(relative.lower(), glob.lower()) for glob in known)
    ]


def _match(relative: str, patterns: Sequence[FilePattern]) -> tuple[FilePattern | None, dict[str, str] | None]:
    for pattern in patterns:
        match = re.fullmatch(pattern.regex, relative, re.IGNORECASE)
        if match:
            return pattern, {name: value for name, value in match.groupdict().items() if value is not None}
    return None, None


def _walk(base: Path) -> Iterator[tuple[Path, str]]:
    """Yields the files in a folder and their relative paths, sorted, without hidden ones."""
    for path in sorted(base.rglob("*")):
        relative = path.relative_to(base)
        if path.is_file() and not any(part.startswith((".", "__MACOSX")) for part in relative.parts):
            yield path, relative.as_posix()
