"""The search space of a study: loss weights with a declared range, and options declared with `tunable`."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel

from semibench.contracts.errors import UnknownNameError, UsageError
from semibench.contracts.schedule import Term

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from optuna.trial import Trial

GRID_POINTS = 5
"""Number of values of a range that the sampler `grid` tries."""


class Dimension(BaseModel, frozen=True, extra="forbid"):
    """One searched value."""

    name: str
    """The name that users type ("consistency", "decay")."""
    setting: str
    """The name for --set ("term.consistency.weight")."""
    kind: Literal["float", "int", "choice"] = "float"
    """Weights are floats on a logarithmic scale."""
    low: float = 0.0
    """Low end of the range."""
    high: float = 0.0
    """High end of the range."""
    log: bool = False
    """Search on a logarithmic scale."""
    choices: tuple[Any, ...] = ()
    """Values to choose from, if `kind` is "choice"."""
    default: Any = None
    """Value of a run without tuning."""

    def suggest(self, trial: Trial) -> Any:
        """Return a value from the sampler."""
        if self.kind == "choice":
            return trial.suggest_categorical(self.name, list(self.choices))
        if self.kind == "int":
            return trial.suggest_int(self.name, int(self.low), int(self.high), log=self.log)
        return trial.suggest_float(self.name, self.low, self.high, log=self.log)

    def distribution(self) -> BaseDistribution:
        """Return Optuna's record of the range."""
        from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

        if self.kind == "choice":
            return CategoricalDistribution(list(self.choices))
        if self.kind == "int":
            return IntDistribution(int(self.low), int(self.high), log=self.log)
        return FloatDistribution(self.low, self.high, log=self.log)

    def grid(self) -> list[Any]:
        """Return the values that the sampler `grid` tries."""
        if self.kind == "choice":
            return list(self.choices)
        if self.log:
            step = (self.high / self.low) ** (1 / (GRID_POINTS - 1))
            values = [min(self.low * step**number, self.high) for number in range(GRID_POINTS)]
        else:
            values = [self.low + (self.high - self.low) * number / (GRID_POINTS - 1) for number in range(GRID_POINTS)]
        return sorted({round(value) for value in values}) if self.kind == "int" else values


def build_space(
    terms: Mapping[str, Term], weights: Mapping[str, float], options: Any, *, only: Sequence[str] = (),
    ranges: Mapping[str, tuple[float, float]] | None = None, fixed: Iterable[str] = (),
) -> list[Dimension]:  # fmt: skip
    """Return the dimensions of a study.

    Args:
        terms: terms with their declared ranges.
        weights: resolved weights by term. A term of weight 0 is switched off and left out unless it is named.
        options: validated options of the method.
        only: names to search; all by default.
        ranges: ranges that replace declared ones.
        fixed: settings that the user gave, which are left out.

    Raises:
        UsageError: if nothing is left to search.
        UnknownNameError: for an unknown name.
    """
    ranges = dict(ranges or {})
    declared = {dimension.name: dimension for dimension in (*_of_terms(terms, weights), *_of_options(options))}
    names = {*terms, *declared}
    for name in (*only, *ranges):
        if name not in names:
            raise UnknownNameError("loss term or tunable option", name, names)
    fixed_names = {text.removeprefix("term.").removeprefix("method.").removesuffix(".weight") for text in fixed}
    space = []
    for name in dict.fromkeys((*declared, *ranges)):
        dimension = declared.get(name) or Dimension(
            name=name, setting=f"term.{name}.weight", log=True, default=weights[name]
        )
        if name in ranges:
            dimension = _ranged(dimension, *ranges[name])
        if only and name not in only:
            continue
        if name in fixed_names:
            if name in only or name in ranges:
                raise UsageError(f"{name} is both set with --set and searched; omit one of them")
            continue
        if dimension.default == 0.0 and name in terms and name not in only and name not in ranges:
            continue
        if dimension.kind != "choice" and not (dimension.high > dimension.low):
            raise UsageError(f"{name} has no search range; give one: --range {name}=0.01:10")
        space.append(dimension)
    if not space:
        tunable = ", ".join(declared) or "none"
        raise UsageError(
            f"there is nothing to search: tunable are {tunable} (of the terms {', '.join(terms)}); "
            "give a range with --range term=lo:hi"
        )
    return space


def _of_terms(terms: Mapping[str, Term], weights: Mapping[str, float]) -> list[Dimension]:
    return [
        Dimension(
            name=name,
            setting=f"term.{name}.weight",
            low=term.search[0],
            high=term.search[1],
            log=True,
            default=weights[name],
        )
        for name, term in terms.items()
        if term.search is not None
    ]


def _of_options(options: Any) -> list[Dimension]:
    """Return the dimensions of the fields declared with `semibench.tunable`."""
    dimensions = []
    for name, field in type(options).model_fields.items():
        extra = field.json_schema_extra
        search = extra.get("search") if isinstance(extra, dict) else None
        if isinstance(search, dict):
            values: dict[str, Any] = dict(search)
            kind = "choice" if "choices" in values else "int" if field.annotation is int else "float"
            dimensions.append(
                Dimension.model_validate(
                    {
                        "name": name,
                        "setting": f"method.{name}",
                        "kind": kind,
                        "default": getattr(options, name),
                        **values,
                    }
                )
            )
    return dimensions


def _ranged(dimension: Dimension, low: float, high: float) -> Dimension:
    if dimension.kind == "choice":
        raise UsageError(
            f"--range {dimension.name}: it is one of {', '.join(map(str, dimension.choices))}, not a range"
        )
    if not (math.isfinite(low) and math.isfinite(high) and low < high) or (dimension.log and low <= 0):
        raise UsageError(
            f"--range {dimension.name}={low:g}:{high:g}: expected two numbers, the smaller first"
            + (", both greater than 0 (weights are searched on a logarithmic scale)" if dimension.log else "")
        )
    return dimension.model_copy(update={"low": low, "high": high})


def parse_ranges(texts: Iterable[str]) -> dict[str, tuple[float, float]]:
    """Parse ["consistency=0.1:10"] to {"consistency": (0.1, 10.0)}. Raise UsageError for anything else."""
    ranges: dict[str, tuple[float, float]] = {}
    for text in texts:
        name, _, values = text.partition("=")
        low, _, high = values.partition(":")
        try:
            ranges[name.strip()] = (float(low), float(high))
        except ValueError as error:
            raise UsageError(f"--range {text!r}: expected term=lo:hi, e.g. --range consistency=0.1:10") from error
    return ranges
