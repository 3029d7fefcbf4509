"""Read weight files into tensors without running code that a file may contain."""

from __future__ import annotations

import pickle
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from rsbench.core.errors import InputError, first_line
from rsbench.metrics.weights import find

if TYPE_CHECKING:
    from torch import Tensor


def read_weights(name: str) -> dict[str, Tensor]:
    """Return the tensors of some weights by name, on the CPU.

    Raises:
        MetricUnavailable: if no file is found, or none has the listed SHA-256.
        InputError: if the file holds anything other than tensors.
    """
    path, digest = find(name)
    return dict(_tensors(path, digest))


@lru_cache(maxsize=8)
def _tensors(path: Path, digest: str) -> dict[str, Tensor]:
    """Return the tensors of a file; ``digest`` is part of the key of the cache."""
    import torch

    if path.suffix == ".safetensors":
        from safetensors.torch import load_file

        return load_file(path)
    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError) as error:
        raise InputError(
            f"reading {path}", f"it holds more than tensors, or is damaged ({first_line(error)})",
            "Take the published file",
        ) from error  # fmt: skip
    if not isinstance(found, dict) or not all(isinstance(v, torch.Tensor) for v in found.values()):
        raise InputError(f"reading {path}", "it is no table of tensors", "Take the published file")
    return {str(key): value for key, value in found.items()}
