"""Resolves names and settings to a run spec, in four steps: names -> options -> data -> spec.

Each step takes the records of earlier steps and returns its own; `Resolved` holds all of them. This module determines
everything that affects the numbers of a run; it runs nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from semibench.contracts.cases import Dataset, PhantomOptions
from semibench.contracts.errors import LayoutError, UnknownNameError, UnsupportedError, UsageError
from semibench.contracts.identity import Entry, Part, Replicate, RunSpec, Track, sha256
from semibench.contracts.protocol import OWN_SPLIT, UNLABELED_FROM, DrawProtocol, Synthesis
from semibench.contracts.recipe import Recipe, limited_confidence, network_options
from semibench.contracts.schedule import Term, ramped
from semibench.discovery.guard import calling, made, returned
from semibench.discovery.registry import Registered, Registry, registry
from semibench.reporting import Reporter
from semibench.run.controls import asks_for_control
from semibench.run.data_choices import defaults_of_data, drawn_options, named_dataset, without_phantom
from semibench.run.defaults import base_recipe, grid_of, own_recipe, with_precision
from semibench.run.names import Names, find_names
from semibench.run.own_split import ChosenSplit, chosen_split
from semibench.run.request import Cell, Phantom, Request
from semibench.run.settings import Nested, assign, build, merge, term_records

if TYPE_CHECKING:
    from semibench.data.catalog import DataCatalog


@dataclass(frozen=True)
class Options:
    """The options that don't depend on the data.

    recipe: named `name*` if a setting changed it. base: the recipe before the method's own and the settings. own: whether the
    recipe is the method's own. preset: of the method, by name. terms: as records, for the spec. given: the settings by part.
    recipe_protocol: protocol options that come with the recipe. control: whether the labeled images are the unlabeled
    ones. own_split: digest of a split of one's own, in a request that was made from a spec.
    """

    recipe: Recipe
    base: Recipe
    own: bool
    preset: str | None
    protocol: DrawProtocol
    method: type[Any]
    method_options: Any
    terms: dict[str, Any]
    backbone: type[Any]
    backbone_options: dict[str, Any]
    generator: Registered | None
    given: Mapping[str, Nested]
    recipe_protocol: Mapping[str, Any]
    control: bool = False
    own_split: Any = None

    def weighted_terms(self) -> dict[str, Term]:
        """Returns the terms as the method takes them."""
        return {name: Term.restore(record, self.method.terms[name].search) for name, record in self.terms.items()}


@dataclass(frozen=True)
class Data:
    """The data sets and the protocol's options, which depend on them.

    catalog: data sets by name, the main one first. phantom_options: None for real files. sources: plug-ins of the other data
    sets. own: a split of one's own, in place of a draw.
    """

    catalog: DataCatalog
    protocol_options: Any
    synthesis: Synthesis | None
    phantom_options: PhantomOptions | None
    sources: Mapping[str, Registered]
    own: ChosenSplit | None = None

    @property
    def phantom(self) -> bool:
        """Whether the data sets are phantoms."""
        return self.phantom_options is not None


@dataclass(frozen=True)
class Resolved:
    """A request with its plug-ins, validated options, data sets and spec. tuning: record of the study, for the result."""

    request: Request
    names: Names
    options: Options
    data: Data
    spec: RunSpec
    tuning: dict[str, Any] | None = None

    @property
    def plugins(self) -> dict[str, Registered]:
        """The plug-ins in use, by role."""
        names, generator = self.names, self.options.generator
        by_role = {role: getattr(names, role) for role in ("method", "backbone", "dataset", "protocol")}
        by_role |= {f"dataset:{name}": item for name, item in self.data.sources.items()}
        return by_role if generator is None else by_role | {"generator": generator}


def resolve(request: Request, reporter: Reporter | None = None, plugins: Registry | None = None) -> Resolved:
    """Looks up every name, validates every option and forms the spec. Reads files only to hash them.

    Raises:
        UsageError: for an invalid option, or options that contradict each other.
        UnknownNameError: for an unknown name.
        PluginError: for a broken plug-in.
        UnsupportedError: for plug-ins that don't fit together.
        LayoutError: if real files are required but missing.
    """
    reporter = reporter or Reporter()
    plugins = plugins or registry()
    names = find_names(request, plugins)
    options = resolve_options(request, names, plugins, device=request.device)
    data = open_data(request, names, options, plugins, reporter)
    spec = form_spec(request, names, options, data, reporter)
    return Resolved(request, names, options, data, spec, None if names.tuned is None else names.tuned.record())


# ---- options -----------------------------------------------------------------------------------------------------------


def resolve_options(cell: Cell, names: Names, plugins: Registry, *, device: str = "auto") -> Options:
    """Validates the options that don't depend on the data. Defaults: recipe and preset; of `precision=auto`, the device."""
    protocol: DrawProtocol = made(names.protocol.resolve())
    method, backbone = names.method.resolve(), names.backbone.resolve()
    own = cell.recipe.rstrip("*") == "own"
    preset_name = cell.preset
    if preset_name is None and own and names.card.name in method.presets:
        preset_name = names.card.name
    preset = _preset(method, names.method.name, preset_name)
    base, recipe_protocol = base_recipe(
        plugins, "paper" if own else cell.recipe, dims=names.dims, protocol=names.protocol.name, dataset=names.card.name
    )
    generator = _generator(plugins, protocol, recipe_protocol, names.settings)
    given = assign(names.settings, _settable(names, protocol, method, backbone, generator))
    control = asks_for_control(cell.control, given["protocol"].pop(UNLABELED_FROM, None), names.method)
    own_split = given["protocol"].pop(OWN_SPLIT, None)
    recipe = own_recipe(base, cell.recipe, names.method, preset_name, given["recipe"]) if own else base
    recipe = _changed_recipe(recipe, with_precision(given["recipe"], device, names.dims), names.dims)
    network = network_options(recipe.model_dump(), names.backbone.name, backbone.Options.model_fields)
    return Options(
        recipe=recipe,
        base=base,
        own=own,
        preset=preset_name,
        protocol=protocol,
        method=method,
        method_options=build(
            method.Options,
            f"method {names.method.name!r}",
            limited_confidence(method.Options, recipe.highest_confidence),
            preset.get("options", {}),
            given["method"],
        ),
        terms=term_records(ramped(method.terms, recipe.unlabeled_ramp), merge(preset.get("terms", {}), given["term"])),
        backbone=backbone,
        backbone_options=build(
            backbone.Options,
            f"backbone {names.backbone.name!r}",
            network,
            preset.get("backbone", {}),
            given["backbone"],
        ).model_dump(mode="json"),
        generator=generator,
        given=given,
        recipe_protocol=recipe_protocol,
        control=control,
        own_split=own_split,
    )


