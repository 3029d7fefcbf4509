"""Draw the README's picture: real patches, degraded, ranked by definitions that share a name.

    RSBENCH_TEST_DATA=... python tools/degradations.py [--out docs/images/degradations.png]

Needs real Sentinel-2 pixels in the folder that RSBENCH_TEST_DATA names; exits 2 without them.
"""

from __future__ import annotations

import argparse
import math
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

import rsbench as rb

Array = NDArray[np.float32]
SOURCE = Path("s2_timeseries/bolzano_2022-06/S2_L2A_sample.zarr")
BANDS = ("B02", "B03", "B04", "B08")
CLEAR = (4, 5, 6, 7)  # scene classes: vegetation, bare, water, unclassified
PATCH, MARGIN = 128, 16
SHOWN = 56  # pixels of a thumbnail
INK, SOFT, PAPER = "#1d2733", "#66717e", "#ffffff"


@dataclass(frozen=True)
class Degradation:
    """One degradation of an image: its name, colour and function."""

    family: str
    label: str
    colour: str
    spoil: Callable[[Array, np.random.Generator], Array]


@dataclass(frozen=True)
class Column:
    """One definition: its id and its name in papers."""

    metric: str
    name: str
    note: str


COLUMNS = (
    Column("psnr@1", "PSNR", "per image"),
    Column("ssim@1", "SSIM", "L = 1"),
    Column("ssim.l03@1", "SSIM", "L = 0.3"),
    Column("gssim.sobel3@1", "GSSIM", "Sobel,\nfixed scale"),
    Column("gssim.sobel3-zero@1", "GSSIM", "Sobel, min–max,\nzero border"),
    Column("gssim.chen2006@1", "GSSIM", "Chen et al.\n2006"),
    Column("ssim.blur2@1", "GSSIM", "SSIM of\nblurred images"),
)


def blur(sigma: float) -> Callable[[Array, np.random.Generator], Array]:
    """Gaussian blur by FFT; the wrapped border falls into the margin."""

    def apply(x: Array, _: np.random.Generator) -> Array:
        fy, fx = np.fft.fftfreq(x.shape[-2]), np.fft.fftfreq(x.shape[-1])
        response = np.exp(-2 * (math.pi * sigma) ** 2 * (fy[:, None] ** 2 + fx[None, :] ** 2))
        return np.fft.ifft2(np.fft.fft2(x) * response).real.astype(np.float32)

    return apply


def noise(sigma: float) -> Callable[[Array, np.random.Generator], Array]:
    """White noise of this standard deviation in reflectance."""
    return lambda x, rng: (x + sigma * rng.standard_normal(x.shape)).astype(np.float32)


def shift(pixels: int) -> Callable[[Array, np.random.Generator], Array]:
    """Whole pixels to the right and down."""
    return lambda x, _: np.roll(x, (pixels, pixels), axis=(-2, -1))


def gain(factor: float) -> Callable[[Array, np.random.Generator], Array]:
    """All reflectance times a factor."""
    return lambda x, _: (factor * x).astype(np.float32)


DEGRADATIONS = (
    Degradation("blur", "blur σ 0.7 px", "#7fb2e5", blur(0.7)),
    Degradation("blur", "blur σ 1.5 px", "#2f7fd0", blur(1.5)),
    Degradation("blur", "blur σ 3 px", "#0d4a8f", blur(3.0)),
    Degradation("noise", "noise 0.005", "#f7b267", noise(0.005)),
    Degradation("noise", "noise 0.02", "#ea7317", noise(0.02)),
    Degradation("noise", "noise 0.05", "#a84300", noise(0.05)),
    Degradation("shift", "shift 1 px", "#5fbf8f", shift(1)),
    Degradation("shift", "shift 3 px", "#14764a", shift(3)),
    Degradation("gain", "gain × 0.8", "#c39be0", gain(0.8)),
    Degradation("gain", "gain × 0.6", "#7a35b0", gain(0.6)),
)


def read_patches(folder: Path) -> Array:
    """Cut clear patches with a margin, (n, 4, 160, 160) reflectance."""
    import xarray as xr

    with xr.open_zarr(folder) as data:
        values = np.stack([data[band].to_numpy() for band in BANDS], axis=1) / 10_000.0
        clear = np.isin(data["SCL"].to_numpy(), CLEAR)
    size = PATCH + 2 * MARGIN
    found = []
    for date in range(values.shape[0]):
        for top in range(0, values.shape[2] - size + 1, PATCH):
            for left in range(0, values.shape[3] - size + 1, PATCH):
                window = np.s_[date, ..., top : top + size, left : left + size]
                pixels = values[window].astype(np.float32)
                if np.isfinite(pixels).all() and clear[window].mean() > 0.98:
                    found.append(pixels)
    return np.stack(found)


