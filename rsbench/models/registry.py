"""The installed models: their cards from entry points, and building a model by name.

A package adds a model with an entry point in the group ``rsbench.models`` that refers to a
:class:`~rsbench.models.api.Card`. Reading cards imports torch only if a card's module does.
"""

from __future__ import annotations

import inspect
import re
import weakref
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import PurePath
from typing import Any

from rsbench.core.errors import InputError, RsbenchError, unknown
from rsbench.core.names import label_fault
from rsbench.core.plugins import BrokenPlugIn, PlugIns
from rsbench.models.api import Card, Model

_PLUG_INS: PlugIns[Card] = PlugIns(
    "rsbench.models", "model", "the fields of a rsbench.Card", lambda value: isinstance(value, Card)
)
FACTS = ("bands", "inputs", "context", "classes")
"""Options that the harness takes from the dataset; a builder may leave them out."""


@dataclass(frozen=True)
class Identity:
    """Name, preset, card and options of a model object; ``card`` has the preset's fields."""

    name: str
    preset: str
    card: Card
    options: Mapping[str, Any] = field(default_factory=dict)


_EXTRA: dict[str, Card] = {}
_IDENTITIES: dict[int, Identity] = {}


def cards() -> dict[str, Card]:
    """Return the cards of all installed models that can be loaded, by name."""
    return _scan()[0]


def broken() -> tuple[BrokenPlugIn, ...]:
    """Return the entry points that are left out, each with the reason."""
    return _scan()[1]


def card(name: str) -> Card:
    """Return one card.

    Raises:
        UnknownName: if no package registers the name; the message has the nearest names.
        InputError: if the entry point of this name is left out.
    """
    found, left_out = _scan()
    if name in found:
        return found[name]
    for item in left_out:
        if item.name == name:
            raise InputError(
                f"model {name!r}", item.reason, f"Repair or uninstall {item.distribution}"
            )
    raise unknown("model", name, found)


def create_model(name: str, preset: str | None = None, **options: Any) -> Model:
    """Build and return a model.

    Args:
        name: a name of :func:`cards`.
        preset: one of its presets, or None for the card's default.
        options: constructor options. ``bands``, ``inputs``, ``context`` and ``classes`` (the
            dataset's numbers of bands, bands given, context frames and classes) are dropped if the
            builder does not accept them.

    Raises:
        UnknownName: if model, preset or an option is unknown.
        InputError: if an import is missing or an option has a wrong value.
    """
    entry = card(name)
    chosen = preset or entry.default_preset
    resolved = entry.of(chosen)
    builder = _builder(entry)
    accepted = _accepted(entry, builder, options)
    try:
        model: Model = builder(chosen, **accepted)
    except RsbenchError:
        raise
    except (ValueError, TypeError) as error:
        raise InputError(
            f"model {name!r}, preset {chosen!r}, options {accepted}",
            str(error),
            "`rsbench models --json` lists presets and options",
        ) from error
    adopt(model, resolved, chosen, accepted)
    return model


@dataclass(frozen=True)
class ModelOption:
    """An option of a model: name, type, and value of the preset; None if the builder decides."""

    name: str
    kind: str
    default: Any


def model_options(entry: Card, preset: str) -> tuple[ModelOption, ...]:
    """Return the options that the builder of a model accepts, in its order.

    A builder may have a function ``stated(preset)`` that returns values by name; otherwise the
    defaults of its signature count. Options of the preset come first.

    Raises:
        UnknownName: if there is no such preset.
        InputError: if the builder cannot be imported.
    """
    entry.of(preset)
    builder = _builder(entry)
    stated: Mapping[str, Any] = getattr(builder, "stated", lambda preset: {})(preset)
    values = {**stated, **entry.presets[preset].options}
    found = []
    for one in list(inspect.signature(builder).parameters.values())[1:]:
        if one.kind is inspect.Parameter.VAR_KEYWORD:
            continue
        default = None if one.default is one.empty else one.default
        value = values.get(one.name, default)
        found.append(ModelOption(one.name, _kind(one, value), value))
    return tuple(found)


