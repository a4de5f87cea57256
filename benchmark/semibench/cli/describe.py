"""Describes one plug-in as a plain record, and prints the record. Imports the plug-in's class."""

from __future__ import annotations

import functools
import inspect
import operator
from collections.abc import Mapping
from types import GenericAlias, UnionType
from typing import TYPE_CHECKING, Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel

from semibench.cli.console import Output, cell, table
from semibench.contracts.protocol import OfEveryProtocol
from semibench.files import jsonable

if TYPE_CHECKING:
    from semibench.contracts.metric import Metric
    from semibench.discovery.registry import Registered, Registry

FACTS = {
    "backbones": ("provides",),
    "conventions": ("inference", "grid", "main", "largest_component"),
}
"""Class attributes to show, by kind."""


def describe(plugins: Registry, kind: str, name: str) -> dict[str, Any]:
    """Returns the record of `bench show`.

    Raises:
        UnknownNameError: for an unknown name.
        PluginError: if the class is broken.
    """
    from semibench.data.declared.naming import find_dataset
    from semibench.discovery.registry import KINDS

    if kind == "recipes":
        return _recipe(plugins, name)
    item = find_dataset(plugins, name) if kind == "datasets" else plugins.get(kind, name)
    record: dict[str, Any] = {
        "kind": KINDS[kind].singular,
        "name": item.name,
        "full_name": item.full_name,
        "distribution": item.distribution,
        "version": item.version,
        "entry_point": item.entry_point,
        "card": item.card.model_dump(mode="json"),
    }
    cls = item.resolve()
    record["origin"] = _origin(cls, item)
    record["documentation"] = inspect.getdoc(cls) or ""
    options = getattr(cls, "Options", None)
    if isinstance(options, type) and issubclass(options, BaseModel):
        record["options"] = fields(options) + (fields(OfEveryProtocol) if kind == "protocols" else [])
    if kind == "methods":
        record["terms"] = {name: term(value) for name, value in cls.terms.items()}
        record["streams"] = jsonable(cls.streams)
    if hasattr(cls, "presets"):
        record["presets"] = jsonable(cls.presets)
    if kind == "conventions":
        record["metrics"] = {name: metric_facts(metric) for name, metric in cls.metrics.items()}
    for fact in FACTS.get(kind, ()):
        record[fact] = jsonable(_in_order(getattr(cls, fact)))
    return record


def _recipe(plugins: Registry, name: str) -> dict[str, Any]:
    """Returns the record of a recipe: all its cards in the order in which they are merged, the general ones first."""
    cards = [item for item in plugins.cards("recipes") if name in (item.name, item.full_name)]
    cards.sort(key=lambda item: sum((item.card.dims is not None, bool(item.card.protocols), bool(item.card.datasets))))
    if not cards:
        plugins.get("recipes", name)
    return {
        "kind": "recipe",
        "name": cards[0].name,
        "layers": [
            {
                "distribution": item.distribution,
                "version": item.version,
                "origin": item.origin,
                **item.card.model_dump(mode="json"),
            }
            for item in cards
        ],
    }


def _origin(cls: Any, item: Registered) -> str:
    try:
        return f"{inspect.getsourcefile(cls) or item.origin}:{inspect.getsourcelines(cls)[1]}"
    except (OSError, TypeError):
        return item.origin


def fields(model: type[BaseModel]) -> list[dict[str, Any]]:
    """Returns name, type, default, range or choices, and description of every option."""
    schema = model.model_json_schema()
    records = []
    for name, info in model.model_fields.items():
        shape = schema["properties"].get(name, {})
        shapes = [shape, *shape.get("anyOf", [])]
        bounds = {
            key: next((s[key] for s in shapes if key in s), None)
            for key in ("minimum", "exclusiveMinimum", "maximum", "exclusiveMaximum", "enum")
        }
        default = None if info.is_required() else info.get_default(call_default_factory=True)
        records.append(
            {
                "name": name,
                "type": _type(info.annotation),
                "default": jsonable(_in_order(default)),
                "required": info.is_required(),
                "range": _range(bounds),
                "choices": bounds["enum"],
                "description": info.description or "",
            }
        )
    return records


def _type(annotation: Any) -> str:
    annotation = _plain(annotation)
    return (
        annotation.__name__
        if isinstance(annotation, type)
        else str(annotation).replace("typing.", "").replace("NoneType", "None")
    )


def _range(bounds: Mapping[str, Any]) -> str:
    low = "" if bounds["minimum"] is None else f"[{bounds['minimum']:g}"
    low = low or ("" if bounds["exclusiveMinimum"] is None else f"({bounds['exclusiveMinimum']:g}")
    high = "" if bounds["maximum"] is None else f"{bounds['maximum']:g}]"
    high = high or ("" if bounds["exclusiveMaximum"] is None else f"{bounds['exclusiveMaximum']:g})")
    return f"{low or '(-inf'}, {high or 'inf)'}" if low or high else ""


