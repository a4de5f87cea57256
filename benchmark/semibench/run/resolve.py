"""From names and settings to a run spec: everything that decides the digits of a run is settled here, and nothing runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from semibench.contracts.cards import DatasetCard
from semibench.contracts.cases import Dataset, PhantomOptions
from semibench.contracts.errors import LayoutError, UnknownNameError, UnsupportedError, UsageError
from semibench.contracts.identity import Entry, Part, Replicate, RunSpec, Track, sha256
from semibench.contracts.protocol import DrawProtocol, Synthesis
from semibench.contracts.recipe import Recipe
from semibench.contracts.schedule import Term
from semibench.registry import Registered, Registry, registry
from semibench.reporting import Reporter
from semibench.run.settings import assign, build, merge, parse, term_records
from semibench.run.tuned import read_tuned, with_tuned

if TYPE_CHECKING:
    from semibench.data.catalog import DataCatalog

Phantom = Literal["auto", "always", "never"]


@dataclass(frozen=True)
class Request:
    """What a user asks for, by names; everything left out is filled in by `resolve`.

    settings: texts "name=value" (see semibench.run.settings). phantom: "auto" takes the procedural stand-in where no files
    are configured. weights: file of start weights of the backbone. conventions: empty means all that apply. tuned: the file
    that a study of `bench tune` left.
    """

    protocol: str
    dataset: str
    method: str | None = None
    backbone: str | None = None
    recipe: str = "quick"
    preset: str | None = None
    dims: int | None = None
    draw: int = 0
    fold: int | None = None
    seed: int = 0
    settings: tuple[str, ...] = ()
    data_root: Path | None = None
    phantom: Phantom = "auto"
    weights: Path | None = None
    device: str = "auto"
    threads: int | None = None
    runs: Path = Path("runs")
    resume: bool = True
    force: bool = False
    conventions: tuple[str, ...] = ()
    tracking_uri: str | None = None
    track: bool = True
    keep_predictions: bool = True
    pictures: bool = True
    tuned: Path | None = None


@dataclass
class Resolved:
    """A request with all names looked up, all options validated and its spec. `items`: the plugins in use, by role."""

    request: Request
    spec: RunSpec
    items: dict[str, Registered]
    card: DatasetCard
    dims: int
    recipe: Recipe
    recipe_label: str
    protocol: DrawProtocol
    protocol_options: Any
    catalog: DataCatalog
    method: type[Any]
    method_options: Any
    terms: dict[str, Term]
    backbone: type[Any]
    backbone_options: dict[str, Any]
    synthesis: Synthesis | None
    phantom: bool
    notes: list[str] = field(default_factory=list)
    tuning: dict[str, Any] | None = None


def base_recipe(
    plugins: Registry, name: str, *, dims: int, protocol: str, dataset: str
) -> tuple[Recipe, dict[str, Any]]:
    """The recipe of this name for a setting, and the protocol options that come with it: all matching cards laid over each
    other, the general first."""
    found: list[tuple[int, Any]] = []
    names = set()
    for item in plugins.cards("recipes"):
        card = item.card
        names.add(card.name)
        fits = (
            card.dims in (None, dims)
            and protocol in (card.protocols or (protocol,))
            and dataset in (card.datasets or (dataset,))
        )
        if card.name == name and fits:
            found.append((sum((card.dims is not None, bool(card.protocols), bool(card.datasets))), card))
    if not any(card.values for _, card in found):
        if name not in names:
            raise UnknownNameError("recipe", name, names | {"own"})
        raise UsageError(f"recipe {name!r} has no values for {dims}D, protocol {protocol!r}, data set {dataset!r}")
    cards = [card for _, card in sorted(found, key=lambda pair: pair[0])]
    values = merge(*(card.values for card in cards))
    options = merge(*(card.protocol for card in cards))
    return build(Recipe, f"recipe {name!r}", {"name": name, "dims": dims}, values), options


def default_method(plugins: Registry, protocol: str, dims: int) -> Registered:
    """The method that says it is the protocol's default, for these dims; of several the one made for fewer dims."""
    for item in sorted(plugins.cards("methods"), key=lambda item: len(item.card.dims)):
        if protocol in item.card.default_for and dims in item.card.dims:
            return item
    known = ", ".join(item.name for item in plugins.cards("methods") if dims in item.card.dims)
    raise UsageError(f"protocol {protocol!r} has no default method in {dims}D; name one with --method: {known}")


def default_backbone(plugins: Registry, method: Registered, dims: int) -> Registered:
    """The method's own backbone where it names one, else the harness's for these dims."""
    if method.card.backbone is not None:
        return plugins.get("backbones", method.card.backbone)
    for item in plugins.cards("backbones"):
        if dims in item.card.default_for:
            return item
    raise UsageError(f"no backbone is the default in {dims}D; name one with --backbone")


