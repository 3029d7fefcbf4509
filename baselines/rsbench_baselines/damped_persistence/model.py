"""Damped persistence, fitted in closed form."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import pairwise

import torch
from torch import Tensor

from rsbench import Frames, Given, Prediction, Want
from rsbench_baselines.persistence.model import bands_of, last_valid

NEAR = 0.1  # a time within this share of the first lead's elapsed time counts as fitted
Coefficients = list[tuple[float, float]]  # (elapsed days, a), ascending


@dataclass
class Sums:
    """Sums over valid pixels of one band and lead; x the last value, y the truth."""

    n: float = 0.0
    days: float = 0.0
    x: float = 0.0
    y: float = 0.0
    xx: float = 0.0
    xy: float = 0.0

    def add(self, x: Tensor, y: Tensor, days: int) -> None:
        """Add pixels (float64) whose truth lies ``days`` after the last context date."""
        self.n += x.numel()
        self.days += days * x.numel()
        self.x += float(x.sum())
        self.y += float(y.sum())
        self.xx += float(x.square().sum())
        self.xy += float((x * y).sum())

    def coefficient(self, mean: float) -> float:
        """Return the least-squares a of ``y − mean = a·(x − mean)``; 1 where x never varies."""
        spread = self.xx - 2 * mean * self.x + self.n * mean**2
        shared = self.xy - mean * (self.x + self.y) + self.n * mean**2
        return shared / spread if spread > 1e-12 * max(self.n, 1.0) else 1.0


@dataclass
class DampedPersistence:
    """x̂(t + l) = µ + a(l)·(x_last − µ), µ and a per band, from the training split.

    µ is the mean of x_last over the training pixels; a(l) the least-squares coefficient of the
    lead. What counts is the elapsed time, forward or back: at times near a fitted lead's its a is
    taken; between two leads a is linear; past the last one it goes on as a power of time, towards
    µ.
    """

    parameters: dict[str, float] = field(default_factory=dict)

    def fit(self, pairs: Iterable[tuple[Given, Want, Frames]]) -> Mapping[str, float]:
        """Fit on ``(given, want, truth)`` in one pass; leads are the positions in ``want``."""
        sums: dict[tuple[str, int], Sums] = {}
        for given, want, truth in pairs:
            self._add(sums, given, want, truth)
        if not sums:
            raise ValueError("damped_persistence was given no valid training pixel to fit on")
        fitted: dict[str, float] = {}
        for band in sorted({band for band, _ in sums}):
            own = {lead: item for (name, lead), item in sorted(sums.items()) if name == band}
            mean = sum(item.x for item in own.values()) / sum(item.n for item in own.values())
            fitted[f"mean/{band}"] = mean
            for lead, item in own.items():
                fitted[f"a/{band}/{lead}"] = item.coefficient(mean)
                fitted[f"days/{band}/{lead}"] = item.days / item.n
        self.parameters = fitted
        return dict(fitted)

    def restore(self, parameters: Mapping[str, float]) -> None:
        """Take up fitted parameters."""
        self.parameters = dict(parameters)

    def predict(self, given: Given, want: Want) -> Prediction:
        """Draw the last value towards the mean, more at every lead."""
        if not self.parameters:
            raise ValueError("damped_persistence was not fitted: call fit or restore first")
        frames = given.frames[want.sensor]
        last = last_valid(frames, want.bands)[:, :, None]
        elapsed = (want.times - frames.times[:, -1:]).abs()
        mean = torch.tensor(
            [self._mean(band) for band in want.bands], dtype=last.dtype, device=last.device
        ).view(1, 1, 1, -1, 1, 1)
        curves = [self._coefficients(band) for band in want.bands]
        table = [
            [[damping(curve, days) for curve in curves] for days in row] for row in elapsed.tolist()
        ]
        a = torch.tensor(table, dtype=last.dtype, device=last.device)
        answer = mean + a[:, None, :, :, None, None] * (last - mean)
        return Prediction(answer.expand(-1, want.members, -1, -1, -1, -1).contiguous())

    def _add(
        self, sums: dict[tuple[str, int], Sums], given: Given, want: Want, truth: Frames
    ) -> None:
        frames = given.frames[want.sensor]
        valid = bands_of(frames, want.bands)[1]
        last = last_valid(frames, want.bands)[:, 0].double()
        seen = valid.any(dim=2)[:, 0]
        future, known = bands_of(truth, want.bands)
        elapsed = (want.times - frames.times[:, -1:]).abs().tolist()
        for b, row in enumerate(elapsed):
            for index, days in enumerate(row):
                use = seen[b] & known[b, 0, index]
                for c, band in enumerate(want.bands):
                    if bool(use[c].any()):
                        item = sums.setdefault((band, index + 1), Sums())
                        y = future[b, 0, index, c][use[c]].double()
                        item.add(last[b, c][use[c]], y, days)

    def _mean(self, band: str) -> float:
        if f"mean/{band}" not in self.parameters:
            raise ValueError(f"damped_persistence was fitted without band {band}")
        return self.parameters[f"mean/{band}"]

    def _coefficients(self, band: str) -> Coefficients:
        head = f"a/{band}/"
        return sorted(
            (self.parameters[f"days/{band}/{name.removeprefix(head)}"], value)
            for name, value in self.parameters.items()
            if name.startswith(head)
        )


def damping(curve: Coefficients, days: float) -> float:
    """Return a at an elapsed time."""
    for at, value in curve:
        if abs(at - days) <= NEAR * curve[0][0]:
            return value
    for (left, a), (right, b) in pairwise([(0.0, 1.0), *curve]):
        if left < days < right:
            return a + (b - a) * (days - left) / (right - left)
    last, value = curve[-1]
    # A coefficient outside (0, 1) has no power law towards the mean: it is held.
    return float(value ** (days / last)) if 0.0 < value < 1.0 else value


def build(preset: str) -> DampedPersistence:
    """Build the model, not yet fitted."""
    return DampedPersistence()
