"""The exceptions of rsbench. Each message has three parts: asked, found, remedy."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from pathlib import Path


def first_line(error: BaseException) -> str:
    """Return the first line of an error message, or the type of the error if it has none."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0].strip()[:200]


def read_fault(error: BaseException) -> str:
    """Return why a file could not be read, such as ``No such file or directory``."""
    told = error.strerror if isinstance(error, OSError) else None
    return told or first_line(error)


class RsbenchError(Exception):
    """Base of all rsbench errors; the command line prints it and exits with ``exit_code``.

    Args:
        asked: the operation or argument, e.g. ``opening PATH``.
        found: why it failed.
        remedy: what the user can do.
    """

    exit_code = 2

    def __init__(self, asked: str, found: str, remedy: str) -> None:
        self.asked = asked
        self.found = found
        self.remedy = remedy
        super().__init__(f"{asked}: {found}. {remedy}")

    def __str__(self) -> str:
        return f"{self.asked}: {self.found}. {self.remedy}"


class InputError(RsbenchError, ValueError):
    """An argument or an input file is invalid."""


class UnknownName(InputError):
    """A name is unknown; the message has the most similar known names."""


class CatalogError(InputError):
    """A catalogue file is malformed; the message has the file and the line."""

    def __init__(self, path: Path, line: int | None, problem: str, remedy: str) -> None:
        self.path = path
        self.line = line
        where = f"{path}:{line}" if line is not None else str(path)
        super().__init__(f"reading the catalogue {where}", problem, remedy)


class StoreError(InputError):
    """A dataset store is absent, incomplete or damaged."""


class SchemaError(StoreError):
    """A file has a schema that this version does not read."""


class HorizonError(InputError):
    """The requested leads or context exceed those of the data or the model."""


class PixelError(InputError):
    """Pixel values are invalid, e.g. NaN in a pixel that the mask marks as valid."""


class Incomparable(RsbenchError):
    """Two results differ in identity (dataset, split, protocol, metric …)."""

    exit_code = 3


class UnitFailed(RsbenchError, OSError):
    """A unit of a build could not be read and is not in the store."""

    exit_code = 1


class ItemFailed(UnitFailed):
    """One item of a unit could not be read; ``item`` is its id."""

    item = ""

    @classmethod
    def of(cls, item: str, asked: str, found: str, remedy: str) -> ItemFailed:
        """Return the error of an item."""
        error = cls(asked, found, remedy)
        error.item = item
        return error


class DiskFull(RsbenchError, OSError):
    """The output device is full; finished parts are kept."""

    exit_code = 1


class LimitReached(RsbenchError):
    """Memory or the number of open files does not suffice."""

    exit_code = 1


class MetricUnavailable(RsbenchError):
    """A metric cannot be computed because its weights or a library are missing."""


class TrainingError(RsbenchError, RuntimeError):
    """Training cannot start or continue."""


UPGRADE = "pip install --upgrade rsbench"


def other_schema(asked: str, found: object, reads: int, again: str) -> SchemaError:
    """Return the error for a file with another schema.

    Args:
        found: the schema in the file, of any type.
        reads: the schema that this version reads.
        again: the command that creates the file again, for older schemas. For newer ones the
            message asks for a newer rsbench.
    """
    newer = isinstance(found, int) and found > reads
    text = f"it was written under schema {found!r}; this version reads {reads}"
    return SchemaError(asked, text, f"Type: {UPGRADE if newer else again}")


def unknown(kind: str, name: str, options: Iterable[str]) -> UnknownName:
    """Return the error for an unknown name, with the most similar names, or all if none is similar.

    Args:
        kind: what the name should be, e.g. ``sensor``.
        options: the known names.
    """
    known = sorted(options)
    folded = {option.casefold(): option for option in known}
    near = difflib.get_close_matches(name.casefold(), folded, n=3, cutoff=0.5)
    if len(name) > 2:  # part of a long name is a frequent input
        near = sorted((key for key in folded if name.casefold() in key), key=len)[:3] or near
    close = [folded[key] for key in near]
    found = f"there is no {kind} of this name"
    if close:
        remedy = f"Did you mean {' or '.join(close)}?"
    else:
        remedy = f"Known: {', '.join(known) or 'none'}"
    return UnknownName(f"{kind} {name!r}", found, remedy)
