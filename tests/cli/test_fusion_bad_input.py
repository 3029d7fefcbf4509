"""Fusion files that cannot be right, typed as commands: one sentence, exit code 2, nothing left."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from build_fixtures import write_raster
from support.shell import Shell, shell_in

from rsbench.store.read import open_store

DAYS = ("2015-6-21", "2015-9-25", "2015-10-13")
STATED = ("--unit", "reflectance", "--scale", "0.0001", "--coarse-scale", "0.0001")


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    return shell_in(tmp_path)


def files(
    root: Path,
    *,
    bands: int = 2,
    days: tuple[str, ...] = DAYS,
    size: tuple[int, int] = (36, 44),
    names: tuple[tuple[str, ...], tuple[str, ...]] | None = None,
    shift: int = 0,
    fine_bytes: bool = False,
    cloudy: str = "",
    nodata: int | None = None,
) -> Path:
    """Fine images of 10 m and coarse ones of 40 m: sizes that 16 does not divide."""
    import rasterio

    rng = np.random.default_rng(0)
    for day in days:
        ground = rng.integers(500, 4000, (bands, size[0] // 4, size[1] // 4)).astype(np.uint16)
        fine = ground.repeat(4, 1).repeat(4, 2)
        fine = np.pad(fine, ((0, 0), (0, size[0] % 4), (0, size[1] % 4)), mode="edge")
        fine += rng.integers(0, 90, fine.shape).astype(np.uint16)
        low = np.zeros_like(ground) if day == cloudy else ground
        if nodata is not None:
            fine[:, :9, :9] = nodata
        if fine_bytes:
            fine = (fine * 0.0255).astype(np.uint8)
        kept = {} if nodata is None and not cloudy else {"nodata": nodata or 0}
        origin = {"origin": (500_020 + shift, 5_000_020)} if shift else {}
        write_raster(root / "fine" / f"L_{day}.tif", fine, gsd=10.0, **kept)
        write_raster(root / "coarse" / f"M_{day}.tif", low, gsd=40.0, **kept, **origin)
        for sensor, called, own in zip(
            ("fine", "coarse"), ("L", "M"), names or ((), ()), strict=True
        ):
            if own:
                with rasterio.open(root / sensor / f"{called}_{day}.tif", "r+") as file:
                    file.descriptions = own
    return root


@pytest.mark.parametrize(
    ("options", "stated", "says"),
    [
        ({"shift": 13}, STATED, "pixel edges lie up to"),
        ({"names": (("red", "nir"), ("nir", "red"))}, STATED, "name their bands red, nir and nir"),
        ({"fine_bytes": True}, STATED, "the coarse images 0.2"),
        ({"fine_bytes": True}, STATED[:2] + STATED[4:], "no scale is stated for the uint8 numbers"),
        ({"cloudy": DAYS[1]}, STATED, f"M_{DAYS[1]}.tif: none of its pixels is valid"),
        ({"size": (36, 46)}, STATED, "are no whole blocks"),
        ({"days": ("2015-9-25", "2015-09-25", "2015-10-13")}, STATED, "both have 2015-09-25"),
        ({"days": DAYS[:1]}, STATED, "the sensors share one date, 2015-06-21"),
        ({"days": ("2015-6-31", "2015-9-25")}, STATED, "there is no such day"),
    ],
)
def test_what_cannot_be_right_is_one_sentence(
    options: dict[str, object], stated: tuple[str, ...], says: str, shell: Shell, tmp_path: Path
) -> None:
    files(tmp_path / "in", **options)  # type: ignore[arg-type]
    code, said = shell("import-dataset", "geotiff-triplets", "in", "--out", "out.zarr", *stated)
    assert code == 2, said
    told = [line for line in said.splitlines() if line.startswith("rsbench:")]
    assert len(told) == 1
    assert says in said
    assert "Traceback" not in said
    assert not (tmp_path / "out.zarr").exists()


def test_dates_are_put_in_order_and_one_band_of_odd_size_is_fused(
    shell: Shell, tmp_path: Path
) -> None:
    """By name 2015-10-13 stands before 2015-6-21; the middle date is the target. Nodata is kept."""
    files(tmp_path / "in", bands=1, nodata=0)
    code, said = shell("import-dataset", "geotiff-triplets", "in", "--out", "one.zarr", *STATED)
    assert code == 0, said
    store = open_store(tmp_path / "one.zarr")
    region = store.split("test")[0]
    days = [str(day) for day in store.region(region).times["fine"]]
    assert days == ["2015-06-21", "2015-09-25", "2015-10-13"]
    assert not store.read(region, "fine", array="valid")[:, :9, :9].any()
    code, said = shell(
        "run", "--model", "starfm", "--data", "one.zarr", "--out", "r", "--suite", "fusion"
    )
    assert code == 0, said
    assert "sam@1 is unavailable: needs 2 bands" in said
    table = (tmp_path / "r" / "table.md").read_text()
    assert "n_refs=2" in table
    assert "edge.roberts@1" in table


def test_dates_that_are_no_reference_are_refused(shell: Shell, tmp_path: Path) -> None:
    """Three references, and a list of another set: neither becomes a table."""
    files(tmp_path / "in")
    shell("import-dataset", "geotiff-triplets", "in", "--out", "s.zarr", *STATED)
    for args, says in (
        (("--context", "3"), "models take 1 or 2"),
        (("--protocol", "stfdiff-lgc"), "lacks 2004-12-28"),
        (("--protocol", "fusion2-stress"), "they name 10 dates, and both sensors show 3"),
        (("--horizon", "2"), "fusion answers one target date"),
    ):
        code, said = shell("run", "--model", "starfm", "--data", "s.zarr", "--out", "no", *args)
        assert code == 2, said
        assert says in said
        assert not (tmp_path / "no").exists()
