"""The second engine: stackstac, called so that it returns exact pixels.

It is an oracle for the default engine. stackstac builds the cube; grid, type, fill and error
handling are given to it. Its own reader takes any GDAL driver, one band per file and EPSG codes
only, so files are opened by a reader of this module. That reader uses GDAL's warper, while the
default engine uses windows.
"""

from __future__ import annotations

import json
import math
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, cast

import numpy as np

from rsbench.build.plan.lock import LockAsset
from rsbench.build.plan.patience import FILE
from rsbench.build.read.grids import (
    GridMismatchError,
    place_raster,
    require_bands,
    require_pixel,
    window_around,
)
from rsbench.build.read.opened import GDAL_ENV, Source, open_raster, source_of
from rsbench.build.read.raster import Asked, Pixels, Scene
from rsbench.build.read.remote import without_queries
from rsbench.build.read.signing import signer
from rsbench.build.read.stated import mark_missing, require_rule
from rsbench.core.errors import UnitFailed

_NO_CODE = 3857
"""Given to stackstac where a CRS has no EPSG code; the reader does not use it."""


class StackstacEngine:
    """See :class:`rsbench.build.read.raster.Engine`."""

    def __init__(self, catalogue: str, signing: str = "none") -> None:
        self._catalogue = catalogue
        self._sign = signer(signing)
        self.bytes = 0

    def fill(self, out: Pixels, scenes: Sequence[Scene], asked: Asked) -> None:
        """See :class:`rsbench.build.read.raster.Engine`."""
        from rasterio.errors import RasterioError

        if not scenes:
            return
        cause = ""
        try:
            kept = asked.derived
            pixels = self._stack(out.dtype if kept is None else np.dtype(kept.dtype), scenes, asked)
            out[...] = pixels if kept is None else kept.make(pixels)
            self.bytes += out.nbytes
        except GridMismatchError as error:
            cause = str(error)
        except (RasterioError, RuntimeError, OSError, ValueError) as error:
            cause = f"{without_queries(str(error))} ({type(error).__name__})"
        if cause:
            raise UnitFailed(
                f"reading {len(scenes)} items from {scenes[0].item} on",
                cause,
                "Run the same build again, or use the default engine, which names the failing item",
            )

    def close(self) -> None:
        """See :class:`rsbench.build.read.raster.Engine`."""

    def _stack(self, dtype: np.dtype[Any], scenes: Sequence[Scene], asked: Asked) -> Pixels:
        grid = asked.grid
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import stackstac
            from stackstac.rio_env import LayeredEnv

            layers = [name for name, _ in scenes[0].layers]
            code = grid.crs.removeprefix("EPSG:")
            epsg = int(code) if code.isdigit() else _NO_CODE
            a, _, c, _, e, f = grid.transform
            bounds = (c, f + e * grid.height, c + a * grid.width, f)
            stack = stackstac.stack(
                [self._item(scene, epsg, bounds, asked.coarsest) for scene in scenes],
                assets=layers,
                epsg=epsg,
                resolution=(a, -e),
                bounds=bounds,
                snap_bounds=False,
                # One task per plane: a smaller chunk would open every file several times.
                chunksize=(1, 1, grid.height, grid.width),
                dtype=dtype,
                # stackstac refuses a plain 0 for uint16; by default a missing file becomes nodata.
                fill_value=dtype.type(asked.nodata),
                rescale=False,
                errors_as_nodata=(),
                sortby_date=False,
                xy_coords="center",
                properties=False,
                band_coords=False,
                gdal_env=LayeredEnv(always=dict(GDAL_ENV)),
                reader=_reader(asked, self._source),
            )
            return np.asarray(stack.sel(band=layers).data.compute(scheduler="threads"))

    def _item(
        self,
        scene: Scene,
        epsg: int,
        bounds: tuple[float, float, float, float],
        coarsest: Mapping[str, float],
    ) -> dict[str, Any]:
        assets = {}
        for name, asset in scene.layers:
            assets[name] = {
                "href": json.dumps([coarsest.get(name, math.inf), scene.rule, *asset.to_json()]),
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

    def _source(self, asset: LockAsset) -> Source:
        end = time.monotonic() + FILE.seconds
        return source_of(asset, self._catalogue, partial(self._sign, attempt=0), end)


def _reader(asked: Asked, source: Callable[[LockAsset], Source]) -> type[Any]:
    """Return a reader class for stackstac that knows the grid it reads on."""

    class Reader:
        def __init__(self, *, url: str, dtype: Any, fill_value: Any, **others: Any) -> None:
            limit, rule, *held = json.loads(url)
            self._asset = LockAsset(*held)
            self._asked = replace(asked, limit=limit, rule=rule)
            self._dtype, self._fill = np.dtype(dtype), fill_value

        def read(self, window: Any) -> Pixels:
            index, opened = self._asset.index, source(self._asset)
            pixels, inside = _warped(opened, index, self._asked, self._dtype, self._fill)
            if not inside.all() and (asked.whole or not inside.any()):
                raise GridMismatchError(
                    f"the raster covers {'only a part of' if inside.any() else 'nothing of'} "
                    "the region"
                )
            rows, columns = window.toslices()
            return cast("Pixels", pixels[rows, columns])

        def close(self) -> None:
            pass

    return Reader


def _warped(
    source: Source, index: int, asked: Asked, dtype: np.dtype[Any], fill: Any
) -> tuple[Pixels, Pixels]:
    """Return a band on a grid and where it has pixels, both ``(H, W)``, by GDAL's warper.

    The warper is given plain arrays: of a file it would take nodata tags, masks and bands called
    alpha (as the infrared of some photographs is) as reasons to drop pixels.
    """
    from affine import Affine
    from rasterio.enums import Resampling
    from rasterio.warp import reproject

    grid = asked.grid
    a, _, c, _, e, f = grid.transform
    edges = (c, f + e * grid.height, c + a * grid.width, f)
    size = (grid.height, grid.width)
    pixels, inside = np.full(size, fill, dtype), np.zeros(size, np.uint8)
    with open_raster(source) as raster:
        data = raster.data
        require_bands(data, [index], dtype, quality=asked.quality)
        require_pixel(place_raster(data, grid)[0] * a, asked.limit)
        if asked.rule is not None:
            require_rule(data, [index], asked.rule)
        part = window_around(data, edges, 1)
        if part is None:
            return pixels, inside.astype(np.bool_)
        sa, _, sc, _, se, sf = tuple(data.transform)[:6]
        held = raster.read([index], part)
        if not asked.quality:
            mark_missing(data, [index], part, held, asked.nodata)
        held = held[0].astype(dtype, copy=False)
        corner = (sa, 0.0, sc + sa * part.col_off, 0.0, se, sf + se * part.row_off)
        place = {
            "src_transform": Affine(*corner),
            "src_crs": data.crs,
            "dst_transform": Affine(*grid.transform),
            "dst_crs": data.crs,
            "resampling": Resampling.nearest,
            "init_dest_nodata": False,
        }
        reproject(held, pixels, **place)
        reproject(np.ones(held.shape, np.uint8), inside, **place)
    return pixels, inside.astype(np.bool_)
