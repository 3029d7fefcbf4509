"""Check STAC documents from outside: every item, page and link before anything else reads it.

STAC is JSON that others wrote. A field of a wrong type, a number that is not finite, a text that is
not Unicode or a date outside the satellite era is refused with the item, the field and the value.
Fields that rsbench does not read may hold any finite JSON.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import lru_cache
from types import MappingProxyType
from typing import Any

from pydantic import BaseModel, ValidationError

from rsbench.build.plan.stac_types import Document, Page, StacItem
from rsbench.core.errors import InputError

Item = Mapping[str, Any]
"""A checked STAC item that cannot be changed. ``_url``: address or file that links start from."""

YEARS = (1950, 2100)
"""First and last year that the date of an item may have."""
MAX_DEPTH = 64
_WHOLE = 1 << 63
"""Largest whole number."""
_REMEDY = "Correct it, or leave it out of the catalogue"
_NEEDED = {
    "string_type": "text is needed",
    "dict_type": "an object is needed",
    "model_type": "an object is needed",
    "model_attributes_type": "an object is needed",
    "list_type": "a list is needed",
    "int_type": "a whole number is needed",
    "float_type": "a number is needed",
    "bool_type": "true or false is needed",
    "string_pattern_mismatch": "one line of printable characters is needed",
    "string_too_short": "text is needed",
    "union_tag_not_found": "a geometry is needed",
    "union_tag_invalid": "a geometry is needed",
}
"""Kind of pydantic's error → the rule, in the words of a message."""
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")


def read_json_text(text: str | bytes, asked: str) -> Any:
    """Return the value of a JSON text; numbers such as NaN are kept and refused by field later.

    Raises:
        InputError: if it is no JSON, or too deep.
    """
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        found = "it is no JSON" if isinstance(error, ValueError) else "its JSON is too deep"
        raise InputError(asked, found, _REMEDY) from error


def read_item(document: Any, url: str) -> Item:
    """Return a checked item.

    Args:
        document: of a page or a file.
        url: address or file that relative links start from, where the item has no link to itself.

    Raises:
        InputError: naming the item, the field and what was found.
    """
    asked = f"item {_short(document.get('id'))}" if isinstance(document, Mapping) else "an item"
    frozen = _frozen_plain(document)
    if frozen is None:
        _require_plain(document, asked)
    _require_types(StacItem, document, asked)
    held = dict(_frozen(document) if frozen is None else frozen)
    for name, empty in (("properties", {}), ("assets", {}), ("links", ())):
        held[name] = held.get(name) or empty
    for name in ("datetime", "start_datetime", "end_datetime"):
        _require_date(held["properties"].get(name), asked, f"properties.{name}")
    own = [link["href"] for link in held["links"] if link["rel"] == "self"]
    return MappingProxyType({**held, "_url": own[0] if own and "://" in url else url})


def read_page(document: Any, url: str) -> tuple[list[Any], int | None, bool]:
    """Return the unchecked items of a page, the catalogue's own count, and whether a page follows.

    Raises:
        InputError: if the page is none.
    """
    asked = f"a page of {url.partition('?')[0]}"
    _require_types(Page, document, asked)
    links = links_of(document, asked)
    count = document.get("numberMatched")
    if count is None:
        count = (document.get("context") or {}).get("matched")
    return document.get("features") or [], count, any(rel == "next" for rel, _ in links)


def links_of(document: Any, asked: str) -> list[tuple[str, str]]:
    """Return relation and address of every link of a document.

    Raises:
        InputError: if it is no JSON object, or its links are malformed.
    """
    _require_types(Document, document, asked)
    return [(link["rel"], link["href"]) for link in document.get("links") or ()]


def item_time(item: Mapping[str, Any]) -> datetime:
    """Return an item's time in UTC; of a composite, which has none, its start."""
    properties = item.get("properties", {})
    text = properties.get("datetime") or properties.get("start_datetime")
    value = _parsed(text)
    if value is None:
        raise InputError(
            f"the time of item {_short(item.get('id'))}",
            f"neither datetime nor start_datetime can be read ({_short(text)})",
            f"Leave it out with --exclude {_short(item.get('id'))}",
        )
    return value


