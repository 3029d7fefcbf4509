"""Shift of each year of a region against the other years, to a fraction of a pixel.

Phase correlation of a year with the median over all years; the peak is refined on a finer grid by
a small matrix Fourier transform (Guizar-Sicairos, Thurman and Fienup 2008, Efficient subpixel
image registration algorithms, Optics Letters 33, 156–158). Years whose shift is above
``FLAG`` pixels are flagged, because a shift also lowers the score of a forecast.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from rsbench.store.layout import SensorArrays

Plane = npt.NDArray[np.float64]

FLAG = 0.3
"""Pixels."""
FINE = 50
"""Steps per pixel of the refined peak."""
_REACH = 8
"""Largest whole shift looked for, in pixels."""
_MIN_VALID = 0.5
_SMOOTH = 0.12
"""Standard deviation (cycles per pixel) of the Gaussian weight that favours low frequencies."""


@dataclass(frozen=True, slots=True)
class Shift:
    """A year's shift down and to the right (pixels); None if too few pixels are valid."""

    rows: float | None
    columns: float | None

    @property
    def flagged(self) -> bool:
        """Whether the shift is longer than ``FLAG``."""
        if self.rows is None or self.columns is None:
            return False
        return float(np.hypot(self.rows, self.columns)) > FLAG

    def to_json(self) -> dict[str, Any]:
        """Return the JSON form."""
        return {"rows": self.rows, "columns": self.columns, "flagged": self.flagged}


def yearly_shifts(arrays: SensorArrays) -> tuple[Shift, ...]:
    """Return the shift of each year against the median of all years, on the mean band."""
    if len(arrays.times) < 2:
        return (Shift(None, None),) * len(arrays.times)
    planes = arrays.values.mean(axis=1, dtype=np.float64).astype(np.float32)
    planes[~arrays.valid] = np.nan
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # pixels without a valid year
        reference = np.nanmedian(planes, axis=0).astype(np.float64)
    return tuple(_one(reference, plane) for plane in planes)


def _one(reference: Plane, year: npt.NDArray[np.float32]) -> Shift:
    moved = year.astype(np.float64)
    both = np.isfinite(moved) & np.isfinite(reference)
    if both.mean() < _MIN_VALID or moved[both].std() == 0 or reference[both].std() == 0:
        return Shift(None, None)
    rows, columns = measure(_filled(reference, both), _filled(moved, both))
    return Shift(round(rows, 3), round(columns, 3))


def _filled(plane: Plane, valid: npt.NDArray[np.bool_]) -> Plane:
    """Return the plane without mean, gaps at the mean, and faded out towards its borders."""
    centred = np.where(valid, plane - plane[valid].mean(), 0.0)
    fade = np.outer(np.hanning(plane.shape[0]), np.hanning(plane.shape[1]))
    return np.asarray(centred * fade)


def measure(reference: Plane, moved: Plane) -> tuple[float, float]:
    """Return by how many pixels ``moved`` lies below and to the right of ``reference``.

    Both ``(H, W)``, without gaps and mean; found to ``1 / FINE`` of a pixel within ± 8 pixels.
    """
    height, width = reference.shape
    cross = np.fft.fft2(moved) * np.conj(np.fft.fft2(reference))
    v, u = np.fft.fftfreq(height)[:, None], np.fft.fftfreq(width)[None, :]
    size = np.abs(cross)
    cross /= np.where(size > 0, size, 1.0)
    cross *= np.exp(-(u**2 + v**2) / (2 * _SMOOTH**2))
    surface = np.fft.ifft2(cross).real
    near = np.r_[-_REACH : _REACH + 1]
    window = surface[np.ix_(near % height, near % width)]
    row, column = np.unravel_index(int(window.argmax()), window.shape)
    steps = np.arange(-FINE, FINE + 1) / FINE
    down, right = near[row] + steps, near[column] + steps
    # The inverse transform at these few places only.
    left_kernel = np.exp(2j * np.pi * np.outer(down, v[:, 0]))
    right_kernel = np.exp(2j * np.pi * np.outer(u[0], right))
    fine = (left_kernel @ cross @ right_kernel).real
    i, j = np.unravel_index(int(fine.argmax()), fine.shape)
    return float(down[i]), float(right[j])
