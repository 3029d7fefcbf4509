"""Files with odd numbers, types and nesting: refused in one sentence, nothing is rounded."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import toys
from fuzz.locks import lock
from scores_fixtures import make_scores

from rsbench.build.importers.flat_files import open_array
from rsbench.build.plan.lock import Lock
from rsbench.catalog import load_regions_geojson
from rsbench.core.errors import InputError, StoreError
from rsbench.evaluation.gate.expected import read_expected, write_expected
from rsbench.evaluation.table import read_table, to_csv
from rsbench.store.read import open_store

HUGE = "9" * 5000
DEEP = "[" * 900 + "]" * 900


@pytest.mark.parametrize(
    ("feature", "says"),
    [
        ('{"properties": [1]}', "has the name None"),
        ('"here"', "has the name None"),
        ('{"properties": {"name": "a"}, "geometry": [5, 51]}', "a has no coordinates"),
        ('{"properties": {"name": "a"}, "geometry": {"coordinates": [true, 51]}}', "no coordin"),
        ('{"properties": {"name": "a"}, "geometry": {"coordinates": [1e999, 51]}}', "inf"),
        (f'{{"properties": {{"name": "a"}}, "geometry": {{"coordinates": [{"9" * 400}, 51]}}}}',
         "inf"),
        (f'{{"properties": {{"name": "a"}}, "geometry": {{"coordinates": {DEEP}}}}}', "no coordin"),
        ('{"properties": {"name": "a"}, "geometry": {"coordinates": [[179.9, 1], [-179.9, 1.1]]}}',
         "crosses the antimeridian"),
        (f'{{"properties": {{"name": {HUGE}}}}}', "not JSON"),
    ],
)  # fmt: skip
def test_odd_places_are_refused(feature: str, says: str, tmp_path: Path) -> None:
    path = tmp_path / "a.geojson"
    path.write_text(f'{{"features": [{feature}]}}')
    with pytest.raises(InputError, match=says):
        load_regions_geojson(path)


@pytest.fixture
def plain(tmp_path: Path) -> dict[str, Any]:
    lock().save(tmp_path / "lock.json")
    found: dict[str, Any] = json.loads((tmp_path / "lock.json").read_text())
    return found


def item(value: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = value["regions"]["west"]["s2"]["2021"][0]
    return found


@pytest.mark.parametrize(
    ("field", "odd"),
    [
        ("offset", 0.5),
        ("offset", float("inf")),
        ("offset", "0"),
        ("offset", True),
        ("id", 7),
        ("datetime", "May 2021"),
        ("assets", {"B02": ["a.tif", 1.5]}),
        ("assets", {"B02": [7, 1]}),
        ("assets", {"B02": "ab"}),
    ],
)
def test_a_lock_holds_whole_numbers_texts_and_dates(
    field: str, odd: Any, plain: dict[str, Any], tmp_path: Path
) -> None:
    item(plain)[field] = odd
    (tmp_path / "odd.json").write_text(json.dumps(plain))
    with pytest.raises(InputError, match="its content cannot be read"):
        Lock.load(tmp_path / "odd.json")


def test_a_lock_whose_parts_do_not_fit_is_refused(plain: dict[str, Any], tmp_path: Path) -> None:
    for change in (
        {"recipe": []}, {"recipe": {"years": [2021, 2022]}}, {"query": {"s2": float("nan")}},
        {"recipe": {**plain["recipe"], "years": [2021, 1e999]}}, {"places": {}},
        {"places": {"west": plain["places"]["east"], "east": plain["places"]["west"]}},
    ):  # fmt: skip
        (tmp_path / "odd.json").write_text(json.dumps({**plain, **change}))
        with pytest.raises(InputError, match="its content cannot be read"):
            Lock.load(tmp_path / "odd.json")


def test_a_lock_that_cannot_be_unpacked_or_parsed_is_refused(tmp_path: Path) -> None:
    lock().save(tmp_path / "lock.json.gz")
    whole = (tmp_path / "lock.json.gz").read_bytes()
    for at in range(10, len(whole) - 8, 7):
        (tmp_path / "odd.json.gz").write_bytes(
            whole[:at] + bytes([whole[at] ^ 0xFF]) + whole[at + 1 :]
        )
        with pytest.raises(InputError, match="lock"):
            Lock.load(tmp_path / "odd.json.gz")
    for text in (HUGE, "[" * 100_000, '{"schema": 1, "recipe": ' + HUGE + "}"):
        (tmp_path / "odd.json.gz").write_bytes(gzip.compress(text.encode()))
        with pytest.raises(InputError, match="no JSON"):
            Lock.load(tmp_path / "odd.json.gz")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (f"schema = {HUGE}", "no TOML"),
        ("a = " + "[" * 5000, "no TOML"),
        ("[tolerances]\nrel = 0.5", "no key 'tolerances'"),
        ('[[row]]\nmodel="a"\npreset=""\ninputs=""\nmetric="m@1"\nlead=1.9\nvalue=1', "lead 1.9"),
        ('[[row]]\nmodel="a"\npreset=""\ninputs=""\nmetric="m@1"\nlead=1\nvalue=true', "True"),
        (f'[[row]]\nmodel="a"\npreset=""\ninputs=""\nmetric="m@1"\nlead=1\nvalue={"9" * 400}',
         "missing or odd"),
        ('[[row]]\nmodel="a"\npreset=""\ninputs=""\nmetric="m@1"\nlead=1\nvalue=1\nbands="nir"',
         "no key 'bands'"),
    ],
)  # fmt: skip
def test_odd_expectations_are_refused(text: str, says: str, tmp_path: Path) -> None:
    path = tmp_path / "expected.toml"
    write_expected(make_scores(metrics=("mse@1",), bands=("all",)), path)
    path.write_text(path.read_text() + text if "schema" not in text else text)
    with pytest.raises(InputError, match=says):
        read_expected(path)


@pytest.mark.parametrize("odd", ["@", HUGE, "", "1.5"])
def test_a_table_of_an_odd_schema_is_refused(odd: str, tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    table = make_scores(metrics=("mse@1",), bands=("all",)).table().head(2)
    path.write_text(to_csv(table.assign(schema=odd)))
    with pytest.raises(InputError, match="schema"):
        read_table(path)


def test_a_split_that_only_the_index_states_is_refused(tmp_path: Path) -> None:
    store = toys.write_store(tmp_path / "store", regions=3, size=16, years=2)
    moved = store.split("test")[0]
    path = store.path / "index.json"
    index = json.loads(path.read_text())
    for region in index["regions"]:
        if region["name"] == moved:
            region["split"] = "train"
    path.write_text(json.dumps(index))
    with pytest.raises(StoreError, match=f"region {moved} .* its split is test; the index lists"):
        open_store(path.parent).split("train")


def test_a_table_that_is_cut_short_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    text = to_csv(make_scores(metrics=("mse@1",), bands=("all",)).table().head(2))
    path.write_text(text.rpartition(",")[0].rpartition(",")[0])
    with pytest.raises(InputError, match=r"n_samples is 'nan' in row 2"):
        read_table(path)


@pytest.mark.parametrize("change", [{"recipe": []}, {"digest": 7}, {"sensors": [1]}])
def test_an_odd_index_is_refused(change: dict[str, Any], tmp_path: Path) -> None:
    store = toys.write_store(tmp_path / "store", regions=3, size=16, years=2)
    path = store.path / "index.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(StoreError):
        open_store(path.parent)


def test_an_array_with_an_open_header_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.npy"
    np.save(path, np.zeros((2, 4, 4), np.float32))
    path.write_bytes(path.read_bytes().replace(b"4, 4), }", b"4, 4, { "))
    with pytest.raises(InputError, match="no plain array"):
        open_array(path, 2)
