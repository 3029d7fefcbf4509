"""A build in parts: in any order, at the same time, killed and repeated, one digest."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest
from build_fixtures import random_folder, recipe

from rsbench.build.engine.builder import build, build_part, finalise_parts
from rsbench.build.plan.plan import Lock, make_plan
from rsbench.cli.build import BuildRequest, build_command
from rsbench.core.errors import InputError, UnitFailed
from rsbench.store.read import open_store


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return random_folder(tmp_path_factory.mktemp("stac"))


@pytest.fixture(scope="module")
def lock(folder: Path) -> Lock:
    return make_plan(recipe(), provider=str(folder))


@pytest.fixture(scope="module")
def wanted(lock: Lock, tmp_path_factory: pytest.TempPathFactory) -> str:
    return build(recipe(), tmp_path_factory.mktemp("whole") / "out", lock=lock).digest


def test_parts_in_any_order_end_equal(lock: Lock, wanted: str, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert build_part(recipe(), out, (2, 2), lock=lock) == ("west",)
    with pytest.raises(InputError, match="unfinished"):
        open_store(out)
    # The lock lies there now, so the second part needs none.
    assert build_part(recipe(), out, (1, 2)) == ("east",)
    result = finalise_parts(recipe(), out)
    assert (result.complete, result.digest) == (True, wanted)
    assert open_store(out).validate() == []
    assert finalise_parts(recipe(), out).digest == wanted
    assert not [p for p in out.rglob("*") if p.name.startswith(".")]


def test_parts_at_the_same_time_end_equal(lock: Lock, wanted: str, tmp_path: Path) -> None:
    out, errors = tmp_path / "out", []

    def run(part: tuple[int, int]) -> None:
        try:
            build_part(recipe(), out, part, lock=lock)
        except Exception as error:  # noqa: BLE001 - told below
            errors.append(error)

    every = [(number, 3) for number in (3, 1, 2)]
    threads = [threading.Thread(target=run, args=(part,)) for part in every]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert finalise_parts(recipe(), out).digest == wanted


def test_a_missing_part_is_told_or_named_in_the_store(lock: Lock, tmp_path: Path) -> None:
    out = tmp_path / "out"
    build_part(recipe(), out, (1, 2), lock=lock)
    with pytest.raises(UnitFailed, match=r"2 of 4 region-years .* west 2021: it was not built"):
        finalise_parts(recipe(), out)
    partial = finalise_parts(recipe(), out, allow_incomplete=True)
    assert [(u.region, u.year) for u in partial.failed] == [("west", 2021), ("west", 2022)]
    assert not open_store(out).complete


def test_one_part_is_done_by_one_builder_and_none_beside_a_whole_build(
    lock: Lock, tmp_path: Path
) -> None:
    from rsbench.build.engine.journal import open_journal

    out = tmp_path / "out"
    identity = {"lock": lock.digest, "compositor": "median@1", "floor": True}
    with (
        open_journal(out, identity, (1, 2)),
        pytest.raises(InputError, match="another process"),
    ):
        build_part(recipe(), out, (1, 2), lock=lock)
    with open_journal(out, identity), pytest.raises(InputError, match="another process"):
        build_part(recipe(), out, (1, 2), lock=lock)
    with open_journal(out, identity, (1, 2)):
        build_part(recipe(), out, (2, 2), lock=lock)
        with pytest.raises(InputError, match="another process"):
            build(recipe(), out, lock=lock)
        with pytest.raises(InputError, match="beside a division in 2"):
            build_part(recipe(), out, (2, 3), lock=lock)
    build_part(recipe(), out, (2, 3), lock=lock)  # later another division may go on


def test_parts_never_search(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no lock is given"):
        build_part(recipe(), tmp_path / "out", (1, 2))


def command(recipe_file: Path, out: Path, **options: Any) -> list[str]:
    said: list[str] = []
    values: dict[str, Any] = {
        "recipe": str(recipe_file),
        "out": out,
        "provider": None,
        "regions": None,
        "years": None,
        "yes": True,
        "workers": None,
        "dry_run": False,
        "lock": None,
        "allow_incomplete": False,
        "as_json": False,
    }
    build_command(BuildRequest(**{**values, **options}), say=said.append, note=said.append)
    return said


def test_the_commands_of_an_array_job(
    folder: Path, wanted: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import json

    monkeypatch.setenv("RSBENCH_CACHE", str(tmp_path / "cache"))
    file = tmp_path / "handmade.yaml"
    value = recipe().model_dump(mode="json", exclude_none=True)
    file.write_text(json.dumps(value))  # JSON is YAML
    kept, out = tmp_path / "lock.json.gz", tmp_path / "out"
    said = command(file, out, dry_run=True, lock=kept, provider=str(folder))
    assert said[-1] == f"the search is kept in {kept}"
    assert not out.exists()
    for part in ("2/2", "1/2"):
        said = command(file, out, parts=part, lock=kept)
        assert said[-1].endswith(f"part {part[0]} of 2: 1 regions are there")
    assert command(file, out, finalise=True)[-1] == f"{out}  digest {wanted}"


@pytest.mark.parametrize("parts", ["0/2", "3/2", "2", "a/b"])
def test_a_part_that_is_none_is_refused(parts: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is no part"):
        command(tmp_path / "none.yaml", tmp_path / "out", parts=parts)
    with pytest.raises(InputError, match="--finalise"):
        command(tmp_path / "none.yaml", tmp_path / "out", parts="1/2", finalise=True)
