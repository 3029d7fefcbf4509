"""Regions from GeoJSON."""

from __future__ import annotations

import json
from pathlib import Path

from fuzz.damage import of_json
from fuzz.driver import Format, Subject
from rsbench.catalog import load_regions_geojson


def prepare(folder: Path) -> Subject:
    """A point and a polygon."""
    ring = [[5.05, 51.19], [5.2, 51.19], [5.2, 51.26], [5.05, 51.26], [5.05, 51.19]]
    shapes = [
        ("one", {"type": "Polygon", "coordinates": [ring]}, {"split": "train"}),
        ("two", {"type": "Point", "coordinates": [-63.1, -9.8]}, {}),
    ]
    features = [
        {"type": "Feature", "properties": {"name": name, **more}, "geometry": shape}
        for name, shape, more in shapes
    ]
    path = folder / "places.geojson"
    path.write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    return Subject([path], lambda: load_regions_geojson(path), of_json)


FORMAT = Format("GeoJSON", prepare, 1200)
