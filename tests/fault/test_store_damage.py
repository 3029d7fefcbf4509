"""Damage: whatever happened to a store, opening, reading or validating it says so with names."""

from __future__ import annotations

import asyncio
import errno
import json
import multiprocessing
import os
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import rsbench.store.write as writing
from rsbench.core.errors import DiskFull, SchemaError, StoreError
from rsbench.store import zarr_write
from rsbench.store.read import open_store
from rsbench.store.validate import validate
from tests import toys


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("sound") / "s"
    toys.write_store(path, regions=3, size=32, years=3)
    return path


@pytest.fixture
def copy(sound: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(sound, tmp_path / "copy"))


def edit(path: Path, change: Callable[[dict[str, object]], object]) -> None:
    value = json.loads(path.read_text())
    change(value)
    path.write_text(json.dumps(value))


def flip(path: Path, at: int) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(bytes(data))


def refused(path: Path, kind: type[StoreError] = StoreError) -> str:
    with pytest.raises(kind) as caught:
        open_store(path)
    assert caught.value.asked
    assert caught.value.found
    assert caught.value.remedy
    return str(caught.value)


# ------------------------------------------------------------------------------------ opening


def test_nothing_there(tmp_path: Path) -> None:
    assert "nothing is there" in refused(tmp_path / "no")


def test_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    assert "a file, not a folder" in refused(tmp_path / "file")


def test_an_empty_folder(tmp_path: Path) -> None:
    message = refused(tmp_path)
    assert "empty" in message
    assert "rsbench build-dataset" in message


def test_a_folder_of_another_thing(tmp_path: Path) -> None:
    (tmp_path / "holiday.jpg").write_text("x")
    assert "holiday.jpg" in refused(tmp_path)


@pytest.mark.parametrize("left", ["region", ".rsbench-journal", ".tmp-toy-01-abc"])
def test_an_unfinished_build(copy: Path, tmp_path: Path, left: str) -> None:
    path = tmp_path / "unfinished"
    if left == "region":
        (copy / "index.json").unlink()
        path = copy
    else:
        (path / left).mkdir(parents=True)
    assert "unfinished" in refused(path)


def test_a_store_of_another_schema(copy: Path) -> None:
    edit(copy / "index.json", lambda v: v.update(schema=99))
    assert "schema 99" in refused(copy, SchemaError)


@pytest.mark.parametrize("share", [0.0, 0.3, 0.999])
def test_a_truncated_index(copy: Path, share: float) -> None:
    data = (copy / "index.json").read_bytes()
    (copy / "index.json").write_bytes(data[: int(len(data) * share)])
    assert "cut short" in refused(copy)


@pytest.mark.parametrize("text", ["[]", "null", '{"schema": 1}', '{"schema": 1, "regions": 3}'])
def test_an_index_that_is_no_index(copy: Path, text: str) -> None:
    (copy / "index.json").write_text(text)
    refused(copy)


def test_an_index_that_is_far_too_large_is_not_read(copy: Path) -> None:
    with (copy / "index.json").open("r+b") as file:
        file.truncate(1 << 40)  # sparse: takes no room
    with pytest.raises(StoreError, match="larger than 256 MiB"):
        open_store(copy)


def test_an_index_without_a_part(copy: Path) -> None:
    edit(copy / "index.json", lambda v: v.pop("sensors"))
    assert "sensors" in refused(copy)


def test_an_absent_region(copy: Path) -> None:
    shutil.rmtree(copy / "toy-02")
    assert "1 of 3 regions are absent: toy-02" in refused(copy)


def test_a_truncated_manifest(copy: Path) -> None:
    path = copy / "toy-02/manifest.json"
    path.write_bytes(path.read_bytes()[:100])
    store = open_store(copy)
    with pytest.raises(StoreError, match="cut short"):
        store.region("toy-02")
    assert store.region("toy-01").record.name == "toy-01"
    assert [f.where for f in store.validate()] == ["toy-02/manifest.json"]


def test_a_region_of_another_store(copy: Path, tmp_path: Path) -> None:
    toys.write_store(tmp_path / "other", regions=3, size=32, years=3, seed=4)
    shutil.rmtree(copy / "toy-02")
    shutil.copytree(tmp_path / "other/toy-02", copy / "toy-02")
    with pytest.raises(StoreError, match="the index lists"):
        open_store(copy).read("toy-02", "s2")


