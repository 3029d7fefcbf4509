"""Reading and validation of YAML files, with file and line in every error."""

from __future__ import annotations

import difflib
import json
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from rsbench.core.errors import CatalogError

M = TypeVar("M", bound=BaseModel)
Loc = tuple[str | int, ...]

# The C parser gives the same nodes and marks, about ten times faster; it is not in every build.
_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_PLAIN = frozenset(f"tag:yaml.org,2002:{t}" for t in ("str", "int", "float", "bool", "null"))
MAX_BYTES = 4 << 20
MAX_VALUES = 100_000
"""Values of a file, those that aliases repeat included."""
MAX_DEPTH = 50
_HINTS = {
    "missing": "Add the key",
    "float_type": "Write a number; YAML reads an exponent only after a point, as in 1.0e-4",
    "int_type": "Write a whole number without quotes",
    "string_type": "Put the text in quotes",
    "bool_type": "Write true or false",
    "tuple_type": "Write a list, as in [1, 2]",
}


@dataclass(frozen=True)
class Document:
    """Plain values of a YAML file, and the line (from 1) of every key and list item."""

    path: Path
    value: Any
    lines: dict[Loc, int]

    def line(self, loc: Iterable[str | int]) -> int:
        """Return the line of the deepest known part of ``loc``.

        Parts that are not in the file (a branch of a union, a default) are ignored.
        """
        return self.lines[self.known(loc)]

    def known(self, loc: Iterable[str | int]) -> Loc:
        """Return ``loc`` without the parts that are not in the file."""
        at: Loc = ()
        for part in loc:
            if (*at, part) in self.lines:
                at = (*at, part)
        return at


def load_yaml(path: Path) -> Document:
    """Read a YAML file as plain values.

    Raises:
        CatalogError: if it is not YAML, or has duplicate keys, tags or recursive anchors, or too
            many or too deep values.
    """
    text = _text(path)
    loader = None
    try:
        _require_shallow(path, text)
        loader = _Loader(text)
        node = loader.get_single_node()
        if node is None:
            raise CatalogError(path, 1, "the file is empty", "Fill it in or delete it")
        lines: dict[Loc, int] = {}
        value = _plain(path, loader, node, (), lines)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = mark.line + 1 if mark is not None else None
        problem = getattr(error, "problem", None) or str(error).splitlines()[0]
        raise CatalogError(
            path, line, f"this is not YAML ({problem})", "Correct the line"
        ) from error
    finally:
        if loader is not None:
            loader.dispose()
    return Document(path, value, lines)


def _text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
        text = data.decode("utf-8-sig")
    except (OSError, ValueError) as error:
        raise CatalogError(
            path, None, f"the file cannot be read ({error})", "Check the path and the encoding"
        ) from error
    if len(data) > MAX_BYTES:
        raise CatalogError(path, None, f"it is larger than {MAX_BYTES >> 20} MiB", "Shorten it")
    return text


def _require_shallow(path: Path, text: str) -> None:
    """Refuse deep nesting before the parser composes nodes, which it does by recursion."""
    depth = 0
    for event in yaml.parse(text, Loader=_Loader):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        if depth > MAX_DEPTH:
            line = event.start_mark.line + 1 if event.start_mark else None
            raise CatalogError(
                path, line, f"values are nested more than {MAX_DEPTH} deep", "Write it flatter"
            )


def _plain(path: Path, loader: Any, node: yaml.Node, at: Loc, lines: dict[Loc, int]) -> Any:
    lines.setdefault(at, node.start_mark.line + 1)
    if len(at) > MAX_DEPTH:
        raise CatalogError(
            path, node.start_mark.line + 1, "an anchor contains itself", "Write the entry out"
        )
    if len(lines) > MAX_VALUES:
        raise CatalogError(
            path,
            node.start_mark.line + 1,
            f"it holds more than {MAX_VALUES} values, those that anchors repeat included",
            "Write fewer entries",
        )
    if isinstance(node, yaml.MappingNode):
        return dict(_pairs(path, loader, node, at, lines))
    if isinstance(node, yaml.SequenceNode):
        return [_plain(path, loader, n, (*at, i), lines) for i, n in enumerate(node.value)]
    if node.tag not in _PLAIN:
        kind = node.tag.rsplit(":", 1)[-1]
        raise CatalogError(
            path,
            node.start_mark.line + 1,
            f"{node.value!r} is read as a {kind}",
            "Put it in quotes to make it text",
        )
    return _scalar(path, loader, node)


