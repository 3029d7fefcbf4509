"""Features of images that need training images, a probe or the conditions of a case."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import torch

from rsbench.catalog import load_protocol
from rsbench.evaluation.fit import fit
from rsbench.metrics.clip import similarity
from rsbench.metrics.copies import Spectra, nearest
from rsbench.metrics.display import rgb_pair
from rsbench.metrics.images import ImagePairs
from rsbench.metrics.queries import needs_case
from rsbench.models.api import Frames, Given, Model
from rsbench.models.registry import create_model
from rsbench.tasks.classes import TARGET, classes_of
from rsbench.tasks.config import EvaluationConfig
from rsbench.tasks.settings import evaluation_config

if TYPE_CHECKING:
    from torch import Tensor

    from rsbench.evaluation.set_metrics import OfCase
    from rsbench.tasks.base import Case

PROBE, PROBE_PROTOCOL = "window_lda", "segment"
"""What reads the classes of an image: fixed, in closed form, fitted on the training regions."""
KEPT_BYTES = 1 << 30
"""Transforms of training regions that are kept between batches."""


def case_features(config: EvaluationConfig) -> Mapping[str, OfCase]:
    """Return the functions of the features that the metrics of a configuration need."""
    made: dict[str, type[Any]] = {
        "nearest-training": NearestTraining, "layout": Layout, "text-image": TextImage,
    }  # fmt: skip
    wanted = {needs_case(metric) for metric in config.metrics} - {None}
    return {name: made[str(name)](config) for name in sorted(map(str, wanted))}


@dataclass(eq=False)
class NearestTraining:
    """The distance to the nearest training region, divided by that to the second nearest.

    The distance is the least RMS difference of the image to any window of the region's images. The
    work grows with the number of images times that of training regions.
    """

    config: EvaluationConfig
    _kept: dict[str, Spectra] = field(default_factory=dict)

    def __call__(self, case: Case, rows: Sequence[int], images: Tensor, valid: Tensor) -> Tensor:
        """Return ``(n, 1)``; 1 where both distances are 0."""
        size = self._size
        shown = Spectra(images.cpu(), valid.cpu(), size)
        regions = self.config.store.split("train")
        each = torch.stack([nearest(shown, self._spectra(name), size) for name in regions])
        first, second = each.sort(dim=0).values[:2]
        return torch.where(second > 0, first / second, 1.0)[:, None]

    @cached_property
    def _size(self) -> tuple[int, int]:
        """Rows and columns of the largest training region."""
        store, sensor = self.config.store, self.config.sensor
        grids = [store.region(name).grids[sensor] for name in store.split("train")]
        return max(grid.height for grid in grids), max(grid.width for grid in grids)

    def _spectra(self, region: str) -> Spectra:
        if region in self._kept:
            return self._kept[region]
        store, sensor = self.config.store, self.config.sensor
        values, valid = store.read_physical(region, sensor)
        chosen = list(store.sensor(sensor).band_index(self.config.bands))
        found = Spectra(
            torch.from_numpy(values[:, chosen]), torch.from_numpy(valid)[:, None], self._size
        )
        size = found.bands.numel() * found.bands.element_size()
        if (len(self._kept) + 1) * size <= KEPT_BYTES:
            self._kept[region] = found
        return found


@dataclass(eq=False)
class Layout:
    """Pixel counts of the map given (rows) and the classes that the probe reads (columns)."""

    config: EvaluationConfig

    def __call__(self, case: Case, rows: Sequence[int], images: Tensor, valid: Tensor) -> Tensor:
        """Return ``(n, K·K)``; pixels without a class, or invalid ones, are not counted."""
        config, chosen = self.config, list(rows)
        frames = Frames(
            images[:, None, None], valid[:, None, None], case.want.times[chosen].cpu(),
            config.bands, config.meta.unit, (False,), config.meta.value_range,
        )  # fmt: skip
        grids = tuple(case.want.grids[row] for row in chosen)
        refs = tuple(case.samples[row] for row in chosen)
        want = replace(
            case.want, sensor=TARGET, bands=self._names, times=frames.times, grids=grids,
            samples=refs, members=1, context="once",
        )  # fmt: skip
        given = Given({config.sensor: frames}, {config.sensor: grids}, refs)
        with torch.inference_mode():
            read = self._probe.predict(given, want).values[:, 0, 0].argmax(1)
        labels = case.given.frames[TARGET]
        asked, seen = labels.values[chosen, 0, -1].argmax(1), labels.valid[chosen, 0, -1, 0]
        return confusion(asked.cpu(), read.cpu(), seen.cpu() & valid[:, 0].cpu(), len(self._names))

    @cached_property
    def _names(self) -> tuple[str, ...]:
        return classes_of(self.config.store).names

    @cached_property
    def _probe(self) -> Model:
        own = self.config.protocol
        sizes = {"window": own.window, "stride": own.stride, "labels": own.labels}
        rules = load_protocol(PROBE_PROTOCOL).model_copy(update=sizes)
        model = create_model(PROBE, classes=len(self._names))
        fit(model, evaluation_config(self.config.store, rules))
        return model


def confusion(asked: Tensor, read: Tensor, seen: Tensor, classes: int) -> Tensor:
    """Return ``(n, K·K)`` pixel counts of two maps ``(n, H, W)`` where ``seen``."""
    n = len(asked)
    code = asked * classes + read + classes**2 * torch.arange(n)[:, None, None]
    return torch.bincount(code[seen], minlength=n * classes**2).view(n, -1).double()


@dataclass(eq=False)
class TextImage:
    """The cosine of the embeddings of image and text."""

    config: EvaluationConfig

    def __call__(self, case: Case, rows: Sequence[int], images: Tensor, valid: Tensor) -> Tensor:
        """Return ``(n, 1)``."""
        low, high = self.config.meta.value_range
        pairs = replace(
            ImagePairs(images, images, valid, low, high, None), rgb=self.config.rgb
        )  # fmt: skip
        shown = torch.cat([rgb_pair(part).prediction for part in pairs.chunks()])
        return similarity(shown.cpu(), [case.given.texts[row] for row in rows])[:, None]
