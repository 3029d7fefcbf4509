"""Reading engines by name."""

from __future__ import annotations

from importlib.util import find_spec

from rsbench.build.read.raster import Engine, RasterioEngine
from rsbench.build.read.stackstac import StackstacEngine
from rsbench.core.errors import InputError
from rsbench.core.extras import install_command


def make_engine(name: str, catalogue: str, signing: str) -> Engine:
    """Return a reading engine: ``rasterio`` (default) or ``stackstac``.

    Args:
        catalogue: API address, or folder of a static catalogue.
        signing: how the provider signs its links.

    Raises:
        InputError: if no catalogue is named, or the engine is not known.
    """
    if not catalogue:
        raise InputError(
            "reading scenes",
            "the lock names no catalogue",
            "Give --provider with the address or folder that holds its files",
        )
    if name == "rasterio":
        return RasterioEngine(catalogue, signing)
    if name == "stackstac":
        if find_spec("stackstac") is None:
            remedy = f"Type: {install_command('stackstac')}, or use the engine rasterio"
            raise InputError("engine 'stackstac'", "stackstac is not installed", remedy)
        return StackstacEngine(catalogue, signing)
    raise InputError(f"engine {name!r}", "there is no such engine", "Use rasterio or stackstac")
