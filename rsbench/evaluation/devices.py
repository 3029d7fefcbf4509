"""A run on several devices: a process for each of them scores one part, then they are added up.

The processes are started here, or by ``torchrun``.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any

from rsbench.core.errors import InputError, LimitReached, RsbenchError, TrainingError, first_line
from rsbench.core.phases import Phases
from rsbench.core.progress import Advance, silent
from rsbench.evaluation.batch_size import batch_of
from rsbench.evaluation.parts import PARTS, Part, PartResult, finalise_run, run_part
from rsbench.evaluation.reference_models import reference_entries
from rsbench.evaluation.run import RunRequest, RunResult, job_of, own_of, run_model
from rsbench.evaluation.run_folder import finished
from rsbench.tasks.config import Note, quiet
from rsbench.training.launch import LAUNCHED, is_first_rank

AGAIN = "Type the same command to go on; what was scored is kept"
ENDING = 5.0
"""Seconds that a process has to end before it is killed."""
LONGEST = timedelta(days=30)
"""How long the first process that ``torchrun`` started waits for the others."""


def run_as_asked(
    request: RunRequest, *, devices: int = 1, part: Part | None = None, finalise: bool = False,
    note: Note = quiet, advance: Advance = silent,
) -> RunResult | PartResult | None:  # fmt: skip
    """Run in one process, on several devices, one part, or the sum of the parts.

    Returns:
        what was made; None in processes of ``torchrun`` other than the first.

    Raises:
        InputError: if options contradict one another, or there are fewer devices.
    """
    world = int(os.environ.get("WORLD_SIZE", "1")) if LAUNCHED in os.environ else 1
    given = {"--devices": devices > 1, "--parts": part is not None, "--finalise": finalise,
             "torchrun": world > 1}  # fmt: skip
    several = [name for name, there in given.items() if there]
    if len(several) > 1:
        raise InputError(several[0], f"it came with {several[1]}", "Give one of them")
    if world > 1:
        return _run_launched(request, world, note=note, advance=advance)
    if devices > 1:
        return run_on_devices(request, devices, note=note, advance=advance)
    if part is not None:
        return run_part(request, part, note=note, advance=advance)
    if finalise:
        return finalise_run(request, note=note)
    return run_model(request, note=note, advance=advance)


def run_on_devices(
    request: RunRequest, devices: int, *, note: Note = quiet, advance: Advance = silent
) -> RunResult:
    """Score the regions in ``devices`` processes of this machine, and add up what they scored.

    The model is trained and reference models are fitted here first. If a process fails, the others
    are stopped; the regions that they scored are kept for the next call.

    Raises:
        InputError: if there are fewer devices.
        LimitReached: if a process was killed.
    """
    job = job_of(request, note)
    kind = job.config.device.type
    _require_devices(job.config.device.index, kind, devices)
    if finished(job.out, job.key) is None:
        own, _ = own_of(job, Phases(), note=note, advance=advance)
        share = 1 if kind == "cuda" else devices
        batch_of(
            job.config, own, request.batch_samples, note, parts=job.out / PARTS, processes=share
        )
        reference_entries(job.config, note=note)
        placed = [
            replace(request, device=f"{kind}:{i}" if kind == "cuda" else kind)
            for i in range(devices)
        ]
        _join([_Worker.start(one, Part(i + 1, devices)) for i, one in enumerate(placed)], advance)
    return finalise_run(request)


def _require_devices(index: int | None, kind: str, devices: int) -> None:
    """Refuse more devices than this machine has."""
    import torch

    if index is not None:
        found = f"--device {kind}:{index} names one device"
        raise InputError(f"--devices {devices}", found, f"Give --device {kind}")
    if kind == "cuda":
        there, what = torch.cuda.device_count(), "GPU"
    else:
        there, what = len(os.sched_getaffinity(0)), "processor"
    if devices > there:
        found = f"this machine has {there} {what}{'' if there == 1 else 's'}"
        raise InputError(f"--devices {devices}", found, f"Give --devices {there} or fewer")


# Processes of this machine ----------------------------------------------------------------


@dataclass(frozen=True)
class _Worker:
    """A process that scores a part, and the pipe through which it reports.

    Reports are ``("at", done, total)``, at the end ``("done",)`` or ``("failed", kind, texts)``.
    """

    part: Part
    process: BaseProcess
    pipe: Connection

    @classmethod
    def start(cls, request: RunRequest, part: Part) -> _Worker:
        import torch

        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe(duplex=False)
        args = (request, part, torch.get_num_threads(), theirs)
        process = context.Process(target=_serve, args=args, daemon=True)
        process.start()
        theirs.close()  # then the pipe closes when the process dies
        return cls(part, process, ours)

    def report(self) -> tuple[Any, ...]:
        """Return the next report; a process that died has failed."""
        try:
            said: tuple[Any, ...] = self.pipe.recv()
        except (EOFError, OSError):
            self.process.join()
            found = f"its process ended with exit {self.process.exitcode}"
            return ("failed", "LimitReached", (f"scoring {self.part}", found, AGAIN))
        return said


def _serve(request: RunRequest, part: Part, threads: int, pipe: Connection) -> None:
    """Score a part and report. Sums have the bits of one process with as many threads."""
    import torch

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the first process stops the others
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # removes temporary files
    torch.set_num_threads(threads)
    try:
        run_part(request, part, advance=lambda _, done, total: pipe.send(("at", done, total)))
        pipe.send(("done",))
    except RsbenchError as error:
        pipe.send(("failed", type(error).__name__, (error.asked, error.found, error.remedy)))
    except Exception as error:  # noqa: BLE001 - the first process raises it
        said = f"{type(error).__name__}: {first_line(error)}"
        pipe.send(("failed", "", (f"scoring {part}", said, AGAIN)))


def _join(workers: list[_Worker], advance: Advance) -> None:
    """Wait for all workers and show their progress together; stop all if one fails."""
    running = {worker.pipe: worker for worker in workers}
    at: dict[Part, tuple[int, int]] = {}
    try:
        while running:
            for pipe in wait([*running]):
                worker = running[pipe]  # type: ignore[index]
                kind, *more = worker.report()
                if kind == "failed":
                    raise _error(*more)
                if kind == "done":
                    del running[worker.pipe]
                else:
                    at[worker.part] = (more[0], more[1])
                    done, total = (sum(own) for own in zip(*at.values(), strict=True))
                    advance("scoring", done, total)
    finally:
        for worker in workers:
            worker.process.terminate()
        for worker in workers:
            worker.process.join(ENDING)
            worker.process.kill()
            worker.process.join()
            worker.pipe.close()


def _error(kind: str, texts: tuple[str, str, str]) -> Exception:
    """Return the error of a worker, as an error of the same exit code."""
    kinds: Mapping[str, Callable[..., RsbenchError]] = {
        "LimitReached": LimitReached, "TrainingError": TrainingError
    }  # fmt: skip
    if not kind:
        return RuntimeError(": ".join(texts[:2]))
    return kinds.get(kind, InputError)(*texts)


# Processes of torchrun --------------------------------------------------------------------


def _run_launched(
    request: RunRequest, world: int, *, note: Note, advance: Advance
) -> RunResult | None:
    """Score the part of this process; the first one waits for the others and adds up."""
    import torch
    from torch import distributed

    first = is_first_rank()
    rank, local = int(os.environ["RANK"]), int(os.environ["LOCAL_RANK"])
    placed = request
    if request.device in ("auto", "cuda") and torch.cuda.is_available():
        _require_devices(None, "cuda", local + 1)
        placed = replace(request, device=f"cuda:{local}")
    with _together(f"starting {world} processes with torchrun"):
        distributed.init_process_group("gloo", timeout=LONGEST)
    try:
        told = note if first else quiet
        job = job_of(placed, quiet)
        if finished(job.out, job.key) is None:
            trains = "Type `rsbench train` with the same --model, --data, --seed and --budget first"
            part = Part(rank + 1, world)
            share = 1 if placed.device.startswith("cuda") else int(os.environ["LOCAL_WORLD_SIZE"])
            run_part(
                placed, part, note=told, advance=advance if first else silent, trains=trains,
                share=share,
            )  # fmt: skip
        with _together("waiting for the other processes of torchrun"):
            distributed.barrier()
        return finalise_run(request) if first else None
    finally:
        distributed.destroy_process_group()


@contextmanager
def _together(asked: str) -> Iterator[None]:
    """Turn the error of a connection into one that says how to go on."""
    try:
        yield
    except RuntimeError as error:
        found = f"one of them ended or cannot be reached ({first_line(error)})"
        raise LimitReached(asked, found, AGAIN) from error
