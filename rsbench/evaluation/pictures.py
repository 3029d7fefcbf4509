"""Images of a run for the report: truth, predictions and errors of a few samples.

``display@1`` of reflectance ρ is ``clip(ρ / 0.6, 0, 1) ** (1 / 2.2)`` on red, green and blue;
other units are scaled by the dataset's value range. Bands that are not drawn are kept in the same
way, one by one. Files are ``.npy`` without pickles.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from rsbench.core.band_colours import FALSE_COLOUR, TRUE_COLOUR, bands_of
from rsbench.core.class_colours import class_colours
from rsbench.core.dates import date_of, day_number
from rsbench.core.io import atomic_file, write_atomic, write_npy
from rsbench.metrics.rgb import GAMMA, WHITE
from rsbench.store.layout import SHARE

if TYPE_CHECKING:
    from torch import Tensor

    from rsbench.evaluation.entries import ModelEntry
    from rsbench.models.api import Frames
    from rsbench.store.layout import SensorMeta
    from rsbench.tasks.base import Case

SCHEMA = 1
INDEX = "index.json"
ROLES = ("model", "trivial", "oracle")
MOST_INPUTS = 6
"""More frames given for one target date are shown by one of them only."""
MOST_OTHERS = 6
"""Most bands that are kept beside the drawn ones, near infrared first."""
Array = npt.NDArray[Any]


def display(values: Array, unit: str, value_range: tuple[float, float]) -> npt.NDArray[np.uint8]:
    """Return ``(3|1, H, W)`` values as a picture ``(H, W, 3)`` uint8.

    Shares of classes ``(K, H, W)`` become the colour of the largest.
    """
    if unit == SHARE:
        coloured: npt.NDArray[np.uint8] = class_colours(len(values))[values.argmax(0)]
        return coloured
    picture = _coded(values, unit, value_range).transpose(1, 2, 0)
    return picture if picture.shape[2] == 3 else np.repeat(picture[..., :1], 3, axis=2)


def _coded(values: Array, unit: str, value_range: tuple[float, float]) -> npt.NDArray[np.uint8]:
    """Return values as 8-bit brightness, band by band."""
    if unit == "reflectance":
        shown = np.clip(values / WHITE, 0.0, 1.0) ** (1.0 / GAMMA)
    else:
        low, high = value_range
        shown = np.clip((values - low) / (high - low), 0.0, 1.0)
    return np.round(shown * 255).astype(np.uint8)


@dataclass
class _Frame:
    """A picture ``(H, W, 3)``, and the bands that it does not show ``(n, H, W)``; both uint8."""

    picture: Array
    others: Array | None


@dataclass
class _Sample:
    region: str
    key: str
    start: str
    targets: list[str]
    truth: list[_Frame]
    valid: list[Array]
    context: _Frame
    inputs: list[tuple[str, str, _Frame]]
    predictions: dict[tuple[str, str], list[_Frame]] = field(default_factory=dict)
    errors: dict[tuple[str, str], list[Array]] = field(default_factory=dict)


class Viewer:
    """Keeps the first window of each region's first matched start.

    Args:
        folder: where images are written.
        meta: what is predicted.
        bands: bands of the case, along C.
        sensors: those of the store, by name, of which frames are given.
        keep: ``none``, ``viewer`` or ``all``; the images are the same for the last two.
        regions: at most so many regions.
    """

    def __init__(
        self, folder: Path, meta: SensorMeta, bands: tuple[str, ...], *, keep: str,
        sensors: Mapping[str, SensorMeta] | None = None, regions: int = 6,
    ) -> None:  # fmt: skip
        self._folder = folder
        self._meta = meta
        self._bands = bands
        self._sensors = sensors or {}
        self._limit = 0 if keep == "none" else regions
        self._samples: dict[str, _Sample] = {}
        self._drawn = drawn(bands, meta.display) if meta.unit != SHARE else ()
        self._others = others(bands, self._drawn) if meta.unit != SHARE else ()

    def add(self, entry: ModelEntry, case: Case, lead: int, values: Tensor) -> None:
        """Keep the images of one lead of one batch that the report shows."""
        if entry.role not in ROLES:
            return
        for b, sample in enumerate(case.samples):
            if case.curves[b][0] not in ("starts", "both"):
                continue
            kept = self._samples.get(sample.region) or self._begin(case, b)
            if kept is None or not self._shows(kept, case, b):
                continue
            key = (entry.model, entry.preset)
            answer, truth = values[b].numpy(), case.truth[b, lead - 1].numpy()
            valid = case.valid[b, lead - 1, 0].numpy()
            error = np.where(valid, np.abs(answer - truth).mean(axis=0), np.nan)
            kept.predictions.setdefault(key, []).append(self._frame(answer, case.want.bands))
            kept.errors.setdefault(key, []).append(error.astype(np.float16))

    __call__ = add

    def wants(self, case: Case) -> bool:
        """Return whether a case has a sample that is shown."""
        kept = [self._samples.get(sample.region) for sample in case.samples]
        return any(one is not None and self._shows(one, case, b) for b, one in enumerate(kept))

    @staticmethod
    def _shows(kept: _Sample, case: Case, b: int) -> bool:
        """Return whether a sample of a batch is the one that is kept of its region."""
        sample = case.samples[b]
        own = (sample.key, case.starts[b].isoformat(), [t.isoformat() for t in case.targets[b]])
        at = (sample.window.y, sample.window.x)
        return at == (0, 0) and own == (kept.key, kept.start, kept.targets)

    def _begin(self, case: Case, b: int) -> _Sample | None:
        sample = case.samples[b]
        if len(self._samples) >= self._limit or (sample.window.y, sample.window.x) != (0, 0):
            return None
        name, frames = _shown_frames(case)
        inputs = self._sensors.get(name, self._meta)
        kept = _Sample(
            region=sample.region, key=sample.key, start=case.starts[b].isoformat(),
            targets=[t.isoformat() for t in case.targets[b]],
            truth=[self._frame(frame.numpy(), case.want.bands) for frame in case.truth[b]],
            valid=[mask[0].numpy() for mask in case.valid[b]],
            context=self._frame(
                frames.values[b, 0, self._shown(case, b)].numpy(), frames.bands,
                replace(inputs, unit=SHARE) if frames.unit == SHARE else inputs,
            ),
            inputs=self._inputs(case, b),
        )  # fmt: skip
        self._samples[sample.region] = kept
        return kept

    def _inputs(self, case: Case, b: int) -> list[tuple[str, str, _Frame]]:
        """Return (sensor, ISO date, picture) of the frames given for a single target date.

        A series of context frames has none: it is shown by its last frame.
        """
        if len(case.targets[b]) > 1:
            return []
        found = []
        for name, frames in case.given.frames.items():
            meta = self._sensors.get(name, self._meta)
            meta = replace(meta, unit=SHARE) if frames.unit == SHARE else meta
            for t, day in enumerate(frames.times[b].tolist()):
                shown = self._frame(frames.values[b, 0, t].numpy(), frames.bands, meta)
                found.append((name, date_of(day).isoformat(), shown))
        return found if 1 < len(found) <= MOST_INPUTS else []

    @staticmethod
    def _shown(case: Case, b: int) -> int:
        """Return the index of the start's frame: the last of a context, the first of pairs."""
        times = _shown_frames(case)[1].times[b].tolist()
        return times.index(day_number(case.starts[b]))

    def _frame(self, values: Array, bands: Sequence[str], meta: SensorMeta | None = None) -> _Frame:
        """Return ``(C, H, W)`` as a picture and its other bands, None where one is not there."""
        meta = meta or self._meta
        picture = _picture(values, bands, meta)
        if meta.unit == SHARE or not self._others or not set(self._others) <= set(bands):
            return _Frame(picture, None)
        index = [list(bands).index(band) for band in self._others]
        return _Frame(picture, _coded(values[index], meta.unit, meta.value_range))

    def close(self) -> None:
        """Write the images and, last, their index."""
        if not self._samples:
            return
        self._folder.mkdir(parents=True, exist_ok=True)
        entries = [self._entry(kept) for kept in self._samples.values()]
        error = f"mean |error|, {self._meta.unit}"
        text = {"schema": SCHEMA, "error": error, "drawn": self._drawn, "others": self._others,
                "entries": entries}  # fmt: skip
        write_atomic(self._folder / INDEX, json.dumps(text))

    def _entry(self, kept: _Sample) -> dict[str, Any]:
        return {
            "region": kept.region,
            "start": kept.start,
            "leads": list(range(1, len(kept.targets) + 1)),
            "targets": kept.targets,
            **self._save_frames("truth", f"{kept.region}-truth", kept.truth),
            **self._save_frames("context", f"{kept.region}-context", kept.context),
            "valid": self._save(f"{kept.region}-valid", np.stack(kept.valid)),
            "inputs": [
                {"sensor": name, "date": day,
                 **self._save_frames("picture", f"{kept.region}-in{n}", shown)}
                for n, (name, day, shown) in enumerate(kept.inputs)
            ],
            "models": [
                {
                    "model": model,
                    "preset": preset,
                    **self._save_frames("prediction", f"{kept.region}-{number}", frames),
                    "error": self._save(
                        f"{kept.region}-{number}-error", np.stack(kept.errors[model, preset])
                    ),
                }
                for number, ((model, preset), frames) in enumerate(kept.predictions.items())
            ],
        }  # fmt: skip

    def _save_frames(self, key: str, name: str, frames: _Frame | list[_Frame]) -> dict[str, str]:
        """Save the pictures of one frame or one per lead as ``key``, their other bands as well."""
        several = frames if isinstance(frames, list) else [frames]
        parts = {key: [one.picture for one in several]}
        bands = [one.others for one in several if one.others is not None]
        parts |= {f"{key}_others": bands} if bands else {}
        return {
            part: self._save(
                name + part.removeprefix(key), np.stack(kept) if several is frames else kept[0]
            )
            for part, kept in parts.items()
        }

    def _save(self, name: str, array: Array) -> str:
        with atomic_file(self._folder / f"{name}.npy") as temporary:
            write_npy(temporary, array)
        return f"{name}.npy"


