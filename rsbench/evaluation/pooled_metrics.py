"""Pooled metrics: counts per image are kept, added over the split, and evaluated once.

The interval of a pooled value is a jackknife over regions. Its pseudo-values stand in for the
regions' values wherever entries are compared: their mean is the pooled value, and a difference of
two entries is the mean of the differences of their pseudo-values (Miller 1974).
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import numpy.typing as npt
import pandas as pd

from rsbench.evaluation import intervals as inference
from rsbench.evaluation import strata
from rsbench.metrics.queries import needs_probabilities
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
        """Count one lead of one batch; an image without a valid pixel is left out.

        Of a map of classes only what needs no probabilities is counted.
        """
        import torch

        from rsbench.metrics.checks import check_pairs
        from rsbench.metrics.pooled import statistic

        metrics = [m for m in self.metrics if not (entry.class_map and needs_probabilities(m))]
        counted = {str(info(metric).statistic): statistic(metric) for metric in metrics}
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
        """Return one row per image and position of a statistic whose count is not 0.

        Rows are ordered by entry, and in an entry as they were added.
        """
        if not self._parts:
            return empty_counts()
        rows = pd.concat(self._parts, ignore_index=True)
        return rows.sort_values(ENTRY, kind="stable", ignore_index=True)

    def add_frame(self, counts: pd.DataFrame) -> None:
        """Add counts of other entries or images, as :meth:`frame` returns them."""
        if len(counts):
            self._parts.append(counts)


def empty_counts() -> pd.DataFrame:
    """Return counts without a row."""
    return pd.DataFrame(columns=COUNT_COLUMNS)


@dataclass(frozen=True)
class Pooled:
    """A pooled value, and what it is without each region.

    Args:
        value: over all regions.
        without: region → the value without it; empty where any value is undefined.
        images: region → number of its images.
    """

    value: float
    without: Mapping[str, float]
    images: Mapping[str, int]

    @property
    def regions(self) -> dict[str, float]:
        """Region → its pseudo-value, moved so that their mean is the value."""
        n = len(self.without)
        mean = math.fsum(self.without.values()) / n if n else math.nan
        return {name: self.value + (n - 1) * (mean - v) for name, v in self.without.items()}


def pooled(
    counts: pd.DataFrame, metrics: Sequence[str], bands: Sequence[str],
    subsets: Mapping[str, Collection[str]],
) -> Iterator[tuple[dict[str, Any], Pooled]]:  # fmt: skip
    """Yield ``(columns, value)`` of every entry, lead, subset, metric and class.

    Args:
        counts: as :meth:`PooledMetricAccumulator.frame` returns them.
        bands: names of the classes.
        subsets: name of a stratum → its regions.
    """
    for key, own in counts.groupby([*ENTRY, "lead"], sort=True):
        *entry, lead = cast("tuple[Any, ...]", key)
        common = {**dict(zip(ENTRY, entry, strict=True)), "lead": int(lead)}
        for metric in metrics:
            images = _images(own[own["statistic"] == info(metric).statistic])
            for stratum, regions in subsets.items():
                chosen = {name: stack for name, stack in images.items() if name in regions}
                if chosen:
                    columns = {**common, "metric": metric, strata.GROUP: stratum}
                    for band, found in _bands(metric, chosen, bands):
                        yield {**columns, "band": band}, found


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


def _bands(
    metric: str, images: Mapping[str, F64], bands: Sequence[str]
) -> Iterator[tuple[str, Pooled]]:
    """Yield the value of all classes together, and of every class that the metric has one of."""
    from rsbench.metrics.class_values import evaluate

    whole = evaluate(metric, np.concatenate([*images.values()]))
    without = {
        gone: evaluate(metric, np.concatenate([v for name, v in images.items() if name != gone]))
        for gone in (images if len(images) > 1 else ())
    }
    sizes = {name: len(stack) for name, stack in images.items()}
    yield "all", _known(whole.value, {name: one.value for name, one in without.items()}, sizes)
    if info(metric).per_band and whole.per_class is not None:
        for place, band in enumerate(bands):
            left = {n: float(one.per_class[place]) for n, one in without.items()}  # type: ignore[index]
            yield band, _known(float(whole.per_class[place]), left, sizes)


def _known(value: float, without: Mapping[str, float], images: Mapping[str, int]) -> Pooled:
    """Return a pooled value; without those of fewer regions where any is undefined."""
    defined = not any(map(math.isnan, (value, *without.values())))
    return Pooled(value, without if defined else {}, images)


def pooled_tables(
    counts: pd.DataFrame, bands: Sequence[str], metrics: Sequence[str],
    subsets: Mapping[str, Collection[str]],
) -> tuple[pd.DataFrame, pd.DataFrame]:  # fmt: skip
    """Return cells of the tidy table, and rows of pseudo-values by region.

    Args:
        subsets: name of a stratum → its regions.
    """
    cells: list[dict[str, Any]] = []
    rows: list[dict[str, Any]] = []
    for columns, found in pooled(counts, metrics, bands, subsets):
        cells.append(_cell(columns, found))
        pseudo = found.regions
        for region, n in found.images.items():
            counted = {"value": pseudo.get(region, math.nan), "n_samples": n, "n_missing": 0}
            rows.append({**columns, "region": region, **counted})
    cell_columns = [*ENTRY[:2], "metric", "band", "lead", "stratum", "value", "lo", "hi",
                    "interval", "n_regions", "n_samples", "n_missing"]  # fmt: skip
    row_columns = [*ENTRY, "metric", "band", "lead", strata.GROUP, "region", "value",
                   "n_samples", "n_missing"]  # fmt: skip
    return pd.DataFrame(cells, columns=cell_columns), pd.DataFrame(rows, columns=row_columns)


def _cell(columns: Mapping[str, Any], found: Pooled) -> dict[str, Any]:
    bounds = inference.bounds_of(columns["metric"])
    spread = inference.jackknife(found.value, [*found.without.values()], bounds=bounds)
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
