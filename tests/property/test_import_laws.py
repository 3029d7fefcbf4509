"""Imports: laws for masks, scale and offset, dates and fills, wherever a file states them."""

from __future__ import annotations

import math
import tempfile
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import rasterio
from build_fixtures import write_raster
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from rsbench.build.compose.harmonise import check_declared
from rsbench.build.importers.api import ImportOptions
from rsbench.build.importers.dates import file_dates
from rsbench.build.importers.plausibility import Plausibility
from rsbench.build.importers.raster import Raster, describe
from rsbench.build.importers.validity import valid_reader
from rsbench.catalog import load_sensor
from rsbench.core.errors import InputError
from rsbench.core.grid import Window
from rsbench.store.layout import SensorMeta
from rsbench.store.plausible import MOST_OUTSIDE

MANY = settings(max_examples=60, deadline=None)
SIDE = 8
MASKS = hnp.arrays(np.bool_, (SIDE, SIDE))
CARRIERS = ("tag", "stated", "nan", "internal", "beside", "alpha")


def described(path: Path, options: ImportOptions | None = None) -> Raster:
    return describe(path, options or ImportOptions(unit="display"))


# Masks ------------------------------------------------------------------------------------


def masked_file(path: Path, holes: dict[str, npt.NDArray[np.bool_]]) -> None:
    """Write three bands of float32, and an alpha band where one is among the carriers."""
    values = np.random.default_rng(0).integers(10, 200, (3, SIDE, SIDE)).astype(np.float32)
    for name, number in (("tag", 7.0), ("stated", 9.0), ("nan", np.nan)):
        if name in holes:
            values[:, holes[name]] = number
    more: dict[str, Any] = {"tiled": False}
    if "alpha" in holes:
        alpha = np.where(holes["alpha"], 0, 255).astype(np.float32)
        values = np.concatenate([values, alpha[None]])
        more |= {"photometric": "RGB", "alpha": "YES"}
    write_raster(path, values, nodata=7 if "tag" in holes else None, **more)
    for name in {"internal", "beside"} & holes.keys():
        with (
            rasterio.Env(GDAL_TIFF_INTERNAL_MASK=name == "internal"),
            rasterio.open(path, "r+") as file,
        ):
            file.write_mask(~holes[name])


@MANY
@given(st.data(), st.sets(st.sampled_from(CARRIERS), min_size=1))
def test_a_pixel_is_missing_where_any_carrier_says_so(
    data: st.DataObject, chosen: set[str]
) -> None:
    if {"internal", "beside"} <= chosen:
        chosen.remove("beside")  # a file has one mask
    holes = {name: data.draw(MASKS, label=name) for name in sorted(chosen)}
    stated = 9.0 if "stated" in chosen else math.nan if "nan" in chosen else None
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "2020.tif"
        masked_file(path, holes)
        raster = described(path)
        read = valid_reader(stated)
        there = {"alpha", "internal", "beside"} & chosen
        bare = holes.get("nan", np.zeros((SIDE, SIDE), np.bool_)).copy()
        for name in there:
            bare &= ~holes[name]
        if stated == 9.0 and bare.any():
            with pytest.raises(InputError, match="--nodata nan"):
                read(raster, Window(0, 0, SIDE, SIDE))
            return
        pixels, valid = read(raster, Window(0, 0, SIDE, SIDE))
    assert (valid == ~np.logical_or.reduce(list(holes.values()))).all()
    assert pixels.shape == (3, SIDE, SIDE)
    assert (pixels[:, valid] >= 10).all()


# Scale and offset ---------------------------------------------------------------------------

PLACES = ("band", "tag of the band", "tag of the file")
NUMBERS = st.sampled_from([1e-4, 2.75e-5, 0.01, 0.5])
OFFSETS = st.sampled_from([-0.1, -0.2, 3.0])


@MANY
@given(st.dictionaries(st.sampled_from(PLACES), st.tuples(NUMBERS, OFFSETS)), st.booleans())
def test_statements_of_a_file_agree_or_are_refused(
    stated: dict[str, tuple[float, float]], single: bool
) -> None:
    kept = {
        place: tuple(float(np.float32(v)) if single else v for v in pair)
        for place, pair in stated.items()
    }
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "2020.tif"
        write_raster(path, np.ones((2, SIDE, SIDE), np.uint16), tiled=False)
        with rasterio.open(path, "r+") as file:
            for place, (scale, offset) in kept.items():
                tags = {"scale_factor": repr(scale), "add_offset": repr(offset)}
                if place == "band":
                    file.scales, file.offsets = (scale,) * 2, (offset,) * 2
                elif place == "tag of the file":
                    file.update_tags(**tags)
                else:
                    for band in (1, 2):
                        file.update_tags(band, **tags)
        if len(set(stated.values())) > 1:
            with pytest.raises(InputError, match="one of them is wrong"):
                described(path)
            return
        raster = described(path)
    scale, offset = next(iter(stated.values()), (1.0, 0.0))
    assert (raster.scale, raster.offset) == pytest.approx((scale, offset), rel=1e-6)


ASSET_PLACES = ("raster:bands", "bands", "raster: in bands", "raster: on the asset")