def choose_dims(request: Request, card: DatasetCard, method: Registered | None, backbone: Registered | None) -> int:
    """The dims of the network: as asked, else those of the data (or the card's `network_dims`) where method and backbone
    can, else the other."""
    if request.dims is not None:
        wanted: tuple[int, ...] = (request.dims,)
    else:
        wanted = (card.dims,) if card.dims == 2 else (2, 3) if card.network_dims == 2 else (3, 2)
    if card.dims == 2 and 3 in wanted:
        raise UsageError(f"data set {card.name!r} has images: a 3D network can't be trained on them")
    for dims in wanted:
        if all(dims in item.card.dims for item in (method, backbone) if item is not None):
            return dims
    parts = [f"{item.kind[:-1]} {item.name!r}: {item.card.dims}" for item in (method, backbone) if item is not None]
    raise UnsupportedError(f"no common dims: asked for {wanted}; {'; '.join(parts)}")


def open_dataset(
    item: Registered, request: Request, phantom: Phantom, options: Mapping[str, Any], phantom_options: PhantomOptions,
    patch: tuple[int, ...], reporter: Reporter,
) -> tuple[Dataset, bool]:  # fmt: skip
    """The data set on its files, or its phantom where none are configured (said loudly). Returns it and whether it is one.

    Raises LayoutError with the expected tree where files are wanted and there are none."""
    from semibench.data.roots import locate

    cls = item.resolve()
    layers = [{"size": list(patch)}] if item.card.dims == 2 else []
    chosen = build(cls.Options, f"data set {item.name!r}", *layers, options)
    if phantom != "always":
        location = locate(item.name, request.data_root, aliases=item.card.folders)
        if location.path is not None:
            return cls(location.path, chosen), False
        told = f"{location.explain()}\n  expected there:\n{item.card.tree}"
        if phantom == "never":
            raise LayoutError(told)
        reporter.warn(
            f"PHANTOM DATA: {told}\nA procedural phantom stands in; its numbers say nothing about real images."
        )
    return cls.phantom(chosen, phantom_options), True


