"""Frozen dataclasses from JSON values whose types are checked."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from functools import cache
from typing import Any, TypeVar, cast

from pydantic import TypeAdapter, ValidationError

T = TypeVar("T")


def typed(kind: type[T], value: Mapping[str, Any]) -> T:
    """Return a dataclass from its JSON form; keys that it does not have are left out.

    Raises:
        ValueError: if a field is absent or of another type; the message is one line.
    """
    try:
        return cast(T, _adapter(cast(Hashable, kind)).validate_python(value))
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
        part = ".".join(map(str, first["loc"]))
        lacks = first["type"] == "missing"
        raise ValueError(
            f"it lacks a field ({part})" if lacks else f"{part}: {first['msg']}"
        ) from error


@cache
def _adapter(kind: Any) -> TypeAdapter[Any]:
    return TypeAdapter(kind)
