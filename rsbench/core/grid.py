"""Pixel windows and pixel grids, and the nesting of a coarse grid in a fine one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

from rsbench.core.errors import InputError


@dataclass(frozen=True, slots=True)
class Window:
    """A rectangle of pixels: upper-left ``(y, x)`` and size, in pixels of its grid."""

    y: int
    x: int
    height: int
    width: int

    def __post_init__(self) -> None:
        if self.height <= 0 or self.width <= 0:
            raise InputError(
                "window", f"size {self.height}×{self.width}", "Height and width must be positive"
            )

    @property
    def slices(self) -> tuple[slice, slice]:
        """Row and column slices of the window."""
        return slice(self.y, self.y + self.height), slice(self.x, self.x + self.width)


@dataclass(frozen=True, slots=True)
class Grid:
    """A north-up pixel grid: CRS text, affine ``(a, b, c, d, e, f)`` as in GDAL/rasterio, size.

    ``x = a·col + b·row + c`` and ``y = d·col + e·row + f`` at pixel corners. Integer coefficients
    are converted to floats, so that equal grids have equal JSON forms.
    """

    crs: str
    transform: tuple[float, float, float, float, float, float]
    height: int
    width: int

    def __post_init__(self) -> None:
        a, b, c, d, e, f = map(float, self.transform)
        object.__setattr__(self, "transform", (a, b, c, d, e, f))

    def window(self, window: Window) -> Grid:
        """Return the grid of a window of this grid."""
        a, b, c, d, e, f = self.transform
        return Grid(
            self.crs,
            (
                a,
                b,
                c + a * window.x + b * window.y,
                d,
                e,
                f + d * window.x + e * window.y,
            ),
            window.height,
            window.width,
        )

    def to_json(self) -> dict[str, Any]:
        """Return the JSON form."""
        return {
            "crs": self.crs,
            "transform": list(self.transform),
            "height": self.height,
            "width": self.width,
        }

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Self:
        """Read the JSON form."""
        a, b, c, d, e, f = (float(v) for v in value["transform"])
        return cls(str(value["crs"]), (a, b, c, d, e, f), int(value["height"]), int(value["width"]))


_EDGE = 1e-3
"""Largest distance of coinciding pixel edges, as a share of a fine pixel."""


def nesting(fine: Grid, coarse: Grid, place: str) -> int:
    """Return the number of fine pixels along one side of a coarse pixel; 1 for equal grids.

    Args:
        place: name of the region, for the error message.

    Raises:
        InputError: if CRS, corners, extents or pixel sizes do not fit.
    """
    ratio = coarse.width and fine.width // coarse.width
    fault = _nesting_fault(fine, coarse, ratio)
    if fault:
        raise InputError(
            f"fine and coarse images of {place}",
            fault,
            "Resample the coarse images to the fine grid, or to a grid whose pixels are whole "
            "blocks of fine pixels",
        )
    return ratio


def _nesting_fault(fine: Grid, coarse: Grid, ratio: int) -> str:
    if fine.crs != coarse.crs:
        return f"their CRSs are {fine.crs[:40]} and {coarse.crs[:40]}"
    if (coarse.height * ratio, coarse.width * ratio) != (fine.height, fine.width):
        return (
            f"{fine.height}×{fine.width} fine pixels are no whole blocks of "
            f"{coarse.height}×{coarse.width} coarse pixels"
        )
    pixel = min(abs(fine.transform[0]), abs(fine.transform[4]))
    wanted = tuple(v * ratio if i in (0, 1, 3, 4) else v for i, v in enumerate(fine.transform))
    apart = max(
        abs(have - want) * (max(coarse.height, coarse.width) if i in (0, 1, 3, 4) else 1)
        for i, (have, want) in enumerate(zip(coarse.transform, wanted, strict=True))
    )
    if apart > _EDGE * pixel:
        return f"their pixel edges lie up to {apart / pixel:.3g} fine pixels apart"
    return ""
