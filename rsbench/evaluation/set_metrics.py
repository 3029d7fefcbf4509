"""Set metrics: features of every image are kept, and compared at the end.

There is one value per model, lead and metric, and no sum per region: a distance of sets is not
additive. The images are those of the headline stratum that are defined at every lead, so that n is
the same at all leads.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import pandas as pd
import torch

from rsbench.evaluation import intervals as inference
from rsbench.evaluation.scores import HALVES, SET_COLUMNS, Absent
from rsbench.metrics.checks import check_pairs
from rsbench.metrics.engine import exact
from rsbench.metrics.images import ImageBatch
from rsbench.metrics.sets import compare, defined, extract, features_of

if TYPE_CHECKING:
    from torch import Tensor

    from rsbench.evaluation.entries import ModelEntry
    from rsbench.metrics.frechet import SetScore
    from rsbench.metrics.rgb import RgbMapping
    from rsbench.tasks.base import Case

Who = tuple[str, str, str]
"""Model, preset and role."""
Place = tuple[str, str, int, int]
"""Region, start, and the window's row and column: which image it is, at any lead."""
Vectors = dict[Place, dict[str, "Tensor"]]


@dataclass
class SetMetricAccumulator:
    """Features of predictions and truths, by entry and lead; grows with the number of images.

    Args:
        metrics: ids of set metrics.
        value_range: the dataset's range in the unit.
        rgb: which bands are red, green and blue.
    """

    metrics: tuple[str, ...]
    value_range: tuple[float, float]
    rgb: RgbMapping | None
    _rows: dict[Who, dict[int, Vectors]] = field(default_factory=dict)
    _truths: dict[Who | None, dict[int, Vectors]] = field(default_factory=dict)
    _offered: set[Place] = field(default_factory=set)

    def add(
        self, entry: ModelEntry, case: Case, lead: int, values: Tensor, truth: Tensor, valid: Tensor
    ) -> None:
        """Add the features of one lead of one batch, of starts that have every lead."""
        chosen = [b for b, c in enumerate(case.curves) if c[lead - 1] in ("starts", "both")]
        if not chosen:
            return
        places = [_place(case, b) for b in chosen]
        self._offered.update(places)
        who = (entry.model, entry.preset, entry.role)
        own = self._rows.setdefault(who, {}).setdefault(lead, {})
        # An entry with its own reference (the floor) has other truths.
        whose = who if entry.reference is not None else None
        truths = self._truths.setdefault(whose, {}).setdefault(lead, {})
        names = features_of(self.metrics)
        with exact():
            pairs = check_pairs(
                values[chosen], truth[chosen], valid[chosen], self.value_range, None
            )
            for images in replace(pairs, rgb=self.rgb).chunks():
                here = places[images.first : images.first + len(images.truth)]
                _keep(own, names, images, "prediction", here)
                if any(place not in truths for place in here):
                    _keep(truths, names, images, "truth", here)

    def frame(self) -> tuple[pd.DataFrame, tuple[Absent, ...]]:
        """Return the values of set metrics, and why some are absent."""
        rows: list[dict[str, Any]] = []
        gone: list[Absent] = []
        common = self._common(None)
        for who, leads in self._rows.items():
            whose = who if who in self._truths else None
            places = self._common(whose)
            if len(places) < 2 or len(places) != len(common):
                found = f"n = {len(places)} images, the other entries have {len(common)}"
                why = found if len(places) >= 2 else f"{len(places)} images have every lead"
                gone += [Absent(who[0], why, metric) for metric in self.metrics]
                continue
            for lead in sorted(leads):
                rows += self._lead(who, lead, leads[lead], self._truths[whose][lead], places)
        rows += _halves(rows)
        return pd.DataFrame(rows, columns=SET_COLUMNS), tuple(gone)

    def _common(self, whose: Who | None) -> list[Place]:
        """Return the images defined at every lead, in an order that does not depend on batches."""
        leads = [set(vectors) for vectors in self._truths.get(whose, {}).values()]
        kept = set.intersection(*leads) if leads else set()
        return sorted(
            place
            for place in kept
            if all(self._truths[whose][lead][place] for lead in self._truths[whose])
        )

    def _lead(
        self, who: Who, lead: int, own: Vectors, truths: Vectors, places: Sequence[Place]
    ) -> Iterator[dict[str, Any]]:
        regions = sorted({place[0] for place in places})
        member = torch.tensor([regions.index(place[0]) for place in places])
        groups = member if len(regions) >= inference.MIN_REGIONS else None
        for metric in self.metrics:
            (feature,) = features_of([metric])
            p, t = (torch.stack([side[k][feature] for k in places]) for side in (own, truths))
            yield _row(who, metric, lead, compare(metric, p, t, groups), {
                "n_regions": len(regions),
                "n_missing": len(self._offered) - len(places),
                "origins": " ".join(sorted({place[1] for place in places})),
            })  # fmt: skip


def _place(case: Case, b: int) -> Place:
    window = case.samples[b].window
    return (case.samples[b].region, case.starts[b].isoformat(), window.y, window.x)


def _keep(
    vectors: Vectors, names: Sequence[str], images: ImageBatch, side: Any, places: Sequence[Place]
) -> None:
    """Keep the features of one side; an image with too few valid pixels keeps none."""
    found, kept = extract(names, images, side), defined(images)
    for b, place in enumerate(places):
        vectors[place] = {name: found[name][b] for name in names} if kept[b] else {}


def _row(who: Who, metric: str, lead: int, score: SetScore, more: dict[str, Any]) -> dict[str, Any]:
    spread = inference.jackknife(score.value, score.leaves, bounds=inference.bounds_of(metric))
    return {
        "model": who[0], "preset": who[1], "role": who[2], "metric": metric, "lead": lead,
        "value": score.value,
        "lo": spread.lo if spread else float("nan"),
        "hi": spread.hi if spread else float("nan"),
        "interval": spread.name if spread else inference.NONE,
        "n": score.n, "d": score.d,
        "halves": float("nan") if score.halves is None else score.halves,
        "notes": json.dumps(dict(score.notes), sort_keys=True),
        **more,
    }  # fmt: skip


def _halves(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the distance between two halves of the truth, per metric and lead."""
    found: dict[tuple[str, int], dict[str, Any]] = {}
    for row in rows:
        if row["role"] == "floor" or row["halves"] != row["halves"]:
            continue
        found.setdefault((row["metric"], row["lead"]), {
            **row, "model": HALVES, "preset": "", "role": "floor", "value": row["halves"],
            "lo": float("nan"), "hi": float("nan"), "interval": inference.NONE,
            "n": row["n"] // 2, "notes": "{}",
        })  # fmt: skip
    return list(found.values())
