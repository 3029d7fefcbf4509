"""One catalogue by every way it can be served, and files that could not be read later."""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from build_fixtures import BANDS, random_folder, recipe
from hypothesis import given
from hypothesis import strategies as st
from support.stac_server import serve

from rsbench.build.engine.builder import build, kept_lock
from rsbench.build.plan.assets import require_format
from rsbench.build.plan.href import reduce_href, resolve_href
from rsbench.build.plan.omissions import LeavingOut
from rsbench.build.plan.outline import covered, geometry, spread
from rsbench.build.plan.plan import make_plan
from rsbench.build.read import signing
from rsbench.core.errors import InputError, UnitFailed
from rsbench.store.read import open_store

YEAR = recipe(years=(2021, 2021))


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RSBENCH_CACHE", str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A static catalogue with its items in one ItemCollection beside it."""
    root = random_folder(tmp_path_factory.mktemp("stac") / "a b", per_year=2)
    features = []
    for path in sorted(root.glob("*/item.json")):
        item = json.loads(path.read_text())
        for asset in item["assets"].values():
            asset["href"] = f"./{path.parent.name}/{asset['href'].removeprefix('./')}"
        features.append(item)
    document = {"type": "FeatureCollection", "features": features}
    (root / "items.json").write_text(json.dumps(document))
    return root


class _Files(SimpleHTTPRequestHandler):
    """Plain files with byte ranges, which GDAL asks for."""

    def log_message(self, *_: Any) -> None:
        """Stay quiet."""

    def do_GET(self) -> None:
        asked = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
        if asked is None:
            super().do_GET()
            return
        data = Path(self.translate_path(self.path)).read_bytes()
        first, last = int(asked[1]), min(int(asked[2]), len(data) - 1)
        self.send_response(206)
        self.send_header("Content-Range", f"bytes {first}-{last}/{len(data)}")
        self.send_header("Content-Length", str(last - first + 1))
        self.end_headers()
        self.wfile.write(data[first : last + 1])


@pytest.fixture(scope="module")
def site(folder: Path) -> Iterator[str]:
    """The address of the folder on a plain file server."""
    handler = partial(_Files, directory=str(folder.parent))
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}/a%20b"
    server.shutdown()


def test_the_digest_of_a_lock_does_not_depend_on_how_the_catalogue_is_served(
    folder: Path, site: str
) -> None:
    sources = [str(folder), f"file://{folder}", str(folder / "items.json"),
               str(folder / "collection.json"), f"{site}/collection.json",
               f"{site}/items.json"]  # fmt: skip
    with serve(folder) as url:
        locks = [make_plan(recipe(), provider=source) for source in (*sources, url)]
    assert len({lock.digest for lock in locks}) == 1
    assert len({json.dumps(lock.to_json()["regions"]) for lock in locks}) == 1


def test_a_static_catalogue_is_built_over_http_and_from_one_file(
    folder: Path, site: str, tmp_path: Path
) -> None:
    wanted = build(YEAR, tmp_path / "folder", provider=str(folder)).digest
    for name in (f"{site}/collection.json", str(folder / "items.json")):
        out = tmp_path / str(len(name))
        assert build(YEAR, out, provider=name).digest == wanted
        assert kept_lock(out, YEAR, name) is not None
        assert kept_lock(out, YEAR, str(folder)) is None
        assert open_store(out).complete


def test_one_page_of_a_search_is_no_item_collection(folder: Path, tmp_path: Path) -> None:
    whole = json.loads((folder / "items.json").read_text())
    for more in ({"links": [{"rel": "next", "href": "x"}]}, {"numberMatched": 99}):
        (tmp_path / "page.json").write_text(json.dumps(whole | more))
        with pytest.raises(InputError, match="one page of a search, with 4 items"):
            make_plan(YEAR, provider=str(tmp_path / "page.json"))


