"""Versions in an icechunk repository: the plain store's digest, one commit, safe to kill."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from build_fixtures import random_folder, recipe

from rsbench.build.engine import icechunk as builder_icechunk
from rsbench.build.engine.builder import build
from rsbench.build.engine.icechunk import build_icechunk, working_place
from rsbench.build.kinds.series import kind as series
from rsbench.build.plan.plan import Lock, make_plan
from rsbench.cli.build import BuildRequest, build_command
from rsbench.core.errors import InputError, StoreError, UnitFailed
from rsbench.core.paths import default_store, remember_store
from rsbench.store.export import icechunk as export_icechunk
from rsbench.store.export.coverage import coverage
from rsbench.store.export.release import write_release
from rsbench.store.read import Store, open_store

icechunk = pytest.importorskip("icechunk")


@pytest.fixture(scope="module")
def lock(tmp_path_factory: pytest.TempPathFactory) -> Lock:
    return make_plan(recipe(), provider=str(random_folder(tmp_path_factory.mktemp("stac"))))


@pytest.fixture(scope="module")
def plain(lock: Lock, tmp_path_factory: pytest.TempPathFactory) -> Store:
    return open_store(build(recipe(), tmp_path_factory.mktemp("plain") / "out", lock=lock).path)


def test_a_version_is_the_plain_store_in_other_files(
    lock: Lock, plain: Store, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    result = build_icechunk(recipe(), out, lock=lock)
    tag = f"handmade-{plain.digest[:12]}"
    assert result.path == Path(f"{out}@{tag}")
    assert (result.digest, result.complete) == (plain.digest, True)
    assert not working_place(out).parent.exists()
    for name in (str(out), f"{out}@{tag}"):
        made = open_store(name)
        assert (made.digest, made.regions) == (plain.digest, plain.regions)
        assert made.validate() == []
        assert coverage(made) == coverage(plain)
        assert made.tree.names() == plain.tree.names()
        for region in plain.regions:
            assert made.tree.files(region) == plain.tree.files(region)
            for array in plain.arrays(region, "s2"):
                np.testing.assert_array_equal(
                    made.read(region, "s2", array=array), plain.read(region, "s2", array=array)
                )
        for file in ("index.json", "lock.json.gz", "coverage.svg"):
            assert made.tree.read(file) == (plain.path / file).read_bytes()
        assert f'readonly_session(tag="{tag}")' in made.tree.read("README.md").decode()


def test_a_version_opens_with_xarray(lock: Lock, plain: Store, tmp_path: Path) -> None:
    import xarray as xr

    build_icechunk(recipe(), tmp_path / "out", lock=lock)
    storage = icechunk.local_filesystem_storage(str(tmp_path / "out"))
    session = icechunk.Repository.open(storage).readonly_session("main")
    with xr.open_zarr(session.store, group="west/s2", consolidated=False) as cube:
        expected = plain.read_physical("west", "s2")[0]
        np.testing.assert_allclose(cube["image"].fillna(0), expected, rtol=1e-6)


def test_versions_stand_beside_each_other_and_one_lock_is_built_once(
    lock: Lock, plain: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    first = build_icechunk(recipe(), out, lock=lock, years=(2021, 2021))
    second = build_icechunk(recipe(), out, lock=lock)
    assert second.digest == plain.digest != first.digest
    assert open_store(out).digest == second.digest  # the newest
    assert open_store(first.path).digest == first.digest
    assert open_store(first.path).validate() == []
    monkeypatch.setattr(series, "compose", lambda *_: pytest.fail("it was built again"))
    assert build_icechunk(recipe(), out, lock=lock, years=(2021, 2021)) == first
    assert build_icechunk(recipe(), out, lock=lock) == second


@pytest.mark.parametrize(
    "where", ["compose", "fill", "commit", "create_tag", "flush", "remove"]
)  # fmt: skip
def test_a_build_killed_anywhere_goes_on_and_ends_equal(
    where: str, lock: Lock, plain: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    (out / "snapshots").mkdir(parents=True)  # what a kill while the repository was made leaves
    (out / "snapshots" / "half").touch()

    class Killed(BaseException):
        pass

    def die(*_: Any, **__: Any) -> Any:
        raise Killed

    with monkeypatch.context() as patch:
        if where == "compose":
            patch.setattr(series, "compose", die)
        elif where == "fill":
            patch.setattr(export_icechunk, "_keep_bytes", die)
        elif where == "commit":
            patch.setattr(icechunk.Session, "commit", die)
        elif where == "create_tag":
            patch.setattr(icechunk.Repository, "create_tag", die)
        elif where == "flush":
            patch.setattr(export_icechunk, "_flush", die)
        else:
            patch.setattr(builder_icechunk.shutil, "rmtree", die)
        with pytest.raises(Killed):
            build_icechunk(recipe(), out, lock=lock)
    tagged = where in ("flush", "remove")
    if not tagged:
        with pytest.raises(StoreError, match=r"it is no store|unfinished"):
            open_store(out)
    result = build_icechunk(recipe(), out, lock=lock)
    assert result.digest == plain.digest
    assert open_store(result.path).validate() == []
    repository = icechunk.Repository.open(icechunk.local_filesystem_storage(str(out)))
    assert len(list(repository.ancestry(branch="main"))) == 2  # the empty one and ours
    assert not working_place(out).parent.exists()


def test_a_flipped_byte_is_found(lock: Lock, tmp_path: Path) -> None:
    out = tmp_path / "out"
    build_icechunk(recipe(), out, lock=lock)
    largest = max((out / "chunks").iterdir(), key=lambda path: path.stat().st_size)
    held = bytearray(largest.read_bytes())
    held[len(held) // 2] ^= 4
    largest.write_bytes(held)
    assert {finding.kind for finding in open_store(out).validate()} >= {"file", "pixels"}
    largest.unlink()
    assert open_store(out).validate() != []


def test_what_is_no_version_is_one_sentence(
    lock: Lock, plain: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    version = build_icechunk(recipe(), out, lock=lock).path
    with pytest.raises(InputError, match="handmade-"):
        open_store(f"{out}@handmade-0")
    with pytest.raises(StoreError, match="nothing is there"):
        open_store(f"{tmp_path}/other@tag")
    with pytest.raises(InputError, match="holds a plain store"):
        build_icechunk(recipe(), plain.path, lock=lock)
    with pytest.raises(InputError, match="--store zarr; its digest is the same"):
        write_release(version, tmp_path / "release")
    with (
        builder_icechunk.file_lock(working_place(out).parent / "hold", "t"),
        pytest.raises(InputError),
    ):
        build_icechunk(recipe(), out, lock=lock)
    monkeypatch.setenv("RSBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("RSBENCH_DATA", raising=False)
    remember_store(version)
    assert default_store() == (version, "the store built last")
    for file in (out / "snapshots").iterdir():
        os.truncate(file, 10)
    with pytest.raises((StoreError, InputError)):
        open_store(version)
    monkeypatch.setitem(sys.modules, "icechunk", None)
    with pytest.raises(InputError, match=r"pip install 'rsbench\[icechunk\]'"):
        build_icechunk(recipe(), tmp_path / "new", lock=lock)
    with pytest.raises(InputError, match=r"pip install 'rsbench\[icechunk\]'"):
        open_store(version)


def test_a_unit_that_fails_leaves_no_version(lock: Lock, plain: Store, tmp_path: Path) -> None:
    broken = random_folder(tmp_path / "stac")
    kept = (broken / "S2_2021_1" / "B03.tif").read_bytes()
    (broken / "S2_2021_1" / "B03.tif").write_bytes(b"no picture")
    out = tmp_path / "out"
    with pytest.raises(UnitFailed, match="B03 of item S2_2021_1"):
        build_icechunk(recipe(), out, lock=lock, provider=str(broken))
    partial = build_icechunk(
        recipe(), out, lock=lock, provider=str(broken), allow_incomplete=True
    )  # fmt: skip
    assert not partial.complete
    (broken / "S2_2021_1" / "B03.tif").write_bytes(kept)
    assert build_icechunk(recipe(), out, lock=lock, provider=str(broken)).digest == plain.digest
    assert not open_store(partial.path).complete  # its version stays what it was


def test_the_command(lock: Lock, plain: Store, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setenv("RSBENCH_CACHE", str(tmp_path / "cache"))
    (tmp_path / "handmade.yaml").write_text(recipe().model_dump_json(exclude_none=True))
    lock.save(tmp_path / "lock.json.gz")
    said: list[str] = []

    def command(**options: Any) -> None:
        values: dict[str, Any] = {
            "recipe": str(tmp_path / "handmade.yaml"), "out": tmp_path / "out",
            "provider": None, "regions": None, "years": None, "yes": True, "workers": None,
            "dry_run": False, "lock": tmp_path / "lock.json.gz", "allow_incomplete": False,
            "as_json": False, "store": "icechunk",
        }  # fmt: skip
        build_command(BuildRequest(**{**values, **options}), say=said.append, note=said.append)

    command()
    tag = f"handmade-{plain.digest[:12]}"
    assert said[-1] == f"{tmp_path / 'out'}@{tag}  digest {plain.digest}"
    with pytest.raises(InputError, match="need a plain store"):
        command(parts="1/2")
    with pytest.raises(InputError, match="icechunk"):
        command(store="ice")