def _preset(method: type[Any], method_name: str, preset: str | None) -> Mapping[str, Any]:
    """Returns a preset of the method; empty if none is named."""
    if preset is None:
        return {}
    if preset not in method.presets:
        raise UnknownNameError(f"preset of method {method_name!r}", preset, method.presets)
    return dict(method.presets[preset])


def _generator(
    plugins: Registry, protocol: DrawProtocol, recipe_protocol: Mapping[str, Any], settings: Mapping[str, Any]
) -> Registered | None:
    """Returns the generator, or None if the protocol uses none."""
    if "generator" not in protocol.Options.model_fields:
        return None
    default = recipe_protocol.get("generator", protocol.Options.model_fields["generator"].default)
    return plugins.get("generators", str(settings.get("protocol.generator", settings.get("generator", default))))


def settable_parts(cell: Cell, plugins: Registry) -> dict[str, set[str]]:
    """Returns the parts of a run and their top-level fields, as `--set PART.FIELD=VALUE` names them."""
    names = find_names(cell, plugins)
    protocol: DrawProtocol = made(names.protocol.resolve())
    own = cell.recipe.rstrip("*") == "own"
    _, recipe_protocol = base_recipe(
        plugins, "paper" if own else cell.recipe, dims=names.dims, protocol=names.protocol.name, dataset=names.card.name
    )
    generator = _generator(plugins, protocol, recipe_protocol, names.settings)
    parts = _settable(names, protocol, names.method.resolve(), names.backbone.resolve(), generator)
    return {part: set(fields) for part, fields in parts.items()}


