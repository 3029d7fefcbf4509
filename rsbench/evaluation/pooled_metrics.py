"""Pooled metrics: counts per image are kept, added over the split, and evaluated once.

The interval of a pooled value is a jackknife over regions. Its pseudo-values stand in for the
regions' values wherever entries are compared: their mean is the pooled value, and a difference of
two entries is the mean of the differences of their pseudo-values (Miller 1974).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import numpy.typing as npt
import pandas as pd

from rsbench.evaluation import intervals as inference
from rsbench.evaluation import strata
from rsbench.metrics.registry import info

if TYPE_CHECKING:
    from torch import Tensor

    from rsbench.evaluation.entries import ModelEntry
    from rsbench.tasks.base import Case

F64 = npt.NDArray[np.float64]
ENTRY = ["model", "preset", "role"]
IMAGE = ["region", "start", "lead", "target", "y", "x"]
COUNT_COLUMNS = [*ENTRY, *IMAGE, "statistic", "shape", "place", "count"]
"""Columns of the counts: ``place`` is the position in the flattened statistic of ``shape``."""


@dataclass
class PooledMetricAccumulator:
    """Counts of every image, by entry and statistic.

    Args:
        metrics: ids of pooled metrics.
        value_range: the range of the data, for checks.
    """

    metrics: tuple[str, ...]
    value_range: tuple[float, float]
    _parts: list[pd.DataFrame] = field(default_factory=list)

    def add(
        self, entry: ModelEntry, case: Case, lead: int, answer: Tensor, truth: Tensor, valid: Tensor
    ) -> None:
        """Count one lead of one batch; an image without a valid pixel is left out."""
        import torch

        from rsbench.metrics.checks import check_pairs
        from rsbench.metrics.pooled import statistic

        counted = {str(info(metric).statistic): statistic(metric) for metric in self.metrics}
        pairs = check_pairs(answer, truth, valid, self.value_range, None)
        for name, function in counted.items():
            found = torch.cat([function(images) for images in pairs.chunks()]).numpy()
            self._parts += self._rows(entry, case, lead, name, found)

    def _rows(
        self, entry: ModelEntry, case: Case, lead: int, name: str, found: F64
    ) -> Iterator[pd.DataFrame]:
        shape = "×".join(map(str, found.shape[1:]))
        for b, counts in enumerate(found.reshape(len(found), -1)):
            (places,) = counts.nonzero()
            sample = case.samples[b]
            whose = (
                entry.model, entry.preset, entry.role, sample.region, case.starts[b].isoformat(),
                lead, case.targets[b][lead - 1].isoformat(), sample.window.y, sample.window.x,
                name, shape,
            )  # fmt: skip
            columns: dict[str, Any] = dict(zip(COUNT_COLUMNS[:11], whose, strict=True))
            yield pd.DataFrame({**columns, "place": places, "count": counts[places]})

    def frame(self) -> pd.DataFrame:
        """Return one row per image and position of a statistic whose count is not 0."""
        return pd.concat(self._parts, ignore_index=True) if self._parts else empty_counts()


def empty_counts() -> pd.DataFrame:
    """Return counts without a row."""
    return pd.DataFrame(columns=COUNT_COLUMNS)


@dataclass(frozen=True)
class Pooled:
    """A pooled value, and what it is without each region.

    Args:
        value: over all regions.
        regions: region → its pseudo-value; empty where any is undefined.
        images: region → number of its images.
    """

    value: float
    regions: Mapping[str, float]
    images: Mapping[str, int]


def pooled(
    counts: pd.DataFrame, metrics: Sequence[str], bands: Sequence[str], groups: Mapping[str, str]
) -> Iterator[tuple[dict[str, Any], Pooled]]:
    """Yield ``(columns, value)`` of every entry, lead, stratum, metric and class.

    Args:
        counts: as :meth:`PooledMetricAccumulator.frame` returns them.
        bands: names of the classes.
        groups: region → its stratum, for strata of regions; empty for the whole split.
    """
    from rsbench.metrics.class_values import evaluate

    for key, own in counts.groupby([*ENTRY, "lead"], sort=True):
        *entry, lead = cast("tuple[Any, ...]", key)
        for metric in metrics:
            images = _images(own[own["statistic"] == info(metric).statistic])
            for stratum in _strata(images, groups):
                chosen = {
                    name: stack
                    for name, stack in images.items()
                    if stratum == strata.HEADLINE or groups.get(name) == stratum
                }
                parts = [evaluate(metric, np.concatenate([*chosen.values()]))]
                names = sorted(chosen) if len(chosen) > 1 else []
                for gone in names:
                    left = [stack for name, stack in chosen.items() if name != gone]
                    parts.append(evaluate(metric, np.concatenate(left)))
                sizes = {name: len(stack) for name, stack in chosen.items()}
                common = {**dict(zip(ENTRY, entry, strict=True)), "lead": int(lead),
                          "metric": metric, strata.GROUP: stratum}  # fmt: skip
                for band, values in _bands(metric, parts, bands):
                    yield {**common, "band": band}, _pseudo(values, names, sizes)


def _images(counts: pd.DataFrame) -> dict[str, F64]:
    """Return region → the statistics (n, …) of its images, regions and images sorted."""
    found = {}
    for region, own in counts.groupby("region", sort=True):
        shape = tuple(int(side) for side in str(own["shape"].iloc[0]).split("×"))
        number = own.groupby(["start", "y", "x"], sort=True).ngroup().to_numpy()
        stack = np.zeros((int(number.max()) + 1, math.prod(shape)))
        stack[number, own["place"].to_numpy(dtype=int)] = own["count"].to_numpy(dtype=float)
        found[str(region)] = stack.reshape(len(stack), *shape)
    return found


def whole_table(counts: pd.DataFrame) -> F64:
    """Return the statistic of one entry, added over all images."""
    total: F64 = sum(stack.sum(axis=0) for stack in _images(counts).values())
    return total


def _strata(images: Mapping[str, F64], groups: Mapping[str, str]) -> list[str]:
    there = {groups[name] for name in images if groups.get(name)}
    return [strata.HEADLINE, *(sorted(there) if len(there) > 1 else [])]


def _bands(
    metric: str, parts: Sequence[Any], bands: Sequence[str]
) -> Iterator[tuple[str, list[float]]]:
    yield "all", [part.value for part in parts]
    if info(metric).per_band and parts[0].per_class is not None:
        for place, band in enumerate(bands):
            yield band, [float(part.per_class[place]) for part in parts]


def _pseudo(values: Sequence[float], names: Sequence[str], sizes: Mapping[str, int]) -> Pooled:
    """Return value and pseudo-values, moved so that their mean is the value."""
    value, leaves = values[0], np.array(values[1:])
    if not names or np.isnan([value, *leaves]).any():
        return Pooled(value, {}, sizes)
    apart = (len(names) - 1) * (leaves.mean() - leaves)
    pseudo = {name: float(value + d) for name, d in zip(names, apart, strict=True)}
    return Pooled(value, pseudo, sizes)


def pooled_tables(
    counts: pd.DataFrame, bands: Sequence[str], metrics: Sequence[str],
    groups: Mapping[str, Mapping[str, str]],
) -> tuple[pd.DataFrame, pd.DataFrame]:  # fmt: skip
    """Return cells of the tidy table, and rows of pseudo-values by region.

    Args:
        groups: name of a stratum of regions → region → its label.
    """
    cells: list[dict[str, Any]] = []
    rows: list[dict[str, Any]] = []
    every = [({}, False), *((labels, True) for labels in groups.values())]
    for labels, grouped in every:
        for columns, found in pooled(counts, metrics, bands, labels):
            if grouped == (columns[strata.GROUP] == strata.HEADLINE):
                continue
            cells.append(_cell(columns, found))
            for region, n in found.images.items():
                value = found.regions.get(region, math.nan)
                counted = {"region": region, "value": value, "n_samples": n, "n_missing": 0}
                rows.append({**columns, **counted})
    cell_columns = [*ENTRY[:2], "metric", "band", "lead", "stratum", "value", "lo", "hi",
                    "interval", "n_regions", "n_samples", "n_missing"]  # fmt: skip
    row_columns = [*ENTRY, "metric", "band", "lead", strata.GROUP, "region", "value",
                   "n_samples", "n_missing"]  # fmt: skip
    return pd.DataFrame(cells, columns=cell_columns), pd.DataFrame(rows, columns=row_columns)


def _cell(columns: Mapping[str, Any], found: Pooled) -> dict[str, Any]:
    pseudo = list(found.regions.values())
    n = len(pseudo)
    leaves = [(n * found.value - p) / (n - 1) for p in pseudo] if n > 1 else []
    bounds = inference.bounds_of(columns["metric"])
    spread = inference.jackknife(found.value, leaves, bounds=bounds) if leaves else None
    return {
        **{name: value for name, value in columns.items() if name not in ("role", strata.GROUP)},
        "stratum": columns[strata.GROUP],
        "value": found.value,
        "lo": spread.lo if spread else math.nan,
        "hi": spread.hi if spread else math.nan,
        "interval": spread.name if spread else inference.NONE,
        "n_regions": len(found.images),
        "n_samples": sum(found.images.values()),
        "n_missing": 0,
    }
