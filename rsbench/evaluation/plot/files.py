"""Figures of runs as files: PDF, SVG or PNG."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from rsbench.core.errors import InputError, unknown
from rsbench.core.io import atomic_file, disk_errors
from rsbench.evaluation.plot import charts
from rsbench.evaluation.plot.strip import Zoom, leads_kept, strip
from rsbench.evaluation.report.choice import Choice, one_source

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from rsbench.evaluation.report.board import Board
    from rsbench.evaluation.report.choice import Source

GIF, MILLISECONDS = ".gif", 700
FORMATS = {".pdf": {"CreationDate": None}, ".svg": {"Date": None}, ".png": {}, GIF: {}}
"""Suffix → metadata without dates, so that equal figures are equal files."""
STILL = ", ".join(name for name in FORMATS if name != GIF)
STYLE: dict[Any, Any] = {
    "backend": "agg", "pdf.fonttype": 42, "svg.hashsalt": "rsbench", "font.size": 9,
}  # fmt: skip


@dataclass(frozen=True)
class Drawing:
    """What a figure shows beside the choice of metrics, leads and entries.

    Args:
        region: of a strip: whose pictures; the first where None.
        zoom: of a strip: x, y, width and height of an enlarged part, in pixels.
        errors: of a strip: with error maps.
        width: inches; the usual width of the figure where None.
    """

    region: str | None = None
    zoom: Zoom | None = None
    errors: bool = True
    width: float | None = None


def _strip(board: Board, choice: Choice, drawing: Drawing) -> Axes:
    _only(choice.metrics, 0, "a strip", "it shows pictures")
    return strip(
        board, region=drawing.region, entries=choice.entries, leads=choice.leads,
        zoom=drawing.zoom, errors=drawing.errors,
    )  # fmt: skip


def _decay(board: Board, choice: Choice, drawing: Drawing) -> Axes:
    _only(choice.leads, 0, "a decay curve", "it shows all lead times")
    _only(choice.metrics, 1, "a decay curve", "it shows one metric")
    return charts.decay(board, *choice.metrics, entries=choice.entries)


def _ranking(board: Board, choice: Choice, drawing: Drawing) -> Axes:
    _only(choice.metrics, 1, "a ranking", "it shows one metric")
    _only(choice.leads, 1, "a ranking", "it shows one lead time")
    lead = choice.leads[0] if choice.leads else None
    return charts.ranking(board, *choice.metrics, lead=lead, entries=choice.entries)


def _plane(board: Board, choice: Choice, drawing: Drawing) -> Axes:
    _only(choice.leads, 1, "a plane", "it shows one lead time, or all")
    lead = choice.leads[0] if choice.leads else None
    return charts.perception_distortion(board, choice.metrics, lead=lead, entries=choice.entries)


Draw = Callable[["Board", Choice, Drawing], "Axes"]
KINDS: dict[str, Draw] = {
    "strip": _strip, "decay": _decay, "ranking": _ranking, "perception-distortion": _plane,
}  # fmt: skip


def _only(given: Sequence[Any], most: int, what: str, why: str) -> None:
    """Raise InputError for more metrics or leads than a figure shows."""
    if len(given) > most:
        remedy = f"Give {most} of them" if most else "Leave them out"
        raise InputError(f"{what} of {', '.join(map(str, given))}", why, remedy)


def save(
    kind: str, runs: Source, out: Path | str, *, choice: Choice = Choice(),  # noqa: B008, frozen
    drawing: Drawing = Drawing(), force: bool = False,
) -> Path:  # fmt: skip
    """Draw a figure of runs, write it as a file and return its path.

    Args:
        kind: ``strip``, ``decay``, ``ranking`` or ``perception-distortion``.
        runs: scores, or one or several run folders.
        out: a file ending in ``.pdf``, ``.svg`` or ``.png``; of a strip also ``.gif``, which
            shows one lead time after another.
        choice: metrics, leads and entries; all or the usual ones where empty.
        drawing: region, enlarged part in pixels, error maps and width in inches.
        force: replace a file that is there.

    Raises:
        InputError: if the kind, the suffix or anything chosen is unknown, or the file exists.
        Incomparable: if the runs do not compare.
    """
    if kind not in KINDS:
        raise unknown("kind of figure", kind, KINDS)
    out = Path(out)
    asked = f"writing the figure {out}"
    if out.suffix.lower() not in FORMATS:
        raise InputError(asked, f"a figure is no {out.suffix or 'file without suffix'}",
                         f"Name a file ending in {', '.join(FORMATS)}")  # fmt: skip
    if out.exists() and not force:
        raise InputError(asked, "a file of this name exists", "Add --force, or name another")
    if out.suffix.lower() == GIF and kind != "strip":
        raise InputError(asked, f"a {kind} does not move", f"Name a file ending in {STILL}")
    if kind != "strip" and (drawing.region or drawing.zoom or not drawing.errors):
        raise InputError("--region, --zoom and --no-error", "they are of strips",
                         "Leave them out")  # fmt: skip
    from matplotlib import rc_context

    with rc_context(STYLE):
        board = one_source(runs)
        if out.suffix.lower() == GIF:
            _write_film(board, out, choice, drawing)
        else:
            _write(KINDS[kind](board, choice, drawing), out, drawing.width)
    return out


def _write_film(board: Board, out: Path, choice: Choice, drawing: Drawing) -> None:
    """Write a strip as an animation, a lead time after another."""
    from matplotlib import pyplot
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from PIL import Image

    frames = []
    for lead in choice.leads or leads_kept(board, drawing.region):
        figure = _sized(_strip(board, replace(choice, leads=(lead,)), drawing), drawing.width)
        canvas = FigureCanvasAgg(figure)
        canvas.draw()  # type: ignore[no-untyped-call]
        frames.append(Image.fromarray(np.asarray(canvas.buffer_rgba())[..., :3].copy()))  # type: ignore[no-untyped-call]
        pyplot.close(figure)
    with disk_errors(f"writing {out}", "name another file"), atomic_file(out) as temporary:
        frames[0].save(temporary, format="GIF", save_all=True, append_images=frames[1:],
                       duration=MILLISECONDS, loop=0)  # fmt: skip


def _sized(axes: Axes, width: float | None) -> Figure:
    """Return the figure of axes, of this width in inches and in its proportions."""
    figure = axes.figure.get_figure(root=True)
    assert figure is not None
    if width is not None:
        now = figure.get_size_inches()
        figure.set_size_inches(width, width * now[1] / now[0])
    return figure


def _write(axes: Axes, out: Path, width: float | None) -> None:
    from matplotlib import pyplot

    figure, suffix = _sized(axes, width), out.suffix.lower()
    try:
        with disk_errors(f"writing {out}", "name another file"), atomic_file(out) as temporary:
            figure.savefig(temporary, format=suffix[1:], dpi=200, metadata=FORMATS[suffix])
    finally:
        pyplot.close(figure)