def crop(x: Array) -> Array:
    """Return the image without its margin."""
    return x[..., MARGIN:-MARGIN, MARGIN:-MARGIN]


def score(patches: Array) -> dict[str, NDArray[np.float64]]:
    """Return the mean over patches per definition and degradation, {metric: (degradations,)}."""
    truth = torch.from_numpy(crop(patches).copy())
    ids = [column.metric for column in COLUMNS]
    rows: dict[str, list[float]] = {metric: [] for metric in ids}
    for number, degradation in enumerate(DEGRADATIONS):
        rng = np.random.default_rng(number)
        spoiled = torch.from_numpy(crop(degradation.spoil(patches, rng)).copy())
        for metric, values in rb.metrics.compute(ids, spoiled, truth, data_range=1.0).items():
            rows[metric].append(float(values.mean()))
    return {metric: np.array(values) for metric, values in rows.items()}


def ranks(values: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return ranks, 1 for the degradation with the highest value of a definition."""
    return np.argsort(np.argsort(-values)) + 1


# --- drawing: coordinates are pixels of the finished picture ----------------------------------

WIDTH, HEIGHT, DPI = 1600, 1110, 100
TOP, ROW = 262, 78  # centre of the first rank, distance between ranks
THUMB = 68
COLUMN_X = (500, 652, 790, 942, 1080, 1218, 1356)
LOUD = ("gain × 0.6", "noise 0.02", "blur σ 1.5 px")


def display(x: Array) -> Array:
    """Return red, green and blue for display, (H, W, 3) in [0, 1]; one stretch for all."""
    rgb = np.stack([x[2], x[1], x[0]], axis=-1)
    return np.asarray(np.clip(rgb / 0.3, 0, 1) ** (1 / 1.8), dtype=np.float32)


def pick(patches: Array) -> Array:
    """Return the patch whose displayed part has most edges in the visible bands."""
    shown = crop(patches)[..., :SHOWN, :SHOWN]
    edges = np.abs(np.diff(shown[:, :3], axis=-1)).mean((1, 2, 3))
    return patches[int(np.argmax(edges))]


def draw(values: dict[str, NDArray[np.float64]], patch: Array, count: int, out: Path) -> None:
    """Write the picture."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    plt.rcParams["font.family"] = "DejaVu Sans"
    figure = plt.figure(figsize=(WIDTH / DPI, HEIGHT / DPI), dpi=DPI, facecolor=PAPER)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, WIDTH), ylim=(HEIGHT, 0))
    axes.axis("off")
    _title(axes, count)
    _headers(axes)
    table = np.stack([ranks(values[column.metric]) for column in COLUMNS], axis=1)
    order = np.argsort([degradation.label in LOUD for degradation in DEGRADATIONS], kind="stable")
    for i in order:
        scores = [float(values[column.metric][i]) for column in COLUMNS]
        _line(axes, DEGRADATIONS[i], table[i], scores)
    _thumbnails(axes, patch, table[:, 0], table[:, -1])
    _footer(axes, count)
    out.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(out, dpi=DPI, facecolor=PAPER)
    plt.close(figure)


def _y(rank: float) -> float:
    return TOP + (rank - 1) * ROW


def _title(axes: Any, count: int) -> None:
    axes.text(40, 52, "Which prediction is better? It depends on whose metric you ask.",
              fontsize=24, fontweight="bold", color=INK, va="center")  # fmt: skip
    axes.text(
        40, 96,
        f"Ten ways to spoil {count} real Sentinel-2 patches, ranked by seven published "
        "definitions that share three names; the best stands on top.",
        fontsize=13.5, color=SOFT, va="center",
    )  # fmt: skip


def _headers(axes: Any) -> None:
    groups: dict[str, list[float]] = {}
    for x, column in zip(COLUMN_X, COLUMNS, strict=True):
        groups.setdefault(column.name, []).append(x)
        axes.text(x, 196, column.note, fontsize=10.5, color=SOFT, ha="center", va="center",
                  linespacing=1.25)  # fmt: skip
    for name, places in groups.items():
        left, right = min(places) - 58, max(places) + 58
        axes.text((left + right) / 2, 146, name, fontsize=16, fontweight="bold", color=INK,
                  ha="center", va="center")  # fmt: skip
        axes.plot([left, right], [167, 167], color=INK, lw=1.6, solid_capstyle="butt")
        axes.fill_between([left, right], 174, HEIGHT - 70, color="#f4f6f8", lw=0, zorder=0)


