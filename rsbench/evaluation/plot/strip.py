"""A strip of pictures: truth, predictions and errors, lead times across."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from rsbench.core.errors import InputError, unknown
from rsbench.evaluation.plot.charts import axes_or_new
from rsbench.evaluation.report import pictures
from rsbench.evaluation.report.choice import one_source
from rsbench.evaluation.table import number

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from rsbench.evaluation.report.board import Board
    from rsbench.evaluation.report.choice import Source
    from rsbench.evaluation.report.pictures import Array, Image

Zoom = tuple[int, int, int, int]
"""(x, y, width, height) in pixels, from the upper left corner."""
GAP = 0.06
"""Space between pictures, in widths of a picture."""
FRAME = "#ffd400"
LEAST = 160
"""Least side in pixels of a picture that a word is written on."""


@dataclass(frozen=True)
class _Kept:
    """The pictures that runs kept of one region: (leads, H, W, 3) each."""

    region: str
    start: str
    leads: tuple[int, ...]
    targets: tuple[str, ...]
    context: Image | None
    truth: Image
    predictions: Mapping[str, Image]
    errors: Mapping[str, Array]
    error_label: str


def strip(
    source: Source | Board, *, region: str | None = None, entries: Sequence[str] = (),
    leads: Sequence[int] = (), zoom: Zoom | None = None, errors: bool = True,
    ax: Axes | None = None,
) -> Axes:  # fmt: skip
    """Draw the pictures of a region: truth, then each entry, with lead times across.

    Args:
        source: one or several run folders that kept pictures.
        region: a region whose pictures were kept; the first where None.
        entries: models whose predictions are drawn, in this order; all that were kept where empty.
        leads: lead times; all where empty.
        zoom: x, y, width and height of a part, in pixels, drawn enlarged beside each picture.
        errors: draw the absolute error of each entry below it.
        ax: matplotlib axes to draw on; those of a new figure where None.

    Returns:
        The axes.

    Raises:
        InputError: if no pictures were kept, or a region, entry, lead or part is not there.
    """
    board = one_source(source)
    kept = _chosen(_of_region(board, region), entries)
    at = _places(kept, leads)
    rows = _rows(kept, at, errors=errors)
    height, width = kept.truth.shape[1:3]
    if zoom is not None:
        _require_inside(zoom, width, height)
        rows = [(label, _parted(row, zoom, width)) for label, row in rows]
    tall, step = height / width, 1 + GAP
    columns = len(rows[0][1])
    ax = axes_or_new(ax, (1.1 + 1.25 * columns, 0.5 + 1.25 * tall * len(rows)))
    for r, (label, row) in enumerate(rows):
        for c, cell in enumerate(row):
            if cell is not None:
                x, y = c * step, r * (tall + GAP)
                cell = _marked(cell) if board.run.simulated else cell
                ax.imshow(cell, extent=_extent(cell, (x, y), tall), interpolation="nearest")
                if zoom is not None and c % 2 == 0:
                    _frame(ax, (x, y), zoom, width)
        ax.text(-GAP, r * (tall + GAP) + tall / 2, label, ha="right", va="center", fontsize=8)
    for c, head in enumerate(_heads(board, kept, at, zoom)):
        ax.text(c * step + 0.5, -GAP, head, ha="center", va="bottom", fontsize=8)
    ax.set_xlim(-GAP / 2, columns * step)
    ax.set_ylim(len(rows) * (tall + GAP), -GAP / 2)
    ax.set_aspect("equal")
    ax.set_axis_off()
    return ax


def leads_kept(source: Source | Board, region: str | None = None) -> tuple[int, ...]:
    """Return the lead times of which pictures of a region were kept."""
    return _of_region(one_source(source), region).leads


def _of_region(board: Board, region: str | None) -> _Kept:
    """Read the pictures of one region from every run that kept the same frames of it."""
    found: dict[str, list[tuple[Path, Path, str, Mapping[str, Any], Mapping[str, str]]]] = {}
    for folder, names in zip(board.folders, board.names, strict=False):
        with pictures.told_if_damaged(folder):
            for place, label, entry in pictures.entries(folder):
                parts = (folder, place, label, entry, names)
                found.setdefault(str(entry["region"]), []).append(parts)
    if not found:
        raise InputError(
            "a strip of pictures", "no pictures were kept",
            "Give a run folder made with --keep-predictions viewer",
        )  # fmt: skip
    if region is not None and region not in found:
        raise unknown("region with pictures", region, found)
    return _read(found[region if region is not None else next(iter(found))])


def _read(parts: Sequence[tuple[Path, Path, str, Mapping[str, Any], Mapping[str, str]]]) -> _Kept:
    folder, place, label, first, _ = parts[0]
    leads = tuple(int(lead) for lead in first["leads"])
    predictions: dict[str, Image] = {}
    errors: dict[str, Array] = {}
    with pictures.told_if_damaged(folder):
        truth = pictures.frames_of(place, first["truth"], len(leads))
        if first.get("valid"):
            masks = pictures.load(place, first["valid"]).astype(bool)
            pairs = zip(truth, masks, strict=True)
            truth = np.stack([pictures.hatched(frame, mask) for frame, mask in pairs])
        for _, where, _, entry, names in parts:
            same = all(entry.get(n) == first.get(n) for n in ("start", "leads", "targets"))
            for item in entry["models"] if same else ():
                name = pictures.page_name(str(item["model"]), names)
                predictions.setdefault(
                    name, pictures.frames_of(where, item["prediction"], len(leads))
                )
                if item.get("error"):
                    errors.setdefault(name, pictures.load(where, item["error"]).astype(np.float32))
        context = pictures.load(place, first["context"]) if first.get("context") else None
    if context is not None and context.ndim == 4:
        context = context[-1]
    targets = tuple(str(target) for target in first.get("targets", ()))
    return _Kept(str(first["region"]), str(first["start"]), leads, targets, context, truth,
                 predictions, errors, label)  # fmt: skip


def _chosen(kept: _Kept, entries: Sequence[str]) -> _Kept:
    """Return the pictures of the entries named; without names, not those of members."""
    names = [name.partition("/")[0] for name in entries]
    names = names or [name for name in kept.predictions if pictures.MEMBER not in name]
    for name in names:
        if name not in kept.predictions:
            raise unknown("entry with pictures", name, kept.predictions)
    shown = {name: kept.predictions[name] for name in dict.fromkeys(names)}
    return replace(kept, predictions=shown)


def _places(kept: _Kept, leads: Sequence[int]) -> list[int]:
    """Return the places of the leads chosen."""
    for lead in leads:
        if lead not in kept.leads:
            there = ", ".join(map(str, kept.leads))
            raise InputError(
                f"lead {lead}", f"pictures of lead {there} were kept", "Choose of them"
            )
    return [kept.leads.index(lead) for lead in dict.fromkeys(leads or kept.leads)]


def _rows(kept: _Kept, at: Sequence[int], *, errors: bool) -> list[tuple[str, list[Image | None]]]:
    """Return (label, pictures) of each row; the context stands before the truth."""
    first: list[list[Image | None]] = [[], []]
    if kept.context is not None:
        first = [[kept.context], [None]]
    rows = [("truth", [*first[0], *(kept.truth[place] for place in at)])]
    shown = [kept.errors[name][at] for name in kept.predictions if name in kept.errors]
    top = pictures.error_top(shown)
    for name, frames in kept.predictions.items():
        rows.append((name, [*first[1], *(frames[place] for place in at)]))
        if errors and name in kept.errors:
            painted = [pictures.colour(kept.errors[name][place], top) for place in at]
            rows.append((f"error, 0 to {number(top, 2)}", [*first[1], *painted]))
    return rows


def _parted(row: Sequence[Image | None], zoom: Zoom, width: int) -> list[Image | None]:
    """Return each picture followed by its part.

    ``zoom`` is in pixels of pictures of this width; a coarser picture has fewer.
    """
    parts: list[Image | None] = []
    for picture in row:
        part = None
        if picture is not None:
            scale = picture.shape[1] / width
            x, y, wide, tall = (round(side * scale) for side in zoom)
            part = picture[y : y + max(tall, 1), x : x + max(wide, 1)]
        parts += [picture, part]
    return parts


def _marked(picture: Image) -> Image:
    """Write the word simulated on a picture, which is enlarged first if it has few pixels."""
    times = max(1, LEAST // max(picture.shape[:2]))
    return pictures.burn(picture.repeat(times, axis=0).repeat(times, axis=1), "simulated")


def _heads(board: Board, kept: _Kept, at: Sequence[int], zoom: Zoom | None) -> list[str]:
    """Return the heads of the columns: lead time and date."""
    words = board.run.words
    heads = [f"{words.given}\n{words.date(kept.start)}"] if kept.context is not None else []
    for place in at:
        named = words.lead(kept.leads[place], dated=not kept.targets)
        date = f"\n{words.date(kept.targets[place])}" if kept.targets else ""
        heads.append(named + date)
    return heads if zoom is None else [part for head in heads for part in (head, "enlarged")]


def _extent(
    picture: Image, corner: tuple[float, float], tall: float
) -> tuple[float, float, float, float]:
    """Return where a picture is drawn: as large as fits a cell of width 1, in its middle."""
    height, width = picture.shape[:2]
    scale = min(1 / width, tall / height)
    x = corner[0] + (1 - scale * width) / 2
    y = corner[1] + (tall - scale * height) / 2
    return x, x + scale * width, y + scale * height, y


def _frame(ax: Axes, corner: tuple[float, float], zoom: Zoom, width: int) -> None:
    """Draw the outline of the part that is enlarged."""
    from matplotlib.patches import Rectangle

    x, y, wide, tall = (side / width for side in zoom)
    ax.add_patch(
        Rectangle((corner[0] + x, corner[1] + y), wide, tall, fill=False, ec=FRAME, lw=0.9)
    )


def _require_inside(zoom: Zoom, width: int, height: int) -> None:
    x, y, wide, tall = zoom
    if min(x, y) < 0 or min(wide, tall) < 1 or x + wide > width or y + tall > height:
        raise InputError(
            f"the part {x},{y},{wide},{tall}",
            f"it is not inside the pictures, which are {width} × {height} pixels",
            f"Choose within 0,0,{width},{height}",
        )
