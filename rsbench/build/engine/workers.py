"""Workers that do the units of a build: processes of this machine, or a dask cluster.

A unit is a pure function of its order, so it can be done on any machine and repeated. Workers
return pixels and write no files: only the builder writes the journal, the regions and the index.
Orders and answers are sent by `multiprocessing` or by dask between programs of one user, and are
never read from a disk.

Each process has a pipe and a task of its own. A pool of processes would not do: when one process
of such a pool dies, all units in flight are lost with it.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import queue
import signal
import threading
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Any, Protocol

import numpy.typing as npt

from rsbench.build.plan.lock import Lock
from rsbench.catalog import Recipe
from rsbench.core.errors import InputError, ItemFailed, RsbenchError, UnitFailed, first_line
from rsbench.core.version import __version__

Pixels = npt.NDArray[Any]

TRIES = 3
"""Worker processes that may die while doing a unit before the unit has failed."""
LEAST, MOST = 4, 256
"""Bounds of the units in flight on a cluster, two per thread: their answers are held in memory."""
CONNECT_S = 20
MALLOC = "MALLOC_TRIM_THRESHOLD_"


@dataclass(frozen=True)
class Order:
    """Everything that a unit depends on.

    Args:
        lock: the lock of this region only.
        address: catalogue: API address or folder, never empty.
        engine: name of the reading engine.
        memory: bytes of pixels to hold at once.
    """

    recipe: Recipe
    lock: Lock
    region: str
    year: int
    address: str
    engine: str
    memory: int
    version: str = __version__


@dataclass(frozen=True)
class Answer:
    """The arrays and the note of a unit, or the reason why there are none.

    ``problem``: what was asked, what was found and the remedy. ``fatal``: other units would fail
    in the same way. ``item``: the id of the item that could not be read.
    """

    arrays: Mapping[str, Pixels] = field(default_factory=dict)
    note: Mapping[str, Any] = field(default_factory=dict)
    bytes_read: int = 0
    problem: tuple[str, str, str] | None = None
    fatal: bool = False
    item: str = ""

    def require(self) -> None:
        """Raise the problem if there is one.

        Raises:
            UnitFailed: if the unit could not be read.
            InputError: if the problem is fatal.
        """
        if self.problem is not None and self.item:
            raise ItemFailed.of(self.item, *self.problem)
        if self.problem is not None:
            raise (InputError if self.fatal else UnitFailed)(*self.problem)


class Workers(Protocol):
    """Do units outside this process, ``size`` of them at a time."""

    size: int

    def do(self, order: Order) -> Answer:
        """Return the answer of a worker to an order; called from several threads.

        Raises:
            UnitFailed: if ``TRIES`` workers died while doing the unit.
            InputError: if no worker is left.
        """

    def stop(self) -> None:
        """Stop at once: every waiting call of ``do`` raises an error."""


def carry_out(order: Order, make: Callable[[Order], Answer]) -> Answer:
    """Do a unit in a worker; errors become part of the answer, as few of them can be pickled."""
    if order.version != __version__:
        return Answer(
            problem=(
                f"building {order.region} {order.year} with rsbench {order.version}",
                f"a worker has rsbench {__version__}",
                "Install the same version everywhere",
            ),
            fatal=True,
        )
    try:
        return make(order)
    except RsbenchError as error:
        said = (error.asked, error.found, error.remedy)
        item = error.item if isinstance(error, ItemFailed) else ""
        return Answer(problem=said, fatal=not isinstance(error, UnitFailed), item=item)
    except Exception as error:  # noqa: BLE001 - the builder raises it in full
        return Answer(
            problem=(
                f"building {order.region} {order.year} in a worker",
                f"{type(error).__name__}: {error}\n{traceback.format_exc()}",
                "This is a fault of rsbench; please report it",
            ),
            fatal=True,
        )


@contextmanager
def open_workers(
    task: Callable[[Order], Answer], workers: int, *, processes: bool, scheduler: str | None
) -> Iterator[Workers | None]:
    """Yield the workers of a build; None where the threads of the builder do the units.

    Args:
        task: what a worker does with an order; a module-level function, since it is pickled.
        workers: number of processes.
        processes: start processes on this machine.
        scheduler: address of a dask cluster, used instead.

    Raises:
        InputError: if the cluster cannot be reached or cannot load rsbench.
    """
    if scheduler is None and not processes:
        yield None
        return
    made: Workers = Processes(task, workers) if scheduler is None else Cluster(task, scheduler)
    try:
        yield made
    finally:
        made.stop()


# Processes ------------------------------------------------------------------------------


def serve(orders: Connection, task: Callable[[Order], Answer]) -> None:
    """Answer orders until the builder closes its end of the pipe or dies."""
    signal.signal(
        signal.SIGINT, signal.SIG_IGN
    )  # Ctrl-C reaches every process; the builder stops them
    while True:
        try:
            order = orders.recv()
        except (EOFError, OSError):
            return
        answer = task(order)
        try:
            orders.send(answer)
        except OSError:
            return


class _Process:
    """One worker process with a pipe of its own: its death affects no other process."""

    _starting = threading.Lock()

    def __init__(self, task: Callable[[Order], Answer]) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        with self._starting:
            self._process: BaseProcess = context.Process(
                target=serve, args=(theirs, task), daemon=True
            )
            self._process.start()
        theirs.close()  # then the pipe closes when the process dies

    def do(self, order: Order) -> Answer:
        self._pipe.send(order)
        answer: Answer = self._pipe.recv()
        return answer

    def kill(self) -> None:
        self._process.kill()

    def end(self) -> int | None:
        self._process.kill()
        self._process.join()
        self._pipe.close()
        return self._process.exitcode


class Processes:
    """Processes of this machine, each started at its first unit."""

    def __init__(self, task: Callable[[Order], Answer], count: int) -> None:
        self.size = count
        self._task = task
        self._stopped = threading.Event()
        self._running: set[_Process] = set()
        self._idle: queue.LifoQueue[_Process | None] = queue.LifoQueue()
        for _ in range(count):
            self._idle.put(None)

    def do(self, order: Order) -> Answer:
        """See :class:`Workers`; a process that died is replaced, and the unit is done again."""
        process, ended = self._idle.get(), "the build was stopped"
        try:
            for _ in range(TRIES):
                if self._stopped.is_set():
                    break
                if process is None:
                    process = _Process(self._task)
                    self._running.add(process)
                    if self._stopped.is_set():
                        process.kill()
                try:
                    return process.do(order)
                except (EOFError, OSError):
                    self._running.discard(process)
                    ended = f"{TRIES} worker processes died, the last with exit {process.end()}"
                    process = None
        finally:
            self._idle.put(process)
        raise UnitFailed(
            f"building {order.region} {order.year}",
            ended,
            "Run the same command again; if memory ran out, with fewer --workers",
        )

    def stop(self) -> None:
        """See :class:`Workers`."""
        self._stopped.set()
        for process in self._running.copy():
            process.kill()


# A cluster ------------------------------------------------------------------------------


class Cluster:
    """The workers of a running dask cluster; dask replaces those that die."""

    def __init__(self, task: Callable[[Order], Answer], address: str) -> None:
        self._task, self._address = task, address
        self._client = _client_of(address)
        try:
            settings = self._client.run(_malloc)
        except Exception as error:
            self._client.close()
            raise self._gone(f"its workers cannot load rsbench ({first_line(error)})") from error
        _warn_of_malloc(address, settings)
        threads = sum(self._client.nthreads().values())
        self.size = max(LEAST, min(MOST, 2 * threads))

    def do(self, order: Order) -> Answer:
        """See :class:`Workers`; the scheduler gives the unit of a dead worker to another one."""
        from distributed import KilledWorker

        future = self._client.submit(self._task, order, pure=False)
        try:
            answer: Answer = future.result()
        except KilledWorker as error:
            raise UnitFailed(
                f"building {order.region} {order.year}",
                f"its workers died, one after the other ({first_line(error)})",
                "Run the same command again; if memory ran out, with larger workers",
            ) from None
        except Exception as error:
            raise self._gone(f"{type(error).__name__}: {first_line(error)}") from error
        finally:
            future.release()
        return answer

    def _gone(self, found: str) -> InputError:
        return InputError(
            f"building with the cluster at {self._address}",
            found,
            "Start it, or install the same rsbench on it, and run the same command again; "
            "what was finished is kept",
        )

    def stop(self) -> None:
        """See :class:`Workers`."""
        self._client.close()


def _client_of(address: str) -> Any:
    try:
        from distributed import Client
    except ImportError as error:
        raise InputError(
            f"--scheduler {address}",
            "distributed is not installed",
            "Type: pip install 'rsbench[distributed]'",
        ) from error
    try:
        connect: Any = Client  # untyped
        return connect(address, timeout=CONNECT_S, set_as_default=False, name="rsbench")
    except (OSError, ValueError) as error:
        raise InputError(
            f"--scheduler {address}",
            f"no scheduler answers there ({first_line(error)})",
            "Give the address that dask scheduler printed, as tcp://host:8786",
        ) from error


def _malloc() -> str | None:
    return os.environ.get(MALLOC)


def _warn_of_malloc(address: str, settings: Mapping[str, str | None]) -> None:
    slowed = {value for value in settings.values() if value}
    if slowed:
        logging.getLogger(__name__).warning(
            "The workers of %s run with %s=%s, which makes a region-year take about 1.4 times as "
            "long; docs/building-large.md says how to start them without it",
            address,
            MALLOC,
            ", ".join(sorted(slowed)),
        )
