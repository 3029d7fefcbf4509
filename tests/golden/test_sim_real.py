"""The simulated ground against real Sentinel-2 series: of the same kind, not the same."""

from __future__ import annotations

import os
import warnings
from itertools import pairwise
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import rasterio
from support.simulated_truth import yearly_truth

from rsbench.catalog import SimulatedSpec
from rsbench.simulate.api import simulated_regions
from rsbench.simulate.scene import YearView, calendar, simulated

F64 = npt.NDArray[np.float64]
SPEC = SimulatedSpec(seed=20170328)
BANDS = ("B02", "B03", "B04", "B08")
# Bands within which real landscapes at 10 m lie, wide enough for all of ours.
SLOPE = (-3.6, -1.6)
VISIBLE_CORRELATION = (0.80, 1.0)
CLOUD = (0.02, 0.60)
PERSISTENCE_PSNR = (24.0, 42.0)


def spectrum_slope(image: F64) -> float:
    """Slope of log radial power over log wave number, 0.04–0.35 cycles per pixel."""
    size = min(image.shape)
    part = image[:size, :size] - image[:size, :size].mean()
    hann = np.hanning(size)
    power = np.abs(np.fft.fft2(part * hann[:, None] * hann[None])) ** 2
    k = np.hypot(np.fft.fftfreq(size)[:, None], np.fft.fftfreq(size)[None])
    edges = np.geomspace(0.04, 0.35, 9)
    mean = [power[(k >= a) & (k < b)].mean() for a, b in pairwise(edges)]
    return float(np.polyfit(np.log(np.sqrt(edges[1:] * edges[:-1])), np.log(mean), 1)[0])


def correlation(frame: F64, one: int, other: int) -> float:
    return float(np.corrcoef(frame[one].ravel(), frame[other].ravel())[0, 1])


@pytest.fixture(scope="module")
def regions() -> dict[str, F64]:
    return {
        r.name: yearly_truth(SPEC, r.name, "s2", years=range(2017, 2025), bands=BANDS).astype(float)
        for r in simulated_regions(SPEC)[:8]
    }


def test_spectrum_slope(regions: dict[str, F64]) -> None:
    for name, frames in regions.items():
        for band in range(4):
            assert SLOPE[0] < spectrum_slope(frames[0, band]) < SLOPE[1], (name, BANDS[band])


def test_band_correlation(regions: dict[str, F64]) -> None:
    for name, frames in regions.items():
        for pair in ((0, 1), (1, 2), (0, 2)):
            low, high = VISIBLE_CORRELATION
            assert low < correlation(frames[0], *pair) <= high, (name, pair)
    # Near infrared goes its own way where plants grow.
    assert np.median([correlation(f[0], 2, 3) for f in regions.values()]) < 0.75


def test_reflectance_is_plausible(regions: dict[str, F64]) -> None:
    for name, frames in regions.items():
        low, high = np.percentile(frames, [0.1, 99.9])
        assert low > 0.0, name
        assert high < 0.75, name


def test_cloud_share() -> None:
    share = {}
    for region in simulated_regions(SPEC)[:8]:
        sim = simulated(SPEC, region.name)
        view = YearView(sim, "s2", 2020)
        scenes = calendar(SPEC, region.name, "s2", 2020)
        share[region.name] = np.mean([view.render(s).cloud_cover for s in scenes]) / 100
    assert CLOUD[0] < np.mean(list(share.values())) < CLOUD[1]
    assert share["sim-08"] < share["sim-01"]  # desert and rain forest


def test_persistence(regions: dict[str, F64]) -> None:
    for name, frames in regions.items():
        error = ((frames[1:] - frames[:-1]) ** 2).mean(axis=(1, 2, 3))
        psnr = -10 * np.log10(error)
        assert PERSISTENCE_PSNR[0] < psnr.min(), name
        assert psnr.max() < PERSISTENCE_PSNR[1] + 14 * (name == "sim-08"), name
    far = [((f[7] - f[0]) ** 2).mean() / ((f[1] - f[0]) ** 2).mean() for f in regions.values()]
    assert np.median(far) > 1.1


@pytest.fixture(scope="module")
def real() -> Path:
    root = os.environ.get("RSBENCH_TEST_DATA")
    folder = Path(root or "/nowhere") / "dev" / "s2_timeseries"
    if not root or not folder.is_dir():
        pytest.skip("RSBENCH_TEST_DATA is not set")
    return folder


def _median(values: F64) -> F64:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        return np.asarray(np.nanmedian(values, axis=0))


def _layers(path: Path, name: str) -> tuple[npt.NDArray[np.int64], list[int]]:
    """Raw numbers (T, H, W) of a NetCDF variable, and days since the first date."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)
        with rasterio.open(f"netcdf:{path}:{name}") as source:
            seconds = [float(source.tags(i)["NETCDF_DIM_timestamp"]) for i in source.indexes]
            return source.read().astype(np.int64), [int(s // 86400) for s in seconds]


def _west_flanders(real: Path) -> tuple[F64, npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    folder = real / "west_flanders_2017-2018"
    fine = next(folder.glob("S2_L2A_10m_*.nc"))
    coarse = next(folder.glob("S2_L2A_20m_*.nc"))
    values = np.stack([_layers(fine, band)[0] for band in BANDS], axis=1)
    classes, days = _layers(coarse, "SCL")
    scl = classes.repeat(2, axis=1).repeat(2, axis=2)
    bad = np.isin(scl, (0, 1, 3, 8, 9, 10))[:, None] | (values == 0)
    return np.where(bad, np.nan, values / 1e4), scl, np.array(days)


def test_real_series_lie_in_the_same_bands(real: Path) -> None:
    values, scl, days = _west_flanders(real)
    days = days - days.min()
    # The same months, August to November, of two years.
    frames = [_median(values[(days < 110)]), _median(values[(days >= 365) & (days < 475)])]
    whole = _median(values[days >= 110])
    for band in range(4):
        assert SLOPE[0] < spectrum_slope(whole[band]) < SLOPE[1]
    assert VISIBLE_CORRELATION[0] < correlation(whole, 0, 2)
    share = float(np.isin(scl, (8, 9, 10)).mean())
    assert CLOUD[0] < share < CLOUD[1]
    # Less than a year's median is less settled, so the lower limit has room.
    psnr = -10 * np.log10(np.nanmean((frames[1] - frames[0]) ** 2))
    assert PERSISTENCE_PSNR[0] - 4 < psnr < PERSISTENCE_PSNR[1]
