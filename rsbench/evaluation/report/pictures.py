"""Image strips: truth, prediction and error per lead, from a run's ``viewer`` folder.

``viewer/index.json``: ``{"schema": 1, "error": LABEL, "drawn": BANDS, "others": BANDS, "entries":
[ENTRY, …]}``; ``drawn``, optional, are the bands drawn as red, green and blue, or the one drawn in
grey; ``others``, optional, are further bands that are kept. An entry
is ``{"region", "start", "leads": [1, …], "targets": [ISO dates], "truth": FILE, "context": FILE,
"valid": FILE, "inputs": [{"sensor", "date", "picture": FILE}], "models": [{"model", "preset",
"prediction": FILE, "error": FILE}]}``; ``inputs``, optional, are all frames given.
Files are ``.npy`` without pickles: truth and prediction uint8 ``(leads, H, W, 3)`` as
``display@1``; context, optional, uint8 ``(H, W, 3)``; valid, optional, bool ``(leads, H, W)``;
error float16 ``(leads, H, W)``, NaN where the truth is masked. Beside ``truth``, ``prediction``,
``context`` and ``picture``, a file named ``…_others`` may hold the other bands, uint8
``(leads, n, H, W)`` or ``(n, H, W)``.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from rsbench.core.errors import InputError, SchemaError
from rsbench.core.io import read_json
from rsbench.evaluation.report.band_views import Crop, worst

Image = npt.NDArray[np.uint8]
Array = npt.NDArray[Any]
SCHEMA = 1
SHADES = 64
"""Colours of an error map: few enough for a palette that has them with a word over them, too."""
LARGEST = 256
"""Longest side of a picture on the page, in pixels; larger ones are thinned."""


MEMBER = " · member "
"""Stands between a model's name and the number of a member in what a run keeps."""


@dataclass(frozen=True)
class Row:
    """One row of a strip: pictures as data links, one per lead.

    Args:
        kind: ``truth``, ``prediction``, ``error`` or ``mask``.
        model: whose prediction or error it is, empty for the others.
    """

    name: str
    kind: str
    pictures: tuple[str, ...]
    model: str = ""


@dataclass(frozen=True)
class Strip:
    """One region's strip.

    Args:
        context: the last context frame, if kept.
        drawn: bands drawn as red, green and blue, or in grey; empty where that is not known.
        inputs: (sensor, ISO date, picture) of all frames given, for a single target date.
        word: picture that is white where a word covers the pictures, empty where none does.
        error_max: error at the bright end of the scale, shared by the strip.
        others: bands that are kept beside the drawn ones, of every picture of truth and models.
        bands: kind and model, as ``prediction/simvp``, → for each of its pictures those of the
            other bands; ``truth/``, ``context/`` and ``inputs/`` likewise.
        crop: the part with the largest error of the first entry.
    """

    region: str
    start: str
    leads: tuple[int, ...]
    targets: tuple[str, ...]
    rows: tuple[Row, ...]
    context: str | None
    error_label: str
    error_max: float
    drawn: tuple[str, ...] = ()
    word: str = ""
    inputs: tuple[tuple[str, str, str], ...] = ()
    others: tuple[str, ...] = ()
    bands: Mapping[str, Sequence[Sequence[str]]] = field(default_factory=dict)
    crop: Crop | None = None

    @property
    def weight(self) -> int:
        """Characters its pictures take on the page."""
        shown = [picture for row in self.rows for picture in row.pictures]
        shown += [picture for *_, picture in self.inputs]
        hidden = [band for own in self.bands.values() for bands in own for band in bands]
        return sum(map(len, shown)) + sum(map(len, hidden))


