"""Set metrics: features of every image are kept, and compared at the end.

There is one value per model, lead and metric, and no sum per region: a distance of sets is not
additive. The images are those of the headline stratum that are defined at every lead, so that n is
the same at all leads. An image whose truth lies mostly outside the range to which a metric clips is
left out of that metric; a model with such a prediction has no value of it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import pandas as pd
import torch

from rsbench.evaluation import intervals as inference
from rsbench.evaluation.run_info import Absent
from rsbench.evaluation.scores import HALVES, SET_COLUMNS
from rsbench.metrics.checks import check_pairs
from rsbench.metrics.clipping import clipping
from rsbench.metrics.engine import exact
from rsbench.metrics.images import ImageBatch
from rsbench.metrics.registry import info
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
"""Image → feature → vector; an image that is not compared has none."""
OfCase = Callable[["Case", Sequence[int], "Tensor", "Tensor"], "Tensor"]
"""Takes a case, rows of its batch, and images ``(n, C, H, W)`` and masks ``(n, 1, H, W)`` of these
rows; returns features ``(n, d)`` that need more than the images."""
RANGE_OF_METRIC = "the range to which it clips"
TRUTH_OF = "truth of"
SHARED: Who = ("", "", "")
"""Stands for the entry of truths that are not an entry's own."""
STATE_COLUMNS = [
    "side", "model", "preset", "role", "lead", "region", "start", "y", "x", "name", "dtype",
    "values",
]  # fmt: skip
"""Columns of what is kept of entries: a feature vector, or the share that a metric clips."""


