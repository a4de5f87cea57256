"""The files of an official layout as patterns: what finds the cases, and what tells missing, misnamed and stray files."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from semibench import LayoutProblem

NEVER_STRAY = ("readme*", "license*", "licence*", "attribution*", "mandatory_citation*", "*.pdf", "thumbs.db",
               "dataset.json", "semibench_groups.csv", "sha256sums*")  # fmt: skip
"""Names that lie about in any archive; hidden files are passed over as well."""


RASTER = r"\.(?:png|jpe?g|bmp|tiff?)"
"""Endings of pictures."""


@dataclass(frozen=True)
class FilePattern:
    """Files of one role. regex: of the path relative to the base, with "/" (capitals are not compared); its named groups
    fill `case` and `path`. case: what the files of one case have in common. path: where the file is expected. required:
    every case must have one. many: a case may have several."""

    role: str
    regex: str
    case: str
    path: str
    required: bool = True
    many: bool = False

    @property
    def ending(self) -> str:
        """Of the expected path, e.g. ".nii.gz"."""
        return "".join(PurePosixPath(self.path.replace("{", "_").replace("}", "_")).suffixes)


@dataclass
class Found:
    """Files of one case by role. groups: the named groups of all patterns that matched."""

    files: dict[str, list[Path]] = field(default_factory=dict)
    groups: dict[str, str] = field(default_factory=dict)

    def one(self, role: str) -> Path | None:
        """The file of a role, the first by name where there are several."""
        return next(iter(self.files.get(role, ())), None)

    def every(self) -> tuple[Path, ...]:
        """All files."""
        return tuple(path for paths in self.files.values() for path in paths)


def scan(base: Path, patterns: Sequence[FilePattern]) -> dict[str, Found]:
    """The cases under a folder, sorted by their name."""
    found: dict[str, Found] = {}
    for path, relative in _walk(base):
        pattern, match = _match(relative, patterns)
        if pattern is not None and match is not None:
            case = found.setdefault(pattern.case.format(**match), Found())
            case.files.setdefault(pattern.role, []).append(path)
            case.groups |= match
    return dict(sorted(found.items()))


def problems(
    base: Path, found: Mapping[str, Found], patterns: Sequence[FilePattern], known: Sequence[str], title: str
) -> list[LayoutProblem]:
    """What is wrong with the names under a folder: required files that are missing, files with another ending, two files
    for one thing, files that don't belong there. found: of `scan`. known: globs (relative paths) of official files that
    are not read. title: of the data set."""
    stray = _stray(base, patterns, known)
    said: list[LayoutProblem] = []
    for case, files in found.items():
        for pattern in patterns:
            have = files.files.get(pattern.role, [])
            if not have and pattern.required:
                beside = base if "/" in pattern.path else files.every()[0].parent
                said.append(_missing(beside / pattern.path.format(**files.groups), pattern, case, files, stray))
            elif len(have) > 1 and not pattern.many:
                said.append(_clash(have, pattern, case, files))
    expected = ", ".join(dict.fromkeys(pattern.path for pattern in patterns))
    for path in stray:
        ending = _other_ending(path, base, patterns)
        words = f"only files of {title} ({expected}), found another" if ending is None else _endings(ending, path)
        advice = "" if ending is None else f"rename it if it belongs to {title}, else "
        said.append(LayoutProblem(f"{path}: expected {words}; {advice}move it out of the folder", (path,)))
    return said


def paired(base: Path, images: Sequence[str], masks: Sequence[str], *, required: bool) -> tuple[FilePattern, ...]:
    """Patterns of an image folder beside a mask folder, each the first of the names that exists ("" is the base itself; the
    first name where none does). A mask has the image's name, or that with _mask, _GT, _seg or _label behind it."""
    image, mask = (next((n for n in names if (base / n).is_dir()), names[0]) for names in (images, masks))
    lead = f"{image}/" if image else ""
    separate = (base / mask).is_dir() and mask != image
    marked = r"[_-](?:mask|gt|seg|label|segmentation)"
    stem = r"(?P<case>[^/]+?)" if separate else rf"(?P<case>(?:(?!{marked}\.)[^/])+)"
    drawn = rf"{mask}/(?P<case>[^/]+?)(?:{marked})?{RASTER}" if separate else rf"{lead}(?P<case>[^/]+?){marked}{RASTER}"
    where = f"{mask}/{{case}}.png" if separate else f"{lead}{{case}}_mask.png"
    return (
        FilePattern("image", rf"{lead}{stem}{RASTER}", "{case}", f"{lead}{{case}}.png"),
        FilePattern("mask", drawn, "{case}", where, required=required),
    )


def _missing(expected: Path, pattern: FilePattern, case: str, files: Found, stray: list[Path]) -> LayoutProblem:
    """A missing file, or its namesake with another ending (which then is no stray file any more)."""
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
    """The ending with which a stray file would be one of the layout; None where there is none."""
    stem = path.relative_to(base).as_posix().removesuffix("".join(path.suffixes))
    endings = (pattern.ending for pattern in patterns if _match(stem + pattern.ending, (pattern,))[0] is not None)
    return next(endings, None)


def _clash(have: Sequence[Path], pattern: FilePattern, case: str, files: Found) -> LayoutProblem:
    names = " and ".join(str(path) for path in have)
    return LayoutProblem(
        f"{names}: expected one file as the {pattern.role} of {case}, found {len(have)}; remove all but the right one",
        files.every(),
    )


def _stray(base: Path, patterns: Sequence[FilePattern], known: Sequence[str]) -> list[Path]:
    """Files that no pattern knows, in the folders that the layout uses (elsewhere other data sets may lie)."""
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
    """Files under a folder with their relative paths, sorted; hidden ones left out."""
    for path in sorted(base.rglob("*")):
        relative = path.relative_to(base)
        if path.is_file() and not any(part.startswith((".", "__MACOSX")) for part in relative.parts):
            yield path, relative.as_posix()