def strips(
    folders: Sequence[tuple[Path, Mapping[str, str]]], *, simulated: bool, shown: Sequence[str]
) -> Iterator[Strip]:
    """Read the strips of run folders one by one; none where they keep no pictures.

    A region and start that several runs kept is one strip: the truth, then every row of every run.

    Args:
        folders: run folders, each with model names of the run → names on the page.
        simulated: burn the word into every picture.
        shown: names on the page whose predictions are drawn, in this order, members after them.
    """
    found: dict[tuple[object, ...], list[_Kept]] = {}
    for folder, names in folders:
        with told_if_damaged(folder):
            for place, label, entry in entries(folder):
                kept = [_Model(place, page_name(str(m["model"]), names), m)
                        for m in entry["models"]]  # fmt: skip
                parts = ("leads", "targets")
                key = (entry["region"], entry["start"], *(tuple(entry.get(n, ())) for n in parts))
                found.setdefault(key, []).append(_Kept(folder, place, label, entry, kept))
    for group in found.values():
        if any(part.entry["others"] != group[0].entry["others"] for part in group):
            group[0] = replace(group[0], entry={**group[0].entry, "others": ()})
        models: dict[str, _Model] = {}
        for part in group:
            for model in part.models:
                if model.name.partition(MEMBER)[0] in shown or model.name in shown:
                    models.setdefault(model.name, model)
        with told_if_damaged(group[0].folder):
            yield _strip(group[0], sorted(models.values(), key=_order(shown)), simulated=simulated)


@dataclass(frozen=True)
class _Model:
    place: Path
    name: str
    entry: Mapping[str, Any]


@dataclass(frozen=True)
class _Kept:
    """What one run kept of one region."""

    folder: Path
    place: Path
    label: str
    entry: Mapping[str, Any]
    models: Sequence[_Model]


def page_name(model: str, names: Mapping[str, str]) -> str:
    """Return the name on the page of a model or a member, from those of the run's models."""
    base, member, number = model.partition(MEMBER)
    return names.get(model, names.get(base, base) + member + number)


def _order(shown: Sequence[str]) -> Callable[[_Model], tuple[int, int]]:
    def place(model: _Model) -> tuple[int, int]:
        base, _, number = model.name.partition(MEMBER)
        return shown.index(base if base in shown else model.name), int(number or -1)

    return place


def entries(folder: Path) -> Iterator[tuple[Path, str, Mapping[str, Any]]]:
    """Yield (viewer folder, what its errors are, entry) of a run folder; none without pictures.

    An entry has the bands that are drawn as ``drawn``, and the others as ``others``.
    """
    index = _index(folder)
    if not index.is_file():
        return
    text = read_json(index, remedy="Run it again")
    if text.get("schema") != SCHEMA:
        raise SchemaError(
            f"reading the pictures {index}",
            f"they have schema {text.get('schema')!r}, this version reads {SCHEMA}",
            "Run it again",
        )
    for entry in text["entries"]:
        bands = {name: text.get(name, ()) for name in ("drawn", "others")}
        yield index.parent, str(text.get("error", "error")), {**entry, **bands}


def _index(folder: Path) -> Path:
    return folder / "viewer" / "index.json"


