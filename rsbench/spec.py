"""Small frozen values that several rooms share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

from rsbench.errors import InputError


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

    ``x = a·col + b·row + c`` and ``y = d·col + e·row + f`` at pixel corners.
    """

    crs: str
    transform: tuple[float, float, float, float, float, float]
    height: int
    width: int

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