def _require_date(text: Any, asked: str, field: str) -> None:
    if text is None:
        return
    value = _parsed(text)
    if value is None or not YEARS[0] <= value.year <= YEARS[1]:
        raise _wrong(asked, field, text, f"a date from {YEARS[0]} to {YEARS[1]} is needed")


def _parsed(text: Any) -> datetime | None:
    return _instant(str(text))


@lru_cache(1 << 12)
def _instant(text: str) -> datetime | None:
    try:
        value = datetime.fromisoformat(text.replace("Z", "+00:00"))
        return value.astimezone(UTC) if value.tzinfo else value.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        return None


class _UnsureError(Exception):
    """A part of a document is of a kind that :func:`_require_plain` has to look at."""


def _frozen_plain(document: Any) -> Any | None:
    """Return a JSON object that cannot be changed; None if it may not be plain.

    A document that is not None here passes :func:`_require_plain`, which takes longer.
    """
    try:
        return _frozen_part(document, 1) if type(document) is dict else None
    except _UnsureError:
        return None


def _frozen_part(value: dict[Any, Any] | list[Any], depth: int) -> Any:
    """Return an object or list that cannot be changed, and everything in it."""
    if depth > MAX_DEPTH:
        raise _UnsureError
    if isinstance(value, list):
        return tuple([part if _is_scalar(part) else _frozen_part(part, depth + 1)
                      for part in value])  # fmt: skip
    held = {}
    for name, part in value.items():
        if not name.isascii():
            raise _UnsureError
        held[name] = part if _is_scalar(part) else _frozen_part(part, depth + 1)
    return MappingProxyType(held)


def _is_scalar(value: Any) -> bool:
    """Return True for a plain scalar and False for an object or list."""
    kind = type(value)
    if kind is str:
        plain = value.isascii()
    elif kind is dict or kind is list:
        return False
    elif kind is int:
        plain = -_WHOLE <= value <= _WHOLE
    elif kind is float:
        plain = value - value == 0  # neither infinite nor NaN
    else:
        plain = value is None or kind is bool
    if not plain:
        raise _UnsureError
    return True


def _require_plain(value: Any, asked: str, field: str = "it", depth: int = 0) -> None:
    """Refuse numbers that are not finite or beyond 64 bits, broken text and endless nesting."""
    if isinstance(value, str):
        if not value.isascii() and _UNPRINTABLE.search(value):
            raise _wrong(asked, field, value, "Unicode text is needed")
    elif isinstance(value, int | float):
        if not math.isfinite(value) if isinstance(value, float) else abs(value) > _WHOLE:
            raise _wrong(asked, field, value, "a finite number is needed")
    elif isinstance(value, Mapping | list):
        if depth > MAX_DEPTH:
            raise InputError(asked, f"it is nested more than {MAX_DEPTH} deep", _REMEDY)
        for name, part in value.items() if isinstance(value, Mapping) else enumerate(value):
            _require_plain(name, asked, field, depth)
            _require_plain(
                part, asked, str(name) if field == "it" else f"{field}.{name}", depth + 1
            )


def _require_types(model: type[BaseModel], document: Any, asked: str) -> None:
    try:
        model.model_validate(document)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
        field = ".".join(str(part) for part in first["loc"]) or "it"
        if first["type"] == "missing":
            raise InputError(asked, f"it has no {_short(field, quoted=False)}", _REMEDY) from None
        said = _NEEDED.get(first["type"], first["msg"].removeprefix("Value error, "))
        raise _wrong(asked, field, first["input"], said) from None


def _wrong(asked: str, field: Any, found: Any, rule: str) -> InputError:
    return InputError(asked, f"{_short(field, quoted=False)} is {_short(found)}; {rule}", _REMEDY)


def _short(value: Any, *, quoted: bool = True) -> str:
    """Return a value for a message: one line of printable characters."""
    if isinstance(value, Mapping):
        return "an object"
    if isinstance(value, list | tuple):
        return "a list"
    text = value if isinstance(value, str) else str(value)[:80]
    shown = repr(text[:77] + "…" if len(text) > 80 else text)
    return shown if quoted and isinstance(value, str) else shown[1:-1]


def _frozen(value: Any) -> Any:
    if isinstance(value, Mapping):
        return MappingProxyType({name: _frozen(part) for name, part in value.items()})
    return tuple(map(_frozen, value)) if isinstance(value, list | tuple) else value
