"""The scenes of a region of simulated triplets: which are taken, and how both sensors show them.

Of every slot the clearest scene is taken. Where a region may take several choices of slots, the one
whose cloudiest scene is the clearest is taken.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache

import numpy as np
import numpy.typing as npt

from rsbench.core.errors import InputError
from rsbench.simulate.coarse import CoarseFrame, coarse_frame
from rsbench.simulate.scene import (
    Frame,
    Scene,
    Simulated,
    YearView,
    calendar,
    clear_words,
    simulated,
)
from rsbench.simulate.triplet_slots import FINE, Slot, TripletSpec, choices, kinds_of


@dataclass(frozen=True)
class Taken:
    """A scene of a slot: how it is rendered, and its date.

    ``view``: the year of the ground that it shows. ``scene``: dated as the slot says; its number
    counts in the calendar of that year. ``mask``: its quality words. ``clear``: share of clear
    pixels.
    """

    view: YearView
    scene: Scene
    mask: npt.NDArray[np.uint16]
    clear: float

    def frames(self) -> tuple[Frame, CoarseFrame]:
        """Render the fine image and the coarse one of the same ground on the same day."""
        return self.view.render(self.scene), coarse_frame(self.view, self.scene, self.mask)


def taken_scenes(spec: TripletSpec, name: str) -> tuple[Taken, ...]:
    """Return the scenes of a region, ascending.

    Raises:
        InputError: if a slot has no scene with a clear pixel in all choices.
    """
    sim, first = simulated(spec, name), spec.years[0]
    views = {year: YearView(sim, FINE, year) for year in (first, first + 1)}
    look = cache(_look)  # choices share scenes
    found = [
        scenes
        for choice in choices(kinds_of(spec)[name], first)
        if len(scenes := tuple(_clearest(views, choice, look))) == len(choice)
    ]
    if not found:
        raise InputError(
            f"simulating triplets of {name}",
            "a date has no scene, or clouds over every pixel in all of them",
            "Simulate more scenes per year",
        )
    return max(found, key=lambda scenes: min(one.clear for one in scenes))


def _clearest(
    views: Mapping[int, YearView],
    slots: tuple[Slot, ...],
    look: Callable[[YearView, Scene], Taken],
) -> Iterator[Taken]:
    """Yield the clearest scene of every slot; none for a slot without a clear pixel."""
    for slot in slots:
        view = views[slot.ground]
        seen = [look(view, scene) for scene in _calendar(view.sim, slot)]
        best = max(seen, key=lambda one: (one.clear, one.scene.when), default=None)
        if best is not None and best.clear > 0:
            dated = best.scene.when.replace(year=slot.dated)
            yield replace(best, scene=replace(best.scene, when=dated))


def _calendar(sim: Simulated, slot: Slot) -> Iterator[Scene]:
    for scene in calendar(sim.spec, sim.region.name, FINE, slot.ground):
        if slot.first <= scene.when.timetuple().tm_yday < slot.last:
            yield scene


def _look(view: YearView, scene: Scene) -> Taken:
    mask = view.mask(scene).astype(np.uint16, copy=False)
    return Taken(view, scene, mask, float(clear_words(mask).mean()))
