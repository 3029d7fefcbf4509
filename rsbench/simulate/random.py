"""Seeded random numbers of the simulated Earth: named streams and Gaussian fields.

A stream is a pure function of (version, seed, names). Draws do not depend on the order in which
regions, years or scenes are made, or on the number of threads.
"""

from __future__ import annotations

import hashlib
from functools import lru_cache

import numpy as np
import numpy.typing as npt

VERSION = "simulated-earth@1"

F64 = npt.NDArray[np.float64]
F32 = npt.NDArray[np.float32]


def stream(seed: int, *names: str | int) -> np.random.Generator:
    """Return the generator of a named stream (Philox, counter based)."""
    text = "|".join([VERSION, str(seed), *map(str, names)])
    key = int.from_bytes(hashlib.sha256(text.encode()).digest()[:16], "little")
    return np.random.Generator(np.random.Philox(key=key))


def settle(values: F64) -> F64:
    """Round to multiples of 2⁻²⁴.

    The last bits of a transform or an exponential differ between processors. Rounding keeps the
    pixels equal.
    """
    rounded: F64 = np.round(values * 16777216.0) / 16777216.0
    return rounded


@lru_cache(maxsize=32)
def _amplitude(height: int, width: int, slope: float, outer: float) -> F64:
    """Spectral amplitude (H, W/2+1) of a unit-variance field with power ∝ (k² + k₀²)^(−slope/2)."""
    ky = np.fft.fftfreq(height)[:, None]
    kx = np.fft.rfftfreq(width)[None, :]
    square = ky**2 + kx**2
    power: F64 = (square + (1.0 / outer) ** 2) ** (-slope / 2)
    power[0, 0] = 0.0  # zero mean: every pixel has the same marginal distribution
    twice = np.full(width // 2 + 1, 2.0)
    twice[0] = 1.0
    if width % 2 == 0:
        twice[-1] = 1.0
    total = float((power * twice).sum()) / (height * width)
    amplitude: F64 = np.sqrt(power / total)
    return amplitude


def periodic_field(generator: np.random.Generator, size: int, *, slope: float, outer: float) -> F64:
    """Return a periodic Gaussian field (size, size): mean 0, variance 1 over the ensemble.

    Args:
        generator: source of the noise.
        size: pixels per side.
        slope: exponent of the radial power spectrum; natural ground has about 2 to 3.
        outer: outer scale in pixels, beyond which the spectrum is flat.
    """
    noise = np.fft.rfft2(generator.standard_normal((size, size)))
    return settle(np.fft.irfft2(noise * _amplitude(size, size, slope, outer), s=(size, size)))


def open_field(generator: np.random.Generator, size: int, *, slope: float, outer: float) -> F64:
    """Return a Gaussian field (size, size) that is not periodic; see :func:`periodic_field`."""
    whole = periodic_field(generator, size + size // 2, slope=slope, outer=outer)
    return whole[:size, :size].copy()


def logistic(values: F64) -> F64:
    """Return 1 / (1 + e⁻ˣ), rounded by :func:`settle`."""
    return settle(1.0 / (1.0 + np.exp(-np.clip(values, -40.0, 40.0))))
