"""The second engine: stackstac, with the one call of it that gives exact pixels.

It serves as an oracle of the default engine and for those who know it. It reads one-band files
only, and everything it could decide by itself (grid, type, fill, errors) is decided for it.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np

from rsbench.build.plan_href import is_web, resolve_href
from rsbench.build.source import GDAL_ENV, Pixels, Scene, signer, without_queries
from rsbench.errors import InputError, UnitFailed
from rsbench.spec import Grid


class StackstacEngine:
    """See :class:`rsbench.build.source.Engine`."""

    def __init__(self, catalogue: str, signing: str = "none") -> None:
        self._catalogue = catalogue
        self._sign = signer(signing)
        self.bytes = 0

    def fill(
        self, out: Pixels, scenes: Sequence[Scene], grid: Grid, *, whole: bool, nodata: int
    ) -> None:
        """See :class:`rsbench.build.source.Engine`; ``whole`` is not checked by this engine."""
        from rasterio.errors import RasterioError

        if not scenes:
            return
        cause = ""
        try:
            out[...] = self._stack(out.dtype, scenes, grid, nodata)
            self.bytes += out.nbytes
        except (RasterioError, RuntimeError, OSError, ValueError) as error:
            cause = f"{without_queries(str(error))} ({type(error).__name__})"
        if cause:
            raise UnitFailed(
                f"reading {len(scenes)} items from {scenes[0].item} on",
                cause,
                "Run the same build again, or use the default engine, which names the item",
            )

    def close(self) -> None:
        """See :class:`rsbench.build.source.Engine`."""

    def _stack(
        self, dtype: np.dtype[Any], scenes: Sequence[Scene], grid: Grid, nodata: int
    ) -> Pixels:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import stackstac
            from stackstac.rio_env import LayeredEnv

            layers = [name for name, _ in scenes[0].layers]
            epsg = int(grid.crs.removeprefix("EPSG:"))
            a, _, c, _, e, f = grid.transform
            bounds = (c, f + e * grid.height, c + a * grid.width, f)
            stack = stackstac.stack(
                [self._item(scene, epsg, bounds) for scene in scenes],
                assets=layers,
                epsg=epsg,
                resolution=a,
                bounds=bounds,
                snap_bounds=False,
                dtype=dtype,
                # A plain 0 is refused for uint16, and a missing file would become nodata.
                fill_value=dtype.type(nodata),
                rescale=False,
                errors_as_nodata=(),
                sortby_date=False,
                xy_coords="center",
                properties=False,
                band_coords=False,
                gdal_env=LayeredEnv(always=dict(GDAL_ENV)),
            )
            return np.asarray(stack.sel(band=layers).data.compute(scheduler="threads"))

    def _item(
        self, scene: Scene, epsg: int, bounds: tuple[float, float, float, float]
    ) -> dict[str, Any]:
        assets = {}
        for name, asset in scene.layers:
            if asset.index != 1:
                raise InputError(
                    "engine stackstac",
                    f"item {scene.item} keeps {name} as band {asset.index} of a file, "
                    "and stackstac reads one-band files only",
                    "Use the default engine",
                )
            full = resolve_href(asset.href, self._catalogue)
            assets[name] = {
                "href": self._sign(full, 0) if is_web(full) else full,
                "type": "image/tiff",
                # stackstac reads proj:epsg only, and takes the box as the place of the file.
                "proj:epsg": epsg,
                "proj:bbox": list(bounds),
            }
        return {
            "type": "Feature",
            "id": scene.item,
            "bbox": [0, 0, 0, 0],
            "properties": {"datetime": "2000-01-01T00:00:00Z", "proj:epsg": epsg},
            "assets": assets,
        }