def _kind(parameter: inspect.Parameter, value: Any) -> str:
    """Return a word for the type of an option, from its value or else from its annotation."""
    if isinstance(value, list | tuple):
        return f"list of {type(value[0]).__name__}" if value else "list"
    if value is not None:
        return "text" if isinstance(value, str) else type(value).__name__
    if parameter.annotation is inspect.Parameter.empty:
        return "int" if parameter.name in FACTS else ""
    text = str(parameter.annotation).replace(" | None", "")
    listed = re.fullmatch(r"(?:Sequence|tuple|list)\[(\w+).*\]", text)
    return f"list of {listed[1]}" if listed else {"str": "text"}.get(text, text)


def adopt(
    model: Model, entry: Card, preset: str | None = None, options: Mapping[str, Any] | None = None
) -> Identity:
    """Register the card and preset of a model that ``create_model`` did not build.

    Parameters that the card does not count are counted.
    """
    chosen = preset or entry.default_preset
    known = _counted(entry.of(chosen), chosen, model)
    identity = Identity(entry.name, chosen, known, dict(options or {}))
    key = id(model)
    _IDENTITIES[key] = identity
    weakref.finalize(model, _IDENTITIES.pop, key, None)
    return identity


def _counted(entry: Card, preset: str, model: Model) -> Card:
    """Return a card whose preset states the number of parameters; counted where it did not."""
    info = entry.presets[preset]
    module: Any = getattr(model, "module", None)
    if info.parameters is not None or not hasattr(module, "parameters"):
        return entry
    sizes = [(p.numel(), p.requires_grad) for p in module.parameters()]
    every, free = sum(n for n, _ in sizes), sum(n for n, learns in sizes if learns)
    counted = replace(info, parameters=every, trainable=free, frozen=every - free)
    return replace(entry, presets={**entry.presets, preset: counted})


def called(model: Model) -> str:
    """Return the preset with the options the model was built with, as tables show it.

    Of a path only the last part is shown.
    """
    own = identity(model)
    chosen = {n: v for n, v in own.options.items() if n not in FACTS and v is not None}
    return " ".join([own.preset, *(f"{n}={_short(v)}" for n, v in sorted(chosen.items()))])


def _short(value: Any) -> str:
    if isinstance(value, list | tuple):
        return ",".join(map(str, value))
    return PurePath(value).name if isinstance(value, str | PurePath) else str(value)


def parse_option(text: str) -> tuple[str, Any]:
    """Parse ``NAME=VALUE``: a number, true, false, a list separated by commas, or text.

    A comma at the end makes a list of one element, a comma alone an empty one.

    Raises:
        InputError: if the name or the value is missing.
    """
    name, _, value = text.partition("=")
    if not name.isidentifier() or not value:
        raise InputError(
            f"--option {text}", "it is not NAME=VALUE", "Example: --option sampler=sjd-fm"
        )
    whole = value.removesuffix(",")
    parts = tuple(_plain(part) for part in whole.split(",")) if whole else ()
    return name, parts if "," in value else parts[0]


def _plain(text: str) -> Any:
    if text in ("true", "false"):
        return text == "true"
    for kind in (int, float):
        with suppress(ValueError):
            return kind(text)
    return text


def identity(model: Model) -> Identity:
    """Return name, preset, card and options of a model.

    Raises:
        InputError: if ``create_model`` did not build it and it was not adopted.
    """
    found = _IDENTITIES.get(id(model))
    if found is None:
        raise InputError(
            f"a model of type {type(model).__name__}",
            "it was not built by create_model, so its card is not known",
            "Build it with rsbench.create_model, or call rsbench.registry.adopt(model, card)",
        )
    return found


@contextmanager
def extra(entry: Card) -> Iterator[Card]:
    """Add a card inside a ``with`` block, without an installed package."""
    before = _EXTRA.get(entry.name)
    _EXTRA[entry.name] = entry
    try:
        yield entry
    finally:
        if before is None:
            del _EXTRA[entry.name]
        else:
            _EXTRA[entry.name] = before


