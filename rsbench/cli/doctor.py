"""What this machine offers: versions, devices, disk, packages, settings, broken plug-ins."""

from __future__ import annotations

import os
import platform
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from rsbench.core.extras import extras, install_command, installed
from rsbench.core.paths import cache_dir
from rsbench.core.version import __version__

SETTINGS: Mapping[str, str] = {
    "RSBENCH_CACHE": "folder of decoded stores, searches and downloads",
    "RSBENCH_DATA": "store that is taken where --data is not given",
    "RSBENCH_WEIGHTS": "folder of weight files of perceptual metrics",
    "RSBENCH_RELEASES": "address of released datasets",
    "RSBENCH_DEBUG": "shows where an internal error happened",
    "RSBENCH_REQUEST_SECONDS": "most seconds of one request",
    "RSBENCH_FILE_SECONDS": "most seconds of one file of a download",
    "RSBENCH_SEARCH_SECONDS": "most seconds of one search",
    "OMP_NUM_THREADS": "threads of one process",
    "CUDA_VISIBLE_DEVICES": "GPUs that are seen",
}
"""Environment variables and their use."""


def doctor() -> dict[str, Any]:
    """Return what ``rsbench doctor --json`` prints; nothing is downloaded or written.

    Returns:
        ``rsbench``, ``python``, ``platform``: versions. ``cpus``: cores of this process.
        ``memory``: bytes, None where unknown. ``devices``: name and bytes of every GPU.
        ``torch``: why no GPU is used, empty if one is. ``disk``: free bytes by folder. ``extras``:
        extra → package → version, None where absent. ``environment``: variable → value, None
        where not set. ``unavailable``: metrics and plug-ins that cannot be used, with reasons.

    Raises:
        InputError: if the installation of rsbench itself is damaged.
    """
    devices, why = _devices()
    return {
        "rsbench": __version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cpus": len(os.sched_getaffinity(0))
        if hasattr(os, "sched_getaffinity")
        else os.cpu_count(),
        "memory": _memory(),
        "devices": devices,
        "torch": why,
        "disk": {str(place): _free(place) for place in dict.fromkeys((Path.cwd(), cache_dir()))},
        "extras": {name: {p: installed(p) for p in held} for name, held in extras().items()},
        "environment": {name: os.environ.get(name) for name in SETTINGS},
        "unavailable": list(_unavailable()),
    }


def doctor_lines() -> Iterator[str]:
    """Yield the lines that ``rsbench doctor`` prints."""
    found = doctor()
    yield f"rsbench {found['rsbench']}, Python {found['python']}, {found['platform']}"
    memory = "" if found["memory"] is None else f", {_size(found['memory'])} of memory"
    yield f"{found['cpus']} cores{memory}"
    for device in found["devices"]:
        yield f"GPU {device['name']}, {_size(device['memory'])}"
    if found["torch"]:
        yield f"no GPU is used: {found['torch']}"
    for place, free in found["disk"].items():
        what = "cache" if place == str(cache_dir()) else "here"
        yield f"{what} {place}: {_size(free)} free"
    for extra, packages in found["extras"].items():
        states = ", ".join(f"{name} {held or 'absent'}" for name, held in packages.items())
        lacking = [name for name, held in packages.items() if held is None]
        yield f"[{extra}] {states}" + (f"; {install_command(lacking[0])}" if lacking else "")
    for name, value in found["environment"].items():
        yield f"{name} {'is not set' if value is None else f'= {value}'} ({SETTINGS[name]})"
    yield from found["unavailable"]


def _size(size: int) -> str:
    return f"{size / 2**30:.1f} GiB"


def _cores() -> int | None:
    """Return the cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


def _memory() -> int | None:
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return None


def _free(place: Path) -> int:
    """Return the free bytes of the file system of a folder, which may be absent."""
    there = next(folder for folder in (place, *place.absolute().parents) if folder.exists())
    return shutil.disk_usage(there).free


def _devices() -> tuple[list[dict[str, Any]], str]:
    """Return the GPUs, and why none is used."""
    try:
        import torch
    except ImportError as error:
        return [], f"torch cannot be imported ({error}); {install_command('torch')}"
    if torch.cuda.is_available():
        seen = [torch.cuda.get_device_properties(i) for i in range(torch.cuda.device_count())]
        return [{"name": one.name, "memory": one.total_memory} for one in seen], ""
    if torch.backends.mps.is_available():
        return [{"name": "Apple MPS", "memory": torch.mps.recommended_max_memory()}], ""
    if torch.version.cuda is None and torch.version.hip is None:
        return [], f"torch {torch.__version__} is built for the CPU only"
    return [], f"torch {torch.__version__} finds none, or no driver for one"


def _unavailable() -> Iterator[str]:
    """Yield a line for every metric that cannot be used and every plug-in that is left out."""
    from rsbench.build.importers.registry import IMPORTERS
    from rsbench.build.read.signing import SIGNERS
    from rsbench.catalog.kinds import KINDS
    from rsbench.metrics import registry as metrics
    from rsbench.models import registry as models
    from rsbench.tasks.registry import TASKS

    for one in metrics.metric_info():
        if not one.available:
            yield f"metric {one.id}: unavailable: {one.reason}"
    yield from (f"metrics {item}" for item in metrics.broken())
    yield from (f"model {item}" for item in models.broken())
    for group in (TASKS, KINDS, IMPORTERS, SIGNERS):
        yield from (f"{group.noun} {item}" for item in group.broken())