@dataclass
class SetMetricAccumulator:
    """Features of predictions and truths, by entry and lead; grows with the number of images.

    Args:
        metrics: ids of set metrics.
        value_range: the dataset's range in the unit.
        rgb: which bands are red, green and blue.
        of_case: functions of features that need the store or the conditions.
    """

    metrics: tuple[str, ...]
    value_range: tuple[float, float]
    rgb: RgbMapping | None
    of_case: Mapping[str, OfCase] = field(default_factory=dict)
    _rows: dict[Who, dict[int, Vectors]] = field(default_factory=dict)
    _truths: dict[Who | None, dict[int, Vectors]] = field(default_factory=dict)
    _offered: set[Place] = field(default_factory=set)
    _cuts: dict[Any, dict[Place, tuple[float, bool]]] = field(default_factory=dict)

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
        fresh = any(place not in truths for place in places)
        more = {
            side: self._of_case(names, case, chosen, images, valid)
            for side, images in (("prediction", values), ("truth", truth))
            if side == "prediction" or fresh
        }
        with exact():
            pairs = check_pairs(
                values[chosen], truth[chosen], valid[chosen], self.value_range, None
            )
            for images in replace(pairs, rgb=self.rgb).chunks():
                part = slice(images.first, images.first + len(images.truth))
                here = places[part]
                _keep(own, _extracted(names, images, "prediction", more, part), images, here)
                if fresh:
                    _keep(truths, _extracted(names, images, "truth", more, part), images, here)
                self._keep_cuts((who, whose, lead), images, here)

    def _of_case(
        self, names: Sequence[str], case: Case, chosen: list[int], images: Tensor, valid: Tensor
    ) -> dict[str, Tensor]:
        """Return the features that need the store or the conditions, of some rows of a batch."""
        shown, masks = images[chosen].float(), valid[chosen].all(dim=1, keepdim=True)
        return {
            name: compute(case, chosen, shown, masks).double().cpu()
            for name, compute in self.of_case.items()
            if name in names
        }

    def _keep_cuts(
        self, of: tuple[Who, Who | None, int], images: ImageBatch, places: Sequence[Place]
    ) -> None:
        """Keep what each metric clips of predictions and truths."""
        who, whose, lead = of
        for metric in self.metrics:
            cut = clipping(info(metric), images)
            if cut is None:
                continue
            shares, mostly = cut.clipped.mean(2).tolist(), cut.mostly.any(2).tolist()
            for name, side in ((who, 0), ((TRUTH_OF, whose), 1)):
                kept = self._cuts.setdefault((name, lead, metric), {})
                for b, place in enumerate(places):
                    kept[place] = (shares[b][side], mostly[b][side])

    def state(self, models: Collection[str] | None = None) -> pd.DataFrame:
        """Return what is kept of some entries: a row per image and feature or metric.

        For None of all entries, and of the truths that they share, whose rows name no entry.
        """

        def asked(who: Who | None) -> bool:
            return models is None or (who is not None and who[0] in models)

        rows = [
            (side, *(who or SHARED), lead, *place, name, str(vector.dtype), vector.tolist())
            for side, kept in (("prediction", self._rows), ("truth", self._truths))
            for who, leads in kept.items()
            if asked(who)
            for lead, vectors in leads.items()
            for place, features in vectors.items()
            for name, vector in (features or {"": torch.empty(0)}).items()
        ]
        for (who, lead, metric), cuts in self._cuts.items():
            side, whose = ("truth cut", who[1]) if who[0] == TRUTH_OF else ("prediction cut", who)
            if asked(whose):
                rows += [(side, *(whose or SHARED), lead, *place, metric, "", [*map(float, cut)])
                         for place, cut in cuts.items()]  # fmt: skip
        return pd.DataFrame(rows, columns=STATE_COLUMNS)

    def add_state(self, state: pd.DataFrame) -> None:
        """Add what was kept of other entries, as :meth:`state` returns it."""
        kept: Mapping[str, Any] = {"prediction": self._rows, "truth": self._truths}
        for side, model, preset, role, lead, *at in state.itertuples(index=False, name=None):
            named, place, (name, dtype, values) = (model, preset, role), tuple(at[:4]), at[4:]
            who = None if named == SHARED else named
            if side == "prediction":
                self._offered.add(place)
            if side in kept:
                features = kept[side].setdefault(who, {}).setdefault(lead, {}).setdefault(place, {})
                if name:
                    kind = getattr(torch, dtype.removeprefix("torch."))
                    features[name] = torch.tensor(values, dtype=kind)
            else:
                whose = (TRUTH_OF, who) if side == "truth cut" else who
                cuts = self._cuts.setdefault((whose, lead, name), {})
                cuts[place] = (float(values[0]), bool(values[1]))

    def frame(self) -> tuple[pd.DataFrame, tuple[Absent, ...]]:
        """Return the values of set metrics, and why some are absent."""
        common = {metric: self._common(None, metric) for metric in self.metrics}
        gone = [self._without(metric) for metric in self.metrics]
        rows: list[dict[str, Any]] = []
        for who, leads in self._rows.items():
            for lead in sorted(leads):
                for metric in self.metrics:
                    found = self._one(who, lead, metric, len(common[metric]))
                    if isinstance(found, Absent):
                        gone.append(found)
                    else:
                        rows.append(found)
        rows += _halves(rows)
        absent = tuple(dict.fromkeys(one for one in gone if one is not None))
        return pd.DataFrame(rows, columns=SET_COLUMNS), absent

    def _common(self, whose: Who | None, metric: str) -> list[Place]:
        """Return the images compared at every lead, in an order that does not depend on batches."""
        leads = self._truths.get(whose, {})
        kept = set.intersection(*(set(vectors) for vectors in leads.values())) if leads else set()
        far = {place for lead in leads for place in self._outside((TRUTH_OF, whose), lead, metric)}
        return sorted(
            place for place in kept - far if all(vectors[place] for vectors in leads.values())
        )

    def _outside(self, name: Any, lead: int, metric: str) -> set[Place]:
        """Return the images that lie mostly outside the range to which a metric clips."""
        return {place for place, cut in self._cuts.get((name, lead, metric), {}).items() if cut[1]}

    def _without(self, metric: str) -> Absent | None:
        """Return how many images the truths of a metric leave out, if any."""
        leads = self._truths.get(None, {})
        far = {place for lead in leads for place in self._outside((TRUTH_OF, None), lead, metric)}
        why = f"{len(far)} images are left out: their truth lies mostly outside {RANGE_OF_METRIC}"
        return Absent("*", why, metric) if far else None

    def _one(self, who: Who, lead: int, metric: str, usual: int) -> dict[str, Any] | Absent:
        """Return the row of one entry, lead and metric, or why there is none."""
        whose = who if who in self._truths else None
        places = self._common(whose, metric)
        if len(places) < 2 or len(places) != usual:
            found = f"n = {len(places)} images, the other entries have {usual}"
            why = found if len(places) >= 2 else f"{len(places)} images have every lead"
            return Absent(who[0], why, metric)
        far = self._outside(who, lead, metric).intersection(places)
        if far:
            why = f"{len(far)} of {len(places)} predictions lie mostly outside {RANGE_OF_METRIC}"
            return Absent(who[0], why, metric, lead)
        regions = sorted({place[0] for place in places})
        member = torch.tensor([regions.index(place[0]) for place in places])
        groups = member if len(regions) >= inference.MIN_REGIONS else None
        (feature,) = features_of([metric])
        sides = (self._rows[who][lead], self._truths[whose][lead])
        p, t = (torch.stack([side[place][feature] for place in places]) for side in sides)
        score = compare(metric, p, t, groups)
        clipped = self._shares((who, whose), lead, metric, places)
        return _row(who, metric, lead, replace(score, notes={**score.notes, **clipped}), {
            "n_regions": len(regions),
            "n_missing": len(self._offered) - len(places),
            "origins": " ".join(sorted({place[1] for place in places})),
        })  # fmt: skip

    def _shares(
        self, of: tuple[Who, Who | None], lead: int, metric: str, places: Sequence[Place]
    ) -> dict[str, float]:
        """Return the mean share of values that a metric clips, of predictions and of truths."""
        names = {"clipped_prediction": of[0], "clipped_truth": (TRUTH_OF, of[1])}
        found = {name: self._cuts.get((key, lead, metric)) for name, key in names.items()}
        return {
            name: sum(cuts[place][0] for place in places) / len(places)
            for name, cuts in found.items()
            if cuts is not None
        }


def _place(case: Case, b: int) -> Place:
    window = case.samples[b].window
    return (case.samples[b].region, case.starts[b].isoformat(), window.y, window.x)


def _extracted(
    names: Sequence[str], images: ImageBatch, side: Any,
    more: Mapping[str, Mapping[str, Tensor]], part: slice,
) -> dict[str, Tensor]:  # fmt: skip
    """Return the features of one side; ``more`` has those of the whole batch already computed."""
    of_case = {name: values[part] for name, values in more[side].items()}
    return extract(names, images, side) | of_case


def _keep(
    vectors: Vectors, found: Mapping[str, Tensor], images: ImageBatch, places: Sequence[Place]
) -> None:
    """Keep the features of one side; an image with too few valid pixels keeps none."""
    kept = defined(images)
    for b, place in enumerate(places):
        vectors[place] = {name: values[b] for name, values in found.items()} if kept[b] else {}


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