@contextmanager
def told_if_damaged(folder: Path) -> Iterator[None]:
    """Turn whatever a damaged viewer folder causes into one clear error."""
    try:
        yield
    except (KeyError, TypeError, ValueError, AttributeError, OSError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(
            f"reading the pictures {_index(folder)}", f"they are damaged ({error})", "Run it again"
        ) from error


def _strip(kept: _Kept, models: Sequence[_Model], *, simulated: bool) -> Strip:
    entry, folder = kept.entry, kept.place
    leads = tuple(int(lead) for lead in entry["leads"])
    truth = frames_of(folder, entry["truth"], len(leads))
    valid = load(folder, entry["valid"]).astype(bool) if entry.get("valid") else None
    rows = [_row("truth", "truth", truth, valid, simulated=simulated)]
    errors: list[tuple[str, Array]] = []
    for model in models:
        item, place = model.entry, model.place
        prediction = frames_of(place, item["prediction"], len(leads))
        rows.append(
            _row(model.name, "prediction", prediction, None, simulated=simulated, model=model.name)
        )
        if item.get("error"):
            errors.append((model.name, load(place, item["error"]).astype(np.float32)))
    top = error_top([values for _, values in errors])
    for name, values in errors:
        coloured = np.stack([colour(frame, top) for frame in values])
        rows.append(
            _row(f"{name}, error", "error", coloured, None, simulated=simulated, model=name)
        )
    if valid is not None:
        white = np.where(valid[..., None], 235, 35).astype(np.uint8).repeat(3, axis=-1)
        rows.append(_row("mask (light: scored)", "mask", white, None, simulated=simulated))
    context = None
    if entry.get("context"):
        frame = load(folder, entry["context"])
        context = link(_finish(frame if frame.ndim == 3 else frame[-1], simulated=simulated))
    inputs = tuple(
        (str(item["sensor"]), str(item["date"]),
         link(_finish(load(folder, item["picture"]), simulated=simulated)))
        for item in entry.get("inputs", ())
    )  # fmt: skip
    targets = tuple(str(target) for target in entry.get("targets", ()))
    word = link(covered(truth[0].shape)) if simulated else ""
    bands = _other_bands(kept, models, valid, simulated=simulated)
    return Strip(
        str(entry["region"]), str(entry["start"]), leads, targets, tuple(rows), context,
        kept.label, top, tuple(str(band) for band in entry["drawn"]), word, inputs,
        tuple(str(band) for band in entry["others"]) if bands else (), bands,
        worst(errors[0][1]) if errors else None,
    )  # fmt: skip


def _other_bands(
    kept: _Kept, models: Sequence[_Model], valid: Array | None, *, simulated: bool
) -> dict[str, list[list[str]]]:
    """Return the pictures of the other bands; empty if truth or a model was kept without them."""
    entry, key = kept.entry, "prediction_others"
    leads, count = len(entry["leads"]), len(entry["others"])
    if not count or not all("truth_others" in entry and key in model.entry for model in models):
        return {}

    def links(folder: Path, name: str, mask: Array | None = None) -> list[list[str]]:
        frames = load(folder, name)
        frames = frames if frames.ndim == 4 else frames[None]
        if frames.dtype != np.uint8 or len(frames) not in (1, leads) or frames.shape[1] != count:
            raise InputError(
                f"reading the picture {name}",
                f"it is {frames.dtype} {frames.shape}, not uint8 (leads={leads}, {count}, H, W)",
                "Run it again",
            )
        grey = [np.repeat(band[..., None], 3, -1) for frame in frames for band in frame]
        if mask is not None:
            grey = [hatched(band, mask[i // count]) for i, band in enumerate(grey)]
        shown = [link(_finish(band, simulated=simulated)) for band in grey]
        return [shown[i : i + count] for i in range(0, len(shown), count)]

    found = {"truth/": links(kept.place, entry["truth_others"], valid)}
    found |= {f"prediction/{m.name}": links(m.place, m.entry[key]) for m in models}
    if "context_others" in entry:
        found["context/"] = links(kept.place, entry["context_others"])
    inputs = [item.get("picture_others") for item in entry.get("inputs", ())]
    found["inputs/"] = [links(kept.place, name)[0] if name else [] for name in inputs]
    return found


def load(folder: Path, name: str) -> Array:
    """Read one file of a viewer folder, from nowhere else."""
    path = (folder / name).resolve()
    if folder.resolve() not in path.parents:
        raise InputError(f"reading the picture {name}", "it lies outside the run", "Run it again")
    array: Array = np.load(path, allow_pickle=False)
    return array


def frames_of(folder: Path, name: str, leads: int) -> Image:
    """Read pictures (leads, H, W, 3) uint8."""
    frames = load(folder, name)
    if frames.dtype != np.uint8 or frames.ndim != 4 or frames.shape[::3] != (leads, 3):
        raise InputError(
            f"reading the picture {name}",
            f"it is {frames.dtype} {frames.shape}, not uint8 (leads={leads}, H, W, 3)",
            "Run it again",
        )
    return frames


def _row(
    name: str, kind: str, frames: Image, valid: Array | None, *, simulated: bool, model: str = ""
) -> Row:
    pictures = []
    for number, frame in enumerate(frames):
        shown = frame if valid is None else hatched(frame, valid[number])
        pictures.append(link(_finish(shown, simulated=simulated)))
    return Row(name, kind, tuple(pictures), model)


def hatched(frame: Image, valid: Array) -> Image:
    """Draw grey stripes where there is no truth, so that no colour is taken for data."""
    y, x = np.indices(valid.shape)
    stripes = np.where(((x + y) // 3) % 2 == 0, 150, 110).astype(np.uint8)
    shown: Image = np.where(valid[..., None], frame, stripes[..., None]).astype(np.uint8)
    return shown


def error_top(errors: Sequence[Array]) -> float:
    """Return the shared end of the error scale: the largest 99th percentile of any row."""
    tops = [float(np.nanpercentile(e, 99)) for e in errors if np.isfinite(e).any()]
    return max([*tops, 1e-6])


def colour(error: Array, top: float) -> Image:
    """Paint an error map, dark = 0, bright = ``top`` and above; masked pixels are grey."""
    share = np.clip(np.nan_to_num(error, nan=0.0) / top, 0.0, 1.0)
    steps = (share * (SHADES - 1)).round() * (255 / (SHADES - 1))
    painted = _ramp()[steps.astype(np.uint8)]
    return hatched(painted, np.isfinite(error))


@lru_cache(maxsize=2)
def _ramp(name: str = "inferno") -> Image:
    from matplotlib import colormaps

    return np.asarray(colormaps[name](np.arange(256), bytes=True))[:, :3].astype(np.uint8)


def ramp_link(name: str = "inferno") -> str:
    """Return a colour scale as a picture, 256 × 1: by default that of errors."""
    return link(_ramp(name)[None])


def _finish(frame: Image, *, simulated: bool) -> Image:
    step = -(-max(frame.shape[:2]) // LARGEST)
    small = np.ascontiguousarray(frame[::step, ::step])
    return burn(small, "simulated") if simulated else small


def burn(frame: Image, word: str) -> Image:
    """Write a word into the pixels of a picture, so that it stays when the picture is copied."""
    soft = _word(word, frame.shape[0], frame.shape[1])[..., None]
    mask = np.sign(soft) * (np.abs(soft) > 0.25)  # few colours, for a palette
    white = frame + (255.0 - frame) * 0.55 * np.clip(mask, 0, 1)
    burned: Image = np.clip(white * (1 - 0.45 * np.clip(-mask, 0, 1)), 0, 255).astype(np.uint8)
    return burned


def covered(shape: tuple[int, ...]) -> Image:
    """Return a picture that is white where a word covers pictures of frames of this shape."""
    plain = np.full((*shape[:2], 3), 128, np.uint8)
    changed = (_finish(plain, simulated=True) != 128).any(-1)
    return np.where(changed[..., None], 255, 0).astype(np.uint8).repeat(3, axis=-1)


@lru_cache(maxsize=16)
def _word(word: str, height: int, width: int) -> npt.NDArray[np.float32]:
    """Return a mask of the word along the lower edge: 1 in the letters, below 0 in their shadow."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    chart = Figure(figsize=(width / 100, height / 100), dpi=100)
    canvas: Any = FigureCanvasAgg(chart)
    size = max(min(width / (0.62 * len(word)), height / 3) * 0.9 * 72 / 100, 3.0)
    chart.text(0.5, 0.04, word, ha="center", va="bottom", fontsize=size, color="black", alpha=1)
    canvas.draw()
    rendered = np.asarray(canvas.buffer_rgba())[..., 0].astype(np.float32)
    letters = 1.0 - rendered[:height, :width] / 255.0
    shadow = np.roll(letters, (1, 1), axis=(0, 1))
    return np.where(letters > 0.05, letters, -shadow).astype(np.float32)


def link(image: Image) -> str:
    """Return a picture ``(H, W, 3)`` as a data link."""
    return "data:image/webp;base64," + base64.b64encode(webp(image)).decode()


def webp(image: Image) -> bytes:
    """Encode ``(H, W, 3)`` uint8 as lossless WebP (RFC 9649), which keeps every value."""
    from PIL import Image as Images

    data = io.BytesIO()
    Images.fromarray(image).save(data, "WEBP", lossless=True, method=2, quality=70)
    return data.getvalue()
