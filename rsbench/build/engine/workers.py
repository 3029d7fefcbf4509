"""Who does the units: threads of the builder, processes beside it, or workers of a cluster.

A unit is a pure function of its order, so it may be done anywhere and again. Workers hand its
pixels back and write nothing: the builder alone keeps the journal, the regions and the index.
What travels goes through the transport of `multiprocessing` or of dask, between programs of one
user; nothing of it is ever read from a disk.
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
from rsbench.core.errors import InputError, RsbenchError, UnitFailed, first_line
from rsbench.core.version import __version__

Pixels = npt.NDArray[Any]

TRIES = 3
"""Workers that a unit may lose before it has failed."""
LEAST, MOST = 4, 256
"""Units in flight on a cluster: two per thread within these bounds, as each answer is held here."""
CONNECT_S = 20
MALLOC = "MALLOC_TRIM_THRESHOLD_"


@dataclass(frozen=True)
class Order:
    """All that a unit depends on; ``lock`` holds its region only."""

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
    """A unit's arrays and note, or why there are none.

    ``problem``: what was asked, found and to be done; ``fatal`` where other units will meet it too.
    """

    arrays: Mapping[str, Pixels] = field(default_factory=dict)
    note: Mapping[str, Any] = field(default_factory=dict)
    bytes_read: int = 0
    problem: tuple[str, str, str] | None = None
    fatal: bool = False

    def require(self) -> None:
        """Raise what kept the unit from being done.

        Raises:
            UnitFailed: if it could not be read.
            InputError: if no unit can be done like this.
        """
        if self.problem is not None:
            raise (InputError if self.fatal else UnitFailed)(*self.problem)


class Crew(Protocol):
    """Does units elsewhere; ``size`` of them at a time."""

    size: int

    def do(self, order: Order) -> Answer:
        """Have a unit done and wait for it; called from several threads.

        Raises:
            UnitFailed: if it lost its workers, one after the other.
            InputError: if there are no workers any more.
        """

    def stop(self) -> None:
        """Leave what is in hand; whoever waits is told."""


def carry_out(order: Order, make: Callable[[Order], Answer]) -> Answer:
    """Do a unit in a worker; every error becomes part of the answer, since few can travel."""
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
        return Answer(problem=said, fatal=not isinstance(error, UnitFailed))
    except Exception as error:  # noqa: BLE001 - told in full where the build is watched
        return Answer(
            problem=(
                f"building {order.region} {order.year} in a worker",
                f"{type(error).__name__}: {error}\n{traceback.format_exc()}",
                "This is a fault of rsbench; please report it",
            ),
            fatal=True,
        )


@contextmanager
def hired(
    task: Callable[[Order], Answer], workers: int, *, processes: bool, scheduler: str | None
) -> Iterator[Crew | None]:
    """Yield who does the units, None for the builder's own threads.

    Args:
        task: what a worker does with an order; a function of a module, found there by name.
        workers: how many processes.
        scheduler: address of a dask cluster.
    """
    if scheduler is None and not processes:
        yield None
        return
    crew: Crew = Processes(task, workers) if scheduler is None else Cluster(task, scheduler)
    try:
        yield crew
    finally:
        crew.stop()


# Processes ------------------------------------------------------------------------------


def serve(orders: Connection, task: Callable[[Order], Answer]) -> None:
    """Do orders until the builder closes its end, or dies."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all; the builder decides
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
    """One worker process, alone on its pipe: when it dies no other is touched."""

    _starting = threading.Lock()

    def __init__(self, task: Callable[[Order], Answer]) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        with self._starting:
            self._process: BaseProcess = context.Process(
                target=serve, args=(theirs, task), daemon=True
            )
            self._process.start()
        theirs.close()  # so that its death closes the pipe

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
    """Processes of this machine, each started when it is first needed."""

    def __init__(self, task: Callable[[Order], Answer], count: int) -> None:
        self.size = count
        self._task = task
        self._stopped = threading.Event()
        self._running: set[_Process] = set()
        self._idle: queue.LifoQueue[_Process | None] = queue.LifoQueue()
        for _ in range(count):
            self._idle.put(None)

    def do(self, order: Order) -> Answer:
        """See :class:`Crew`; a process that dies is replaced, and the unit done again."""
        process, ended = self._idle.get(), "it was stopped"
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
        """See :class:`Crew`."""
        self._stopped.set()
        for process in self._running.copy():
            process.kill()


# A cluster ------------------------------------------------------------------------------


class Cluster:
    """The workers of an existing dask cluster, which itself replaces those that die."""

    def __init__(self, task: Callable[[Order], Answer], address: str) -> None:
        self._task, self._address = task, address
        self._client = _client_of(address)
        try:
            said = self._client.run(_malloc)
        except Exception as error:
            self._client.close()
            raise self._gone(f"its workers cannot load rsbench ({first_line(error)})") from error
        _tell_malloc(address, said)
        threads = sum(self._client.nthreads().values())
        self.size = max(LEAST, min(MOST, 2 * threads))

    def do(self, order: Order) -> Answer:
        """See :class:`Crew`; the scheduler gives a unit whose worker died to another."""
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
        """See :class:`Crew`."""
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


def _tell_malloc(address: str, said: Mapping[str, str | None]) -> None:
    slowed = {value for value in said.values() if value}
    if slowed:
        logging.getLogger(__name__).warning(
            "The workers of %s run with %s=%s, which makes a region-year take about 1.4 times as "
            "long; docs/building-large.md says how to start them without it",
            address,
            MALLOC,
            ", ".join(sorted(slowed)),
        )
