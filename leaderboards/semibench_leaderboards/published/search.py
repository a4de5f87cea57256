"""Finding published values by name; an unknown name is an error that lists the known ones."""

from __future__ import annotations

from collections.abc import Sequence

from semibench.contracts.errors import UnknownNameError, UsageError
from semibench_leaderboards.published.values import Value, values

ALIASES = {"jaccard": "iou", "dsc": "dice", "95hd": "hd95", "hd": "hd95", "isic2018": "isic18", "amos22": "amos"}
"""Names used by papers or by the harness -> names used in the tables."""

FILTERS = ("paper", "table", "dataset", "setting", "method", "group", "metric", "role")


def find(
    *,
    paper: str | None = None,
    table: str | None = None,
    dataset: str | None = None,
    setting: str | None = None,
    method: str | None = None,
    group: str | None = None,
    metric: str | None = None,
    role: str | None = None,
    among: Sequence[Value] | None = None,
) -> list[Value]:
    """The values that fit all filters, in the order of the tables.

    Names are compared without case; a method by its slug or its printed name; the data set mmwhs takes both directions.
    Raises UnknownNameError for a name that no value has at all, UsageError where only the combination has none.
    """
    given = locals()
    chosen = list(values() if among is None else among)
    everything = list(chosen)
    wanted = {name: str(given[name]) for name in FILTERS if given[name] is not None}
    for name, text in wanted.items():
        low = text.lower()
        low = ALIASES.get(low, low)
        if not any(_fits(value, name, low) for value in everything):
            raise UnknownNameError(_called(name), text, _known(everything, name, wanted))
        chosen = [value for value in chosen if _fits(value, name, low)]
    if not chosen:
        told = ", ".join(f"{name} {text!r}" for name, text in wanted.items())
        within = find(**{"paper": paper} if paper and len(wanted) > 1 else {}, among=everything)
        last = list(wanted)[-1]
        raise UsageError(
            f"no published value has {told}. {_called(last).capitalize()}s"
            + (f" of {paper}" if paper else "")
            + f": {', '.join(sorted(_known(within, last, {})))}"
        )
    return chosen


def _fits(value: Value, name: str, low: str) -> bool:
    if name == "method":
        return low in (value.method, value.alias.lower())
    if name == "dataset":
        return value.dataset == low or value.dataset.startswith(f"{low}-")
    if name == "setting":
        return low in (value.setting.lower(), value.block.lower())
    return str(getattr(value, name)).lower() == low


def _known(given: Sequence[Value], name: str, wanted: dict[str, str]) -> set[str]:
    """Names a person may type: of a table, those of the paper that was named."""
    if name == "table" and "paper" in wanted:
        given = [value for value in given if value.paper == wanted["paper"].lower()]
    if name == "setting":
        return {value.block for value in given} | {value.setting for value in given}
    return {str(getattr(value, name)) for value in given} - {""}


def _called(name: str) -> str:
    return {"dataset": "published data set", "paper": "paper", "role": "role"}.get(name, f"published {name}")
