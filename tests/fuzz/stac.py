"""STAC: a folder of items and a collection, and the replies of a search."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from unittest import mock

from build_fixtures import EPSG, TILE, recipe, write_collection
from requests import PreparedRequest, Response

from fuzz.damage import of_json
from fuzz.driver import Format, Subject
from rsbench.build.engine.options import BuildOptions
from rsbench.build.plan.plan import make_plan
from rsbench.catalog import Recipe
from rsbench.cli.build import _search as search_command

API = "http://127.0.0.1:9"
BANDS = ("B02", "B03", "SCL")


def item(name: str, when: str, href: str) -> dict[str, Any]:
    """An item as Sentinel-2 catalogues have it."""
    box = [15.0, 45.1, 15.02, 45.2]
    ring = [[15.0, 45.1], [15.02, 45.1], [15.02, 45.2], [15.0, 45.2], [15.0, 45.1]]
    raster = [{"nodata": 0, "data_type": "uint16", "scale": 0.0001, "offset": 0.0}]
    return {
        "type": "Feature", "stac_version": "1.0.0", "id": name, "collection": "sentinel-2-l2a",
        "bbox": box, "geometry": {"type": "Polygon", "coordinates": [ring]},
        "properties": {
            "datetime": when, "eo:cloud_cover": 10.0, "s2:mgrs_tile": TILE, "proj:epsg": EPSG,
            "s2:datatake_id": f"GS2A_{name}_N02.14", "s2:processing_baseline": "02.14",
            "s2:generation_time": "2021-01-01T00:00:00Z", "platform": "Sentinel-2A",
        },
        "links": [{"rel": "self", "href": f"{href}/{name}.json"}],
        "assets": {
            band: {"href": f"{href}/{name}/{band}.tif", "type": "image/tiff",
                   **({} if band == "SCL" else {"raster:bands": raster})}
            for band in BANDS
        },
    }  # fmt: skip


def _plan(catalogue: str) -> object:
    return make_plan(_recipe(), provider=catalogue).to_json()


def _recipe() -> Recipe:
    return recipe(query={"s2": {"eo:cloud_cover": {"lt": 90}}})


def _folder(folder: Path) -> Subject:
    root = folder / "scenes"
    files = []
    for name, when in (("a", "2021-05-01T10:00:00Z"), ("b", "2022-06-01T10:00:00Z")):
        place = root / name
        place.mkdir(parents=True)
        for band in BANDS:
            (place / f"{band}.tif").write_bytes(b"")
        value = item(name, when, ".")
        for band in BANDS:
            value["assets"][band]["href"] = f"./{band}.tif"
        (place / "item.json").write_text(json.dumps(value))
        files.append(place / "item.json")
    write_collection(root)
    return Subject([*files, root / "collection.json"], lambda: _plan(str(root)), of_json)


def _search(folder: Path) -> Subject:
    """Replies in files: the landing page and one page of a search."""
    links = [
        {"rel": "self", "href": API}, {"rel": "root", "href": API},
        {"rel": "search", "href": f"{API}/search", "method": "POST"},
    ]  # fmt: skip
    conforms = [
        f"https://api.stacspec.org/v1.0.0/{n}" for n in ("core", "item-search", "item-search#query")
    ]
    landing = {
        "type": "Catalog", "stac_version": "1.0.0", "id": "api", "description": "", "links": links,
        "conformsTo": conforms,
    }  # fmt: skip
    items = [item(n, f"2021-0{m}-01T10:00:00Z", API) for n, m in (("a", 5), ("b", 6))]
    page = {"type": "FeatureCollection", "features": items, "links": [], "numberMatched": 2}
    files = {"landing.json": landing, "page.json": page}
    for name, value in files.items():
        (folder / name).write_text(json.dumps(value))

    def send(_: Any, request: PreparedRequest, **__: Any) -> Response:
        reply = Response()
        name = "page.json" if "/search" in str(request.url) else "landing.json"
        reply.status_code, reply.url = 200, str(request.url)
        reply._content = (folder / name).read_bytes()
        reply._content_consumed = True  # type: ignore[attr-defined]
        reply.request = request
        return reply

    def read() -> object:
        with mock.patch("requests.adapters.HTTPAdapter.send", send):
            return search_command(_recipe(), "handmade.yaml", BuildOptions(provider=API)).to_json()

    return Subject([folder / name for name in files], read, of_json)


FORMATS = (
    Format("STAC items and collection", _folder, 400),
    Format("replies of a STAC search", _search, 300),
)
