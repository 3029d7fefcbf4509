"""Agreement of a fine and a coarse image, and MODIS's pixels on blocks of another grid."""

from __future__ import annotations

from datetime import UTC, date, datetime

import numpy as np
import numpy.typing as npt
import pytest

from rsbench.build.compose.agreement import change, correlation, means_of, shift_of
from rsbench.build.kinds.triplets.search import coarse_day, nominal_day, solar_day, spanning
from rsbench.build.plan.lock import LockItem
from rsbench.build.read.sinusoidal import block_means
from rsbench.core.errors import InputError
from rsbench.core.grid import Grid
from rsbench.core.sinusoidal import CORNER, PIXEL, native_grid

K, BLOCKS = 16, 14


def land(down: float, right: float, size: int = K * BLOCKS) -> npt.NDArray[np.float64]:
    """Smooth made-up land, moved by fine pixels."""
    draw = np.random.default_rng(1)
    y, x = np.mgrid[:size, :size].astype(float)
    total = np.zeros((size, size))
    for _ in range(30):
        wave, angle, phase = draw.uniform(40, 200), draw.uniform(0, np.pi), draw.uniform(0, 6.3)
        along = np.cos(angle) * (x - right) + np.sin(angle) * (y - down)
        total += np.sin(2 * np.pi * along / wave + phase)
    return total


