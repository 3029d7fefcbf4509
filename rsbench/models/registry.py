"""The models that are installed: cards from entry points, and building by name.

A package adds a model by an entry point in the group ``rsbench.models`` that names a
:class:`~rsbench.models.api.Card`. Reading cards imports no torch, if the cards' modules do not.
"""

from __future__ import annotations

import inspect
import weakref
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from importlib.metadata import EntryPoint, entry_points
from pathlib import PurePath
from typing import Any

from rsbench.core.errors import InputError, RsbenchError, unknown
from rsbench.models.api import Card, Model

GROUP = "rsbench.models"
EXTRAS = {"torch": "models", "safetensors": "models", "diffusers": "generative",
          "huggingface_hub": "generative", "transformers": "generative"}  # fmt: skip
FACTS = ("bands", "context")  # what the harness knows of the dataset and a builder may take


@dataclass(frozen=True)
class Broken:
    """An entry point whose card could not be read; reported, never fatal."""

    name: str
    distribution: str
    reason: str

    def __str__(self) -> str:
        return f"model {self.name!r} of {self.distribution} is left out: {self.reason}"


@dataclass(frozen=True)
class Identity:
    """Which model of the registry an object is; ``card`` reads as for the preset."""

    name: str
    preset: str
    card: Card
    options: Mapping[str, Any] = field(default_factory=dict)


_EXTRA: dict[str, Card] = {}
_IDENTITIES: dict[int, Identity] = {}


def cards() -> dict[str, Card]:
    """Return the cards of all models that are installed and readable, by name."""
    return _scan()[0]


def broken() -> tuple[Broken, ...]:
    """Return the entry points that could not be read, with the reason."""
    return _scan()[1]


def card(name: str) -> Card:
    """Return one card; an unknown name is an error with the nearest names."""
    found, unreadable = _scan()
    if name in found:
        return found[name]
    for item in unreadable:
        if item.name == name:
            raise InputError(
                f"model {name!r}", item.reason, f"Repair or uninstall {item.distribution}"
            )
    raise unknown("model", name, found)


def create_model(name: str, preset: str | None = None, **options: Any) -> Model:
    """Build a model.

    Args:
        name: a name of :func:`cards`.
        preset: one of its presets; the card's default where None.
        options: constructor options. ``bands`` and ``context`` (numbers of bands and context
            frames of the dataset) are dropped where the builder does not take them; any other
            option it does not take is an error.
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
            "See `rsbench models --json` for what it takes",
        ) from error
    adopt(model, resolved, chosen, accepted)
    return model


def adopt(
    model: Model, entry: Card, preset: str | None = None, options: Mapping[str, Any] | None = None
) -> Identity:
    """Remember which card and preset a model built by hand belongs to."""
    chosen = preset or entry.default_preset
    identity = Identity(entry.name, chosen, entry.of(chosen), dict(options or {}))
    key = id(model)
    _IDENTITIES[key] = identity
    weakref.finalize(model, _IDENTITIES.pop, key, None)
    return identity


def called(model: Model) -> str:
    """Return the preset as a row names it: with the options it was built with, if there are any.

    Folders are named by their last part: where they lie says nothing of the model.
    """
    own = identity(model)
    chosen = {n: v for n, v in own.options.items() if n not in FACTS and v is not None}
    return " ".join([own.preset, *(f"{n}={_short(v)}" for n, v in sorted(chosen.items()))])


def _short(value: Any) -> str:
    if isinstance(value, list | tuple):
        return ",".join(map(str, value))
    return PurePath(value).name if isinstance(value, str | PurePath) else str(value)


def parse_option(text: str) -> tuple[str, Any]:
    """Read ``NAME=VALUE`` of the command line: numbers, true, false, lists with commas, or text.

    Raises:
        InputError: if it has no name or no value.
    """
    name, _, value = text.partition("=")
    if not name.isidentifier() or not value:
        raise InputError(f"--option {text}", "it is no NAME=VALUE", "As in --option sampler=sjd-fm")
    parts = [_plain(part) for part in value.split(",")]
    return name, parts[0] if len(parts) == 1 else tuple(parts)


def _plain(text: str) -> Any:
    if text in ("true", "false"):
        return text == "true"
    for kind in (int, float):
        with suppress(ValueError):
            return kind(text)
    return text


def identity(model: Model) -> Identity:
    """Return which model an object is; an object the registry never saw is an error."""
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
    """Add a card for a while, without an installed package."""
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
        "tile": entry.tile,
        "halo": entry.halo,
        "multiple_of": entry.multiple_of,
        "fixed_size": entry.fixed_size,
        "sampler_tolerance": entry.sampler_tolerance,
    }


def _printed(
    entry: Card, row: tuple[str, str, str] | Mapping[str, Any]
) -> Iterator[dict[str, Any]]:
    """Yield the numbers of a printed row."""
    if isinstance(row, Mapping):
        yield dict(row)
        return
    from rsbench.catalog import load_published

    preset, table, name = row
    try:
        cells = tuple(load_published(table).cells(name))
    except InputError as error:
        raise InputError(
            f"the card of {entry.name}", str(error), "Repair its published rows"
        ) from error
    for cell in cells:
        yield {"preset": preset, **cell}


def _scan() -> tuple[dict[str, Card], tuple[Broken, ...]]:
    found: dict[str, Card] = {}
    unreadable: list[Broken] = []
    # Our own entry points come first, so that no package can take over one of their names.
    points = sorted(entry_points(group=GROUP), key=lambda p: (_owner(p) != "rsbench", p.name))
    for point in points:
        reason = None
        try:
            value = point.load()
        except Exception as error:  # noqa: BLE001 - a stranger's import may raise anything
            reason = f"{point.value} raises {type(error).__name__}: {error}"
        else:
            reason = _fault(point, value, found)
        if reason is None:
            found[point.name] = value
        else:
            unreadable.append(Broken(point.name, _owner(point), reason))
    return found | _EXTRA, tuple(unreadable)


def _fault(point: EntryPoint, value: object, found: Mapping[str, Card]) -> str | None:
    if not isinstance(value, Card):
        return f"{point.value} is a {type(value).__name__}, not a rsbench.Card"
    if value.name != point.name:
        return f"its card is named {value.name!r}"
    if point.name in found:
        # The same package found twice (installed and editable) is no clash.
        return None if found[point.name] == value else "the name is taken by another package"
    if value.default_preset not in value.presets:
        return f"its default preset {value.default_preset!r} is not among its presets"
    return None


def _owner(point: EntryPoint) -> str:
    return point.dist.name if point.dist is not None else "an unnamed package"


def _builder(entry: Card) -> Any:
    try:
        return entry.builder()
    except (ImportError, AttributeError) as error:
        missing = error.name if isinstance(error, ModuleNotFoundError) else None
        extra = EXTRAS.get((missing or "").partition(".")[0])
        remedy = (
            f"Install it with: pip install 'rsbench[{extra}]'"
            if extra
            else f"Repair the package that holds {entry.build}"
        )
        raise InputError(f"model {entry.name!r}", f"cannot be built: {error}", remedy) from error


def _accepted(entry: Card, builder: Any, options: Mapping[str, Any]) -> dict[str, Any]:
    parameters = inspect.signature(builder).parameters
    if any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters.values()):
        return dict(options)
    takes = set(list(parameters)[1:])
    for name in options:
        if name not in takes and name not in FACTS:
            raise unknown(f"option of model {entry.name}", name, takes)
    return {name: value for name, value in options.items() if name in takes}
