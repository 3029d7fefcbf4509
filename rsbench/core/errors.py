"""Every error rsbench raises on purpose says three things: asked, found, remedy."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from pathlib import Path


def first_line(error: BaseException) -> str:
    """Return the first line of what another library's error says, or its kind if it is silent."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0].strip()[:200]


class RsbenchError(Exception):
    """Base of all rsbench errors; the CLI prints it on stderr and exits with ``exit_code``."""

    exit_code = 2

    def __init__(self, asked: str, found: str, remedy: str) -> None:
        self.asked = asked
        self.found = found
        self.remedy = remedy
        super().__init__(f"{asked}: {found}. {remedy}")

    def __str__(self) -> str:
        return f"{self.asked}: {self.found}. {self.remedy}"


class InputError(RsbenchError, ValueError):
    """An argument or an input file cannot be used as it is."""


class UnknownName(InputError):
    """A name is in no catalogue; carries the closest known names."""


class CatalogError(InputError):
    """A catalogue file is malformed; names the file and the line."""

    def __init__(self, path: Path, line: int | None, problem: str, remedy: str) -> None:
        self.path = path
        self.line = line
        where = f"{path}:{line}" if line is not None else str(path)
        super().__init__(f"reading the catalogue {where}", problem, remedy)


class StoreError(InputError):
    """A dataset store is absent, unfinished or damaged."""


class SchemaError(StoreError):
    """A file was written under a schema this version does not read."""


class HorizonError(InputError):
    """More leads or context were asked for than the data or the model has."""


class PixelError(InputError):
    """Pixels break their contract, e.g. a NaN that no mask declares."""


class Incomparable(RsbenchError):
    """Two results differ in identity (dataset, split, protocol, metric …)."""

    exit_code = 3


class UnitFailed(RsbenchError, OSError):
    """One unit of a build could not be read; it never becomes data."""

    exit_code = 1


class DiskFull(RsbenchError, OSError):
    """The output device has no room left; what was finished is kept."""

    exit_code = 1


class MetricUnavailable(RsbenchError):
    """A metric cannot run here (missing weights or library); never a number."""


class TrainingError(RsbenchError, RuntimeError):
    """Training cannot start or go on."""


UPGRADE = "pip install --upgrade rsbench"


def other_schema(asked: str, found: object, reads: int, again: str) -> SchemaError:
    """Build the error for a file of another schema, with the command that makes one of this.

    Args:
        found: the schema it states, of whatever type a file may hold.
        reads: the schema this version reads.
        again: the command that makes an older file again; a newer one asks for a newer rsbench.
    """
    newer = isinstance(found, int) and found > reads
    text = f"it was written under schema {found!r}; this version reads {reads}"
    return SchemaError(asked, text, f"Type: {UPGRADE if newer else again}")


def unknown(kind: str, name: str, options: Iterable[str]) -> UnknownName:
    """Build the error for a name that is in no catalogue, with the nearest known names."""
    known = sorted(options)
    folded = {option.casefold(): option for option in known}
    near = difflib.get_close_matches(name.casefold(), folded, n=3, cutoff=0.5)
    if len(name) > 2:  # a part of a long name is what people remember of it
        near = sorted((key for key in folded if name.casefold() in key), key=len)[:3] or near
    close = [folded[key] for key in near]
    found = f"there is no {kind} of this name"
    if close:
        remedy = f"Did you mean {' or '.join(close)}?"
    elif len(known) <= 12:
        remedy = f"Known: {', '.join(known) or 'none'}"
    else:
        remedy = f"Known: {', '.join(known[:12])}, … ({len(known)} in all)"
    return UnknownName(f"{kind} {name!r}", found, remedy)