def _settable(
    names: Names, protocol: DrawProtocol, method: type[Any], backbone: type[Any], generator: Registered | None
) -> dict[str, Any]:
    """Returns the parts of a run and their fields, for `--set`."""
    return {
        "recipe": set(Recipe.model_fields) - {"name", "dims"},
        "method": method.Options.model_fields,
        "term": method.terms,
        "backbone": backbone.Options.model_fields,
        "protocol": set(protocol.Options.model_fields) - {"generator_options"} | {UNLABELED_FROM, OWN_SPLIT},
        "dataset": names.dataset.resolve().Options.model_fields,
        "phantom": PhantomOptions.model_fields,
        "generator": generator.resolve().Options.model_fields if generator else (),
    }


def _changed_recipe(recipe: Recipe, given: Nested, dims: int) -> Recipe:
    """Applies settings to the recipe; adds * to its name if they change anything."""
    changed = build(Recipe, "recipe", recipe.model_dump(), given)
    if len(changed.patch) != dims:
        raise UsageError(f"recipe.patch has {len(changed.patch)} sides, but the network has {dims} dims")
    if changed.size is not None and len(changed.size) != 3:
        raise UsageError(f"recipe.size has {len(changed.size)} sides; it is the grid of volumes, which have 3")
    flip = changed.weak.flip
    if isinstance(flip, tuple) and len(flip) != dims:
        raise UsageError(
            f"recipe.weak.flip has {len(flip)} probabilities; expected one number, or one for each of {dims} axes"
        )
    return changed.model_copy(update={"name": f"{recipe.name}*" if changed.changed(recipe) else recipe.name})


# ---- data --------------------------------------------------------------------------------------------------------------


def open_data(request: Request, names: Names, options: Options, plugins: Registry, reporter: Reporter) -> Data:
    """Opens the data sets and validates the protocol's options, some of which depend on them."""
    from semibench.data.catalog import DataCatalog

    card = names.card
    phantom_options = build(PhantomOptions, "phantom", options.given["phantom"])
    opening = _Opening(request.data_root, phantom_options, options.recipe, reporter)
    dataset, phantom = opening.open(names.dataset, request.phantom, options.given["dataset"])
    catalog = DataCatalog({card.name: dataset})
    with calling(options.protocol, "defaults"):
        protocol_defaults = dict(options.protocol.defaults(catalog))
    protocol_defaults |= defaults_of_data(names.protocol.name, options.protocol, dataset)
    if request.split is not None or options.own_split:  # no published split stands in the key beside one's own
        protocol_defaults |= drawn_options(options.protocol)
    protocol_options = build(
        options.protocol.Options,
        f"protocol {names.protocol.name!r}",
        protocol_defaults,
        options.recipe_protocol,
        options.given["protocol"],
    )
    with calling(options.protocol, "unsupported"):
        reason = options.protocol.unsupported(card, protocol_options)
    if reason:
        raise UnsupportedError(f"protocol {names.protocol.name!r}: {reason}")
    with calling(options.protocol, "sources"):
        others_named = options.protocol.sources(card, protocol_options)
    sources = {name: named_dataset(plugins, name) for name in others_named}
    others = {name: opening.open(item, "always" if phantom else "never")[0] for name, item in sources.items()}
    if others:
        catalog = DataCatalog({card.name: dataset, **others})
    if options.generator is not None:
        protocol_options = _with_generator(protocol_options, options, options.generator)
    with calling(options.protocol, "synthesis"):
        synthesis = None if options.control else options.protocol.synthesis(protocol_options)
    if synthesis is not None:
        returned(options.protocol, "synthesis", synthesis, Synthesis, "a Synthesis or None")
    own = chosen_split(request.split, options.own_split, catalog)
    return Data(catalog, protocol_options, synthesis, phantom_options if phantom else None, sources, own)


