"""The Sentinel-2 tiling grid of 109.8 km squares, and the 5120 m lattice in each tile.

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
# Northing (m) of each latitude band's southern edge on a zone's central meridian, counted from the
# equator: transverse Mercator on WGS 84, scale 0.9996.
_BAND_EDGE = dict(
    zip(
        _BANDS,
        (
            -8_881_586, -7_988_933, -7_097_014, -6_206_080, -5_316_300, -4_427_757, -3_540_436,
            -2_654_227, -1_768_935, -884_298, 0, 884_298, 1_768_935, 2_654_227, 3_540_436,
            4_427_757, 5_316_300, 6_206_080, 7_097_014, 7_988_933,
        ),
        strict=True,
    )
)  # fmt: skip
# Away from the central meridian a parallel curves poleward by less than this.
_BEND_M = 5_000
_FALSE_NORTHING_M = 10_000_000


def tile_epsg(tile: str) -> int:
    """Return the EPSG code of a tile's UTM zone: 326xx north, 327xx south of the equator."""
    return (32600 if tile[2] >= "N" else 32700) + int(tile[:2])


def tile_square(tile: str) -> tuple[int, int]:
    """Return easting and northing (m) of the south-west corner of a tile's 100 km square."""
    zone, band = int(tile[:2]), tile[2]
    easting = (_COLUMNS[(zone - 1) % 3].index(tile[3]) + 1) * _SQUARE_M
    northing = (_ROWS.index(tile[4]) - (0 if zone % 2 else 5)) % len(_ROWS) * _SQUARE_M
    south = _BAND_EDGE[band] + (0 if band >= "N" else _FALSE_NORTHING_M - _BEND_M)
    while northing + _SQUARE_M <= south:
        northing += len(_ROWS) * _SQUARE_M
    return easting, northing


def tile_origin(tile: str) -> tuple[int, int]:
    """Return easting and northing (m) of the upper-left corner of a tile's images."""
    easting, northing = tile_square(tile)
    equator = 0 if tile[2] >= "N" else _FALSE_NORTHING_M
    top = northing + _SQUARE_M - equator
    return easting // _STEP_M * _STEP_M, -(-top // _STEP_M) * _STEP_M + equator


def zone_of(latitude: float, longitude: float) -> int:
    """Return the UTM zone (1–60) of a place, with the wider zones of Norway and Svalbard."""
    zone = int((longitude + 180.0) // 6.0) % 60 + 1
    if 56.0 <= latitude < 64.0 and 3.0 <= longitude < 12.0:
        return 32
    if latitude >= 72.0 and 0.0 <= longitude < 42.0:
        return 31 + 2 * int((longitude + 3.0) // 12.0)
    return zone


def tile_at(zone: int, easting: float, northing: float, *, south: bool) -> str:
    """Return the tile whose 100 km square holds a place of a UTM zone (metres).

    A square that the edge of a latitude band cuts has two names in MGRS. Among Sentinel-2 tiles it
    has one, with the band of its centre: 28PCC at Saint-Louis, 50HMK at Perth.
    """
    square = int(northing // _SQUARE_M)
    middle = (square + 0.5) * _SQUARE_M - (_FALSE_NORTHING_M if south else 0)
    column = int(easting // _SQUARE_M) - 1
    if not (_BAND_EDGE["C"] <= middle < 9_400_000 and 0 <= column < 8):
        raise ValueError(f"({easting}, {northing}) is outside zone {zone}")
    band = max(name for name, edge in _BAND_EDGE.items() if edge <= middle)
    row = _ROWS[(square + (0 if zone % 2 else 5)) % len(_ROWS)]
    return f"{zone:02d}{band}{_COLUMNS[(zone - 1) % 3][column]}{row}"


def snap(tile: str, easting: float, northing: float, extent: int) -> tuple[int, int]:
    """Return the lattice origin whose square of ``extent`` metres is centred nearest to a point.

    The square is at least ``MARGIN_M`` inside the tile.
    """
    left, top = tile_origin(tile)
    first = -(-MARGIN_M // LATTICE_M)
    last = (TILE_M - MARGIN_M - extent) // LATTICE_M
    east = round((easting - extent / 2 - left) / LATTICE_M)
    south = round((top - northing - extent / 2) / LATTICE_M)
    east, south = (min(max(k, first), last) for k in (east, south))
    return left + east * LATTICE_M, top - south * LATTICE_M


def lattice_problem(tile: str, epsg: int, origin: tuple[int, int], extent: int) -> str | None:
    """Return why a square of ``extent`` metres is not on the lattice of its tile, or None."""
    try:
        left, top = tile_origin(tile)
        easting, northing = tile_square(tile)
        proper = tile_at(int(tile[:2]), easting, northing, south=tile[2] < "N")
    except (ValueError, KeyError):
        return f"there is no tile {tile}"
    if proper != tile:
        return f"among Sentinel-2 tiles, the square {tile} is called {proper}"
    if epsg != tile_epsg(tile):
        return f"tile {tile} lies in EPSG:{tile_epsg(tile)}, not EPSG:{epsg}"
    east, south = origin[0] - left, top - origin[1]
    if east % LATTICE_M or south % LATTICE_M:
        return f"the origin is not on the {LATTICE_M} m lattice of tile {tile} at ({left}, {top})"
    inner = TILE_M - MARGIN_M - extent
    if not (MARGIN_M <= east <= inner and MARGIN_M <= south <= inner):
        return f"the square is not {MARGIN_M} m inside tile {tile}"
    return None
