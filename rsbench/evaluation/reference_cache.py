"""Scores of reference models and bounds, computed once and reused by runs of equal configuration.

One folder ``references/DIGEST`` in the cache holds the sums of one configuration, in the files of a
run. It is written under a temporary name and renamed. What is damaged, or is of another
configuration, is not read.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import pandas as pd
import torch

from rsbench.core.digest import canonical_json, sha256_json
from rsbench.core.errors import RsbenchError, first_line
from rsbench.core.io import replace_directory, temporary_directory
from rsbench.core.paths import cache_dir, cache_errors
from rsbench.core.provenance import provenance
from rsbench.core.source import source_digest
from rsbench.evaluation.reference_models import ReferenceEntries, Selection
from rsbench.evaluation.run_files import RUN, read_frames, read_run, write_run
from rsbench.evaluation.strata import ADDED, INPUT_VALID
from rsbench.evaluation.unit_table import KEYS, PIXEL_COLUMNS, PIXEL_KEYS, SUMS
from rsbench.metrics.registry import imported, info
from rsbench.models.checkpoint import plain_options
from rsbench.tasks.config import BATCH, Note
from rsbench.tasks.registry import task_of

if TYPE_CHECKING:
    from rsbench.evaluation.loop import Tally
    from rsbench.metrics.metric import MetricInfo
    from rsbench.tasks.config import EvaluationConfig

SCHEMA = "rsbench.references@1"
PART = "references"
_UNIT = [*KEYS, *ADDED]


@dataclass(frozen=True)
class KeptReferences:
    """Sums of reference models and bounds as they were read, and the reference of skill."""

    frames: Mapping[str, pd.DataFrame]
    counts: Sequence[tuple[str, str, str, int]]
    selection: Selection

    def add_to(self, tally: Tally) -> None:
        """Add the sums to those of other entries."""
        for row in self.frames["scores"].itertuples(index=False, name=None):
            tally.sums[row[: len(_UNIT)]] = list(row[len(_UNIT) :])
        for row in self.frames["pixels"].itertuples(index=False, name=None):
            tally.pixels[row[: len(PIXEL_KEYS)]] = list(row[len(PIXEL_KEYS) :])
        for *key, number in self.counts:
            tally.counts[cast("tuple[str, str, str]", tuple(key))] = number
        if tally.pooled is not None:
            tally.pooled.add_frame(self.frames["counts"])
        if tally.sets is not None:
            tally.sets.add_state(self.frames["sets"])


@dataclass(frozen=True)
class ReferenceCache:
    """The cached scores of the reference models of one configuration.

    Args:
        about: everything that the scores depend on, as a JSON value.
        place: folder of a copy; None for the folder in the cache.
    """

    about: Mapping[str, Any]
    place: Path | None = None

    @classmethod
    def of(
        cls, config: EvaluationConfig, references: ReferenceEntries, networks: Mapping[str, Any]
    ) -> ReferenceCache | None:
        """Return the cache of a configuration; None where the source of a part is in no file.

        Args:
            networks: weight files that the metrics use, with their digests.
        """
        own = task_of(config)
        functions = [
            imported(name) for metric in config.metrics for name in _functions(info(metric))
        ]
        code = source_digest([cls, type(own), *references.kinds, *functions])
        about = {
            "schema": SCHEMA, "code": code, "dataset": config.store.digest,
            "protocol": config.protocol.model_dump(mode="json"), "split": config.split,
            "context": config.context, "horizon": config.horizon, "sensor": config.sensor,
            "bands": config.bands, "metrics": config.metrics, "members": config.members,
            "entries": [[entry.model, entry.preset] for entry in references.entries],
            "options": plain_options(own.model_options(config)), "weights": references.weights,
            "networks": networks, "computed": _computed(config),
            **({"batch": config.batch_samples} if config.batch_samples != BATCH else {}),
        }  # fmt: skip
        return None if code is None else cls(json.loads(canonical_json(about)))

    @property
    def name(self) -> str:
        """Path of the folder in the cache."""
        return f"{PART}/{sha256_json(self.about)[:32]}"

    @property
    def folder(self) -> Path:
        """Folder of the scores."""
        return self.place or cache_dir(self.name)

    def read(self, note: Note) -> KeptReferences | None:
        """Return what is cached; None where nothing is, or where it is damaged, which is noted."""
        if not (self.folder / RUN).is_file():
            return None
        try:
            value = read_run(self.folder)
            if value["about"] != self.about:
                raise ValueError("they are of another configuration")
            counts = [tuple(row) for row in value["counts"]]
            frames = read_frames(self.folder, value)
            return KeptReferences(frames, counts, Selection(**value["selection"]))
        except (RsbenchError, KeyError, TypeError, ValueError, OSError) as error:
            why = error.found if isinstance(error, RsbenchError) else first_line(error)
            note(f"cached reference entries are computed again: {self.folder}: {why}")
            return None

    def write(
        self, tally: Tally, models: Collection[str], selection: Selection, note: Note
    ) -> None:
        """Keep the sums of some entries; a cache that cannot be written is noted."""
        counts = [[*key, number] for key, number in tally.counts.items() if key[0] in models]
        value = {"about": self.about, "counts": counts, "selection": asdict(selection)}
        try:
            with cache_errors(self.folder), temporary_directory(self.folder) as folder:
                write_run(folder, value, _frames(tally, models))
                replace_directory(folder, self.folder)
        except RsbenchError as error:
            why = error.found.partition(" (")[0]
            note(f"the reference entries are not kept in {self.folder}: {why}")


def _functions(metric: MetricInfo) -> list[str]:
    """Return the functions of a metric as ``package.module:function``."""
    named = (metric.function, metric.pixel_error, metric.statistic, metric.features)
    return [name for name in named if name and ":" in name]


def _computed(config: EvaluationConfig) -> dict[str, Any]:
    """Return machine, libraries and settings on which the bits of a score can depend.

    Of a device, its name and not its number.
    """
    device, precision = str(config.device), config.precision
    return {
        **provenance(device=device, precision=precision, seed=config.seed).to_json(),
        "device": config.device.type,
        "cpu": torch.backends.cpu.get_cpu_capability(),
        "products": torch.get_float32_matmul_precision(),
    }


def _frames(tally: Tally, models: Collection[str]) -> dict[str, pd.DataFrame]:
    """Return the sums of some entries as tables, each named as the table of a run like it."""
    sums = [(*key, *unit) for key, unit in tally.sums.items() if key[0] in models]
    pixels = [(*key, *unit) for key, unit in tally.pixels.items() if key[0] in models]
    frames = {
        "scores": pd.DataFrame(sums, columns=[*_UNIT, *SUMS, INPUT_VALID]),
        "pixels": pd.DataFrame(pixels, columns=PIXEL_COLUMNS),
    }
    if tally.pooled is not None:
        counts = tally.pooled.frame()
        frames["counts"] = counts[counts["model"].isin(models)]
    if tally.sets is not None:
        frames["sets"] = tally.sets.state(models)
    return frames