def resolve(request: Request, reporter: Reporter | None = None, plugins: Registry | None = None) -> Resolved:
    """Looks up every name, validates every option and forms the spec. Raises UsageError, UnknownNameError, PluginError,
    UnsupportedError or LayoutError; reads files only to hash them."""
    reporter = reporter or Reporter()
    plugins = plugins or registry()
    settings = parse(request.settings)

    dataset_item = plugins.get("datasets", request.dataset)
    protocol_item = plugins.get("protocols", request.protocol)
    card: DatasetCard = dataset_item.card
    method_item = plugins.get("methods", request.method) if request.method else None
    backbone_item = plugins.get("backbones", request.backbone) if request.backbone else None
    if method_item is not None and backbone_item is None and method_item.card.backbone is not None:
        backbone_item = plugins.get("backbones", method_item.card.backbone)
    dims = choose_dims(request, card, method_item, backbone_item)
    method_item = method_item or default_method(plugins, protocol_item.name, dims)
    backbone_item = backbone_item or default_backbone(plugins, method_item, dims)
    if method_item.card.protocols and protocol_item.name not in method_item.card.protocols:
        raise UnsupportedError(
            f"method {method_item.name!r} is made for {', '.join(method_item.card.protocols)}, not for {protocol_item.name!r}"
        )
    _named_dims(dims, method_item, backbone_item)
    tuned = read_tuned(request.tuned) if request.tuned is not None else None
    if tuned is not None:
        settings = with_tuned(settings, tuned, protocol=protocol_item.name, dataset=card.name, method=method_item.name)

    protocol: DrawProtocol = protocol_item.resolve()()
    dataset_class = dataset_item.resolve()
    method = method_item.resolve()
    backbone = backbone_item.resolve()
    own = request.recipe == "own"
    preset = _preset(
        method, method_item.name, request.preset or (card.name if own and card.name in method.presets else None)
    )
    recipe, protocol_layer = base_recipe(
        plugins, "paper" if own else request.recipe, dims=dims, protocol=protocol_item.name, dataset=card.name
    )
    generator_item = _generator(plugins, protocol, protocol_layer, settings)
    generator = generator_item.resolve() if generator_item else None
    parts: dict[str, Any] = {
        "recipe": Recipe.model_fields,
        "method": method.Options.model_fields,
        "term": method.terms,
        "backbone": backbone.Options.model_fields,
        "protocol": set(protocol.Options.model_fields) - {"generator_options"},
        "dataset": dataset_class.Options.model_fields,
        "phantom": PhantomOptions.model_fields,
        "generator": generator.Options.model_fields if generator else (),
    }
    given = assign(settings, parts)

    if own:
        recipe = build(Recipe, "recipe 'own'", recipe.model_dump(), preset.get("recipe", {}), {"name": "own"})
    changed = build(Recipe, "recipe", recipe.model_dump(), given["recipe"])
    label = f"{recipe.name}*" if changed.changed(recipe) else recipe.name
    recipe = changed.model_copy(update={"name": label})
    if len(recipe.patch) != dims:
        raise UsageError(f"recipe.patch has {len(recipe.patch)} sides, the network {dims} dims")

    phantom_options = build(PhantomOptions, "phantom", given["phantom"])
    dataset, is_phantom = open_dataset(
        dataset_item, request, request.phantom, given["dataset"], phantom_options, recipe.patch, reporter
    )
    from semibench.data.catalog import DataCatalog
    from semibench.data.hashes import data_digest

    catalog = DataCatalog({card.name: dataset})
    options = build(
        protocol.Options,
        f"protocol {protocol_item.name!r}",
        dict(protocol.defaults(catalog)),
        protocol_layer,
        given["protocol"],
    )
    reason = protocol.unsupported(card, options)
    if reason:
        raise UnsupportedError(f"protocol {protocol_item.name!r}: {reason}")
    items = {"method": method_item, "backbone": backbone_item, "dataset": dataset_item, "protocol": protocol_item}
    datasets = {card.name: dataset}
    for name in protocol.sources(card, options):
        other = plugins.get("datasets", name)
        other_phantom: Phantom = "always" if is_phantom else "never"
        datasets[name], _ = open_dataset(other, request, other_phantom, {}, phantom_options, recipe.patch, reporter)
        items[f"dataset:{name}"] = other
    if len(datasets) > 1:
        catalog = DataCatalog(datasets)

    if generator is not None and generator_item is not None:
        items["generator"] = generator_item
        chosen = build(
            generator.Options,
            f"generator {generator_item.name!r}",
            generator.presets.get(recipe.name.rstrip("*"), {}),
            given["generator"],
        )
        curation = build(generator.Curation, f"curation of {generator_item.name!r}", getattr(options, "curation", {}))
        options = options.model_copy(
            update={
                "generator": generator_item.full_name,
                "generator_options": chosen.model_dump(mode="json"),
                "curation": curation.model_dump(mode="json"),
            }
        )
    synthesis = protocol.synthesis(options)

    method_options = build(method.Options, f"method {method_item.name!r}", preset.get("options", {}), given["method"])
    records = term_records(method.terms, merge(preset.get("terms", {}), given["term"]))
    width = {"width": recipe.widths.get(backbone_item.name, recipe.widths.get("*", 1.0))}
    backbone_options = build(
        backbone.Options, f"backbone {backbone_item.name!r}", width, preset.get("backbone", {}), given["backbone"]
    ).model_dump(mode="json")

    has_draw, has_fold = protocol.replicate(options)
    if request.fold is not None and not has_fold:
        raise UsageError(f"--fold {request.fold}: this split has no folds; set folds=K, or leave it out")
    dataset_part = dataset.settings() | {"phantom": phantom_options.model_dump(mode="json") if is_phantom else None}
    recipe_part = Part(name=recipe.name, options=recipe.model_dump(mode="json"))
    spec = RunSpec(
        track=Track(
            protocol=Part(name=protocol_item.full_name, options=options.model_dump(mode="json")),
            dataset=Part(name=dataset_item.full_name, options=dataset_part),
            data=data_digest(datasets, [ref for name in datasets for ref in catalog.cases(name)], reporter=reporter),
            recipe="own" if own else recipe_part,
            tuning=tuned.track if tuned is not None else "default",
        ),
        entry=Entry(
            method=Part(name=method_item.full_name, options=method_options.model_dump(mode="json")),
            terms=records,
            backbone=Part(name=backbone_item.full_name, options=backbone_options | {"dims": dims}),
            init=_file_digest(request.weights),
            recipe=recipe_part if own else None,
        ),
        replicate=Replicate(
            draw=request.draw if has_draw else None, fold=(request.fold or 0) if has_fold else None, seed=request.seed
        ),
    )
    terms = {name: Term.restore(record, method.terms[name].search) for name, record in records.items()}
    return Resolved(
        request, spec, items, card, dims, recipe, label, protocol, options, catalog, method, method_options, terms,
        backbone, backbone_options, synthesis, is_phantom, tuning=tuned.record() if tuned is not None else None,
    )  # fmt: skip


def _named_dims(dims: int, *items: Registered) -> None:
    for item in items:
        if dims not in item.card.dims:
            raise UnsupportedError(f"{item.kind[:-1]} {item.name!r} is for {item.card.dims} dims, the run has {dims}")


def _preset(method: type[Any], name: str, preset: str | None) -> Mapping[str, Any]:
    if preset is None:
        return {}
    if preset not in method.presets:
        raise UnknownNameError(f"preset of method {name!r}", preset, method.presets)
    return dict(method.presets[preset])


def _generator(
    plugins: Registry, protocol: DrawProtocol, layer: Mapping[str, Any], settings: Mapping[str, Any]
) -> Registered | None:
    if "generator" not in protocol.Options.model_fields:
        return None
    default = protocol.Options.model_fields["generator"].default
    name = settings.get("protocol.generator", settings.get("generator", layer.get("generator", default)))
    return plugins.get("generators", str(name))


def _file_digest(path: Path | None) -> str | None:
    if path is None:
        return None
    if not path.is_file():
        raise UsageError(f"--weights {path}: there is no such file")
    return sha256(path.read_bytes())
