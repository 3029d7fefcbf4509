"""The Sentinel-2 tiling grid: where the 109.8 km squares lie, and the 5120 m lattice in them.

A tile belongs to one 100 km square of the Military Grid Reference System (MGRS). Its upper-left
corner is the square's, moved outward (west, north) to the next multiple of 60 m counted from the
zone's easting 0 and the equator; from there it covers 109.8 km to the east and south, so
neighbours overlap by nearly 10 km. The letters of MGRS: NGA.STND.0037, Universal Grids and the
Transverse Mercator and Polar Stereographic Map Projections, 2014.
"""

from __future__ import annotations

TILE_M = 109_800
LATTICE_M = 5_120
MARGIN_M = 2_000
_SQUARE_M = 100_000
_STEP_M = 60
_ROWS = "ABCDEFGHJKLMNPQRSTUV"
_COLUMNS = ("ABCDEFGH", "JKLMNPQR", "STUVWXYZ")
_BANDS = "CDEFGHJKLMNPQRSTUVWX"
# Northing of each latitude band's southern edge on the central meridian, rounded down to 100 km,
# with the false northing of 10 000 km in the south.
_BAND_SOUTH = dict(
    zip(
        _BANDS,
        (
            1_100_000, 2_000_000, 2_800_000, 3_700_000, 4_600_000, 5_500_000, 6_400_000, 7_300_000,
            8_200_000, 9_100_000, 0, 800_000, 1_700_000, 2_600_000, 3_500_000, 4_400_000,
            5_300_000, 6_200_000, 7_000_000, 7_900_000,
        ),
        strict=True,
    )
)  # fmt: skip


def tile_epsg(tile: str) -> int:
    """Return the EPSG code of a tile's UTM zone: 326xx north, 327xx south of the equator."""
    return (32600 if tile[2] >= "N" else 32700) + int(tile[:2])


def tile_square(tile: str) -> tuple[int, int]:
    """Return easting and northing (m) of the south-west corner of a tile's 100 km square."""
    zone = int(tile[:2])
    easting = (_COLUMNS[(zone - 1) % 3].index(tile[3]) + 1) * _SQUARE_M
    row = (_ROWS.index(tile[4]) - (0 if zone % 2 else 5)) % len(_ROWS)
    northing = row * _SQUARE_M
    while northing < _BAND_SOUTH[tile[2]]:
        northing += len(_ROWS) * _SQUARE_M
    return easting, northing


def tile_origin(tile: str) -> tuple[int, int]:
    """Return easting and northing (m) of the upper-left corner of a tile's images."""
    easting, northing = tile_square(tile)
    equator = 0 if tile[2] >= "N" else 10_000_000
    top = northing + _SQUARE_M - equator
    return easting // _STEP_M * _STEP_M, -(-top // _STEP_M) * _STEP_M + equator


def lattice_problem(tile: str, epsg: int, origin: tuple[int, int], extent: int) -> str | None:
    """Say why a square of ``extent`` metres is not properly inside its tile, or None."""
    try:
        left, top = tile_origin(tile)
    except (ValueError, KeyError):
        return f"there is no tile {tile}"
    if epsg != tile_epsg(tile):
        return f"tile {tile} lies in EPSG:{tile_epsg(tile)}, not EPSG:{epsg}"
    east, south = origin[0] - left, top - origin[1]
    if east % LATTICE_M or south % LATTICE_M:
        return f"the origin is not on the {LATTICE_M} m lattice of tile {tile} at ({left}, {top})"
    inner = TILE_M - MARGIN_M - extent
    if not (MARGIN_M <= east <= inner and MARGIN_M <= south <= inner):
        return f"the square is not {MARGIN_M} m inside tile {tile}"
    return None
