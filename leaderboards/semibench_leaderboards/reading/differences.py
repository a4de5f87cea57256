"""Differences between tracks or entries, under the names that users know."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from semibench.contracts.identity import Entry, Track

MISSING = "–"


def flat(value: Any, prefix: str = "") -> dict[str, Any]:
    """Flattens nested mappings to dotted names; lists stay values."""
    if isinstance(value, Mapping) and value:
        flattened: dict[str, Any] = {}
        for key, inner in value.items():
            flattened |= flat(inner, f"{prefix}.{key}" if prefix else str(key))
        return flattened
    return {prefix: value}


def differences(first: Any, second: Any) -> list[tuple[str, Any, Any]]:
    """Where two nested records differ: (dotted name, value in the first, value in the second), "–" for a missing value.

    Where one has nothing and the other a record, only the parts of the record are listed.
    """
    one, other = flat(first), flat(second)
    every = dict.fromkeys([*one, *other])
    parents = {name.rsplit(".", depth)[0] for name in every for depth in range(1, name.count(".") + 1)}
    names = [name for name in every if name not in parents]
    return [
        (name, one.get(name, MISSING), other.get(name, MISSING))
        for name in names
        if one.get(name, MISSING) != other.get(name, MISSING)
    ]


def track_record(track: Track) -> dict[str, Any]:
    """A track as `differences` shows it: options without the word "options", and a short data digest."""
    record: dict[str, Any] = {}
    for part in ("protocol", "dataset", "recipe"):
        value = getattr(track, part)
        record[part] = value if isinstance(value, str) else {"name": value.short, **value.options}
    return {**record, "data": track.data[:12], "tuning": track.tuning}


def entry_record(entry: Entry) -> dict[str, Any]:
    """An entry as `distinct_names` shows it, with the names of `--set`."""
    record: dict[str, Any] = {
        "method": {"name": entry.method.short, **entry.method.options},
        "term": {name: {**term} if isinstance(term, Mapping) else term for name, term in entry.terms.items()},
        "backbone": {"name": entry.backbone.short, **entry.backbone.options},
        "init": entry.init[:12] if entry.init else None,
    }
    if entry.recipe is not None:
        record["recipe"] = {**entry.recipe.options}
    return record


def distinct_names(entries: Mapping[str, Entry], codes: Mapping[str, str] | None = None) -> dict[str, str]:
    """A short and unique name for each entry.

    It is the method, with the backbone where a method has several, with the options that differ where that isn't enough, and with
    the digest where too many differ. Entries of one name that were made with different code show its digest, too. A control has the
    name of its method and " (control)".

    Args:
        entries: by key.
        codes: digest of the code that made each; None: all the same.
    """
    methods = {key: entry.model_copy(update={"unlabeled_from": None}) for key, entry in entries.items()}
    digests = {key: entry.digest() for key, entry in methods.items()}
    named: dict[str, str] = {}  # digest of a method -> the key that names it: its own rather than its control's
    for key in sorted(entries, key=lambda key: entries[key].is_control):
        named.setdefault(digests[key], key)
    names = _distinct_methods({key: methods[key] for key in entries if named[digests[key]] == key}, codes)
    return {
        key: names[named[digests[key]]] + (" (control)" if entry.is_control else "") for key, entry in entries.items()
    }


def _distinct_methods(entries: Mapping[str, Entry], codes: Mapping[str, str] | None) -> dict[str, str]:
    """As `distinct_names`, for entries that aren't controls."""
    backbones: dict[str, set[str]] = {}
    for entry in entries.values():
        backbones.setdefault(entry.method.short, set()).add(entry.backbone.short)
    names = {
        key: entry.method.short
        if len(backbones[entry.method.short]) == 1
        else f"{entry.method.short} · {entry.backbone.short}"
        for key, entry in entries.items()
    }
    same: dict[str, list[str]] = {}
    for key, name in names.items():
        same.setdefault(name, []).append(key)
    for name, keys in same.items():
        if len(keys) == 1:
            continue
        records = {key: flat(entry_record(entries[key])) for key in keys}
        every = list(dict.fromkeys(option for record in records.values() for option in record))
        varying = [
            option for option in every if len({repr(record.get(option, MISSING)) for record in records.values()}) > 1
        ]
        for key in keys:
            shown = ", ".join(f"{option}={_text(records[key].get(option, MISSING))}" for option in varying[:3])
            more = f", … {key[:6]}" if len(varying) > 3 else ""
            code = f", code {codes[key][:6] or MISSING}" if codes and len({codes[each] for each in keys}) > 1 else ""
            names[key] = f"{name} ({shown}{more}{code})"
    repeated = {name for name, count in Counter(names.values()).items() if count > 1}
    return {key: f"{name} {key[:6]}" if name in repeated else name for key, name in names.items()}


def _text(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:g}"
    return MISSING if value is None else str(value)