def blocks_of(plane: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return plane.reshape(BLOCKS, K, BLOCKS, K).mean(axis=(1, 3))


@pytest.mark.parametrize("moved", [(0, 0), (3, -5), (-11, 8), (16, 0)])
def test_a_shift_is_found_to_a_fine_pixel(moved: tuple[int, int]) -> None:
    fine = land(0, 0)
    everywhere = np.ones(fine.shape, np.bool_)
    low = blocks_of(land(*moved))
    found = shift_of(fine, everywhere, low, np.ones(low.shape, np.bool_), K)
    assert found is not None
    assert (found.rows, found.columns) == (moved[0] / K, moved[1] / K)
    assert found.correlation > 0.999
    assert found.apart == pytest.approx(np.hypot(*moved) / K)


def test_clouds_on_both_sides_do_not_move_it() -> None:
    draw = np.random.default_rng(2)
    fine, low = land(0, 0), blocks_of(land(4, 6))
    clear = np.kron(draw.random((56, 56)) > 0.2, np.ones((4, 4))).astype(np.bool_)
    seen = draw.random(low.shape) > 0.2
    fine[~clear], low[~seen] = 1e4, -1e4
    found = shift_of(fine, clear, low, seen, K)
    assert found is not None
    assert abs(found.rows - 4 / K) <= 2 / K
    assert abs(found.columns - 6 / K) <= 2 / K


@pytest.mark.parametrize("why", ["flat", "clouded", "small"])
def test_where_nothing_can_be_told_nothing_is(why: str) -> None:
    fine, low = land(0, 0), blocks_of(land(0, 0))
    clear, seen = np.ones(fine.shape, np.bool_), np.ones(low.shape, np.bool_)
    if why == "flat":
        low[:] = 0.3
    if why == "clouded":
        seen[2:-2, 2:-2] = False
        seen[5, 5] = True
    if why == "small":
        fine, clear, low, seen = fine[:64, :64], clear[:64, :64], low[:4, :4], seen[:4, :4]
    assert shift_of(fine, clear, low, seen, K) is None


def test_means_and_correlations_by_hand() -> None:
    fine = np.arange(16.0).reshape(1, 4, 4)
    valid = np.ones((4, 4), np.bool_)
    valid[0, :2] = False
    valid[2:, 2:] = [[False, False], [False, True]]
    means, there = means_of(fine, valid, 2)
    assert means[0].tolist() == [[4.5, 4.5], [10.5, 15.0]]
    assert there.tolist() == [[True, True], [True, False]]  # half of a block is enough
    one = np.arange(20.0).reshape(4, 5)
    both = np.ones((4, 5), np.bool_)
    assert correlation(one, 3 - 2 * one, both) == pytest.approx(-1.0)
    assert correlation(one, np.full((4, 5), 2.0), both) is None
    assert correlation(one, one, one < 10) is None  # ten places tell little
    assert change(np.stack([one, one]), np.stack([one, -one]), both) == pytest.approx(1.0)
    assert change(one[None], one[None] * 0, both) is None


def test_blocks_take_the_pixels_they_lie_on_and_only_valid_ones() -> None:
    grid = Grid("EPSG:32655", (480.0, 0.0, 483855.0, 0.0, -480.0, -3892305.0), 6, 6)
    native = native_grid(grid)
    # The window lies on the pixels of the tiles, counted from the corner of the first.
    for at, corner in ((2, CORNER[0]), (5, CORNER[1])):
        steps = (native.transform[at] - corner) / PIXEL
        assert steps == pytest.approx(round(steps), abs=1e-6)
    # Sheared: six blocks (2.9 km) touch far more columns than seven.
    assert native.height <= 9
    assert native.width >= 10
    values = np.full((2, native.height, native.width), 700, np.int16)
    values[1] = -40
    means, share = block_means(values, np.ones(values.shape[1:], np.bool_), grid)
    assert (means[0] == 700).all()
    assert (means[1] == -40).all()
    assert (share == 1).all()
    valid = np.zeros(values.shape[1:], np.bool_)
    valid[:, native.width // 2 :] = True
    values[:, ~valid] = -28672
    means, share = block_means(values, valid, grid)
    assert (means[0][share > 0] == 700).all()
    assert (means[0][share == 0] == 0).all()
    assert share.min() == 0
    assert share.max() == 1
    assert ((share > 0) & (share < 1)).any()


@pytest.mark.parametrize(
    ("epsg", "corner"), [(32655, (483855, -3892305)), (32611, (450735, 6490575))]
)
def test_blocks_are_gdals_nearest_pixels_averaged(epsg: int, corner: tuple[int, int]) -> None:
    """GDAL's own warp to places of 60 m, each taking the nearest pixel, and plain means of them."""
    import rasterio.warp
    from affine import Affine

    x, y = map(float, corner)
    grid = Grid(f"EPSG:{epsg}", (480.0, 0.0, x, 0.0, -480.0, y), 24, 24)
    native = native_grid(grid)
    values = np.random.default_rng(3).integers(-100, 16000, (native.height, native.width))
    values = values.astype(np.int16)
    out = np.zeros((24 * 8, 24 * 8), np.int16)
    rasterio.warp.reproject(
        values,
        out,
        src_transform=Affine(*native.transform),
        src_crs=native.crs,
        dst_transform=Affine(60.0, 0.0, x, 0.0, -60.0, y),
        dst_crs=grid.crs,
        resampling=rasterio.warp.Resampling.nearest,
    )
    wanted = out.reshape(24, 8, 24, 8).mean(axis=(1, 3))
    means, _ = block_means(values[None], np.ones(values.shape, np.bool_), grid)
    # GDAL's places lie off by a metre or two: a few on the edge of two pixels fall to the other.
    apart = np.abs(means[0] - wanted)
    assert np.quantile(apart, 0.95) <= 4 / 64 * 16100
    assert (apart == 0).mean() > 0.3
    assert apart.mean() < 0.05 * wanted.std()


@pytest.mark.parametrize(
    ("instant", "longitude", "day"),
    [
        ("2025-03-10T23:53:08", 146.7, "2025-03-11"),  # Tasmania: the morning after
        ("2020-12-04T19:02:11", -122.8, "2020-12-04"),
        ("2020-12-04T03:10:00", 104.0, "2020-12-04"),
        ("2020-12-04T00:30:00", -170.0, "2020-12-03"),
    ],
)
def test_days_are_those_of_the_place(instant: str, longitude: float, day: str) -> None:
    seen = datetime.fromisoformat(instant).replace(tzinfo=UTC)
    assert solar_day(seen, longitude) == date.fromisoformat(day)


def test_a_pass_beyond_the_last_morning_of_utc_counts_for_the_day_before() -> None:
    assert coarse_day(date(2020, 5, 2), 146.7) == date(2020, 5, 2)
    assert coarse_day(date(2020, 5, 2), 172.0) == date(2020, 5, 1)


def test_the_latest_image_that_spans_a_day_and_no_other_year() -> None:
    def item(begin: str, tile: str = "h29v12") -> LockItem:
        return LockItem(f"{begin}{tile}", f"{begin}T00:00:00Z", begin, 0, {}, tile=tile)

    held = [item("2019-12-27"), item("2020-01-01"), item("2020-01-01", "h30v12")]
    assert spanning(held, date(2020, 1, 3), 8) == tuple(held[1:])
    assert spanning(held, date(2019, 12, 31), 8) == (held[0],)
    assert spanning(held, date(2020, 1, 9), 8) == ()
    assert spanning([held[0]], date(2020, 1, 2), 8) == ()


def test_an_id_without_a_day_is_told() -> None:
    with pytest.raises(InputError, match="holds no"):
        nominal_day("MOD09A1-of-some-day")