@dataclass(frozen=True)
class _Opening:
    """Opens data sets for one request, on the grid that the recipe asks for."""

    data_root: Path | None
    phantom_options: PhantomOptions
    recipe: Recipe
    reporter: Reporter

    def open(
        self, item: Registered, phantom: Phantom, options: Mapping[str, Any] | None = None
    ) -> tuple[Dataset, bool]:
        """Opens a data set on its files, or its phantom, with a prominent warning, if no folder for files is named anywhere.

        Returns:
            The data set, and whether it is a phantom.

        Raises:
            LayoutError: if real files are required, or a folder for them is named, but they are missing; the message shows the
                expected tree.
        """
        from semibench.data.declared.naming import DeclaredSet, place_of

        cls = item.resolve()
        parsed = build(cls.Options, f"data set {item.name!r}", grid_of(cls, self.recipe, item.card.dims), options or {})
        if isinstance(item, DeclaredSet):
            phantom = without_phantom(item.name, phantom)
            for line in item.told():
                self.reporter.note(line)
            for line in item.doubts():
                self.reporter.warn(line)
        if phantom != "always":
            location = place_of(item, self.data_root)
            if location.path is not None:
                with calling(cls, "__init__"):
                    return cls(location.path, parsed), False
            message = location.lacking(item.card.tree)
            if phantom == "never":
                raise LayoutError(message)
            if location.named:
                raise LayoutError(f"{message}\n  or ask for the procedural stand-in: --phantom")
            self.reporter.warn(
                f"PHANTOM DATA: {message}\nUsing a procedural phantom instead; its numbers say nothing about real images."
            )
        with calling(cls, "phantom"):
            return cls.phantom(parsed, self.phantom_options), True


def _with_generator(protocol_options: Any, options: Options, item: Registered) -> Any:
    """Returns the protocol's options, completed with all options of the generator and its curation."""
    generator = item.resolve()
    generator_options = build(
        generator.Options,
        f"generator {item.name!r}",
        generator.presets.get(options.recipe.name.rstrip("*"), {}),
        options.given["generator"],
    )
    curation = build(generator.Curation, f"curation of {item.name!r}", getattr(protocol_options, "curation", {}))
    return protocol_options.model_copy(
        update={
            "generator": item.full_name,
            "generator_options": generator_options.model_dump(mode="json"),
            "curation": curation.model_dump(mode="json"),
        }
    )


# ---- spec --------------------------------------------------------------------------------------------------------------


def form_spec(cell: Cell, names: Names, options: Options, data: Data, reporter: Reporter) -> RunSpec:
    """Returns the spec of the run; hashes the files of the data sets."""
    from semibench.data.hashes import data_digest

    with calling(options.protocol, "replicate"):
        has_draw, has_fold = options.protocol.replicate(data.protocol_options)
    if data.own is not None:
        has_draw, has_fold = data.own.split.has_draw, data.own.split.has_folds
    own = {} if data.own is None else {OWN_SPLIT: data.own.digest}
    if cell.fold is not None and not has_fold:
        raise UsageError(f"--fold {cell.fold}: this split has no folds; set folds=K, or leave out --fold")
    datasets = data.catalog.datasets
    phantom = None if data.phantom_options is None else data.phantom_options.model_dump(mode="json")
    recipe = Part(name=options.recipe.name, options=options.recipe.model_dump(mode="json"))
    cases = [ref for name in datasets for ref in data.catalog.cases(name)]
    return RunSpec(
        track=Track(
            protocol=Part(name=names.protocol.full_name, options=data.protocol_options.model_dump(mode="json") | own),
            dataset=Part(
                name=names.dataset.full_name, options=datasets[names.card.name].settings() | {"phantom": phantom}
            ),
            data=data_digest(datasets, cases, reporter=reporter),
            recipe="own" if options.own else recipe,
            tuning=names.tuned.track if names.tuned is not None else "default",
        ),
        entry=Entry(
            method=Part(name=names.method.full_name, options=options.method_options.model_dump(mode="json")),
            terms=options.terms,
            backbone=Part(name=names.backbone.full_name, options=options.backbone_options | {"dims": names.dims}),
            init=_file_digest(cell.weights),
            recipe=recipe if options.own else None,
            unlabeled_from="labeled" if options.control else None,
        ),
        replicate=Replicate(
            draw=cell.draw if has_draw else None, fold=(cell.fold or 0) if has_fold else None, seed=cell.seed
        ),
    )


def _file_digest(path: Path | None) -> str | None:
    if path is None:
        return None
    if not path.is_file():
        raise UsageError(f"--weights {path}: no such file")
    return sha256(path.read_bytes())