def models_json() -> list[dict[str, Any]]:
    """Return every card as JSON, sorted by name."""
    return [card_json(entry) for _, entry in sorted(cards().items())]


def card_json(entry: Card) -> dict[str, Any]:
    """Return one card as JSON."""
    presets = {}
    for name, info in entry.presets.items():
        resolved = entry.of(name)
        presets[name] = {
            "parameters": info.parameters,
            "trainable": info.trainable,
            "frozen": info.frozen,
            "note": info.note,
            "options": dict(info.options),
            "rollout": resolved.rollout,
            "context": [resolved.min_context, resolved.max_context],
        }
    return {
        "name": entry.name,
        "task": entry.task,
        "title": entry.title,
        "presets": presets,
        "default_preset": entry.default_preset,
        "citation": entry.citation,
        "licence": entry.licence,
        "parity": entry.parity,
        "published": [cell for row in entry.published for cell in _printed(entry, row)],
        "rollout": entry.rollout,
        "trainable": entry.trainable,
        "fitted": entry.fitted,
        "taught": entry.taught,
        "tile": entry.tile,
        "halo": entry.halo,
        "multiple_of": entry.multiple_of,
        "fixed_size": entry.fixed_size,
        "sampler_tolerance": entry.sampler_tolerance,
    }


def _printed(
    entry: Card, row: tuple[str, str, str] | Mapping[str, Any]
) -> Iterator[dict[str, Any]]:
    """Yield the values of a published row."""
    if isinstance(row, Mapping):
        yield dict(row)
        return
    from rsbench.catalog import load_published

    preset, table, name = row
    try:
        cells = tuple(load_published(table).cells(name))
    except InputError as error:
        raise InputError(
            f"the card of {entry.name}", str(error), "Correct `published` in the card"
        ) from error
    for cell in cells:
        yield {"preset": preset, **cell}


def _scan() -> tuple[dict[str, Card], tuple[BrokenPlugIn, ...]]:
    """Return the cards by name, and the entry points that are left out."""
    found: dict[str, Card] = {}
    left_out: list[BrokenPlugIn] = []
    for name, package, value in _PLUG_INS.each():
        if isinstance(value, BrokenPlugIn):
            left_out.append(value)
        elif (reason := _fault(name, value, found)) is not None:
            left_out.append(BrokenPlugIn(name, package, reason))
        else:
            found[name] = value
    return found | _EXTRA, tuple(left_out)


def _fault(name: str, entry: Card, found: Mapping[str, Card]) -> str | None:
    """Return why a card is left out, or None."""
    if entry.name != name:
        return f"its card is named {entry.name!r}"
    for kind, label in (("name", name), *(("preset", preset) for preset in entry.presets)):
        if fault := label_fault(label):
            return f"its {kind} {label!r} is refused: {fault}"
    if found.get(name, entry) != entry:  # an editable install may be found twice
        return "the name is taken by another package"
    if not entry.build:
        return "its card names no builder: state build='package.module:function'"
    if entry.default_preset not in entry.presets:
        return f"its default preset {entry.default_preset!r} is not among its presets"
    return None


def _builder(entry: Card) -> Any:
    if not entry.build:
        raise InputError(
            f"model {entry.name!r}", "its card names no builder",
            "State build='package.module:function' in the card",
        )  # fmt: skip
    try:
        return entry.builder()
    except (ImportError, AttributeError) as error:
        from rsbench.core.extras import extra_of, install_command

        missing = error.name if isinstance(error, ModuleNotFoundError) else None
        remedy = (
            f"Install it with: {install_command(missing)}"
            if missing and extra_of(missing)
            else f"Repair the package that holds {entry.build}"
        )
        raise InputError(f"model {entry.name!r}", f"it cannot be built: {error}", remedy) from error


def _accepted(entry: Card, builder: Any, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options that the builder accepts."""
    parameters = inspect.signature(builder).parameters
    if any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters.values()):
        return dict(options)
    takes = set(list(parameters)[1:])
    for name in options:
        if name not in takes and name not in FACTS:
            raise unknown(f"option of model {entry.name}", name, takes)
    return {name: value for name, value in options.items() if name in takes}