# ------------------------------------------------------------------------------------ reading


@pytest.mark.parametrize("array", ["values", "valid"])
def test_an_absent_shard_is_never_read_as_fill(copy: Path, array: str) -> None:
    folder = {"values": "image"}.get(array, array)
    shutil.rmtree(copy / f"toy-02/s2/{folder}/c")
    with pytest.raises(StoreError, match=f"toy-02/s2/{folder}.*absent"):
        open_store(copy).read("toy-02", "s2", array=array)
    kinds = {(f.kind, f.where.split("/c/")[0]) for f in validate(copy)}
    assert ("missing", f"toy-02/s2/{folder}") in kinds


def test_a_cut_shard(copy: Path) -> None:
    path = copy / "toy-02/s2/image/c/0/0/0/0"
    path.write_bytes(path.read_bytes()[:-50])
    with pytest.raises(StoreError, match="bytes"):
        open_store(copy).read("toy-02", "s2")
    assert any("toy-02/s2/image" in f.where for f in validate(copy))


@pytest.mark.parametrize("codec", ["zstd", "none"])
@pytest.mark.parametrize("share", [0.0, 0.25, 0.5, 0.75, 0.99])
def test_a_flipped_bit_of_pixels_is_an_error_on_reading(
    tmp_path: Path, codec: str, share: float
) -> None:
    toys.write_store(tmp_path / "s", regions=1, size=32, years=3, codec=codec)
    path = tmp_path / "s/toy-01/s2/image/c/0/0/0/0"
    flip(path, int(path.stat().st_size * share))
    with pytest.raises(StoreError, match="damaged"):
        open_store(tmp_path / "s").read("toy-01", "s2")


def test_any_flipped_byte_is_found_by_name(copy: Path) -> None:
    rng = np.random.default_rng(0)
    for path in sorted(p for p in (copy / "toy-02").rglob("*") if p.is_file()):
        whole = path.read_bytes()
        flip(path, int(rng.integers(len(whole))))
        name = path.relative_to(copy).as_posix()
        assert name in {f.where for f in validate(copy)}, name
        path.write_bytes(whole)
    assert validate(copy) == []


def test_an_extra_file_is_found(copy: Path) -> None:
    (copy / "toy-01/s2/notes.txt").write_text("x")
    (copy / "stray").mkdir()
    assert {(f.kind, f.where) for f in validate(copy)} == {
        ("extra", "toy-01/s2/notes.txt"),
        ("extra", "stray"),
    }


def rehash(store: Path, region: str) -> None:
    """What a careful forger does: every SHA-256 fits again."""
    manifest = store / region / "manifest.json"
    edit(manifest, lambda v: v.update(files=writing._hash_files(store / region)))
    digest = writing.sha256_file(manifest)

    def stamp(value: dict[str, object]) -> None:
        for listed in value["regions"]:  # type: ignore[attr-defined]
            if listed["name"] == region:
                listed["manifest"] = digest

    edit(store / "index.json", stamp)
    index = json.loads((store / "index.json").read_text())
    edit(store / "zarr.json", lambda v: v["attributes"].update(rsbench=index))  # type: ignore[attr-defined]


def test_a_wrong_crs_is_found_though_every_hash_fits(copy: Path) -> None:
    from pyproj import CRS

    path = copy / "toy-01/s2/spatial_ref/zarr.json"
    wkt = CRS.from_epsg(32734).to_wkt()
    edit(path, lambda v: v["attributes"].update(crs_wkt=wkt))  # type: ignore[attr-defined]
    rehash(copy, "toy-01")
    (finding,) = validate(copy)
    assert (finding.kind, finding.where) == ("crs", "toy-01/s2/spatial_ref")
    assert "34S" in str(finding)


def test_shifted_coordinates_are_found_though_every_hash_fits(copy: Path) -> None:
    import zarr

    path = copy / "toy-01/s2/x"
    array = zarr.open_array(path, mode="r+")
    array[...] = array[...] + 10.0
    rehash(copy, "toy-01")
    assert [f.where for f in validate(copy)] == ["toy-01/s2/x"]


