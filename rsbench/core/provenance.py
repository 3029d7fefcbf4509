"""Provenance of a result: versions, machine and settings. It is not part of the identity.

Repository, user name and host name are not recorded. Versions are read without importing the
packages.
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
"""Environment variables that can change the bits of a result."""


@dataclass(frozen=True)
class Provenance:
    """Software and hardware that computed a result.

    Args:
        versions: package → version, of installed packages.
        system: operating system, processor type and processor count.
        device: e.g. ``cpu`` or ``cuda:0``.
        accelerator: name of the GPU, None on a CPU.
        precision: e.g. ``32-true`` or ``bf16-mixed``.
        threads: threads of torch on the CPU, None if torch is not loaded.
        settings: environment variables of ``SETTINGS`` that are set.
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
        """Read the JSON form; unknown keys are ignored.

        Raises:
            SchemaError: if it has another schema.
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
    """Return the provenance of the running process."""
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
    """Return the versions of rsbench, Python and ``PACKAGES``."""
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
