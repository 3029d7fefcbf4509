"""A cache of predictions on disk.

The folder of a key has one ``.npy`` file per sample, ``(L, M, C, H, W)`` float32, followed by the
SHA-256 of its name and content. A file is written lead by lead under a temporary name and renamed
when complete. A damaged file is predicted again. Pickled data is never loaded.
"""

from __future__ import annotations

import hashlib
import io
import json
import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt
import torch

from rsbench.core.digest import canonical_json, is_intact, sealed, sha256_json
from rsbench.core.errors import InputError, unknown
from rsbench.core.io import disk_errors, read_json, replace_file, temporary_file, write_atomic
from rsbench.models.api import Card, Given, Model, Prediction, SampleRef, Want
from rsbench.models.rollout import roll

KEEP = ("none", "viewer", "all")
HEADER = 128
"""Bytes of a ``.npy`` header."""
FLOAT = 4
DIGEST = hashlib.sha256().digest_size
"""Bytes of the digest behind the array."""
ELSEWHERE = "set RSBENCH_CACHE to another folder, or add --keep-predictions viewer"
SCHEMA = "rsbench.predictions@2"
MADE = "made.json"
Array = npt.NDArray[np.float32]


@dataclass(frozen=True)
class PredictionKey:
    """Everything besides the sample that determines a prediction.

    Args:
        dataset: digest of the store.
        protocol: the protocol as JSON value, or its name.
        weights: digest of weights or fitted parameters; None if the model has none.
        code: version of the predicting code.
    """

    dataset: str
    protocol: Any
    split: str
    model: str
    preset: str
    seed: int
    precision: str
    members: int
    horizon: int
    context: int
    weights: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    code: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return the JSON form."""
        return {"schema": SCHEMA, **asdict(self), "options": dict(self.options)}

    @property
    def digest(self) -> str:
        """Hex SHA-256 of the JSON form."""
        return sha256_json(self.to_json())


class PredictionCache:
    """The cached predictions of one key.

    Args:
        root: folder of all cached predictions.
        key: what the predictions depend on.
        keep: ``none`` (no reading or writing), ``viewer`` (only chosen samples) or ``all``.
        chosen: returns whether the viewer shows a sample.
    """

    def __init__(
        self,
        root: Path,
        key: PredictionKey,
        *,
        keep: str = "viewer",
        chosen: Callable[[SampleRef], bool] | None = None,
    ) -> None:
        if keep not in KEEP:
            raise unknown("--keep-predictions", keep, KEEP)
        self.folder = root / key.digest[:32]
        self._key = key
        self._keep = keep
        self._chosen = chosen or (lambda sample: False)

    @property
    def made_on(self) -> str | None:
        """The device type of the cached predictions; None if there are none.

        Raises:
            InputError: if the note of it is damaged.
        """
        if not (self.folder / MADE).exists():
            return None
        remedy = f"Remove {self.folder}; its predictions are made again"
        value = read_json(self.folder / MADE, remedy=remedy)
        if not is_intact(value):
            raise InputError(f"reading {self.folder / MADE}", "it is damaged", remedy)
        return str(value["device"])

    def keeps(self, sample: SampleRef) -> bool:
        """Return whether the predictions of a sample are cached."""
        return self._keep == "all" or (self._keep == "viewer" and self._chosen(sample))

    def estimate(self, samples: Iterable[SampleRef], bands: int) -> int:
        """Return the size in bytes of the cached predictions of these samples."""
        values = self._key.horizon * self._key.members * bands
        return sum(
            HEADER + FLOAT * values * s.window.height * s.window.width + DIGEST
            for s in samples
            if self.keeps(s)
        )

    def path(self, sample: SampleRef, want: Want) -> Path:
        """Return the file of one sample, named by sample, window, bands and dates."""
        window = sample.window
        row = want.samples.index(sample)
        content = [sample.region, sample.key, window.y, window.x, window.height, window.width,
                   want.sensor, list(want.bands), want.times[row].tolist()]  # fmt: skip
        slug = re.sub(r"[^A-Za-z0-9_.-]+", "_", f"{sample.key}_{window.y}_{window.x}")
        return self.folder / f"{slug[:100]}-{sha256_json(content)[:16]}.npy"

    def read(self, sample: SampleRef, want: Want) -> Array | None:
        """Return ``(L, M, C, H, W)`` memory-mapped; None if the file is absent or damaged."""
        path, head = self.path(sample, want), _header(want)
        shape = _shape(want)
        size = len(head) + FLOAT * math.prod(shape)
        try:
            with path.open("rb") as file:
                if file.read(len(head)) != head or path.stat().st_size != size + DIGEST:
                    return None
            held = np.memmap(path, np.uint8, "r")
            if held[size:].tobytes() != _hasher(path, held[:size].data).digest():
                return None
            return np.memmap(path, np.dtype("<f4"), "r", len(head), shape)
        except OSError:
            return None

    def roll(
        self, model: Model, card: Card, given: Given, want: Want
    ) -> Iterator[tuple[int, Prediction]]:
        """Yield the leads of :func:`rsbench.models.rollout.roll`, from files if all exist.

        If a sample of a batch is absent, the whole batch is predicted, so that batches are equal
        in all runs. Files are written when the last lead is consumed, not before.

        Raises:
            InputError: if a sample is absent and cached ones were predicted on another device type.
        """
        with disk_errors(f"keeping predictions in {self.folder}", ELSEWHERE):
            yield from self._rolled(model, card, given, want)

    def _rolled(
        self, model: Model, card: Card, given: Given, want: Want
    ) -> Iterator[tuple[int, Prediction]]:
        kept = [row for row, sample in enumerate(want.samples) if self.keeps(sample)]
        found = [self.read(want.samples[row], want) for row in kept]
        if len(kept) == len(want.samples) and all(item is not None for item in found):
            yield from _from_files([item for item in found if item is not None], want)
            return
        with ExitStack() as stack:
            files = {
                row: stack.enter_context(
                    _pending(self.path(want.samples[row], want), _header(want))
                )
                for row, item in zip(kept, found, strict=True)
                if item is None
            }
            if files:
                self._describe(want.times.device.type)
            for lead, prediction in roll(model, card, given, want):
                for row, file in files.items():
                    file.write(prediction.values[row, :, 0].cpu().numpy())
                if lead == want.times.shape[1]:
                    for file in files.values():
                        file.commit()
                yield lead, prediction

    def _describe(self, device: str) -> None:
        made_on = self.made_on
        if made_on not in (None, device):
            raise InputError(
                f"predicting on {device}",
                f"the predictions in {self.folder} were made on {made_on}, and some are absent",
                f"Give --device {made_on}, or delete that folder",
            )
        notes = {"key.json": self._key.to_json(), MADE: sealed({"device": device})}
        for name, note in notes.items():
            if not (self.folder / name).exists():
                text = json.dumps(json.loads(canonical_json(note)), indent=2)
                write_atomic(self.folder / name, text)


@contextmanager
def _pending(target: Path, head: bytes) -> Iterator[_Pending]:
    """Yield an open temporary file with the header ``head``, removed unless committed."""
    with temporary_file(target) as temporary:
        file = temporary.open("wb")
        try:
            file.write(head)
            yield _Pending(target, temporary, file, _hasher(target, head))
        finally:
            # On a full disk, closing fails again; the first error is raised.
            with suppress(OSError):
                file.close()


@dataclass(frozen=True)
class _Pending:
    """A temporary file that is renamed to its target by ``commit``."""

    target: Path
    temporary: Path
    file: IO[bytes]
    hasher: hashlib._Hash

    def write(self, values: Array) -> None:
        content = np.ascontiguousarray(values, dtype="<f4").tobytes()
        self.file.write(content)
        self.hasher.update(content)

    def commit(self) -> None:
        self.file.write(self.hasher.digest())
        self.file.close()
        replace_file(self.temporary, self.target)


def _hasher(path: Path, content: Any) -> hashlib._Hash:
    """Return the SHA-256 of a file's name and of its content so far."""
    hasher = hashlib.sha256(f"{path.name}\n".encode())
    hasher.update(content)
    return hasher


def _shape(want: Want) -> tuple[int, ...]:
    return (want.times.shape[1], want.members, len(want.bands), *want.size)


def _header(want: Want) -> bytes:
    buffer = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        buffer, {"descr": "<f4", "fortran_order": False, "shape": _shape(want)}
    )
    return buffer.getvalue()


def _from_files(found: list[Array], want: Want) -> Iterator[tuple[int, Prediction]]:
    for index in range(want.times.shape[1]):
        values = np.stack([item[index] for item in found])[:, :, None]
        yield index + 1, Prediction(torch.from_numpy(values).to(want.times.device))
