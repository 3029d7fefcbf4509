"""Perception–distortion charts and power spectra."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from markupsafe import Markup

from rsbench.evaluation import strata
from rsbench.evaluation.intervals import unit_of
from rsbench.evaluation.report import pictures
from rsbench.evaluation.report.board import Board
from rsbench.evaluation.report.charts import Frame, Looks, line_chart, line_of
from rsbench.metrics.queries import direction, on_axis
from rsbench.store.layout import SHARE

BINS = 16
LEAST_VALID = 0.9
LARGEST = 256
"""Longest side in pixels of the centre crop whose spectrum is computed."""
Array = npt.NDArray[Any]


def plane(board: Board, looks: Looks) -> dict[str, Any] | None:
    """Return the plane of Blau and Michaeli (2018, arXiv 1711.06077), a line per entry over leads.

    No entry can be best in both beyond a bound: blur lowers distortion, false detail improves
    perception.
    """
    rows = strata.headline(board.scores.table())
    rows = rows[rows["value"].notna()]
    there = set(rows["metric"])
    x = next((name for name in on_axis("distortion") if name in there), None)
    y = next((name for name in on_axis("perception") if name in there), None)
    if x is None or y is None:
        return None
    columns = ["model", "preset", "metric", "lead", "value"]
    values = {
        (str(model), str(preset), str(metric), int(lead)): float(value)
        for model, preset, metric, lead, value in rows[columns].itertuples(index=False, name=None)
    }
    lines = []
    for key, look in looks.items():
        model, _, preset = key.rpartition("/")
        points = []
        for lead in range(1, board.run.horizon + 1):
            pair = [values.get((model, preset, name, lead)) for name in (x, y)]
            if pair[0] is not None and pair[1] is not None:
                high = abs(pair[1]) if direction(y) == "zero" else pair[1]
                points.append((pair[0], high, None, None))
        if points:
            lines.append(line_of(key, look, points))
    if not lines:
        return None
    unit = unit_of(x).replace("data", board.run.unit or "data units")
    name = f"|{y}|" if direction(y) == "zero" else y
    frame = Frame(
        f"{name} against {x}", f"distortion: {x}" + (f" ({unit})" if unit else ""),
        f"perception: {name}", board.run.simulated, whole_x=False,
    )  # fmt: skip
    return {"chart": line_chart(lines, frame), "x": x, "y": name}


# ------------------------------------------------------------------------------- spectra


def spectra(board: Board, looks: Looks) -> list[tuple[int, Markup, int]]:
    """Return (lead, chart, pictures) of radial power, predicted over true, of the pictures kept.

    Power is |FFT|² of the mean of red, green and blue as display@1 shows them, mean removed, under
    a Hann window, averaged in rings; the chart shows log10 of the ratio of sums over regions.
    """
    if board.run.unit == SHARE:  # pictures of classes have no spectrum
        return []
    sums: dict[tuple[int, str], list[Array]] = {}
    counts: dict[int, int] = {}
    for folder, called in zip(board.folders, board.names, strict=True):
        for lead, name, predicted, true in _pairs(folder, called):
            sums.setdefault((lead, name), []).append(np.stack((predicted, true)))
    leads = sorted({lead for lead, _ in sums})
    shown = [lead for lead in dict.fromkeys((leads[0], leads[-1])) if lead] if leads else []
    found = []
    for lead in shown:
        lines = []
        for key, look in looks.items():
            model, _, _ = key.rpartition("/")
            if (lead, model) not in sums:
                continue
            parts = np.stack(sums[lead, model])
            counts[lead] = max(counts.get(lead, 0), len(parts))
            predicted, true = parts.sum(0)
            points = [
                (float(f), math.log10(p / t), None, None)
                for f, p, t in zip(_centres(), predicted, true, strict=True)
                if p > 0 and t > 0
            ]
            lines.append(replace(line_of(key, look, points), markers=False))
        if lines:
            frame = Frame(
                f"predicted over true power, {board.run.words.lead(lead)}", "cycles per pixel",
                "log10 of power, predicted over true", board.run.simulated, whole_x=False,
                zero=True,
            )  # fmt: skip
            found.append((lead, line_chart(lines, frame), counts[lead]))
    return found


def _centres() -> Array:
    edges = np.linspace(0.0, 0.5, BINS + 1)
    return np.asarray((edges[1:] + edges[:-1]) / 2)


def _pairs(folder: Path, called: Mapping[str, str]) -> Iterator[tuple[int, str, Array, Array]]:
    """Yield (lead, entry, predicted power, true power) of every image that is valid enough."""
    with pictures.told_if_damaged(folder):
        for place, _, entry in pictures.entries(folder):
            leads = [int(lead) for lead in entry["leads"]]
            truth = _grey(place, entry["truth"], len(leads))
            masked = entry.get("valid")
            valid = _middle(pictures.load(place, masked).astype(bool)) if masked else None
            seen = [None if valid is None else valid[i] for i in range(len(leads))]
            whole = [i for i, mask in enumerate(seen) if mask is None or mask.mean() >= LEAST_VALID]
            true = {i: radial(truth[i], seen[i]) for i in whole}
            for item in entry["models"]:
                prediction = _grey(place, item["prediction"], len(leads))
                name = called.get(str(item["model"]), str(item["model"]))
                for i in whole:
                    yield leads[i], name, radial(prediction[i], seen[i]), true[i]


def _middle(frames: Array) -> Array:
    """Return the middle of (…, H, W), at most ``LARGEST`` pixels a side."""
    height, width = frames.shape[-2:]
    top, left = (max(0, (side - LARGEST) // 2) for side in (height, width))
    return frames[..., top : top + LARGEST, left : left + LARGEST]


def _grey(place: Path, name: str, leads: int) -> Array:
    frames = pictures.frames_of(place, name, leads)
    return _middle(np.asarray(frames.astype(np.float64).mean(-1) / 255.0))


def radial(image: Array, valid: Array | None) -> Array:
    """Return mean power in rings of 0 … 0.5 cycles per pixel, (BINS,); zero in an empty ring."""
    mean = image.mean() if valid is None else image[valid].mean()
    x = image - mean
    if valid is not None:
        x = np.where(valid, x, 0.0)
    rows, columns = (np.sin(np.pi * np.arange(n) / n) ** 2 for n in x.shape)
    power = np.abs(np.fft.fft2(x * np.outer(rows, columns))) ** 2
    fy, fx = (np.fft.fftfreq(n) for n in x.shape)
    ring = np.minimum((np.hypot(fy[:, None], fx[None, :]) * 2 * BINS).astype(int), BINS)
    total = np.bincount(ring.ravel(), power.ravel(), minlength=BINS + 1)[:BINS]
    number = np.bincount(ring.ravel(), minlength=BINS + 1)[:BINS]
    return np.asarray(total / np.maximum(number, 1))


def sentence(found: Sequence[tuple[int, Markup, int]]) -> str:
    """Return which images the spectra were computed from."""
    number = max((n for _, _, n in found), default=0)
    return f"Spectra of the {number} pictures kept for the viewer, not of all images."
