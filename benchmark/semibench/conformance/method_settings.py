"""Checks of what a user can set in a method: its options and presets. A check raises AssertionError with a message that says
what is wrong."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from pydantic import ValidationError

from semibench.conformance.subject import MethodSubject
from semibench.contracts.method import MethodOptions
from semibench.contracts.recipe import Recipe
from semibench.contracts.schedule import Term
from semibench.run.settings import build, term_records


class _InvalidValue:
    """A value that no option may accept."""


def check_options_validate(subject: MethodSubject) -> None:
    """Options are a `MethodOptions` that rejects values of a wrong type and whose defaults pass validation."""
    options = subject.method.Options
    assert issubclass(options, MethodOptions), f"expected a subclass of MethodOptions, found {options!r}"
    for name in options.model_fields:
        try:
            options.model_validate({**subject.options, name: _InvalidValue()})
        except ValidationError:
            continue
        raise AssertionError(f"the option {name!r} accepts any value: give it a type")
    try:
        options.model_validate(options.model_validate(dict(subject.options)).model_dump())
    except ValidationError as error:
        raise AssertionError(f"the defaults don't pass validation: {error}") from error


def check_options_refuse_unknown_keys(subject: MethodSubject) -> None:
    """A misspelt option raises an error, and options are immutable."""
    try:
        subject.method.Options.model_validate({"no_such_option": 1})
    except ValidationError:
        pass
    else:
        raise AssertionError('Options accepts unknown keys: declare it with frozen=True, extra="forbid"')
    assert subject.method.Options.model_config.get("frozen"), "Options are mutable: declare it with frozen=True"


def check_presets_are_valid(subject: MethodSubject) -> None:
    """Every preset holds existing parts, options, terms and recipe fields with valid values."""
    parts = {"options", "terms", "recipe", "backbone"}
    for name, preset in subject.method.presets.items():
        assert set(preset) <= parts, f"preset {name!r} has the parts {sorted(preset)}; known: {sorted(parts)}"
        build(subject.method.Options, f"preset {name!r}", preset.get("options", {}))
        for record in term_records(subject.method.terms, preset.get("terms", {})).values():
            Term.restore(record)
        build(Recipe, f"preset {name!r}", subject.recipe(1).model_dump(), preset.get("recipe", {}))


SETTINGS_CHECKS: Mapping[str, Callable[[MethodSubject], None]] = {
    name.removeprefix("check_"): function for name, function in globals().items() if name.startswith("check_")
}
"""All checks of options and presets, by name."""