@pytest.mark.parametrize("address", ["{site}/none.json", "http://127.0.0.1:9/catalog.json"])
def test_an_address_without_a_catalogue_is_told(address: str, site: str) -> None:
    with pytest.raises(OSError, match="cannot be read"):
        make_plan(YEAR, provider=address.format(site=site))


@given(st.lists(st.text("ab c%é~", min_size=1).filter(lambda s: s.strip()), min_size=1, max_size=3))
def test_links_below_a_static_catalogue_come_back(parts: list[str]) -> None:
    from urllib.parse import quote

    home = "https://data.example.org/deep/catalog.json"
    full = f"https://data.example.org/deep/{quote('/'.join(parts))}"
    kept = reduce_href(full, home, home)
    assert kept == "/".join(parts)
    assert resolve_href(kept, home) == full
    beside = "https://data.example.org/else/x.tif"
    assert resolve_href(reduce_href(beside, home, home), home) == beside


# Assets -----------------------------------------------------------------------------------


def spoiled(folder: Path, tmp_path: Path, band: str, **changes: Any) -> Path:
    """Return a copy of the catalogue of which one asset of the first item is changed."""
    from shutil import copytree

    root = copytree(folder, tmp_path / "copy")
    path = sorted(root.glob("S2_2021_*/item.json"))[0]
    item = json.loads(path.read_text())
    item["assets"][band] |= changes
    path.write_text(json.dumps(item))
    return root


STATED: list[dict[str, Any]] = [
    {"proj:transform": [100, 0, 0, 0, -100, 0]},
    {"proj:shape": [10, 10], "proj:bbox": [0, 0, 1000, 1000]},
    {"raster:bands": [{"spatial_resolution": 100}]},
    {"bands": [{"raster:spatial_resolution": 100}]},
    {"raster:spatial_resolution": 100},
    {"gsd": 100},
]


@pytest.mark.parametrize("stated", STATED, ids=lambda held: next(iter(held)))
def test_an_asset_of_larger_pixels_than_its_band_is_refused_at_the_plan(
    stated: dict[str, Any], folder: Path, tmp_path: Path
) -> None:
    for band, limit in (("B02", 10), ("SCL", 20)):
        root = spoiled(folder, tmp_path / band, band, **stated)
        with pytest.raises(InputError, match=f"asset {band} .* pixels of 100 m .* has {limit} m"):
            make_plan(YEAR, provider=str(root))
        lock = make_plan(YEAR, provider=str(root), leaving=LeavingOut(incomplete=True))
        (left,) = lock.left["west"]
        assert "pixels of 100 m" in left.reason


def test_what_states_the_pixels_most_exactly_counts(folder: Path, tmp_path: Path) -> None:
    right = {"proj:transform": [10, 0, 0, 0, -10, 0], "gsd": 100}  # thermal bands state so
    make_plan(YEAR, provider=str(spoiled(folder, tmp_path, "B02", **right)))
    wrong = {"proj:transform": [10.0]}
    with pytest.raises(InputError, match="its pixel size cannot be read"):
        make_plan(YEAR, provider=str(spoiled(folder, tmp_path / "x", "B02", **wrong)))


@pytest.mark.parametrize("engine", ["rasterio", "stackstac"])
def test_a_file_of_larger_pixels_than_its_band_is_refused_when_read(
    engine: str, folder: Path, tmp_path: Path
) -> None:
    import numpy as np
    from build_fixtures import write_raster

    root = spoiled(folder, tmp_path, "B02")
    path = sorted(root.glob("S2_2021_*"))[0] / "B02.tif"
    path.unlink()
    write_raster(path, np.full((24, 24), 900, np.uint16), gsd=40.0)
    with pytest.raises(UnitFailed, match="its pixels are 40 m, its band has 10 m"):
        build(YEAR, tmp_path / "out", provider=str(root), engine=engine)


