"""A store written under schema 1 opens for ever, with the digest it was given then."""

from __future__ import annotations

from datetime import date
from pathlib import Path

from rsbench import open_store
from rsbench.core.grid import Grid

STORE = Path(__file__).parent / "store_schema1"


def test_an_old_store_still_opens_and_its_pixels_give_its_digest() -> None:
    store = open_store(STORE)
    assert store.digest == "72d43215d7b2e4ef0c8422c1ab6931d4791a529907ba2a06a53b4f9174c3c867"
    assert store.validate() == []


def test_its_numbers_are_those_that_were_written() -> None:
    store = open_store(STORE)
    values = store.read("toy-02", "s2")
    assert int(values.sum()) == 4031925
    assert int(values[1, 3, 7, 9]) == 1768
    assert int(store.read("toy-02", "s2", array="valid").sum()) == 497
    assert int(store.read("toy-02", "s2", array="odd").sum()) == 4158289
    entry = store.region("toy-02")
    assert entry.record.split == "test"
    assert entry.times["s2"] == (date(2017, 7, 1), date(2018, 7, 1))
    assert entry.grids["s2"] == Grid(
        "EPSG:32633", (10.0, 0.0, 360000.0, 0.0, -10.0, 5100000.0), 16, 16
    )
    meta = store.sensor("s2")
    assert (meta.bands, meta.unit, meta.scale) == (
        ("B02", "B03", "B04", "B08"), "reflectance", 1e-4,
    )  # fmt: skip
