"""Harmonising, masks, links."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from rsbench.build.compose import mask
from rsbench.build.compose.harmonise import check_declared, harmonise, item_offset, parse_baseline
from rsbench.build.plan.href import identity, reduce_href, resolve_href
from rsbench.catalog import load_sensor
from rsbench.core.errors import InputError

S2 = load_sensor("s2")
PC = S2.provider("planetary-computer")


def item(**properties: Any) -> dict[str, Any]:
    return {"id": "x", "properties": properties, "assets": {}}


@pytest.mark.parametrize(
    ("baseline", "offset"),
    [("02.14", 0), ("03.01", 0), ("04.00", -1000), ("05.11", -1000), ("N0400", -1000)],
)
def test_offset_follows_the_baseline(baseline: str, offset: int) -> None:
    assert item_offset(item(**{"s2:processing_baseline": baseline}), PC) == offset


def test_offset_never_follows_the_date() -> None:
    early = item(**{"s2:processing_baseline": "05.00", "datetime": "2018-01-01T00:00:00Z"})
    late = item(**{"s2:processing_baseline": "02.14", "datetime": "2023-01-01T00:00:00Z"})
    assert (item_offset(early, PC), item_offset(late, PC)) == (-1000, 0)


@pytest.mark.parametrize("baseline", [None, "", "unknown", "4"])
def test_offset_without_a_baseline_is_refused(baseline: str | None) -> None:
    with pytest.raises(InputError, match="processing baseline of item x"):
        item_offset(item(**{"s2:processing_baseline": baseline}), PC)


def test_offset_that_was_taken_off_already_is_refused() -> None:
    said = {"s2:processing_baseline": "05.09", "earthsearch:boa_offset_applied": True}
    with pytest.raises(InputError, match="sentinel-2-c1-l2a"):
        item_offset(item(**said), S2.provider("earth-search"))


def test_baselines_compare_as_numbers() -> None:
    assert parse_baseline("10.00", "x", "y") > parse_baseline("05.11", "x", "y")


@pytest.mark.parametrize(
    ("stated", "offset", "fine"),
    [
        ({"scale": 0.0001, "offset": -0.1}, -1000, True),
        ({"scale": 0.0001, "offset": -0.1}, 0, False),
        ({"scale": 0.0001, "offset": 0}, -1000, False),
        ({"scale": 0.0001}, 0, True),
        ({"scale": 0.001}, 0, False),
        ({"nodata": 0}, -1000, True),
        ({"offset": 0.0}, -1000, False),
        ({"offset": -0.1}, -1000, True),
        ({"offset": 0.0}, 0, True),
        ({"nodata": 1500}, 0, False),
        ({"nodata": -9999}, 0, True),
        ({"nodata": "nan"}, 0, True),
    ],
)
def test_a_stated_scale_must_agree_with_the_catalogue(
    stated: dict[str, float], offset: int, fine: bool
) -> None:
    own = {f"raster:{name}": value for name, value in stated.items()}
    for asset in ({"raster:bands": [stated]}, {"bands": [own]}, own, {**own, "bands": [{}]}):
        held = {"id": "x", "properties": {}, "assets": {"B04": asset}}
        if fine:
            check_declared(held, "B04", S2, offset)
        else:
            with pytest.raises(InputError, match=r"states (scale|offset|nodata)"):
                check_declared(held, "B04", S2, offset)


@pytest.mark.parametrize(
    ("asset", "properties"),
    [
        ({}, {"raster:scale": 0.001}),
        ({}, {"raster:offset": -0.1}),
        ({"raster:bands": [{"scale": 0.0001}], "bands": [{"raster:scale": 0.001}]}, {}),
        ({"raster:bands": [{"scale": 0.0001}], "raster:scale": 0.001}, {}),
        ({"bands": [{"scale": 0.0001}], "raster:offset": -0.1}, {}),
        ({"nodata": 7}, {}),
    ],
)
def test_every_place_that_states_something_counts(
    asset: dict[str, Any], properties: dict[str, Any]
) -> None:
    held = {"id": "x", "properties": properties, "assets": {"B04": asset}}
    with pytest.raises(InputError, match=r"asset B04 of item x: it states"):
        check_declared(held, "B04", S2, 0)


def test_dark_pixels_stay_and_nodata_stays() -> None:
    values = np.array([0, 1, 999, 1000, 1001, 1002, 65535], np.uint16)
    harmonise(values, -1000, 0)
    assert values.tolist() == [0, 1, 1, 1, 1, 2, 64535]


def test_an_offset_without_a_rule_is_refused() -> None:
    with pytest.raises(InputError, match="has no rule"):
        harmonise(np.zeros(3, np.int16), -1000, 0)


def test_scene_classes() -> None:
    words = np.arange(12, dtype=np.uint16)
    assert np.flatnonzero(mask.clear(words, S2.mask)).tolist() == [2, 4, 5, 6, 7, 11]
    assert not mask.clear(words, S2.mask.also(("snow",)))[11]
    assert np.flatnonzero(~mask.present(words, S2.mask)).tolist() == [0]


def test_landsat_quality_bits() -> None:
    rule = load_sensor("landsat").mask
    clear = 0b01_01_01_01_0100_0000  # bit 6: clear; all confidences low
    words = np.array([clear, 1, *(clear | 1 << bit for bit in range(6))], np.uint16)
    assert mask.clear(words, rule).tolist() == [True, False, *[False] * 5, True]
    assert mask.present(words, rule).tolist()[:3] == [True, False, False]


def test_modis_state_bits() -> None:
    rule = load_sensor("mod09a1").mask
    land = 0b001_000
    words = np.array(
        [land, land | 1, land | 2, land | 3, land | 4, land | 2 << 8, land | 1 << 10, 65535],
        np.uint16,
    )
    # "assumed clear" (3) counts as clear.
    assert mask.clear(words, rule).tolist() == [True, False, False, True, *[False] * 4]


def test_values_outside_the_stored_range_are_masked_for_all_bands() -> None:
    landsat = load_sensor("landsat")
    # Reflectance below 0 wrapped to uint16 is above 65455.
    values = np.array([[7273, 0, 65513, 100], [7273, 7273, 7273, 7273]], np.uint16)[:, None, :]
    good = mask.valid_values(values, landsat.nodata, landsat.stored_range)
    assert good.tolist() == [[True, False, False, True]]


API = "https://stac.example.org/v1"


@pytest.mark.parametrize(
    ("href", "kept"),
    [
        (
            "https://blob.example.com/a/B04.tif?sig=SECRET&se=1",
            "https://blob.example.com/a/B04.tif",
        ),
        ("https://stac.example.org/files/B04.tif#x", "files/B04.tif"),
        ("../files/B04.tif", "v1/files/B04.tif"),
    ],
)
def test_links_are_cut_to_what_identifies_them(href: str, kept: str) -> None:
    assert reduce_href(href, f"{API}/items/x", API) == kept


@pytest.mark.parametrize(
    "href",
    [
        "s3://bucket/B04.tif",
        "file:///etc/passwd",
        "ftp://example.com/B04.tif",
        "/vsicurl/http://x/y.tif://",
        "https://user:password@example.com/B04.tif",
        "http://127.0.0.1:8000/B04.tif",
        "http://169.254.169.254/latest/meta-data",
        "http://10.0.0.8/B04.tif",
        "http://localhost/B04.tif",
        "http://[::1]/B04.tif",
        "http://[::ffff:127.0.0.1]/B04.tif",
        "http://[2002:7f00:1::]/B04.tif",
        "http://127.1/B04.tif",
        "http://2130706433/B04.tif",
        "http://0x7f.1/B04.tif",
        "http://localhost./B04.tif",
    ],
)
def test_links_to_elsewhere_are_refused(href: str) -> None:
    with pytest.raises(InputError, match="asset link"):
        reduce_href(href, f"{API}/items/x", API)


def test_a_refused_link_is_shown_without_its_query() -> None:
    with pytest.raises(InputError) as caught:
        reduce_href("s3://bucket/B04.tif?sig=SECRET", f"{API}/x", API)
    assert "SECRET" not in str(caught.value)


def test_loopback_is_fine_where_the_catalogue_is_there() -> None:
    home = "http://127.0.0.1:8765/"
    kept = reduce_href("http://127.0.0.1:8765/files/B04.tif", home, home)
    assert kept == "files/B04.tif"
    assert resolve_href(kept, "http://127.0.0.1:9999/") == "http://127.0.0.1:9999/files/B04.tif"


@pytest.mark.parametrize("kept", ["../secret.tif", "/etc/passwd", "a/../../b.tif", "file:///x"])
@pytest.mark.parametrize("home", [API, "/tmp"])
def test_a_lock_cannot_lead_out_of_its_catalogue(kept: str, home: str) -> None:
    with pytest.raises(InputError, match="leads out"):
        resolve_href(kept, home)


def test_identity_has_no_host() -> None:
    assert identity("https://a.example/x/y.tif") == identity("http://b.example:80/x/y.tif")
