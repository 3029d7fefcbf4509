"""What building commands print: progress, events for machines, and the summary of a store."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rsbench.cli.app import only_ascii, say_phases
from rsbench.core.progress import Advance, progress_workers

if TYPE_CHECKING:
    from rsbench.build.engine.options import UnitEvent, Watch
    from rsbench.build.engine.previous import BuildResult

Say = Callable[[str], None]
EVENT_S = 0.5
"""Seconds between two progress events of one piece of work."""


def event(kind: str, **values: Any) -> str:
    """Return one event as a line of JSON."""
    return json.dumps({"event": kind, **values}, ensure_ascii=only_ascii())


@contextmanager
def watching(*, as_json: bool, say: Say) -> Iterator[tuple[Advance, Watch]]:
    """Yield who is told of progress: a terminal's bars and lines, or events for a machine."""
    if as_json:
        yield _events(say)
        return
    with progress_workers() as (advance, show):
        yield advance, _Lines(show)


def _events(say: Say) -> tuple[Advance, Watch]:
    last: dict[str, float] = {}

    def advance(label: str, done: int, total: int) -> None:
        now = time.monotonic()
        if done < total and now - last.get(label, -EVENT_S) < EVENT_S:
            return
        last[label] = now
        say(event("progress", label=label, done=done, total=total))

    def watch(unit: UnitEvent) -> None:
        say(event("unit", **asdict(unit)))

    return advance, watch


class _Lines:
    """One line per worker, and one with the rate of reading and the units that failed."""

    def __init__(self, show: Callable[[str, str], None]) -> None:
        self._show = show
        self._begun = time.monotonic()
        self._failed = 0

    def __call__(self, unit: UnitEvent) -> None:
        self._failed += unit.state == "failed"
        busy = unit.state == "begun"
        self._show(unit.worker, f"{unit.region} {unit.year}" if busy else "")
        rate = unit.bytes_read / max(1e-3, time.monotonic() - self._begun)
        self._show("~", f"{rate / 1e6:.0f} MB/s of pixels, {self._failed} region-years failed")


@dataclass(frozen=True, slots=True)
class Output:
    """How a build reports, and whether a release follows.

    ``say``: results, on standard output. ``note``: everything else. ``table``: sum up by split.
    """

    say: Say
    note: Say
    as_json: bool = False
    release: Path | None = None
    table: bool = True


def end(result: BuildResult, to: Output) -> None:
    """Remember the store, release it if asked, and sum up."""
    from rsbench.core.paths import remember_store
    from rsbench.store.export.release import write_release

    remember_store(result.path, to.note)
    if to.table and not to.as_json:
        for line in _table(result):
            to.note(line)
    if to.release is not None:
        made = write_release(result.path, to.release)
        said = f"{to.release}  release {made.name}@{made.version}, {len(made.files)} files"
        to.note(f"{said}, {made.bytes / 1e6:.1f} MB")
    if to.as_json:
        failed = [asdict(unit) for unit in result.failed]
        to.say(
            event(
                "done",
                path=str(result.path),
                digest=result.digest,
                complete=result.complete,
                failed=failed,
                phases=dict(result.phases),
                release=None if to.release is None else str(to.release),
            )
        )
        return
    say_phases(result.phases)
    to.say(f"{result.path}  digest {result.digest}" + ("" if result.complete else "  INCOMPLETE"))


def _table(result: BuildResult) -> Iterator[str]:
    """Sum up a store by split: regions, region-dates, what failed, the share of valid pixels."""
    from rsbench.store.export.coverage import coverage
    from rsbench.store.layout import SPLITS
    from rsbench.store.plausible import implausible_images
    from rsbench.store.read import open_store

    store = open_store(result.path)
    found = coverage(store)
    yield f"{'split':8}{'regions':>9}{'dates':>8}{'failed':>8}{'valid':>9}"
    for split in SPLITS:
        names = [name for name, entry in found.items() if entry.split == split]
        if not names:
            continue
        dates = sum(len(found[name].dates) for name in names)
        failed = sum(unit.region in names and not unit.item for unit in result.failed)
        valid = sum(found[name].mean for name in names) / len(names)
        yield f"{split:8}{len(names):9}{dates:8}{failed:8}{valid:9.1%}"
    for unit in result.failed:
        yield f"{'' if unit.item else 'failed: '}{unit.region} {unit.year}: {unit.reason}"
    for one in implausible_images(store.tree, store.regions, store.meta.sensors):
        yield f"hardly plausible: {one.region} {one.day} {one.sensor}: {one.says}"