def joined_viewers(folders: Sequence[Path], target: Path, regions: int) -> None:
    """Write the images of the first regions that several viewers kept, in order, into a folder."""
    there = [folder for folder in folders if (folder / INDEX).is_file()]
    indices = [json.loads((folder / INDEX).read_text("utf-8")) for folder in there]
    entries = [
        (folder, entry)
        for folder, index in zip(there, indices, strict=True)
        for entry in index["entries"]
    ][:regions]
    if not entries:
        return
    target.mkdir(parents=True, exist_ok=True)
    for folder, entry in entries:
        for name in _files(entry):
            shutil.copyfile(folder / name, target / name)
    write_atomic(
        target / INDEX, json.dumps({**indices[0], "entries": [entry for _, entry in entries]})
    )


def _files(entry: Any) -> Iterator[str]:
    """Yield the names of the files that an entry of an index states."""
    if isinstance(entry, str):
        yield from [entry] if entry.endswith(".npy") else []
        return
    for part in entry.values() if isinstance(entry, dict) else entry:
        if isinstance(part, str | list | dict):
            yield from _files(part)


def _shown_frames(case: Case) -> tuple[str, Frames]:
    """Return name and frames of the wanted sensor, or of the sensor given where it is another."""
    frames = case.given.frames
    wanted = case.want.sensor
    return (wanted, frames[wanted]) if wanted in frames else next(iter(frames.items()))