@MANY
@given(
    st.sampled_from(ASSET_PLACES), NUMBERS, st.one_of(st.none(), OFFSETS),
    st.sampled_from([0, -1000, -2000]),
)  # fmt: skip
def test_statements_of_an_item_agree_with_the_rule_or_are_refused(
    place: str, scale: float, offset: float | None, rule: int
) -> None:
    prefix = "raster:" if place.startswith("raster: ") else ""
    said = {f"{prefix}scale": scale} | ({} if offset is None else {f"{prefix}offset": offset})
    name = "raster:bands" if place == "raster:bands" else "bands"
    asset = said if place == "raster: on the asset" else {name: [said]}
    item = {"id": "a", "assets": {"B02": asset}}
    sensor = load_sensor("s2")
    wanted = sensor.offset + rule * sensor.scale
    agrees = scale == sensor.scale and math.isclose(offset or 0.0, wanted, abs_tol=1e-9)
    if agrees:
        check_declared(item, "B02", sensor, rule)
    else:
        with pytest.raises(InputError, match=r"asset B02 of item a"):
            check_declared(item, "B02", sensor, rule)


# Dates ----------------------------------------------------------------------------------------

# How a day may be written, and what is understood: the day, its month, or nothing.
WRITTEN = {
    "{d:%Y-%m-%d}": "day", "{d:%Y_%m_%d}": "day", "{d:%Y.%m.%d}": "day", "{d:%Y%m%d}": "day",
    "{d.year}-{d.month}-{d.day}": "day", "{d.year}_{d.month}_{d.day}": "day",
    "{d:%Y%m%d}T101010": "day", "{d:%Y-%m}": "month", "{d:%Y_%m}": None, "{d:%Y%m}": None,
    "{d:%Y}-{d:%j}": None, "{d:%Y}{d:%j}": None, "{d:%Y}_doy{d:%j}": None, "A{d:%Y}{d:%j}": None,
    "{d:%d-%m-%Y}": None, "{d:%d.%m.%Y}": None, "{d.day}_{d.month}_{d.year}": None,
    "{d:%d%b%Y}": None, "{d:%b-%Y}": None, "{d:%Y%B}": None, "{d:%Y_%b_%d}": None,
    "{d:%Y}-W{d:%V}": None, "{d:%Y}W{d:%V}": None, "week{d:%V}_{d:%Y}": None,
    "{d:%Y}Q{q}": None, "{d:%Y}-Q{q}": None, "Q{q}_{d:%Y}": None, "{d:%Y}_m{d:%m}": None,
    "{d:%Y}_summer": None, "monsoon{d:%Y}": None, "{d:%y-%m-%d}": None, "{d:%Y}-{d:%m}h": None,
    "{d.year}年{d.month}月": None, "{d.year}년{d.month}월": None, "{d:%Y}_KW{d:%V}": None,
    "{d:%Y}_sem{q}": None, "trim{q}_{d:%Y}": None, "{d:%Y}_maj": None, "июнь_{d:%Y}": None,
}  # fmt: skip


@settings(max_examples=300, deadline=None)
@given(
    st.dates(date(1975, 1, 1), date(2049, 12, 31)), st.sampled_from(sorted(WRITTEN)),
    st.sampled_from(["", "S2_", "L8-", "Delft_", "T31UFS_"]), st.sampled_from(["", "_B04", "_x"]),
)  # fmt: skip
def test_a_date_in_a_name_is_understood_wholly_or_refused(
    day: date, written: str, before: str, after: str
) -> None:
    text = written.format(d=day, q=(day.month + 2) // 3)
    name = Path(f"{before}{text}{after}.tif")
    wanted = {"day": day, "month": day.replace(day=1), None: None}[WRITTEN[written]]
    if wanted is not None:
        assert file_dates([name], None)[name] == wanted
        return
    with pytest.raises(InputError) as caught:
        file_dates([name], None)
    assert "--dates" in str(caught.value)


# Fills ----------------------------------------------------------------------------------------


@MANY
@given(
    st.sampled_from([("uint16", 65535), ("uint16", 60000), ("int16", -9999), ("int16", -32768)]),
    st.integers(0, 4000), st.integers(0, 2**32 - 1),
)  # fmt: skip
def test_a_fill_without_a_tag_is_refused_or_told(
    kind: tuple[str, int], filled: int, seed: int
) -> None:
    dtype, fill = kind
    draw = np.random.default_rng(seed)
    values = draw.integers(100, 6000, (1, 100, 100)).astype(dtype)
    flat = values.reshape(-1)
    flat[draw.choice(flat.size, filled, replace=False)] = fill
    meta = SensorMeta(
        "image", ("b1",), "reflectance", dtype, 1e-4, 0.0, 0, 10.0, (0.0, 1.0),
    )  # fmt: skip
    raster = Raster(Path("a.tif"), None, 1, dtype, None, ("",), 1e-4, 0.0, "")  # type: ignore[arg-type]
    found = Plausibility([raster], meta)
    for rows in np.array_split(np.arange(100), 3):
        found.add(0, values[:, rows], np.ones((rows.size, 100), np.bool_))
    if filled > MOST_OUTSIDE * flat.size:
        with pytest.raises(InputError, match=rf"If {fill} stands for missing pixels"):
            found.require()
        return
    found.require()
    assert [f"most often {fill} " in note for note in found.notes()] == [True] * (filled > 0)
