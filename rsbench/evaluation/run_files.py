"""The files of a run: ``run.json`` with the digests of the tables, and the tables as parquet."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from rsbench.core.digest import SEAL, is_intact, sealed, sha256_file
from rsbench.core.errors import InputError, first_line, other_schema
from rsbench.core.file_lock import is_empty_folder
from rsbench.core.io import atomic_file, read_json, write_atomic

SCHEMA = 1
RUN = "run.json"
UNITS = "scores.parquet"
PARTS = ("sets", "pixels", "counts")
"""Names of the tables beside ``scores`` that a run may have."""
DIGESTS = "files"
"""Key of ``run.json``: file name → SHA-256. Earlier versions wrote none."""
TABLE_AGAIN = "rsbench table RUN --csv, where RUN is the folder of its run, made again"
"""Remedy for a file of a run that does not state the command that made it."""


def write_run(folder: Path, run: Mapping[str, Any], frames: Mapping[str, pd.DataFrame]) -> None:
    """Write tables by name, and last ``run.json`` with their digests and its own."""
    for name, frame in frames.items():
        write_parquet(frame, folder / f"{name}.parquet")
    files = {f"{name}.parquet": sha256_file(folder / f"{name}.parquet") for name in frames}
    value = sealed({**run, DIGESTS: files})
    text = json.dumps(value, indent=1, sort_keys=True, allow_nan=False)
    write_atomic(folder / RUN, text + "\n")


def read_run(folder: Path) -> dict[str, Any]:
    """Return the content of ``run.json``.

    Raises:
        InputError: if the folder holds no run, or the file cannot be read.
    """
    asked = f"reading the run {folder}"
    for name in (RUN, UNITS):
        if not (folder / name).is_file():
            there = "it is empty" if is_empty_folder(folder) else f"there is no {name} in it"
            found = there if folder.is_dir() else "there is no such folder"
            raise InputError(asked, found, "Name a folder written by `rsbench run --out`")
    return read_json(folder / RUN, asked, again_into(folder))


def unsealed(value: Mapping[str, Any]) -> dict[str, Any]:
    """Return the content of ``run.json`` without digests."""
    return {name: item for name, item in value.items() if name not in (SEAL, DIGESTS)}


def require_intact(folder: Path, value: Mapping[str, Any]) -> None:
    """Raise InputError if ``run.json`` has a digest and is not as it was written."""
    if (SEAL in value or DIGESTS in value) and not is_intact(value):
        found = f"{RUN} is damaged: it was changed after it was written"
        raise InputError(f"reading the run {folder}", found, again_into(folder))


def read_frames(folder: Path, value: Mapping[str, Any]) -> dict[str, pd.DataFrame]:
    """Return the tables of a run by name.

    Args:
        value: content of ``run.json``; only the files that it lists are of this run.

    Raises:
        InputError: if a file is absent, or is not the one that was written.
    """
    require_intact(folder, value)
    digests = value.get(DIGESTS)
    names = [UNITS, *(f"{n}.parquet" for n in PARTS if (folder / f"{n}.parquet").is_file())]
    known = {UNITS, *(f"{name}.parquet" for name in PARTS)}
    for name, digest in () if digests is None else digests.items():
        path = folder / name
        if not (name in known and path.is_file() and sha256_file(path) == digest):
            found = f"{name} is cut short, damaged or absent"
            raise InputError(f"reading the run {folder}", found, again_into(folder))
    return {Path(name).stem: read_parquet(folder / name) for name in digests or names}


def again_into(folder: Path) -> str:
    """Return the remedy for a run folder with a damaged file."""
    return f"Copy {folder} again, or remove it and run it again"


def write_parquet(values: pd.DataFrame, path: Path) -> None:
    """Write a parquet file with the schema in its metadata."""
    frame = pa.Table.from_pandas(values, preserve_index=False)
    metadata = {**(frame.schema.metadata or {}), b"rsbench.schema": str(SCHEMA).encode()}
    frame = frame.replace_schema_metadata(metadata)
    with atomic_file(path) as temporary:
        pq.write_table(frame, temporary, write_page_checksum=True)


def read_parquet(path: Path) -> pd.DataFrame:
    """Read a parquet file of this package, of this schema only.

    Raises:
        InputError: if it cannot be read; checksums of its pages are compared where it has them.
        SchemaError: if it was written under another schema.
    """
    asked = f"reading {path}"
    try:
        frame = pq.read_table(path, page_checksum_verification=True)
        found = (frame.schema.metadata or {}).get(b"rsbench.schema")
        if found is None or found == str(SCHEMA).encode():
            return cast(pd.DataFrame, frame.to_pandas())
    except Exception as error:  # whatever the decoder meets in a damaged file
        what = f"the file is cut short or no parquet ({first_line(error)})"
        raise InputError(asked, what, "Copy the file again, or make its run again") from error
    stated = int(found) if found.isdigit() else found.decode(errors="replace")
    raise other_schema(asked, stated, SCHEMA, TABLE_AGAIN)
