"""Pairs of photographs and satellite images, from made-up ground behind the loopback server."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import date
from functools import cache
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from build_fixtures import write_collection, write_raster
from support.stac_server import Fault, Request, serve

from rsbench.build.engine.builder import build, build_part, finalise_parts
from rsbench.build.kinds.pairs.search import tier_of
from rsbench.build.plan.plan import make_plan, regions_of
from rsbench.catalog import Recipe, load_recipe, load_regions, recipe_of, tiles
from rsbench.catalog.places import centre, distance_km
from rsbench.core.errors import InputError, UnitFailed
from rsbench.core.grid import nesting
from rsbench.store.read import open_store

ORIGIN = (600_000, 4_000_020)
EPSG, NAD83 = 32614, 26914
TILE = "14SPF"
SIDE = 96  # 10 m pixels of a scene
BANDS = {"B02": 0.7, "B03": 0.8, "B04": 1.0, "B08": 1.6}
PHOTO = {1: "B04", 2: "B03", 3: "B02", 4: "B08"}
PLACE = (600_200, 4_000_020 - 200)  # 48 pixels, 20 into the scene


_DRAW = np.random.default_rng(11)
WAVES = [
    (2 * np.pi / length, angle, phase, np.sqrt(length))
    for length, angle, phase in zip(
        _DRAW.uniform(25, 300, 24),
        _DRAW.uniform(0, np.pi, 24),
        _DRAW.uniform(0, 2 * np.pi, 24),
        strict=True,
    )
]


def ground(x: npt.NDArray[Any], y: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """A made-up land between 0 and 1 with structures of 25 to 300 m."""
    total = np.zeros(np.broadcast(x, y).shape)
    for k, angle, phase, size in WAVES:
        east, north = k * np.cos(angle) * (x - ORIGIN[0]), k * np.sin(angle) * (y - ORIGIN[1])
        total += size * np.sin(east + north + phase)
    most = sum(size for *_, size in WAVES)
    return np.asarray(np.clip(0.5 + 1.5 * total / most, 0, 1))


@cache
def pixels(origin: tuple[float, float], gsd: float, height: int, width: int) -> Any:
    """Mean ground of pixels: of 1 m cells for coarse ones."""
    step = min(gsd, 1.0)
    n = round(gsd / step)
    x = origin[0] + step * (np.arange(width * n) + 0.5)
    y = origin[1] - step * (np.arange(height * n) + 0.5)
    fine = ground(*np.meshgrid(x, y))
    return fine.reshape(height, n, width, n).mean(axis=(1, 3))


def write_item(root: Path, name: str, collection: str, when: str, box: Any, **rest: Any) -> None:
    from pyproj import Transformer

    left, bottom, right, top = box
    to = Transformer.from_crs(EPSG, 4326, always_xy=True)
    corners = ((left, bottom), (right, bottom), (right, top), (left, top), (left, bottom))
    ring = [list(to.transform(x, y)) for x, y in corners]
    xs, ys = [p[0] for p in ring], [p[1] for p in ring]
    item = {
        "type": "Feature",
        "stac_version": "1.0.0",
        "id": name,
        "collection": collection,
        "bbox": [min(xs), min(ys), max(xs), max(ys)],
        "geometry": {"type": "Polygon", "coordinates": [ring]},
        "links": [],
        "properties": {"datetime": when, **rest["properties"]},
        "assets": rest["assets"],
    }
    (root / name / "item.json").write_text(json.dumps(item))


def scene(
    root: Path,
    name: str,
    when: str,
    *,
    shift: int = 0,
    spoil: Callable[[npt.NDArray[Any]], None] | None = None,
    flip: bool = False,
) -> None:
    """A Sentinel-2 scene; ``shift``: metres that its ground lies too far east."""
    land = pixels((ORIGIN[0] - shift, ORIGIN[1]), 10.0, SIDE, SIDE)
    for band, gain in BANDS.items():
        values = np.rint(1000 + 3000 * gain * (1 - land if flip else land)).astype(np.uint16)
        write_raster(root / name / f"{band}.tif", values, origin=ORIGIN, crs=f"EPSG:{EPSG}")
    scl = np.full((SIDE // 2, SIDE // 2), 4, np.uint8)
    if spoil:
        spoil(scl)
    write_raster(root / name / "SCL.tif", scl, gsd=20.0, origin=ORIGIN, crs=f"EPSG:{EPSG}")
    x, y = ORIGIN
    write_item(
        root,
        name,
        "sentinel-2-l2a",
        when,
        (x, y - 10 * SIDE, x + 10 * SIDE, y),
        properties={
            "eo:cloud_cover": 5.0,
            "s2:mgrs_tile": TILE,
            "s2:datatake_id": f"GS2A_{name}",
            "s2:processing_baseline": "02.14",
            "s2:generation_time": when,
        },
        assets={key: {"href": f"./{key}.tif"} for key in (*BANDS, "SCL")},
    )


def photo(
    root: Path, name: str, when: str, *, west: float = 600_100, width: int = 700, gsd: float = 1.0
) -> None:
    """A photograph of 700 m × 700 m in NAD 83, four bands in one file."""
    origin = (west, ORIGIN[1] - 100)
    height, columns = round(700 / gsd), round(width / gsd)
    land = pixels(origin, gsd, height, columns)
    bands = np.stack([np.rint(20 + 120 * BANDS[b] * land) for b in PHOTO.values()])
    write_raster(
        root / name / "image.tif",
        bands.astype(np.uint8),
        gsd=gsd,
        origin=origin,
        crs=f"EPSG:{NAD83}",
        blockxsize=128,
        blockysize=128,
    )
    x, y = origin
    write_item(
        root,
        name,
        "naip",
        when,
        (x, y - 700, x + width, y),
        properties={"gsd": gsd, "naip:year": when[:4]},
        assets={"image": {"href": "./image.tif"}},
    )


def recipe(**changes: Any) -> Recipe:
    spec = {"fine": "naip", "coarse": "s2", "ratio": 10, "tier": "relaxed"}
    spec |= changes.pop("pairs", {})
    place = {"name": "Fields", "epsg": EPSG, "tile": TILE, "origin": PLACE, "size": 48}
    values = {
        "name": "handmade-pairs",
        "title": "Hand-made pairs",
        "kind": "pairs",
        "sensors": ("naip", "s2"),
        "bands": {"s2": ("B02", "B03", "B04", "B08")},
        "pairs": spec,
        "years": (2019, 2021),
        "provider": "planetary-computer",
        "regions": ({**place, "split": "train"},),
        "default_preset": "tiny",
    }
    return recipe_of(values | changes)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """2019: two photographs of one day side by side; 2020: of two days; 2021: only clouds near."""
    root = tmp_path_factory.mktemp("pairs")
    photo(root, "n19a", "2019-07-10T16:00:00Z", width=350)
    photo(root, "n19b", "2019-07-10T16:00:00Z", west=600_440, width=360)
    photo(root, "n20a", "2020-07-10T16:00:00Z", width=350)
    photo(root, "n20b", "2020-07-12T16:00:00Z", west=600_440, width=360)
    photo(root, "n21", "2021-07-10T16:00:00Z")

    def cloud(scl: npt.NDArray[Any]) -> None:
        scl[20, 20] = 9

    scene(root, "s19far", "2019-07-21T17:00:00Z")
    scene(root, "s19near", "2019-07-08T17:00:00Z")
    scene(root, "s19nearest", "2019-07-10T17:00:00Z", spoil=cloud)
    scene(root, "s20", "2020-07-10T17:00:00Z")
    scene(root, "s21", "2021-07-12T17:00:00Z", spoil=cloud)
    scene(root, "s21late", "2021-08-20T17:00:00Z")
    write_collection(root)
    return root


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RSBENCH_CACHE", str(tmp_path / "cache"))


def test_a_pair_nests_and_shows_one_ground(folder: Path, tmp_path: Path) -> None:
    with serve(folder) as url:
        made = build(recipe(), tmp_path / "out", provider=url)
    store = open_store(made.path)
    assert (made.complete, store.validate(), store.meta.kind) == (True, [], "pairs")
    entry = store.region("Fields")
    fine, coarse = entry.grids["naip"], entry.grids["s2"]
    assert nesting(fine, coarse, "Fields") == 10
    assert (fine.transform[0], fine.transform[2], fine.transform[5]) == (1.0, *map(float, PLACE))
    assert entry.times == {"naip": (date(2019, 7, 10),), "s2": (date(2019, 7, 8),)}
    # Photographs of one day are laid together; each pixel is the ground of its own place.
    high = store.read("Fields", "naip")[0].astype(float)
    land = pixels(PLACE, 1.0, 480, 480)
    for band, name in enumerate(PHOTO.values()):
        assert np.abs(high[band] - (20 + 120 * BANDS[name] * land)).max() <= 1.0
    assert store.read("Fields", "naip", array="valid").all()
    low = store.read("Fields", "s2")[0]
    wide = pixels(PLACE, 10.0, 48, 48)
    for band, gain in enumerate(BANDS.values()):
        assert (low[band] == np.rint(1000 + 3000 * gain * wide)).all()
    attributes = json.loads((made.path / "Fields" / "zarr.json").read_text())["attributes"]
    (pair,) = attributes["rsbench"]["provenance"]["pairs"]
    assert (pair["tier"], pair["days_apart"]) == ("close", -2)  # the nearest one is not clear
    assert pair["fine"] == ["n19a", "n19b"]
    assert min(pair["correlation"].values()) > 0.99
    assert np.hypot(*pair["shift"]) < 0.1
    refused = store.meta.recipe["refused"]["Fields"]
    assert set(refused) == {"2021"}  # 2020 has no single day that covers the place
    assert "no scene is clear enough" in refused["2021"]
    assert store.meta.sensors["naip"].gsd == 1.0
    card = (made.path / "README.md").read_text()
    assert "| Fields | 2019-07-10 | -2 | close | 1.00 | 0.0" in card
    assert f"- refused: Fields 2021: {refused['2021']}" in card


def test_pairs_are_no_forecast(folder: Path, tmp_path: Path) -> None:
    from rsbench.evaluation.run import RunRequest, run_model

    made = build(recipe(), tmp_path / "out", provider=str(folder))
    assert open_store(made.path).meta.step == "irregular"
    request = RunRequest(model="persistence", data=made.path, horizon=1, out=tmp_path / "run")
    with pytest.raises(InputError, match="pairs and has no default protocol, as pairs without"):
        run_model(request)


def test_the_lock_holds_the_choice_and_parts_and_kills_end_equal(
    folder: Path, tmp_path: Path
) -> None:
    lock = make_plan(recipe(), provider=str(folder))
    held = {year: [i.id for i in lock.items("Fields", "s2", year)] for year in lock.years}
    assert held == {2019: ["s19nearest", "s19near", "s19far"], 2020: [], 2021: ["s21"]}
    assert [i.id for i in lock.items("Fields", "naip", 2020)] == []
    whole = build(recipe(), tmp_path / "a", lock=lock)
    build_part(recipe(), tmp_path / "b", (1, 1), lock=lock)
    assert finalise_parts(recipe(), tmp_path / "b").digest == whole.digest


def test_a_photograph_that_cannot_be_read_fails_its_unit(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from rsbench.build.read import raster as source

    monkeypatch.setattr(source.time, "sleep", lambda seconds: None)

    def gone(request: Request) -> Fault | None:
        return Fault(status=404) if "n19b" in request.path else None

    with serve(folder, fault=gone) as url, pytest.raises(UnitFailed, match="of item n19b"):
        build(recipe(), tmp_path / "out", provider=url)
    whole = build(recipe(), tmp_path / "whole", provider=str(folder))
    with serve(folder) as url:
        assert build(recipe(), tmp_path / "out", provider=url).digest == whole.digest


def test_coarser_ratios_are_area_means(folder: Path, tmp_path: Path) -> None:
    made = build(recipe(pairs={"ratio": 2}), tmp_path / "out", provider=str(folder))
    high = open_store(made.path).read("Fields", "naip")[0].astype(float)
    land = pixels(PLACE, 5.0, 96, 96)
    assert high.shape == (4, 96, 96)
    assert np.abs(high[0] - (20 + 120 * land)).max() <= 1.0


def test_a_photograph_of_finer_pixels_is_averaged(tmp_path: Path) -> None:
    root = tmp_path / "stac"
    photo(root, "n", "2020-07-10T16:00:00Z", gsd=0.5)
    scene(root, "s", "2020-07-10T17:00:00Z")
    write_collection(root)
    one = recipe(years=(2020, 2020))
    high = open_store(build(one, tmp_path / "out", provider=str(root)).path).read("Fields", "naip")
    land = pixels(PLACE, 1.0, 480, 480)
    assert np.abs(high[0, 0].astype(float) - (20 + 120 * land)).max() <= 1.5


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"shift": 20}, "coarse pixels apart"),
        ({"flip": True}, "median correlation -"),
    ],
)
def test_pairs_that_do_not_fit_are_refused_with_the_reason(
    options: dict[str, Any], reason: str, tmp_path: Path
) -> None:
    root = tmp_path / "stac"
    photo(root, "n", "2020-07-10T16:00:00Z")
    scene(root, "s", "2020-07-10T17:00:00Z", **options)
    write_collection(root)
    # A shift also costs correlation, so that this rule is off for it.
    one = recipe(years=(2020, 2020), pairs={"correlation": -1 if "shift" in options else 0.5})
    with pytest.raises(InputError, match=reason):
        build(one, tmp_path / "out", provider=str(root))


def test_a_hole_in_a_photograph_is_no_ground(tmp_path: Path) -> None:
    import rasterio

    root = tmp_path / "stac"
    photo(root, "n", "2020-07-10T16:00:00Z")
    scene(root, "s", "2020-07-10T17:00:00Z")
    write_collection(root)
    with rasterio.open(root / "n" / "image.tif", "r+") as data:
        hole = data.read()
        hole[:, 300:310, 300:310] = 0
        data.write(hole)
    with pytest.raises(InputError, match="is not on the photographs"):
        build(recipe(years=(2020, 2020)), tmp_path / "out", provider=str(root))


@pytest.mark.parametrize(
    ("fine", "coarse", "loosest", "tier"),
    [
        ("2020-07-10", "2020-07-10", "strict", "strict"),
        ("2020-07-10", "2020-07-09", "season", "strict"),
        ("2020-07-10", "2020-07-13", "strict", None),
        ("2020-07-10", "2020-07-13", "close", "close"),
        ("2020-07-10", "2020-07-25", "relaxed", "relaxed"),
        ("2020-07-10", "2020-07-26", "relaxed", None),
        ("2020-07-10", "2020-08-09", "season", "season"),
        ("2020-08-20", "2020-09-10", "season", None),  # autumn begins
        ("2020-12-20", "2021-01-10", "season", "season"),
    ],
)
def test_tiers(fine: str, coarse: str, loosest: str, tier: str | None) -> None:
    assert tier_of(date.fromisoformat(fine), date.fromisoformat(coarse), loosest) == tier


def test_the_places_of_the_recipe_lie_in_their_tiles_and_apart() -> None:
    chosen = load_recipe("naip-pairs")
    places = regions_of(chosen)
    assert len(places) >= 30
    assert {place.split for place in places} == {"train", "val", "test"}
    for place in places:
        left, top = tiles.tile_origin(place.tile)
        x, y = place.origin
        assert place.epsg == tiles.tile_epsg(place.tile)
        assert (x - left) % 60 == (top - y) % 60 == 0
        assert 0 < x - left < tiles.TILE_M - 2560
        assert 0 < top - y < tiles.TILE_M - 2560
        latitude, longitude = centre(place)
        assert 24 < latitude < 50
        assert -125 < longitude < -66
    for one, other in combinations([*places, *load_regions()], 2):
        if one.split != other.split and one in places:
            assert distance_km(centre(one), centre(other)) > 50, (one.name, other.name)


def test_pairs_without_an_entry_are_refused() -> None:
    with pytest.raises(ValueError, match=r"pairs\n  Extra inputs are not permitted"):
        recipe(kind="series", default_protocol="year7")
    values = recipe().model_dump()
    del values["pairs"]
    with pytest.raises(ValueError, match=r"pairs\n  Field required"):
        recipe_of(values)
    with pytest.raises(ValueError, match="its fine and its coarse sensor"):
        recipe(pairs={"fine": "landsat"})
