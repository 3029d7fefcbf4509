"""Predictions made elsewhere: the note beside them, arrays and GeoTIFFs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from random import Random

import numpy as np
import toys

from fuzz.damage import of_bytes, of_json
from fuzz.driver import Format, Subject
from rsbench.core.grid import Window
from rsbench.evaluation.submission_files import open_answers
from rsbench.evaluation.submissions import AnswerNote, ScoreOptions, _config, export_task
from rsbench.store.read import Store
from rsbench.tasks.base import Asked
from rsbench.tasks.config import EvaluationOptions
from rsbench.tasks.registry import task_of

SIZE = 256


def _damage(data: bytes, draw: Random) -> bytes:
    return of_json(data, draw) if data[:1] == b"{" else of_bytes(data, draw)


def _prepare(form: str) -> Callable[[Path], Subject]:
    def prepare(folder: Path) -> Subject:
        store = toys.write_store(
            folder / "store", regions=3, size=SIZE, years=3, bands=("B02", "B03"), floor=False
        )
        export_task(store, folder / "task", options=EvaluationOptions(horizon=1), form=form)
        place = folder / "task" / "predictions"
        note = place / "answer.json"
        note.write_text(note.read_text().replace("name-your-model", "own"))
        for item in _asked(store, place):
            _write(item, place, form)
        files = [note, *sorted(p for p in place.rglob("*") if p.suffix in (".npy", ".tif"))[:2]]
        return Subject(files, lambda: _read(store, place), _damage)

    return prepare


def _asked(store: Store, place: Path) -> list[Asked]:  # type: ignore[type-arg]
    config = _config(AnswerNote.load(place), store, place, ScoreOptions())
    return list(task_of(config).asked(config))


def _write(item: Asked, place: Path, form: str) -> None:  # type: ignore[type-arg]
    import rasterio

    values = np.random.default_rng(0).random((1, 2, SIZE, SIZE)).astype(np.float32)
    path = place / item.region / f"{item.name}.npy"
    path.parent.mkdir(exist_ok=True)
    if form == "npy":
        np.save(path, values)
        return
    for day in item.targets:
        path = place / item.region / item.name / f"{day}.tif"
        path.parent.mkdir(exist_ok=True)
        with rasterio.open(
            path, "w", driver="GTiff", dtype="float32", count=2, height=SIZE, width=SIZE,
            crs=item.grid.crs, transform=rasterio.Affine(*item.grid.transform),
        ) as file:  # fmt: skip
            file.write(values[0])


def _read(store: Store, place: Path) -> object:
    note = AnswerNote.load(place)
    asked = _asked(store, place)
    files = open_answers(note.format, place, note.bands)
    files.require(asked)
    first = asked[0]
    return note.model, note.preset, files.read(first, 0, Window(0, 0, SIZE, SIZE))


FORMATS = (
    Format("answers as arrays", _prepare("npy"), 150),
    Format("answers as GeoTIFF", _prepare("geotiff"), 100),
)
