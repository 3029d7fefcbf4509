"""The dataset kind ``pairs``: accepted pairs of a region, and the reasons for refused ones."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from typing import Any

import numpy as np

from rsbench.build.kinds.base import (
    Assembled,
    BuildContext,
    Found,
    IndexFacts,
    Refused,
    RegionSearch,
    UnitData,
    Units,
    sensor_meta,
)
from rsbench.build.kinds.labels import label_attributes
from rsbench.build.kinds.pairs.match import pair_unit, two_of
from rsbench.build.kinds.pairs.recipe import PairsRecipe, pairs_recipe
from rsbench.build.kinds.pairs.search import search_pairs
from rsbench.catalog import Recipe, Sensor
from rsbench.catalog.loaders import load_labels
from rsbench.store.layout import SensorArrays, SensorMeta
from rsbench.store.read import Store
from rsbench.store.tree import provenance

COMPOSITOR = "pair@1"


class PairsKind:
    """Pairs of images of nearly the same day; a region without any is left out."""

    name = "pairs"
    recipe: type[Recipe] = PairsRecipe

    def search(self, asked: RegionSearch) -> Found:
        """Return the photographs of one day per year and the scenes nearest to it."""
        return search_pairs(asked)

    def unit(self, context: BuildContext, region: str, year: int) -> UnitData:
        """Return the pair of one region and year, or the reason why there is none."""
        return pair_unit(context, region, year)

    def assemble(self, context: BuildContext, region: str, units: Units) -> Assembled | Refused:
        """Return all accepted pairs of a region."""
        pairs: list[UnitData] = []
        refused: dict[str, str] = {}
        for year in context.lock.years:
            made = units.load(year) or UnitData()
            if made.arrays:
                pairs.append(made)
            elif made.note:
                refused[str(year)] = made.note["refused"]
        if not pairs:
            return Refused(
                refused or {"all": "no photographs cover it, or no scene is near their day"},
                "no region has a pair",
                "Loosen tier or clear in the recipe, or choose other regions or years",
            )
        days = tuple(date.fromisoformat(made.note["day"]) for made in pairs)
        notes = [dict(made.note) for made in pairs]
        told = {"pairs": notes, "refused": refused}
        return Assembled(days, _arrays(context, region, pairs, days), told)

    def lattice(self, recipe: Recipe) -> str:
        """Return the coarse sensor: the photograph is resampled to parts of its pixels."""
        return pairs_recipe(recipe).pairs.coarse

    def sensors(self, recipe: Recipe, sensors: Sequence[Sensor]) -> Mapping[str, SensorMeta]:
        """Return both sensors as in the recipe."""
        return {sensor.name: sensor_meta(sensor) for sensor in sensors}

    def index(self, recipe: Recipe, refused: Mapping[str, Mapping[str, str]]) -> IndexFacts:
        """Return the rule of pairing and what was refused; dates are irregular."""
        return IndexFacts(COMPOSITOR, "irregular", {"refused": refused})

    def card(self, store: Store) -> Iterator[str]:
        """Yield how well the images of every pair agree, and why others were refused."""
        yield "## Pairs"
        yield ""
        yield "| region | day | days apart | tier | median correlation | shift (coarse px) |"
        yield "|---|---|---|---|---|---|"
        for name in store.regions:
            for pair in provenance(store.tree, name)["pairs"]:
                found = [*pair["correlation"].values()]
                middle = f"{float(np.median(found)):.2f}" if found else "–"
                apart = f"{math.hypot(*pair['shift']):.2f}" if pair["shift"] else "–"
                mark = " (flagged)" if pair["shifted"] else ""
                yield (
                    f"| {name} | {pair['day']} | {pair['days_apart']:+d} | {pair['tier']} | "
                    f"{middle} | {apart}{mark} |"
                )
        yield ""
        for name, years in dict(store.meta.recipe.get("refused", {})).items():
            for year, reason in years.items():
                yield f"- refused: {name} {year}: {reason}"
        yield ""


KIND = PairsKind()


def _arrays(
    context: BuildContext, region: str, pairs: Sequence[UnitData], days: tuple[date, ...]
) -> dict[str, SensorArrays]:
    two = two_of(context, region)
    fine = np.stack([made.arrays["fine"] for made in pairs])
    clear = np.stack([made.arrays["clear"] for made in pairs])
    everywhere = np.ones((len(pairs), *fine.shape[-2:]), np.bool_)
    return {
        two.fine.name: SensorArrays(
            fine, everywhere, everywhere.astype(np.uint16), days, two.fine_grid
        ),
        two.coarse.name: SensorArrays(
            np.stack([made.arrays["coarse"] for made in pairs]),
            clear,
            clear.astype(np.uint16),
            tuple(date.fromisoformat(made.note["coarse_day"]) for made in pairs),
            two.coarse_grid,
            **_labels(pairs_recipe(context.recipe), pairs),
        ),
    }


def _labels(recipe: PairsRecipe, pairs: Sequence[UnitData]) -> dict[str, Any]:
    if recipe.labels is None:
        return {}
    years = [made.note["labels"]["year"] for made in pairs]
    about = label_attributes(load_labels(recipe.labels), years)
    layers = np.stack([made.arrays["labels"] for made in pairs])
    return {"labels": layers, "about": {"labels": about}}
