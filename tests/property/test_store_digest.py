"""Digests: what must not move them, and what must."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rsbench.store.layout import region_digest, store_digest
from rsbench.store.pixels import canonical_arrays, physical
from rsbench.store.zarr_write import CODECS
from tests import toys

META = toys.sensor_meta()
RECORD = toys.record(years=2)
ARRAYS = toys.arrays(0, size=8, years=2)


def digest(arrays: Any = ARRAYS, meta: Any = META, record: Any = RECORD) -> str:
    return region_digest(record, {"s2": canonical_arrays("toy", arrays, meta)}, {"s2": meta})


def test_codecs_give_one_digest_and_other_bytes(tmp_path: Path) -> None:
    stores = [
        toys.write_store(tmp_path / codec, regions=2, size=32, years=3, codec=codec)
        for codec in CODECS
    ]
    assert len({s.digest for s in stores}) == 1
    sizes = {s.manifest("toy-01").files["s2/image/c/0/0/0/0"]["sha256"] for s in stores}
    assert len(sizes) == len(CODECS)


def test_the_order_of_writing_does_not_matter(tmp_path: Path) -> None:
    forward = toys.write_store(tmp_path / "a", regions=1, size=16, years=2)
    from rsbench.store.write import finalise, write_region

    for index, split in ((1, "test"), (0, "train")):
        write_region(
            tmp_path / "b",
            toys.record(index, split=split, years=2),
            {"s2": toys.arrays(index, size=16, years=2)},
            {"s2": META},
        )
    both = finalise(tmp_path / "b", toys.store_meta({"s2": META}))
    write_region(
        tmp_path / "a",
        toys.record(1, split="test", years=2),
        {"s2": toys.arrays(1, size=16, years=2)},
        {"s2": META},
    )
    assert finalise(tmp_path / "a", toys.store_meta({"s2": META})) == both != forward.digest


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_what_lies_under_a_mask_moves_nothing(seed: int) -> None:
    rng = np.random.default_rng(seed)
    noise = rng.integers(0, 65535, ARRAYS.values.shape).astype(np.uint16)
    hidden = ~ARRAYS.valid[:, None]
    assert digest(replace(ARRAYS, values=np.where(hidden, noise, ARRAYS.values))) == digest()


@settings(max_examples=40, deadline=None)
@given(
    st.sampled_from(["values", "valid", "n_valid", "odd", "even"]),
    st.integers(0, 1), st.integers(0, 7), st.integers(0, 7),
)  # fmt: skip
def test_every_pixel_of_every_array_counts(name: str, t: int, y: int, x: int) -> None:
    array = getattr(ARRAYS, name).copy()
    if name == "values" and not ARRAYS.valid[t, y, x]:
        return
    at = (t, 1, y, x) if array.ndim == 4 else (t, y, x)
    array[at] = ~array[at] if name == "valid" else array[at] + 1
    assert digest(replace(ARRAYS, **{name: array})) != digest()


@pytest.mark.parametrize(
    "change",
    [
        {"times": tuple(t + timedelta(days=1) for t in ARRAYS.times)},
        {"grid": replace(ARRAYS.grid, crs="EPSG:32634")},
        {"grid": replace(ARRAYS.grid, transform=(10.0, 0.0, 0.0, 0.0, -10.0, 0.0))},
        {"odd": None},
        {"odd": ARRAYS.even, "even": ARRAYS.odd},
    ],
)
def test_place_date_and_arrays_count(change: dict[str, Any]) -> None:
    assert digest(replace(ARRAYS, **change)) != digest()


@pytest.mark.parametrize(
    ("change", "moves"),
    [
        ({"scale": 2e-4}, True),
        ({"offset": -0.1}, True),
        ({"value_range": (0.0, 0.6)}, True),
        ({"display": None}, True),
        ({"bands": ("B02", "B03", "B04", "B8A"), "display": None}, True),
        ({"licence": "other"}, False),
        ({"attribution": "other"}, False),
    ],
)
def test_metadata_counts_and_texts_about_rights_do_not(change: dict[str, Any], moves: bool) -> None:
    assert (digest(meta=replace(META, **change)) != digest()) is moves


@pytest.mark.parametrize(
    ("change", "moves"),
    [
        ({"compositor": "median@2"}, True),
        ({"complete": False}, True),
        ({"simulated": False}, True),
        ({"step": "P5Y"}, True),
        ({"recipe": {"name": "other"}}, True),
        ({"recipe": {"name": "toy", "title": "a better title"}}, False),
        ({"lock_digest": "abc"}, False),
        ({"default_preset": "paper"}, False),
        ({"default_protocol": "year3"}, False),
    ],
)
def test_what_moves_the_store_digest(change: dict[str, Any], moves: bool) -> None:
    meta = toys.store_meta({"s2": META})
    regions = {"toy-01": digest()}
    moved = store_digest(replace(meta, **change), regions) != store_digest(meta, regions)
    assert moved is moves


def test_the_split_is_part_of_a_region() -> None:
    assert digest(record=replace(RECORD, split="test")) != digest()


@settings(max_examples=60, deadline=None)
@given(
    st.floats(1e-6, 10), st.floats(-500, 500),
    st.lists(st.integers(0, 65535), min_size=4, max_size=4),
)  # fmt: skip
def test_physical_values_agree_with_float64(scale: float, offset: float, raw: list[int]) -> None:
    meta = replace(META, scale=scale, offset=offset)
    stored = np.array(raw, np.uint16).reshape(1, 1, 2, 2)
    found = physical(stored, meta)
    exact = stored.astype(np.float64) * scale + offset
    size = np.abs(stored * scale) + abs(offset)
    assert (np.abs(found - exact) <= 3e-7 * size + 1e-37).all()
