"""The options of a build, passed as one value."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

from rsbench.build.plan.omissions import LeavingOut
from rsbench.build.plan.plan import Lock
from rsbench.catalog import Region

Advance = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True)
class UnitEvent:
    """What happened to one unit.

    ``state``: ``begun``, ``done`` or ``failed`` (then with the reason). ``bytes_read``: pixels the
    whole build has read so far.
    """

    region: str
    year: int
    state: str
    worker: str
    seconds: float = 0.0
    bytes_read: int = 0
    reason: str = ""


Watch = Callable[[UnitEvent], None]


@dataclass(frozen=True, slots=True)
class BuildOptions:
    """How to build.

    Args:
        lock: frozen search; without it the one kept in the output by an earlier call, or a new
            search.
        provider: see :func:`rsbench.build.plan.plan.make_plan`; with a lock, where its files
            lie now.
        regions: some of the regions.
        years: first and last of some of the years.
        workers: units at a time, in threads of this process.
        processes: in as many processes instead. They are spawned, so a script that builds needs
            ``if __name__ == "__main__":``. A process that dies costs only its unit.
        scheduler: address of a dask cluster that does the units instead; its workers must reach
            the catalogue, and need no access to the output.
        codec: how chunks are compressed; it never changes the digest.
        engine: ``rasterio`` or ``stackstac``; the pixels are the same.
        allow_incomplete: finish although units failed; the store then lists what is missing. A
            unit is also tried without an item that cannot be read, see ``engine.left``.
        exclude: ids of items to leave out; the lock and the data card name them.
        progress: called with ``(label, done, total)``.
        watch: called with what happens to every unit, from the threads that do them.
    """

    lock: Lock | None = None
    provider: str | None = None
    regions: Sequence[Region | str] | None = None
    years: tuple[int, int] | None = None
    workers: int = 2
    processes: bool = False
    scheduler: str | None = None
    codec: str | None = None
    engine: str = "rasterio"
    allow_incomplete: bool = False
    exclude: Collection[str] = ()
    progress: Advance | None = None
    watch: Watch | None = None

    @property
    def leaving(self) -> LeavingOut:
        """Which items the search may leave out."""
        return LeavingOut(frozenset(self.exclude), self.allow_incomplete)