def _line(
    axes: Any, degradation: Degradation, places: NDArray[np.int64], scores: Sequence[float]
) -> None:
    loud = degradation.label in LOUD
    t = np.linspace(0, 1, 60)
    ease = t * t * (3 - 2 * t)
    for i in range(len(COLUMNS) - 1):
        x = COLUMN_X[i] + (COLUMN_X[i + 1] - COLUMN_X[i]) * t
        y = _y(float(places[i])) + (places[i + 1] - places[i]) * ROW * ease
        axes.plot(x, y, color=PAPER, lw=9.5 if loud else 6, solid_capstyle="butt",
                  zorder=4 if loud else 2)  # fmt: skip
        axes.plot(x, y, color=degradation.colour, lw=6.5 if loud else 3,
                  solid_capstyle="butt", alpha=1.0 if loud else 0.85,
                  zorder=4 if loud else 2)  # fmt: skip
    for x, place, value, column in zip(COLUMN_X, places, scores, COLUMNS, strict=True):
        text = f"{value:.1f}" if column.metric.startswith("psnr") else f"{value:.3f}"[1:]
        axes.text(
            x, _y(float(place)), text, fontsize=11.5, fontweight="bold", ha="center",
            va="center", color=_on(degradation.colour), zorder=6,
            bbox={"boxstyle": "round,pad=0.42,rounding_size=0.9", "fc": degradation.colour,
                  "ec": PAPER, "lw": 2},
        )  # fmt: skip


def _on(colour: str) -> str:
    """Return the text colour with the higher contrast on a background colour."""
    r, g, b = (int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5))
    return INK if 0.3 * r + 0.59 * g + 0.11 * b > 0.6 else PAPER


def _thumbnails(axes: Any, patch: Array, first: NDArray[np.int64], last: NDArray[np.int64]) -> None:
    def picture(x: Array, y: float, colour: str) -> None:
        image = display(crop(x)[:, :SHOWN, :SHOWN])
        half = THUMB / 2
        axes.imshow(image, extent=(40, 40 + THUMB, y + half, y - half), aspect="auto",
                    interpolation="nearest", zorder=3)  # fmt: skip
        axes.plot([40, 40 + THUMB, 40 + THUMB, 40, 40], [y - half, y - half, y + half, y + half,
                  y - half], color=colour, lw=2.5, zorder=4)  # fmt: skip

    picture(patch, 168, INK)
    axes.text(124, 168, "truth", fontsize=14, fontweight="bold", color=INK, va="center")
    for number, (degradation, a, b) in enumerate(zip(DEGRADATIONS, first, last, strict=True)):
        loud = degradation.label in LOUD
        rng = np.random.default_rng(number)
        y = _y(float(a))
        picture(degradation.spoil(patch, rng), y, degradation.colour)
        style = {"fontsize": 13.5, "va": "center", "color": INK,
                 "fontweight": "bold" if loud else "normal"}  # fmt: skip
        axes.text(124, y, degradation.label, **style)
        axes.plot([270, COLUMN_X[0]], [y, y], color=degradation.colour, lw=6.5 if loud else 3,
                  alpha=1.0 if loud else 0.85, zorder=1, solid_capstyle="round")  # fmt: skip
        axes.text(COLUMN_X[-1] + 74, _y(float(b)), degradation.label, **style)
    axes.set(xlim=(0, WIDTH), ylim=(HEIGHT, 0))


def _footer(axes: Any, count: int) -> None:
    axes.text(
        40, HEIGHT - 32,
        f"Numbers are means over {count} patches of 128 × 128 px (B02 B03 B04 B08, reflectance, "
        "data range 1; thumbnails show 56 px). Contains modified Copernicus Sentinel data 2022.",
        fontsize=10.5, color=SOFT, va="center",
    )  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> int:
    """Read, degrade, score and draw; return exit code 0, or 2 without data."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--out", type=Path, default=Path("docs/images/degradations.png"))
    options = parser.parse_args(arguments)
    config = os.environ.get("RSBENCH_TEST_DATA")
    places = [Path(config) / "dev" / SOURCE, Path(config) / SOURCE] if config else []
    folder = next((place for place in places if place.is_dir()), None)
    if folder is None:
        found = f"there is no {SOURCE} in {config}" if config else "RSBENCH_TEST_DATA is not set"
        sys.stderr.write(
            f"drawing the degradations: {found}. "
            "Set RSBENCH_TEST_DATA to the folder with the real data samples.\n"
        )
        return 2
    patches = read_patches(folder)
    draw(score(patches), pick(patches), len(patches), options.out)
    sys.stdout.write(f"{options.out}: {len(patches)} patches\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
