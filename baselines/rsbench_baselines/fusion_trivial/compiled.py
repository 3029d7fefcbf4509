"""Loops over pixels compiled by numba, for those who ask for ``engine="compiled"``."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

from torch import Tensor

from rsbench import InputError

ENGINES = ("torch", "compiled")
CELLS = 1 << 22
"""Numbers that a strip may hold: a loop over pixels needs no cache for it, and margins cost less
on larger strips.
"""


def check_engine(model: str, engine: str) -> str:
    """Return an engine that can be had.

    Raises:
        InputError: if it is not one of `ENGINES`, or is compiled and numba cannot be imported.
    """
    asked = f"{model} with engine={engine!r}"
    if engine not in ENGINES:
        raise InputError(asked, "there is no such engine", f"Choose {' or '.join(ENGINES)}")
    if engine == "compiled":
        try:
            import numba  # noqa: F401
        except ImportError as error:
            raise InputError(
                asked,
                f"numba cannot be imported ({error})",
                "pip install 'rsbench[compiled]', or take engine='torch'",
            ) from error
    return engine


@cache
def compiled(loop: Callable[..., None]) -> Callable[..., None]:
    """Return a loop over arrays as machine code, made at its first call and kept for the process.

    It lets other threads run, orders sums as they are written, and divides as NumPy does.
    """
    import numba

    made: Callable[..., None] = numba.njit(nogil=True, fastmath=False, error_model="numpy")(loop)
    return made


def on_cpu(planes: Tensor) -> Any:
    """Return a tensor's memory as a NumPy array.

    Raises:
        InputError: if it lies on another device than a CPU.
    """
    if planes.device.type != "cpu":
        raise InputError(
            "a compiled loop", f"images are on {planes.device}", "Take engine='torch' there"
        )
    return planes.numpy()


def pixels(planes: Tensor) -> Any:
    """Return ``(…, H, W)`` as a NumPy array ``(H, W, planes)``, a pixel's numbers side by side."""
    flat = planes.reshape(-1, *planes.shape[-2:])
    return on_cpu(flat.permute(1, 2, 0).contiguous())
