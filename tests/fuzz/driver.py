"""Read damaged inputs as a command does, and count what comes of them."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import io
import logging
import os
import signal
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pandas as pd
from pydantic import BaseModel

from fuzz.damage import Damage
from rsbench.cli.exit_codes import guarded

LIMIT_S = 30.0
"""Seconds of the processor that one input may take; more is a hang."""
WAIT_S = 600.0
"""Seconds by the clock, for what waits without computing; a busy machine takes long too."""
HANGS = f"hang: more than {LIMIT_S:.0f} s of the processor, or {WAIT_S:.0f} s by the clock"
REFUSED, SAME, OTHER, FAULT = "refused", "same values", "other values", "fault"
MEMORY = Path("/dev/shm")


class Hang(BaseException):
    """An input took longer than the limit."""


@dataclass(frozen=True)
class Subject:
    """Valid files of a format, and how they are read.

    Args:
        files: what is damaged, one file at a time.
        read: returns everything that was read, down to the numbers.
        damage: of a file; each may have its own.
        sealed: a digest protects the numbers, so that other ones are a fault.
    """

    files: Sequence[Path]
    read: Callable[[], object]
    damage: Damage | Callable[[Path], Damage]
    sealed: bool = False
    by_file: bool = False

    def damage_of(self, path: Path) -> Damage:
        """Return the damage of a file."""
        return self.damage(path) if self.by_file else self.damage  # type: ignore[arg-type,return-value]


@dataclass(frozen=True)
class Format:
    """A format: how a valid example is made in a folder, and inputs of a full round."""

    name: str
    prepare: Callable[[Path], Subject]
    inputs: int


@dataclass
class Result:
    """Counts of one format, and its faults: (number of the input, file, bytes, what happened)."""

    name: str
    counts: Counter[str] = field(default_factory=Counter)
    sealed: bool = False
    faults: list[tuple[int, str, bytes, str]] = field(default_factory=list)


def run(chosen: Format, *, inputs: int, seed: int = 0, only: int | None = None) -> Result:
    """Damage one file after the other and read; the original is restored each time."""
    with scratch_folder() as folder:
        subject = chosen.prepare(folder)
        result = Result(chosen.name, sealed=subject.sealed)
        whole = fingerprint(subject.read())
        for number in range(inputs) if only is None else (only,):
            draw = Random(f"{seed} {chosen.name} {number}")
            path = draw.choice(subject.files)
            before = path.read_bytes()
            damaged = subject.damage_of(path)(before, draw)
            path.write_bytes(damaged)
            kind, what = judge(subject, whole)
            path.write_bytes(before)
            result.counts[kind] += 1
            if kind == FAULT:
                name = path.relative_to(folder).as_posix()
                result.faults.append((number, name, damaged, what))
    return result


def judge(subject: Subject, whole: str) -> tuple[str, str]:
    """Return what became of the present state of the files, and a word on a fault."""
    found: list[str] = []
    code, said = outcome(lambda: found.append(fingerprint(subject.read())))
    if said.startswith("hang") or code == 70:
        return FAULT, said
    if code:
        return (REFUSED, "") if is_sentence(said) else (FAULT, f"the message is {said!r}")
    if found == [whole]:
        return SAME, ""
    return (FAULT, "other values, without a word") if subject.sealed else (OTHER, "")


def is_sentence(said: str) -> bool:
    """Return whether one line says what is wrong, behind notes of the command."""
    *notes, last = said.splitlines() or [""]
    return (not last or last.startswith("rsbench")) and not any(
        line.startswith(("rsbench:", "Traceback")) for line in notes
    )


def outcome(action: Callable[[], object]) -> tuple[int, str]:
    """Return exit code and message of an action that runs as a command."""
    told = io.StringIO()

    def command() -> None:
        action()

    try:
        with (
            time_limit(),
            contextlib.redirect_stderr(told),
            contextlib.redirect_stdout(io.StringIO()),
            warnings.catch_warnings(action="ignore"),
        ):
            code = guarded(command)
    except Hang:
        return 70, HANGS
    return code, told.getvalue()


@contextlib.contextmanager
def time_limit() -> Iterator[None]:
    """Raise :class:`Hang` in the block when it takes too long."""

    def stop(*_: object) -> None:
        raise Hang

    clocks = (
        (signal.ITIMER_PROF, signal.SIGPROF, LIMIT_S),
        (signal.ITIMER_REAL, signal.SIGALRM, WAIT_S),
    )
    before = [signal.signal(sent, stop) for _, sent, _ in clocks]
    for clock, _, seconds in clocks:
        signal.setitimer(clock, seconds)
    try:
        yield
    finally:
        for (clock, sent, _), old in zip(clocks, before, strict=True):
            signal.setitimer(clock, 0)
            signal.signal(sent, old)


@contextlib.contextmanager
def scratch_folder() -> Iterator[Path]:
    """Yield an empty folder, in memory where that is possible, with a cache of its own."""
    place = str(MEMORY) if os.access(MEMORY, os.W_OK) else None
    before, here = dict(os.environ), Path.cwd()
    logging.disable(logging.CRITICAL)
    with tempfile.TemporaryDirectory(dir=place, prefix="rsbench-fuzz-") as name:
        os.environ["RSBENCH_CACHE"] = str(Path(name) / "cache")
        os.environ.pop("RSBENCH_DEBUG", None)
        try:
            yield Path(name)
        finally:
            logging.disable(logging.NOTSET)
            os.chdir(here)
            os.environ.clear()
            os.environ.update(before)


def fingerprint(value: object) -> str:
    """Return a digest of plain values, arrays, tables and data classes."""
    hasher = hashlib.sha256()
    for part in _parts(value):
        hasher.update(part)
    return hasher.hexdigest()


def _parts(value: Any) -> Iterator[bytes]:
    if isinstance(value, np.ndarray):
        yield f"{value.dtype}{value.shape}".encode()
        yield np.ascontiguousarray(value).tobytes()
    elif isinstance(value, pd.DataFrame):
        yield value.to_csv(index=False).encode()
    elif isinstance(value, BaseModel):
        yield repr(value).encode("utf-8", "surrogatepass")
    elif dataclasses.is_dataclass(value):
        for item in dataclasses.fields(value):
            yield from _parts(getattr(value, item.name))
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            yield repr(key).encode("utf-8", "surrogatepass")
            yield from _parts(inner)
    elif isinstance(value, list | tuple):
        yield f"[{len(value)}".encode()
        for inner in value:
            yield from _parts(inner)
    else:
        yield repr(value).encode("utf-8", "surrogatepass")


def timed(action: Callable[[], Result]) -> tuple[Result, float]:
    """Return a result and the seconds it took."""
    begun = time.monotonic()
    return action(), time.monotonic() - begun
