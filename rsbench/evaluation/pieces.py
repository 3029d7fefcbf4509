"""The sums of a block of regions as files, which other processes add up."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from rsbench.core.digest import is_intact, sealed, sha256_file
from rsbench.core.errors import InputError
from rsbench.core.io import read_json, write_atomic
from rsbench.evaluation.equal_answers import AnswerDigests
from rsbench.evaluation.loop import UNIT_COLUMNS, Tally
from rsbench.evaluation.run_files import read_parquet, write_parquet
from rsbench.evaluation.unit_table import PIXEL_COLUMNS, SUMS

NOTE = "piece.json"
SCHEMA = 1


@dataclass(frozen=True)
class Collected:
    """What is kept of the images of some regions: sums, counts and features, and digests.

    ``answers``: None in tasks whose predictions are not compared bit for bit.
    """

    tally: Tally
    answers: AnswerDigests | None

    def save(self, folder: Path, regions: tuple[str, ...]) -> None:
        """Write the piece of some regions into an empty folder."""
        tally = self.tally
        frames = {
            "units": _frame(tally.sums, UNIT_COLUMNS), "pixels": _frame(tally.pixels, PIXEL_COLUMNS)
        }  # fmt: skip
        if tally.pooled is not None:
            frames["counts"] = tally.pooled.frame()
        if tally.sets is not None:
            frames["sets"] = tally.sets.state()
        for name, frame in frames.items():
            write_parquet(frame, folder / f"{name}.parquet")
        files = {f"{name}.parquet": sha256_file(folder / f"{name}.parquet") for name in frames}
        note = {
            "schema": SCHEMA, "regions": list(regions), "files": files,
            "counts": [[*key, number] for key, number in tally.counts.items()],
            "answers": {} if self.answers is None else self.answers.by_region(),
        }  # fmt: skip
        write_atomic(folder / NOTE, json.dumps(sealed(note), indent=1, sort_keys=True))

    def add(self, folder: Path) -> None:
        """Add the piece in a folder, which :func:`is_whole`."""
        note, tally = read_json(folder / NOTE), self.tally
        frames = {Path(name).stem: read_parquet(folder / name) for name in note["files"]}
        tally.sums.update(_sums(frames["units"], UNIT_COLUMNS))
        tally.pixels.update(_sums(frames["pixels"], PIXEL_COLUMNS))
        if tally.pooled is not None:
            tally.pooled.add_frame(frames["counts"])
        if tally.sets is not None:
            tally.sets.add_state(frames["sets"])
        for model, metric, what, number in note["counts"]:
            key = (model, metric, what)
            tally.counts[key] = tally.counts.get(key, 0) + number
        if self.answers is not None:
            for name, own in note["answers"].items():
                self.answers.known.setdefault(name, {}).update(own)


def is_whole(folder: Path, regions: tuple[str, ...]) -> bool:
    """Return whether a folder holds the intact piece of these regions."""
    note: Mapping[str, Any] = {}
    with suppress(InputError, OSError):
        note = read_json(folder / NOTE)
    return (
        is_intact(note)
        and note.get("schema") == SCHEMA
        and note["regions"] == list(regions)
        and all(_is_file(folder / name, digest) for name, digest in note["files"].items())
    )


def _is_file(path: Path, digest: str) -> bool:
    return path.is_file() and sha256_file(path) == digest


def _frame(sums: Mapping[tuple[Any, ...], list[float]], columns: list[str]) -> pd.DataFrame:
    return pd.DataFrame([(*key, *unit) for key, unit in sums.items()], columns=columns)


def _sums(frame: pd.DataFrame, columns: list[str]) -> dict[tuple[Any, ...], list[float]]:
    """Return key → sums; the sums are the last columns, from the first of ``SUMS`` on."""
    keys = columns.index(SUMS[0])
    rows = zip(*(frame[name].tolist() for name in columns), strict=True)
    return {row[:keys]: list(row[keys:]) for row in rows}
