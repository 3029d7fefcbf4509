"""How many samples are predicted and scored at once: a number, or ``auto``, by free memory."""

from __future__ import annotations

import ctypes
import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rsbench.core.digest import is_intact, sealed
from rsbench.core.errors import InputError
from rsbench.core.file_lock import file_lock
from rsbench.core.io import disk_errors, read_json, write_atomic
from rsbench.evaluation.costs import Meter
from rsbench.evaluation.run_folder import ELSEWHERE
from rsbench.tasks.config import BATCH, EvaluationConfig, Note
from rsbench.tasks.registry import task_of
from rsbench.tasks.settings import CaseSource

if TYPE_CHECKING:
    import torch

    from rsbench.evaluation.entries import ModelEntry
    from rsbench.evaluation.own_entry import OwnEntry

AUTO = "auto"
ENTRY = "batch_samples"
"""Entry of run.json; runs without it had ``BATCH``."""
MOST = 64
"""Largest number that is chosen."""
SHARE = 0.5
"""Share of the free memory that a batch may fill."""
FILE = "batch.json"
SYSTEM = Path("/")


def asked_batch(text: str) -> int | str:
    """Return a number of samples, or ``auto``, as it was typed."""
    if text != AUTO and not (text.isdigit() and int(text)):
        raise InputError("--batch-samples", f"{text!r} is no number", "Give 1 or more, or auto")
    return text if text == AUTO else int(text)


def stated_batch(run: Mapping[str, Any]) -> int:
    """Return the number that the content of a run.json states."""
    return int(run.get(ENTRY, BATCH))


def known_batch(parts: Path) -> int | None:
    """Return the number that the first process of a run in parts chose; None before."""
    with suppress(InputError):
        value = read_json(parts / FILE)
        if is_intact(value):
            return int(value[ENTRY])
    return None


def shared_batch(parts: Path, choose: Callable[[], int]) -> int:
    """Return the number of all parts of a run: the first process chooses it.

    Args:
        parts: folder of all parts.
    """
    asked = f"scoring a part in {parts.parent}"
    with file_lock(parts / f".{FILE}.lock", asked, ELSEWHERE, wait=True):
        known = known_batch(parts)
        if known is None:
            known = choose()
            with disk_errors(asked, ELSEWHERE):
                write_atomic(parts / FILE, json.dumps(sealed({ENTRY: known})))
    return known


def batch_of(
    config: EvaluationConfig, own: OwnEntry, asked: int | str, note: Note, *,
    parts: Path | None = None, processes: int = 1,
) -> int:  # fmt: skip
    """Return the number of samples at once: what was asked for, or for ``auto`` what fits.

    Args:
        own: the entry that the table is about; of a reference model, all of them are probed.
        parts: folder of the parts of the run, which all have one number.
        processes: number of processes that share the memory.
    """
    from rsbench.evaluation.reference_models import reference_entries

    if isinstance(asked, int):
        return asked

    def choose() -> int:
        entries = [own.bare] if own.bare else reference_entries(config).entries
        return fitting_batch(config, entries, note, processes=processes)

    return choose() if parts is None else shared_batch(parts, choose)


def fitting_batch(
    config: EvaluationConfig, entries: Sequence[ModelEntry], note: Note, *, processes: int = 1
) -> int:
    """Return a power of two, at most ``MOST``, whose samples fill ``SHARE`` of the free memory.

    One sample and two samples are predicted and scored, and their peaks of memory compared.

    Args:
        entries: what predicts; the largest peak counts.
        processes: number of processes that share the memory.

    Raises:
        InputError: if the system does not state its memory.
    """
    free, meter = free_memory(config.device), Meter(config.device)
    cases = _probe(config)
    if not cases:
        return BATCH
    peaks = [_peak(config, entries, meter, cases, count) for count in (1, 1, 2)][1:]
    if free is None or None in peaks:
        found = f"this system does not state the memory of {config.device.type}"
        raise InputError(f"--batch-samples {AUTO}", found, "Give a number")
    one, two = (max(0, int(peak or 0)) for peak in peaks)
    least = sum(values.nbytes for values in (cases[0].truth, cases[0].valid))
    number = chosen_batch(one, max(two - one, least), int(SHARE * free) // processes)
    note(f"--batch-samples {number}: a sample takes {max(two - one, least) / 1e6:.1f} MB, "
         f"{free / 1e9:.1f} GB are free")  # fmt: skip
    return number


def chosen_batch(first: int, each: int, room: int) -> int:
    """Return the largest power of two, from 1 to ``MOST``, whose samples fit.

    Args:
        first: bytes of a batch of one sample.
        each: bytes of every further sample.
        room: bytes that a batch may take.
    """
    number = 1
    while 2 * number <= MOST and first + (2 * number - 1) * each <= room:
        number *= 2
    return number


def free_memory(device: torch.device, root: Path = SYSTEM) -> int | None:
    """Return free bytes of a device; None where the system does not state them.

    On a CPU, what the kernel can give without swapping, within the limit of the control group.
    """
    import torch

    if device.type == "cuda":
        idle = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return int(torch.cuda.mem_get_info(device)[0]) + idle
    found = []
    with suppress(OSError, StopIteration):
        lines = (root / "proc/meminfo").read_text().splitlines()
        found.append(1024 * int(next(x for x in lines if x.startswith("MemAvailable:")).split()[1]))
    group = root / "sys/fs/cgroup"
    for most, now in (
        ("memory.max", "memory.current"),
        ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes"),
    ):
        with suppress(OSError, ValueError):  # "max": no limit
            found.append(int((group / most).read_text()) - int((group / now).read_text()))
    return max(0, min(found)) if found and device.type == "cpu" else None


def _probe(config: EvaluationConfig) -> list[Any]:
    """Return a case of one sample, and one of two."""
    found = [group[0] for group in task_of(config).groups(config, config.split) if group]
    source = CaseSource.of(config)
    return [next(iter(source.read(found[:1] * count, count))) for count in (1, 2) if found]


def _peak(
    config: EvaluationConfig, entries: Sequence[ModelEntry], meter: Meter, cases: list[Any],
    count: int,
) -> int | None:  # fmt: skip
    """Return the bytes that a batch takes at most while it is predicted and scored."""
    from rsbench.evaluation.case_features import case_features
    from rsbench.evaluation.loop import ScoringHooks, score

    with suppress(OSError, AttributeError):  # what was freed would be used again and hide a peak
        ctypes.CDLL(None).malloc_trim(0)
    meter.reset()
    before = meter.peak()
    score(
        entries, cases[count - 1 : count], config.metrics, bands=config.bands,
        value_range=config.meta.value_range, rgb=config.rgb,
        hooks=ScoringHooks(of_case=case_features(config)),
    )  # fmt: skip
    after = meter.peak()
    return None if before is None or after is None else after - before
