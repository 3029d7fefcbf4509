"""Where a result comes from: versions, machine and settings, never part of its identity.

Nothing of a repository, a user or a host is recorded. Heavy packages are not imported to learn
their versions.
"""

from __future__ import annotations

import importlib.metadata
import os
import platform
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import cache
from typing import Any, Self

from rsbench.core.errors import SchemaError

SCHEMA = 1
PACKAGES = (
    "numpy",
    "pandas",
    "zarr",
    "torch",
    "lightning-fabric",
    "safetensors",
    "diffusers",
    "transformers",
    "rasterio",
    "pystac-client",
    "xarray",
)
SETTINGS = (
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "CUBLAS_WORKSPACE_CONFIG",
    "CUDA_VISIBLE_DEVICES",
    "NVIDIA_TF32_OVERRIDE",
    "TORCH_ALLOW_TF32_CUBLAS_OVERRIDE",
)
"""Environment settings that can change a bit of a result."""


@dataclass(frozen=True)
class Provenance:
    """What a number was made with.

    Args:
        versions: package → version; packages that are not installed are absent.
        system: operating system, processor type and processor count.
        device: e.g. ``cpu`` or ``cuda:0``, with the accelerator's name where torch is loaded.
        threads: threads of torch's CPU kernels, None where torch is not loaded.
        settings: environment settings that can change a bit, where set.
    """

    versions: Mapping[str, str]
    system: Mapping[str, Any]
    device: str = "cpu"
    accelerator: str | None = None
    precision: str = "32-true"
    seed: int | None = None
    threads: int | None = None
    settings: Mapping[str, str] = field(default_factory=dict)
    schema: int = SCHEMA

    def to_json(self) -> dict[str, Any]:
        """Return the JSON form."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """Read the JSON form; keys of a later version are left out.

        Raises:
            SchemaError: if it was written under another schema.
        """
        if value.get("schema") != SCHEMA:
            raise SchemaError(
                "reading a provenance block",
                f"it has schema {value.get('schema')!r}, this version reads {SCHEMA}",
                "Read it with the version of rsbench that wrote it",
            )
        return cls(**{name: value[name] for name in cls.__dataclass_fields__ if name in value})


def provenance(
    *, device: str = "cpu", precision: str = "32-true", seed: int | None = None
) -> Provenance:
    """Return the provenance of what is computed now."""
    return Provenance(
        versions=versions(),
        system={
            "platform": platform.system(),
            "machine": platform.machine(),
            "processors": os.cpu_count(),
        },
        device=device,
        accelerator=_accelerator(device),
        precision=precision,
        seed=seed,
        threads=_threads(),
        settings={name: os.environ[name] for name in SETTINGS if name in os.environ},
    )


def versions() -> dict[str, str]:
    """Return the versions of rsbench, Python and the packages that can change a number."""
    return dict(_installed())


@cache
def _installed() -> Mapping[str, str]:
    from rsbench.core.version import __version__

    found = {"rsbench": __version__, "python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def _threads() -> int | None:
    torch = sys.modules.get("torch")
    return None if torch is None else int(torch.get_num_threads())


def _accelerator(device: str) -> str | None:
    torch = sys.modules.get("torch")
    if torch is None or not device.startswith("cuda") or not torch.cuda.is_available():
        return None
    return str(torch.cuda.get_device_name(device if ":" in device else None))