def term(value: Any) -> dict[str, Any]:
    """Returns weight, ramp, gate and search range of a loss term."""
    return {**value.record(), "search": None if value.search is None else list(value.search)}


def metric_facts(metric: Metric) -> dict[str, str]:
    """Returns direction, unit and range of a metric, in words."""
    return {"direction": metric.direction, "unit": metric.unit, "range": metric.range}


def _in_order(value: Any) -> Any:
    """Returns a set as a sorted list, and any other value unchanged."""
    return sorted(value) if isinstance(value, set | frozenset) else value


def _plain(annotation: Any) -> Any:
    """Returns a type without the validators that pydantic reads from it: they are no names for users."""
    if get_origin(annotation) is Annotated:
        return _plain(get_args(annotation)[0])
    if isinstance(annotation, UnionType) or get_origin(annotation) is Union:
        return functools.reduce(operator.or_, map(_plain, get_args(annotation)))
    if get_origin(annotation) is tuple:
        return GenericAlias(tuple, tuple(map(_plain, get_args(annotation))))
    return annotation


# ---- as text -------------------------------------------------------------------------------------------------------


def draw(console: Output, record: Mapping[str, Any]) -> None:
    """Prints the record as titled tables."""
    if "layers" in record:
        console.show(f"recipe {record['name']}: its layers, the general ones first", style="bold")
        columns = ("dims", "protocols", "datasets", "values", "protocol", "distribution")
        console.show(table(columns, [[layer[column] for column in columns] for layer in record["layers"]]))
        return
    card = record["card"]
    console.show(f"{record['kind']} {record['full_name']}: {card.get('title', '')}", style="bold")
    if card.get("summary"):
        console.show(card["summary"])
    console.show(
        f"from {record['distribution']} {record['version']}, entry point {record['entry_point']}, {record['origin']}\n"
    )
    shown = {
        key: value for key, value in card.items() if key not in ("name", "title", "summary", "api", "tree", "obtain")
    }
    console.show(
        table(("card", ""), [(k.replace("_", " "), v) for k, v in shown.items() if v not in (None, "", [], {})])
    )
    if record.get("documentation"):
        console.show(f"\n{record['documentation']}")
    for title, key in (("how to obtain it", "obtain"), ("expected files", "tree")):
        if card.get(key):
            console.show(f"\n{title}", style="bold")
            console.show(card[key])
    if record.get("terms"):
        rows = [
            (n, t["weight"], ramp_text(t["ramp"]), gate_text(t["active"]), _search(t["search"]))
            for n, t in record["terms"].items()
        ]
        console.show()
        console.show(table(("loss term", "weight", "ramp", "active", "search"), rows))
    if "options" in record:
        console.show()
        if record["options"]:
            rows = [
                (o["name"], o["type"], "required" if o["required"] else cell(o["default"]),
                 o["range"] or cell(o["choices"]), o["description"])
                for o in record["options"]
            ]  # fmt: skip
            console.show(table(("option", "type", "default", "range", "description"), rows))
        else:
            console.show("no options")
    for key in ("presets", "streams"):
        if record.get(key):
            console.show()
            console.show(
                table((key.rstrip("s"), "values"), [(name, _lines(value)) for name, value in record[key].items()])
            )
    if record.get("metrics"):
        console.show()
        declared = [(name, each["direction"], each["unit"], each["range"]) for name, each in record["metrics"].items()]
        console.show(table(("metric", "direction", "unit", "range"), declared))
    facts = [(fact.replace("_", " "), record[fact]) for fact in FACTS.get(f"{record['kind']}s", ()) if fact in record]
    if facts:
        console.show()
        console.show(table(("fact", ""), facts))


def _lines(value: Any) -> str:
    return (
        "\n".join(f"{key}: {cell(inner)}" for key, inner in value.items()) if isinstance(value, dict) else cell(value)
    )


def ramp_text(ramp: Mapping[str, Any]) -> str:
    """Formats a ramp: "sigmoid to 1, 200 levels"; the number is the share of the stage at which it is complete."""
    stairs = f", {ramp['levels']} levels" if ramp["levels"] else ""
    return "constant" if ramp["kind"] == "constant" else f"{ramp['kind']} to {ramp['end']:g}{stairs}"


def gate_text(active: list[float | None]) -> str:
    """Formats the progress in which a term counts: "0.05 – end"."""
    low, high = active
    return "always" if not low and high is None else f"{low or 0:g} – {'end' if high is None else f'{high:g}'}"


def _search(search: list[float] | None) -> str:
    return "–" if search is None else f"{search[0]:g} – {search[1]:g}"
