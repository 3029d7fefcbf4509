"""Counter-based normal noise, independent of batch, tiling, order and device.

The generator is Philox4x32-10 (J. K. Salmon et al., "Parallel random numbers: as easy as 1, 2, 3",
SC 2011). Its key is a hash of (seed, sample, member, name), its counter is the absolute pixel and
the channel. The Box-Muller transform in float64 makes the words normal.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from rsbench.core.digest import canonical_json
from rsbench.core.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor

    from rsbench.core.grid import Window
    from rsbench.models.api import Noise as NoiseProtocol
    from rsbench.models.api import Want

U64 = npt.NDArray[np.uint64]
ROUNDS = 10
LANES = 4
"""Words of one Philox block, used for as many neighbouring channels."""
MULTIPLIERS = (np.uint64(0xD2511F53), np.uint64(0xCD9E8D57))
WEYL = (0x9E3779B9, 0xBB67AE85)
LOW = np.uint64(0xFFFFFFFF)
SHIFT = np.uint64(32)


def philox(counter: tuple[U64, U64, U64, U64], key: tuple[int, int]) -> tuple[U64, U64, U64, U64]:
    """Return four arrays of 32-bit words (held in uint64) for a counter of four such arrays."""
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for _ in range(ROUNDS):
        p0, p1 = MULTIPLIERS[0] * c0, MULTIPLIERS[1] * c2
        c0, c1, c2, c3 = (
            (p1 >> SHIFT) ^ c1 ^ np.uint64(k0),
            p1 & LOW,
            (p0 >> SHIFT) ^ c3 ^ np.uint64(k1),
            p0 & LOW,
        )
        k0, k1 = (k0 + WEYL[0]) & 0xFFFFFFFF, (k1 + WEYL[1]) & 0xFFFFFFFF
    return c0, c1, c2, c3


def box_muller(a: U64, b: U64) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Return two independent standard normal arrays from two arrays of 32-bit words."""
    radius = np.sqrt(-2.0 * np.log((a.astype(np.float64) + 1.0) * 2.0**-32))
    angle = (2.0 * np.pi * 2.0**-32) * b.astype(np.float64)
    return (
        (radius * np.cos(angle)).astype(np.float32),
        (radius * np.sin(angle)).astype(np.float32),
    )


def field(
    key: tuple[int, int],
    *,
    rows: npt.NDArray[np.int64],
    columns: npt.NDArray[np.int64],
    channels: int,
) -> npt.NDArray[np.float32]:
    """Return ``(channels, len(rows), len(columns))`` noise at absolute rows and columns.

    Each value depends only on the key and on its own row, column and channel.
    """
    groups = -(-channels // LANES)
    shape = (groups, len(rows), len(columns))
    y = np.broadcast_to((rows.astype(np.uint64) & LOW)[None, :, None], shape)
    x = np.broadcast_to((columns.astype(np.uint64) & LOW)[None, None, :], shape)
    g = np.broadcast_to(np.arange(groups, dtype=np.uint64)[:, None, None], shape)
    words = philox((x, y, g, np.zeros(shape, np.uint64)), key)
    lanes = (*box_muller(words[0], words[1]), *box_muller(words[2], words[3]))
    return np.stack(lanes, axis=1).reshape(groups * LANES, *shape[1:])[:channels]


def key_of(seed: int, sample: str, member: int, name: str) -> tuple[int, int]:
    """Return the Philox key of a field, a hash of the arguments."""
    text = canonical_json(["rsbench.noise@1", seed, sample, member, name])
    digest = hashlib.sha256(text.encode()).digest()
    return int.from_bytes(digest[:4], "little"), int.from_bytes(digest[4:8], "little")


@dataclass(frozen=True)
class Noise:
    """The noise of one run.

    Args:
        seed: the run's seed.
    """

    seed: int

    def numpy(
        self, name: str, want: Want, *, channels: int, downscale: int = 1
    ) -> npt.NDArray[np.float32]:
        """Return ``(B, M, channels, H/downscale, W/downscale)`` noise without torch.

        Raises:
            InputError: if ``downscale`` does not divide the sides of a window.
        """
        if channels < 1 or downscale < 1:
            raise InputError(
                f"noise {name!r}",
                f"channels {channels}, downscale {downscale}",
                "Give at least 1 for both",
            )
        out = []
        for sample in want.samples:
            rows, columns = _cells(name, sample.window, downscale)
            fields = [
                field(
                    key_of(self.seed, sample.key, member, name),
                    rows=rows,
                    columns=columns,
                    channels=channels,
                )
                for member in range(want.members)
            ]
            out.append(np.stack(fields))
        return np.stack(out)

    def normal(self, name: str, want: Want, *, channels: int, downscale: int = 1) -> Tensor:
        """Return the field as a tensor on the device of ``want.times``."""
        import torch

        values = self.numpy(name, want, channels=channels, downscale=downscale)
        return torch.from_numpy(values).to(want.times.device)


def _cells(
    name: str, window: Window, downscale: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return absolute rows and columns of a window at a reduced resolution."""
    if window.height % downscale or window.width % downscale:
        raise InputError(
            f"noise {name!r} at 1/{downscale} of the sides",
            f"the window is {window.height}×{window.width}",
            f"Set multiple_of in the model's card to a multiple of {downscale}",
        )
    rows = (window.y + np.arange(0, window.height, downscale)) // downscale
    columns = (window.x + np.arange(0, window.width, downscale)) // downscale
    return rows, columns


@dataclass(frozen=True)
class Scoped:
    """Noise with a prefix on its names, e.g. the lead of a rollout; independent of other scopes."""

    noise: NoiseProtocol
    scope: str

    def normal(self, name: str, want: Want, *, channels: int, downscale: int = 1) -> Tensor:
        """Return the field of the scoped name."""
        return self.noise.normal(
            f"{self.scope}/{name}", want, channels=channels, downscale=downscale
        )