def _scalar(path: Path, loader: Any, node: yaml.Node) -> Any:
    kind, problem = node.tag.rsplit(":", 1)[-1], ""
    try:
        value = loader.construct_object(node)
    except (ValueError, KeyError, OverflowError):
        problem = f"cannot be read as {kind}"
    else:
        if isinstance(value, float) and not math.isfinite(value):
            problem = "is no finite number"
        elif kind in ("int", "float") and ":" in node.value:  # digits in base 60
            problem = f"is read as the number {value}"
    if not problem:
        return value
    raise CatalogError(
        path,
        node.start_mark.line + 1,
        f"{_short(node.value)} {problem}",
        "Correct it, or put it in quotes to make it text",
    )


def _pairs(
    path: Path, loader: Any, node: yaml.MappingNode, at: Loc, lines: dict[Loc, int]
) -> Iterator[tuple[str, Any]]:
    for key_node, value_node in node.value:
        line = key_node.start_mark.line + 1
        if key_node.tag != "tag:yaml.org,2002:str":
            raise CatalogError(
                path, line, f"the key {key_node.value!r} is not text", "Put the key in quotes"
            )
        key = key_node.value
        if (*at, key) in lines:
            raise CatalogError(
                path,
                line,
                f"the key {key!r} is repeated, first in line {lines[(*at, key)]}",
                "Delete one of the two",
            )
        lines[(*at, key)] = line
        yield key, _plain(path, loader, value_node, (*at, key), lines)


def parse(document: Document, model: type[M], at: Loc = ()) -> M:
    """Return the part of ``document`` under ``at``, validated as ``model`` without conversions.

    Validation uses JSON because pydantic's strict mode then accepts a list as a tuple.

    Raises:
        CatalogError: for the first problem, with its line.
    """
    value = document.value
    for part in at:
        value = value[part]
    try:
        return model.model_validate_json(json.dumps(value), strict=True)
    except ValidationError as error:
        raise _first_problem(document, at, error, model) from error


def _first_problem(
    document: Document, at: Loc, error: ValidationError, model: type[BaseModel]
) -> CatalogError:
    problems = error.errors(include_url=False, include_context=True)
    # Of the branches of a union, report the one with the deepest match.
    ranked = sorted(
        problems,
        key=lambda p: (-len(document.known((*at, *p["loc"]))), document.line((*at, *p["loc"]))),
    )
    problem = ranked[0]
    loc = (*at, *problem["loc"])
    keys = set(model.model_fields) if len(problem["loc"]) == 1 else _all_keys()
    text, remedy = _words(document, loc, problem, keys)
    lines = {document.line((*at, *p["loc"])) for p in problems}
    if len(lines) > 1:
        remedy += f" ({len(lines)} lines of this file have problems)"
    return CatalogError(document.path, document.line(loc), text, remedy)


def _words(
    document: Document, loc: Loc, problem: ErrorDetails, keys: Iterable[str]
) -> tuple[str, str]:
    name = ".".join(str(part) for part in document.known(loc)) or "the file"
    kind = problem["type"]
    if kind == "extra_forbidden":
        return f"there is no key {str(loc[-1])!r} here", _did_you_mean(str(loc[-1]), keys)
    if kind == "missing":
        return f"{name} has no {str(loc[-1])!r}", _HINTS["missing"]
    message = problem["msg"].removeprefix("Value error, ").removeprefix("Assertion failed, ")
    message = message[:1].lower() + message[1:]
    found = f"{name} is {_short(problem['input'])}: {message}"
    if kind == "literal_error" and isinstance(problem["input"], str):
        options = (
            str(problem.get("ctx", {}).get("expected", "")).replace("'", "").replace(" or ", ", ")
        )
        return found, _did_you_mean(problem["input"], options.split(", "))
    return found, _HINTS.get(kind, "Correct the line")


def _did_you_mean(word: str, options: Iterable[str]) -> str:
    close = difflib.get_close_matches(word, sorted(set(options)), n=3, cutoff=0.6)
    return f"Did you mean {' or '.join(close)}?" if close else "Delete it or correct it"


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 60 else text[:57] + "…"


def _all_keys() -> set[str]:
    keys: set[str] = set()
    pending: list[type[BaseModel]] = [BaseModel]
    while pending:
        model = pending.pop()
        if model.__module__.startswith("rsbench."):
            keys.update(model.model_fields)
        pending.extend(model.__subclasses__())
    return keys
