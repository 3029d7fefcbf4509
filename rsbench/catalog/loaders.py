"""Loading of catalogue entries by name or file, in a checkout, editable install or wheel."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from rsbench.catalog.kinds import load_kind
from rsbench.catalog.labels import LabelSet
from rsbench.catalog.models import NamedRegion, Recipe, Region
from rsbench.catalog.models_base import Entry
from rsbench.catalog.models_place import TripletPlace
from rsbench.catalog.models_protocol import (
    DIGEST_MARK,
    SMALLEST_WINDOW,
    LabelShare,
    Protocol,
)
from rsbench.catalog.models_sensor import Sensor
from rsbench.catalog.yamlfile import Document, load_yaml, parse
from rsbench.core.digest import sha256_json
from rsbench.core.errors import CatalogError, InputError, unknown

E = TypeVar("E", bound=Entry)
_KINDS = ("sensors", "regions", "recipes", "protocols", "labels")


def _data_root(packaged: str, checkout: str) -> Path:
    package = Path(__file__).resolve().parents[1]
    for root in (package / packaged, package.parent / checkout):
        if root.is_dir():
            return root
    raise InputError(
        "finding the package data",
        f"neither {packaged} in the package nor {checkout} beside it exists",
        "Install rsbench again",
    )


def catalog_root() -> Path:
    """Return the folder of the catalogues (packaged in a wheel, ``catalogs/`` in a checkout)."""
    return _data_root("_catalogs", "catalogs")


def published_root() -> Path:
    """Return the folder of published results."""
    return _data_root("_published", "results/published")


def names(kind: str) -> tuple[str, ...]:
    """Return the sorted names in a catalogue: sensors, regions, recipes, protocols or labels."""
    plural = kind if kind.endswith("s") else f"{kind}s"
    if plural not in _KINDS:
        raise unknown("catalogue", kind, _KINDS)
    if plural == "regions":
        return tuple(sorted(region.name for region in load_regions()))
    return tuple(sorted(path.stem for path in (catalog_root() / plural).glob("*.yaml")))


def load_sensor(name: str) -> Sensor:
    """Return a sensor of the catalogue."""
    _require("sensor", name)
    return _sensor(catalog_root() / "sensors" / f"{name}.yaml")


def load_protocol(protocol: str | Path | Protocol) -> Protocol:
    """Return a protocol of the catalogue by its name, one read from a YAML file, or the value.

    If its content differs from the catalogue's protocol of the same name, the protocol is renamed
    to ``NAME+DIGEST``, with the first 8 digits of the digest of its content, so that results under
    different protocols have different names.

    Raises:
        UnknownName: for a name that is not in the catalogue.
        CatalogError: for a malformed file, with the line.
    """
    if isinstance(protocol, Protocol):
        return _identified(protocol)
    if _is_file(protocol):
        return _identified(parse(load_yaml(Path(protocol)), Protocol))
    return _catalogue_protocol(str(protocol))


def labelled_protocol(
    protocol: str | Path | Protocol, fraction: float | None, seed: int | None = None
) -> Protocol:
    """Return a protocol with the labels of a share of the training regions.

    Args:
        fraction: above 0, at most 1; that of the protocol where None.
        seed: chooses the regions; 0 where only a fraction is stated.

    Raises:
        InputError: for a fraction out of range, a negative seed, or a seed without a fraction.
    """
    rules = load_protocol(protocol)
    if fraction is None and seed is None:
        return rules
    if fraction is None and rules.labels is not None:
        fraction = rules.labels.fraction
    if fraction is None or not 0 < fraction <= 1 or (seed or 0) < 0:
        raise InputError(
            f"labels of the fraction {fraction} with the seed {seed}",
            "a fraction is above 0 and at most 1, and a seed is 0 or more",
            "Give both, e.g. --labelled-fraction 0.25 --label-seed 0",
        )
    share = None if fraction == 1 else LabelShare(fraction=fraction, seed=seed or 0)
    return load_protocol(rules.model_copy(update={"labels": share}))


def windowed_protocol(protocol: str | Path | Protocol, window: int | None) -> Protocol:
    """Return a protocol with another window, which is its stride too.

    Args:
        window: side in pixels, at least 16; that of the protocol where None.

    Raises:
        InputError: if it is too small.
    """
    rules = load_protocol(protocol)
    if window is None:
        return rules
    if window < SMALLEST_WINDOW:
        raise InputError(
            f"a window of {window} px", f"windows have at least {SMALLEST_WINDOW} px",
            f"Give --window {SMALLEST_WINDOW} or more",
        )  # fmt: skip
    return load_protocol(rules.model_copy(update={"window": window, "stride": window}))


def _catalogue_protocol(name: str) -> Protocol:
    _require("protocol", name)
    return _entry(load_yaml(catalog_root() / "protocols" / f"{name}.yaml"), Protocol)


def _identified(protocol: Protocol) -> Protocol:
    name = protocol.stated_name
    digest = sha256_json(protocol.content)
    known = name in names("protocols")
    if known and sha256_json(_catalogue_protocol(name).content) == digest:
        return protocol.model_copy(update={"name": name})
    return protocol.model_copy(update={"name": f"{name}{DIGEST_MARK}{digest[:8]}"})


def _is_file(name: str | Path) -> bool:
    """Return whether a name is the path of a file."""
    text = str(name)
    return isinstance(name, Path) or text.endswith((".yaml", ".yml")) or "/" in text


def load_recipe(name_or_path: str | Path) -> Recipe:
    """Return a recipe of the catalogue, or one read from a YAML file.

    Names of sensors, bands, regions, provider and protocol in the recipe are checked.

    Args:
        name_or_path: name in the catalogue, or path of the file.

    Raises:
        UnknownName: for a name that is not in the catalogue.
        CatalogError: for a malformed file or an unknown name in it, with the line.
    """
    text = str(name_or_path)
    if _is_file(name_or_path):
        document = load_yaml(Path(name_or_path))
        recipe = parse(document, _recipe_model(document))
    else:
        _require("recipe", text)
        document = load_yaml(catalog_root() / "recipes" / f"{text}.yaml")
        recipe = _entry(document, _recipe_model(document))
    _check_references(document, recipe)
    return recipe


def recipe_of(values: Mapping[str, Any]) -> Recipe:
    """Return a recipe from a mapping, validated by the recipe model of its kind.

    Raises:
        UnknownName: if no installed kind has the name under ``kind``.
        pydantic.ValidationError: if the values do not fit the model.
    """
    default = str(Recipe.model_fields["kind"].default)
    return model_of_kind(str(values.get("kind", default))).model_validate(values)


def model_of_kind(kind: str) -> type[Recipe]:
    """Return the recipe model of a dataset kind.

    Raises:
        UnknownName: if no installed kind has this name.
        InputError: if its model is not a subclass of :class:`Recipe`.
    """
    model = load_kind(kind).recipe
    if not issubclass(model, Recipe):
        raise InputError(
            f"dataset kind {kind!r}",
            f"its recipe model {model.__name__} is no subclass of rsbench.catalog.Recipe",
            "Repair or uninstall the package that offers it",
        )
    return model


def _recipe_model(document: Document) -> type[Recipe]:
    """Return the recipe model of the kind in a document; the model reports other errors."""
    value = document.value
    named = value.get("kind") if isinstance(value, dict) else None
    try:
        return model_of_kind(named) if isinstance(named, str) else Recipe
    except InputError as error:
        raise CatalogError(
            document.path,
            document.line(("kind",)),
            f"{error.asked}: {error.found}",
            error.remedy,
        ) from error


def recipe_sensors(recipe: Recipe) -> tuple[Sensor, ...]:
    """Return the sensors of a recipe, with its bands and its optional masks."""
    sensors = tuple(s if isinstance(s, Sensor) else load_sensor(s) for s in recipe.sensors)
    return tuple(_keep(recipe, sensor, sensors) for sensor in sensors)


def _keep(recipe: Recipe, sensor: Sensor, sensors: Sequence[Sensor]) -> Sensor:
    wanted = recipe.bands.get(sensor.name, sensor.band_names)
    bands = tuple(sensor.band(name) for name in wanted)
    display = sensor.display if sensor.display and set(sensor.display) <= set(wanted) else None
    mask = sensor.mask if sensor.mask.kind == "none" else sensor.mask.also(recipe.mask_also)
    changes: dict[str, Any] = {"bands": bands, "display": display, "mask": mask}
    return sensor.model_copy(update={**changes, **recipe.sensor_changes(sensor.name, sensors)})


def recipe_regions(recipe: Recipe) -> tuple[Region, ...]:
    """Return the catalogue or inline regions of a recipe, not those of a simulated Earth."""
    if recipe.regions == "all":
        return load_regions()
    return tuple(r if isinstance(r, Region) else load_region(r) for r in recipe.regions)


_LATER_OPTIONS = (
    *("min_dates", "min_months", "spread", "shift", "season", "seasons", "lattice", "query"),
)


def recipe_canonical(recipe: Recipe) -> dict[str, Any]:
    """Return the part of a recipe that determines the pixels, as JSON values.

    Titles, addresses and default presets are left out.
    """
    plain = recipe.model_dump(
        mode="json",
        exclude={"title", "description", "default_preset", "default_protocol", "sensors"},
    )
    words = {"title", "licence", "attribution", "citation", "display"}
    sensors = [s.model_dump(mode="json", exclude=words) for s in recipe_sensors(recipe)]
    for sensor in sensors:
        for provider in sensor["providers"].values():
            del provider["api"], provider["signing"], provider["refused"]
    # Options at their defaults are left out, so that older locks still match.
    fields = type(recipe).model_fields
    for name in {*_LATER_OPTIONS, *(fields.keys() - Recipe.model_fields.keys())}:
        if getattr(recipe, name) == fields[name].get_default(call_default_factory=True):
            del plain[name]
    return {**plain, "sensors": sensors}


def load_regions() -> tuple[Region, ...]:
    """Return the named regions of the world, sorted by name.

    Raises:
        CatalogError: for a malformed file of the catalogue.
    """
    return _regions(catalog_root() / "regions")


def load_triplet_places() -> tuple[Region, ...]:
    """Return the regions of triplet datasets, sorted by name."""
    return _regions(catalog_root() / "regions" / "triplets", TripletPlace)


def load_region(name: str) -> Region:
    """Return one named region, of the world or of triplet datasets."""
    known = {region.name: region for region in (*load_triplet_places(), *load_regions())}
    if name not in known:
        raise unknown("region", name, known)
    return known[name]


def choose_regions(regions: Sequence[Region], wanted: str) -> tuple[Region, ...]:
    """Return regions by ``wanted``: a number, or names separated by commas.

    A number selects regions in the catalogue's proportion of splits and in turn from the strata.

    Raises:
        UnknownName: if a name is unknown.
        InputError: if the number is not between 1 and the number of regions.
    """
    if not wanted.strip().isdigit():
        by_name = {region.name: region for region in regions}
        chosen = [name.strip() for name in wanted.split(",") if name.strip()]
        for name in chosen:
            if name not in by_name:
                raise unknown("region", name, by_name)
        return tuple(by_name[name] for name in dict.fromkeys(chosen))
    count = int(wanted)
    if not 1 <= count <= len(regions):
        raise InputError(
            f"{count} regions", f"there are {len(regions)}", f"Ask for 1 to {len(regions)}"
        )
    return tuple(sorted(_spread(regions)[:count], key=lambda r: r.name))


def _spread(regions: Sequence[Region]) -> list[Region]:
    """Order regions so that every prefix is balanced over splits, strata and continents."""
    left, taken = sorted(regions, key=lambda r: r.name), list[Region]()
    share = Counter[str](r.split for r in regions)
    used = Counter[str]()  # splits, strata and continents have no name in common
    while left:
        shortfall = {s: share[s] * (len(taken) + 1) / len(regions) - used[s] for s in share}
        best = min(
            left, key=lambda r: (-shortfall[r.split], used[r.stratum], used[r.continent], r.name)
        )
        used.update({best.split: 1, best.stratum: 1, best.continent: 1})
        taken.append(best)
        left.remove(best)
    return taken


def _require(kind: str, name: str) -> None:
    known = names(kind)
    if name not in known:
        raise unknown(kind, name, known)


@cache
def _sensor(path: Path) -> Sensor:
    return _entry(load_yaml(path), Sensor)


@cache
def _regions(folder: Path, model: type[Region] = NamedRegion) -> tuple[Region, ...]:
    regions: dict[str, Region] = {}
    for path in sorted(folder.glob("*.yaml")):
        document = load_yaml(path)
        if not isinstance(document.value, list):
            raise CatalogError(
                path, 1, "this is not a list of regions", "Begin each with '- name:'"
            )
        for i in range(len(document.value)):
            region = parse(document, model, (i,))
            if region.name in regions:
                raise CatalogError(
                    path, document.line((i,)), f"region {region.name} is listed twice", "Rename one"
                )
            regions[region.name] = region
    return tuple(regions[name] for name in sorted(regions))


def _entry(document: Document, model: type[E]) -> E:
    entry = parse(document, model)
    name = getattr(entry, "name", document.path.stem)
    if name != document.path.stem:
        raise CatalogError(
            document.path,
            document.line(("name",)),
            f"the file holds {name!r}",
            "Give the file and the entry one name",
        )
    return entry


def _check_references(document: Document, recipe: Recipe) -> None:
    try:
        at: tuple[str | int, ...] = ("sensors",)
        sensors = {}
        for i, item in enumerate(recipe.sensors):
            at = ("sensors", i)
            sensor = item if isinstance(item, Sensor) else load_sensor(item)
            sensors[sensor.name] = sensor
            at = ("provider",)
            sensor.provider(recipe.provider)
            at = ("mask_also",)
            if sensor.mask.kind != "none" or len(recipe.sensors) == 1:
                sensor.mask.also(recipe.mask_also)
        for name, bands in recipe.bands.items():
            at = ("bands", name)
            if name not in sensors:
                raise unknown("sensor of this recipe", name, sensors)
            for band in bands:
                sensors[name].band(band)
        for key, check in recipe.references().items():
            at = (key,)
            check()
        at = ("default_protocol",)
        if recipe.default_protocol:
            load_protocol(recipe.default_protocol)
        for i, region in enumerate(recipe.regions if recipe.regions != "all" else ()):
            at = ("regions", i)
            if isinstance(region, str):
                load_region(region)
    except CatalogError:
        raise
    except InputError as error:
        raise CatalogError(
            document.path, document.line(at), f"{error.asked}: {error.found}", error.remedy
        ) from error


def load_labels(name: str | Path) -> LabelSet:
    """Return a label set of the catalogue, or one read from a YAML file.

    Args:
        name: name in the catalogue, or path of the file.

    Raises:
        UnknownName: for a name that is not in the catalogue.
        CatalogError: for a malformed file, with the line.
    """
    if _is_file(name):
        return parse(load_yaml(Path(name)), LabelSet)
    if name not in (known := names("labels")):
        raise unknown("label set", str(name), known)
    return parse(load_yaml(catalog_root() / "labels" / f"{name}.yaml"), LabelSet)