def test_other_pixels_are_found_though_every_hash_fits(copy: Path) -> None:
    import zarr

    array = zarr.open_array(copy / "toy-01/s2/image", mode="r+")
    array[0, 0, 0, 0] = int(array[0, 0, 0, 0]) + 1
    rehash(copy, "toy-01")
    assert [(f.kind, f.where) for f in validate(copy)] == [("digest", "toy-01")]


def test_an_index_that_does_not_give_its_digest(copy: Path) -> None:
    edit(copy / "index.json", lambda v: v["sensors"]["s2"].update(scale=1e-3))  # type: ignore[index]
    assert "does not give the digest" in refused(copy)


def test_a_root_group_that_says_another_thing(copy: Path) -> None:
    edit(copy / "zarr.json", lambda v: v["attributes"]["rsbench"].update(complete=False))  # type: ignore[index]
    assert [(f.kind, f.where) for f in validate(copy)] == [("metadata", "zarr.json")]


# ------------------------------------------------------------------------------------ writing


def test_an_error_while_writing_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*args: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(zarr_write, "_write_coords", stop)
    with pytest.raises(KeyboardInterrupt):
        toys.write_store(tmp_path, regions=1, size=32, years=2)
    assert list(tmp_path.iterdir()) == []


def test_a_device_without_room_keeps_what_was_finished(tmp_path: Path) -> None:
    toys.write_store(tmp_path, regions=1, size=32, years=2)
    with toys.little_room(10_000), pytest.raises(DiskFull, match="no room left"):
        writing.write_region(
            tmp_path,
            toys.record(1, years=2),
            {"s2": toys.arrays(1, size=64, years=2)},
            {"s2": toys.sensor_meta()},
        )
    assert validate(tmp_path) == []


def test_an_index_that_finds_no_room_leaves_the_store_unfinished_but_whole(tmp_path: Path) -> None:
    made = toys.write_store(tmp_path, regions=1, size=32, years=2)
    (tmp_path / "index.json").unlink()
    with toys.little_room(100), pytest.raises(DiskFull):
        writing.finalise(tmp_path, made.meta)
    assert "unfinished" in refused(tmp_path)
    assert writing.finalise(tmp_path, made.meta) == made.digest
    assert validate(tmp_path) == []


def test_a_root_that_is_a_file_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(StoreError, match="cannot be written to"):
        toys.write_store(tmp_path / "file", regions=1, size=32, years=2)
    assert (tmp_path / "file").read_text() == "x"


def _write_forever(path: Path) -> None:
    for index in range(40):
        meta = toys.sensor_meta()
        made = toys.arrays(index, size=64, years=4)
        writing.write_region(path, toys.record(index, years=4), {"s2": made}, {"s2": meta})


def test_killed_at_any_time_no_half_region_is_seen(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    for attempt in range(3):
        process = context.Process(target=_write_forever, args=(tmp_path,))
        process.start()
        wanted = len(writing.read_manifests(tmp_path)) + 2
        while len(list(tmp_path.glob("*/manifest.json"))) < wanted:
            time.sleep(0.01)
        time.sleep(0.05 * attempt)
        os.kill(process.pid or 0, signal.SIGKILL)
        process.join()
        assert "unfinished" in refused(tmp_path)
        seen = [p.name for p in tmp_path.iterdir() if not p.name.startswith(".tmp-")]
        assert all((tmp_path / name / "manifest.json").is_file() for name in seen)
    writing.finalise(tmp_path, toys.store_meta({"s2": toys.sensor_meta()}))
    assert validate(tmp_path) == []


def test_nothing_is_written_after_a_full_disk_was_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Zarr writes a node's files side by side: the slow one must not outlive the clearing."""
    from zarr.storage import LocalStore

    slow_parent = LocalStore.set_if_not_exists

    async def full(self: LocalStore, key: str, value: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", key)

    async def late(self: LocalStore, key: str, value: Any) -> None:
        await asyncio.sleep(0.3)
        await slow_parent(self, key, value)

    monkeypatch.setattr(LocalStore, "set", full)
    monkeypatch.setattr(LocalStore, "set_if_not_exists", late)
    made, meta = toys.arrays(0, size=32, years=2), toys.sensor_meta()
    with pytest.raises(DiskFull):
        writing.write_region(tmp_path, toys.record(0, years=2), {"s2": made}, {"s2": meta})
    time.sleep(0.5)
    assert not list(tmp_path.iterdir())
