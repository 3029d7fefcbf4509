"""A large lock: regions are read when they are asked for, and nothing else changes."""

from __future__ import annotations

import gzip
import json
import tracemalloc
import zlib
from dataclasses import replace
from pathlib import Path

import pytest
from build_fixtures import ORIGIN, recipe, region

from rsbench.build.plan import lock as module
from rsbench.build.plan.lock import Lock, LockAsset, LockItem
from rsbench.build.plan.lock_texts import RegionTexts, packed, split
from rsbench.catalog import Region, recipe_canonical
from rsbench.core.digest import canonical_json, sha256_json
from rsbench.core.errors import InputError


def made(*names: str, sensors: tuple[str, ...] = ("s2",)) -> Lock:
    def item(name: str) -> LockItem:
        asset = LockAsset(f"https://example.org/{name}/B04.tif", 1, 7)
        return LockItem(name, "2021-06-01T10:00:00Z", name, 0, {"B04": asset})

    return Lock(
        recipe=recipe_canonical(recipe()), provider="planetary-computer", catalogue="scenes",
        query={"s2": {}}, places={n: place(n) for n in sorted(names)},
        regions={
            n: {s: {2021: (item(f"{n}-{s}"),), 2022: ()} for s in sensors} for n in sorted(names)
        },
        source={"name": "x"},
    )  # fmt: skip


def place(name: str) -> Region:
    return region(name, ORIGIN, "train")


@pytest.fixture
def lazy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "EAGER", 0)


@pytest.mark.usefixtures("lazy")
@pytest.mark.parametrize("name", ["lock.json", "lock.json.gz"])
def test_a_large_lock_is_the_same_lock(name: str, tmp_path: Path) -> None:
    lock = made("a", "b", "c-1")
    lock.save(tmp_path / name)
    read = Lock.load(tmp_path / name)
    assert isinstance(read.regions, RegionTexts)
    assert read == lock
    assert (read.digest, read.to_json()) == (lock.digest, lock.to_json())
    assert read.subset(["b"], None) == lock.subset(["b"], None)
    read.save(tmp_path / f"again-{name}")
    assert (tmp_path / f"again-{name}").read_bytes() == (tmp_path / name).read_bytes()


def test_file_and_digest_are_those_of_the_whole_json(tmp_path: Path) -> None:
    lock = made("a", "b")
    lock.save(tmp_path / "lock.json.gz")
    text = gzip.decompress((tmp_path / "lock.json.gz").read_bytes()).decode()
    assert text == canonical_json(lock.to_json()) + "\n"
    value = lock.to_json()
    del value["catalogue"], value["source"]
    for name in ("a", "b"):
        value["regions"][name]["s2"]["2021"][0]["assets"]["B04"] = [f"{name}-s2/B04.tif", 1]
    assert lock.digest == sha256_json(value)


def test_packed_regions_are_the_same_lock() -> None:
    lock = made("a", "b")
    texts = {name: packed(found) for name, found in lock.regions.items()}
    assert replace(lock, regions=RegionTexts(texts, packed=True)) == lock


@pytest.mark.usefixtures("lazy")
def test_names_of_sensors_that_are_names_of_regions_are_not_mixed_up(tmp_path: Path) -> None:
    lock = made("a", "b", sensors=("a", "b", "c"))
    lock.save(tmp_path / "lock.json")
    assert Lock.load(tmp_path / "lock.json") == lock


def test_a_lock_that_is_laid_out_otherwise_is_read_whole(tmp_path: Path) -> None:
    lock = made("a", "b")
    lock.save(tmp_path / "lock.json")
    text = json.dumps(lock.to_json(), indent=1)
    assert split(text.encode(), "a lock") is None
    (tmp_path / "other.json").write_text(text)
    assert Lock.load(tmp_path / "other.json") == Lock.load(tmp_path / "lock.json")


@pytest.mark.usefixtures("lazy")
@pytest.mark.parametrize(
    ("old", "new"),
    [(b'"offset":0', b'"offset":"0"'), (b"https://example.org/b", b"/etc/example.org/b"),
     (b'"b-s2",', b'"b-s2";')],
)  # fmt: skip
def test_a_malformed_scene_of_a_large_lock_is_told_when_it_is_asked_for(
    old: bytes, new: bytes, tmp_path: Path
) -> None:
    path = tmp_path / "lock.json"
    made("a", "b").save(path)
    head, tail = path.read_bytes().split(b'"b":{"s2"')
    path.write_bytes(head + b'"b":{"s2"' + tail.replace(old, new))
    lock = Lock.load(path)
    assert lock.items("a", "s2", 2021)
    with pytest.raises(InputError, match=r"lock .*lock\.json"):
        lock.items("b", "s2", 2021)
    with pytest.raises(InputError):
        _ = lock.digest


def test_a_lock_is_saved_region_by_region(tmp_path: Path) -> None:
    text = json.dumps({"s2": {}, "x": "x" * 100_000}).encode()
    texts = {f"r-{i:03d}": zlib.compress(text, 1) for i in range(100)}
    lock = replace(made("a"), places={}, regions=RegionTexts(texts, packed=True))
    tracemalloc.start()
    try:
        lock.save(tmp_path / "lock.json.gz")
        assert tracemalloc.get_traced_memory()[1] < 30 * len(text)
    finally:
        tracemalloc.stop()