def _picture(values: Array, bands: Sequence[str], meta: SensorMeta) -> npt.NDArray[np.uint8]:
    """Return ``(C, H, W)`` as a picture; of images the bands that are drawn."""
    if meta.unit == SHARE:
        return display(values, meta.unit, meta.value_range)
    index = [list(bands).index(band) for band in drawn(bands, meta.display)]
    return display(values[index], meta.unit, meta.value_range)


def others(bands: Sequence[str], shown: Sequence[str]) -> tuple[str, ...]:
    """Return the bands that are kept beside those shown, in their order, near infrared first."""
    nir = bands_of(bands, ("nir",)) or ()
    left = [band for band in dict.fromkeys((*nir, *bands)) if band not in shown]
    return tuple(left[:MOST_OTHERS])


def drawn(bands: Sequence[str], display: Sequence[str] | None) -> tuple[str, ...]:
    """Return the three bands drawn as red, green and blue, or the one drawn in grey.

    The display bands of a store; without them true or false colour by the names of the bands, else
    the first band. Imports of earlier versions stated the first three bands as display bands where
    their names were others: false colour is then drawn if the names say which bands it takes.
    """
    by_name = bands_of(bands, TRUE_COLOUR) or bands_of(bands, FALSE_COLOUR)
    stated = tuple(display) if display and set(display) <= set(bands) else None
    if stated is None or (by_name is not None and stated == tuple(bands[:3])):
        return by_name or tuple(bands[:1])
    return stated
