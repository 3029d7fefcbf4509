"""Files of checkpoints: tensors as safetensors, descriptions as JSON, written atomically."""

from __future__ import annotations

import errno
import hashlib
import json
from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from rsbench.core import io
from rsbench.core.digest import canonical_json
from rsbench.core.errors import InputError
from rsbench.core.io import atomic_file, disk_errors, write_atomic

REMEDY = "Remove that folder and train again, or give another --checkpoint"
Tensors = Mapping[str, Tensor]


def write_tensors(path: Path, tensors: Tensors) -> None:
    """Write tensors by name to a safetensors file, atomically.

    Raises:
        DiskFull: if the disk is full; an existing file is kept.
    """
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    # The format rejects tensors that share memory, as tied weights do; each name gets a copy.
    copies = {n: t.detach().to("cpu", copy=True).contiguous() for n, t in tensors.items()}

    with _disk_errors(path), atomic_file(path) as part:
        try:
            save_file(copies, str(part))
        except SafetensorError as error:
            raise _as_os_error(error, part) from error


def _as_os_error(error: Exception, path: Path) -> Exception:
    full = "No space left" in str(error) or "os error 28" in str(error)
    return OSError(errno.ENOSPC, "the disk is full", str(path)) if full else error


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Read tensors onto the CPU; no code in the file is executed.

    Raises:
        InputError: if the file is absent, truncated or of another format.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return dict(load_file(str(path), device="cpu"))
    except (OSError, SafetensorError) as error:
        raise InputError(f"reading {path}", f"it is absent or damaged ({error})", REMEDY) from error


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Write a JSON file atomically.

    Raises:
        ValueError: if a number is NaN or infinite.
        DiskFull: if the disk is full.
    """
    text = json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False)
    with _disk_errors(path):
        write_atomic(path, text + "\n")


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object.

    Raises:
        InputError: if the file is absent, truncated or not a JSON object.
    """
    return io.read_json(path, remedy=REMEDY)


def _disk_errors(path: Path) -> AbstractContextManager[None]:
    return disk_errors(f"writing {path}", "set RSBENCH_CACHE to another device")


def tensors_digest(tensors: Tensors) -> str:
    """Return the SHA-256 of named tensors: name, dtype, shape and bytes, in the order of names."""
    hasher = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].detach().to("cpu").contiguous()
        head = [name, str(tensor.dtype).removeprefix("torch."), list(tensor.shape)]
        hasher.update(canonical_json(head).encode())
        if tensor.numel():
            hasher.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return hasher.hexdigest()