@pytest.mark.parametrize(
    ("asset", "refused"),
    [
        ({"href": "a/B02.jp2"}, ".jp2"),
        ({"href": "a/scene.ZIP?x=1", "type": "image/tiff"}, ".zip"),
        ({"href": "https://x.org/get/7", "type": "image/jp2"}, "image/jp2"),
        ({"href": "https://x.org/a.SAFE/"}, ".safe"),
        ({"href": "https://x.org/get/7", "type": "image/tiff; application=geotiff"}, ""),
        ({"href": "https://x.org/get/7"}, ""),
        ({"href": "a/B02.TIF", "type": "image/jp2"}, ""),
        ({"href": "https://x.org/v1.0"}, ""),
    ],
)
def test_files_of_other_formats_are_refused_at_the_plan(
    asset: dict[str, str], refused: str
) -> None:
    item = {"id": "a", "assets": {"B02": asset}}
    if not refused:
        require_format(item, "B02")
        return
    with pytest.raises(InputError, match=f"its file is {refused}, and only GeoTIFF"):
        require_format(item, "B02")


def test_a_jp2_of_a_catalogue_is_refused_before_anything_is_read(
    folder: Path, tmp_path: Path
) -> None:
    root = spoiled(folder, tmp_path, "B03", href="./B03.jp2")
    with pytest.raises(InputError, match=r"asset B03 of item S2_2021_0: its file is .jp2"):
        make_plan(YEAR, provider=str(root))


# Antimeridian -----------------------------------------------------------------------------

FIJI = ((179.95, -18.0), (-179.95, -18.0), (-179.95, -17.9), (179.95, -17.9), (179.95, -18.0))
RING = [[179, -19], [-179, -19], [-179, -17], [179, -17], [179, -19]]


def test_a_region_across_the_antimeridian_is_searched_on_both_sides() -> None:
    assert geometry(FIJI)["type"] == "MultiPolygon"
    boxes = [polygon[0] for polygon in geometry(FIJI)["coordinates"]]
    assert [(ring[0][0], ring[1][0]) for ring in boxes] == [(179.95, 180.0), (-180.0, -179.95)]
    here = ((5.0, 51.0), (5.1, 51.0), (5.1, 51.1), (5.0, 51.1), (5.0, 51.0))
    assert geometry(here) == {"type": "Polygon", "coordinates": [[list(p) for p in here]]}


@pytest.mark.parametrize(
    ("item", "whole"),
    [
        ({"bbox": [179, -19, -179, -17]}, True),
        ({"bbox": [-181, -19, -179, -17]}, True),
        ({"geometry": {"type": "Polygon", "coordinates": [RING]}}, True),
        ({"bbox": [179, -19, 180, -17]}, False),
        ({"bbox": [-179, -19, 179, -17]}, False),
    ],
)
def test_what_covers_a_region_across_the_antimeridian(item: dict[str, Any], whole: bool) -> None:
    assert covered(spread(FIJI), [item]) is whole


# Signing ----------------------------------------------------------------------------------


def test_signing_without_a_network_ends_within_seconds(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from planetary_computer.settings import Settings

    monkeypatch.setenv("PC_SDK_SAS_URL", "http://127.0.0.1:9/token")
    monkeypatch.setattr(signing, "_paused", {})
    Settings.get.cache_clear()
    root = spoiled(folder, tmp_path, "B02")
    for path in root.glob("*/item.json"):
        item = json.loads(path.read_text())
        for key in (*BANDS, "SCL"):
            item["assets"][key]["href"] = f"https://acct.blob.core.windows.net/c/{key}.tif"
        path.write_text(json.dumps(item))
    begun = time.monotonic()
    with pytest.raises(UnitFailed, match="cannot be signed by planetary-computer") as caught:
        build(recipe(), tmp_path / "out", provider=str(root), allow_incomplete=False)
    assert time.monotonic() - begun < 20
    assert "4 of 4 region-years failed" in str(caught.value)
    assert not caught.value.__context__
    Settings.get.cache_clear()
