"""Write the images and labels of pairs as a store."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from rsbench.build.compose.agreement import FLAG
from rsbench.build.compose.pair_agreement import centred, correlations, shift
from rsbench.build.importers.api import ImportRequest, Written, imported_meta
from rsbench.build.importers.blocks import Block
from rsbench.build.importers.label_files import Codes, Labels
from rsbench.build.importers.left_over import left_below, left_beside
from rsbench.build.importers.pair_files import COARSE, FINE
from rsbench.build.importers.places import is_one_scene
from rsbench.build.importers.plausibility import Plausibility
from rsbench.build.importers.sensor_files import SensorFiles, read_block
from rsbench.build.importers.taken import Taken, split_text
from rsbench.build.kinds.labels_recipe import PROTOCOL
from rsbench.build.kinds.pairs.search import tier_of
from rsbench.core.errors import PixelError
from rsbench.core.grid import Window
from rsbench.store.layout import RegionRecord, SensorArrays, SensorMeta
from rsbench.store.write import write_region

LEAST_CORRELATION = 0.5
"""Median correlation over bands below which a pair is remarked on, and its shift not measured."""


@dataclass(frozen=True)
class Place:
    """The pairs of one place, and which parts of it become regions.

    Args:
        name: as the folders of the files name it; empty for a single place.
        fine, coarse: the files of both sensors, pair by pair.
        blocks: name of a region → its window in coarse pixels, and its split.
    """

    name: str
    fine: SensorFiles
    coarse: SensorFiles
    blocks: Mapping[str, Block]


@dataclass(frozen=True)
class PreparedPairs:
    """Checked files of pairs.

    Args:
        request: the import.
        places: the files, place by place.
        ratio: fine pixels along a coarse pixel.
        labels: label files on the pixels of the coarse images; None without labels.
    """

    request: ImportRequest
    places: tuple[Place, ...]
    ratio: int
    labels: Labels | None

    def taken(self) -> Iterator[Taken]:
        """See :class:`rsbench.build.importers.taken.Describes`."""
        for place in self.places:
            split = split_text(block.split for block in place.blocks.values())
            for sensor in (place.fine, place.coarse):
                yield from sensor.taken(place.name, split)

    def write(self, root: Path) -> Written:
        """See :class:`rsbench.build.importers.api.Prepared`."""
        written: list[str] = []
        notes: list[str] = []
        looks: list[dict[str, Any]] = []
        for place in self.places:
            found = tuple(sensor.plausibility() for sensor in (place.fine, place.coarse))
            codes = self.labels.read(place.name, place.coarse.files[0]) if self.labels else None
            for name in place.blocks:
                pairs = self._write(root, place, name, found, codes)
                written += [name] if pairs else []
                looks += pairs
            for sensor in found:
                sensor.require()
                notes += sensor.notes()
            notes += [*place.fine.moved(), *place.coarse.moved()]
        if not written:
            raise PixelError(
                f"importing {self.request.source}",
                "in every region some image has no valid pixel",
                "Give images with valid pixels, or another --region-size",
            )
        blocks = sum(len(place.blocks) for place in self.places)
        said = [*self._said(len(written), blocks), *_remarks(looks), *notes, *self._left()]
        return Written(self._meta(), written, said)

    def _write(
        self, root: Path, place: Place, name: str, found: tuple[Plausibility, ...],
        codes: Codes | None,
    ) -> list[dict[str, Any]]:  # fmt: skip
        """Write one region; return what is known of its pairs, nothing if an image is empty."""
        block, k = place.blocks[name], self.ratio
        window = block.window
        finer = Window(k * window.y, k * window.x, k * window.height, k * window.width)
        fine = read_block(place.fine, finer, found[0])
        coarse = read_block(place.coarse, window, found[1])
        images = len(fine.times)
        if not (fine.valid.any(axis=(1, 2)) & coarse.valid.any(axis=(1, 2))).all():
            return []
        looks = [_look(place, fine, coarse, at) for at in range(images)]
        if codes is not None and self.labels is not None:
            rows, columns = window.slices
            layers = np.repeat(codes[None, rows, columns], images, axis=0)
            about = {"labels": self.labels.about(place.name, images)}
            coarse = replace(coarse, labels=layers, about=about)
        record = RegionRecord(name, block.split, {}, fine.times)
        metas = {FINE: place.fine.meta, COARSE: place.coarse.meta}
        write_region(root, record, {FINE: fine, COARSE: coarse}, metas, attrs={"pairs": looks})
        return looks

    def _meta(self) -> Any:
        first = self.places[0]
        metas: dict[str, SensorMeta] = {FINE: first.fine.meta, COARSE: first.coarse.meta}
        recipe = {
            "name": self.request.name, "importer": self.request.importer, "ratio": self.ratio,
            "one_scene": is_one_scene({p.name: p.coarse.files[0].grid for p in self.places}),
            "resampled": "none", "refused": {},
            "region_size": self.request.options.region_size,
            FINE: _recipe([place.fine for place in self.places]),
            COARSE: _recipe([place.coarse for place in self.places]),
            **({"labels": self.labels.recipe()} if self.labels else {}),
        }  # fmt: skip
        protocol = PROTOCOL if self.labels else ""
        return imported_meta(
            "pairs", recipe, metas, step="irregular", preset="default", protocol=protocol
        )

    def _left(self) -> list[str]:
        """Say which images in the folders of the source are not taken."""
        source = self.request.source
        first = self.places[0]
        parts = [s.folder for s in (first.fine, first.coarse) if s.folder]
        parts += [self.labels.folder] if self.labels else []
        if source not in parts:
            return [*left_beside(source, parts), *(n for p in parts for n in left_below(p))]
        labels = self.labels.files.values() if self.labels else ()
        files = [p for s in (first.fine, first.coarse) for r in s.files for p in r.paths]
        return left_beside(source, [*files, *labels])

    def _said(self, written: int, blocks: int) -> list[str]:
        said = [
            f"{written} regions; {self.ratio} fine pixels lie along a coarse one, and nothing is "
            "resampled"
        ]
        if written < blocks:
            said.append(f"{blocks - written} regions are left out: an image has no valid pixel")
        return said


def _recipe(sensors: list[SensorFiles]) -> dict[str, Any]:
    """Return how the files of all places were read; all are alike."""
    first = sensors[0].recipe()
    files = {name: digest for s in sensors for name, digest in s.recipe()["files"].items()}
    return {**first, "unit": sensors[0].meta.unit, "files": files}


def _look(place: Place, fine: SensorArrays, coarse: SensorArrays, at: int) -> dict[str, Any]:
    """Return what is known of one pair, as the data card shows it."""
    day, other = fine.times[at], coarse.times[at]
    clear = coarse.valid[at]
    height, width = clear.shape
    k = fine.valid.shape[1] // height
    both = clear & fine.valid[at].reshape(height, k, width, k).all(axis=(1, 3))
    names = place.fine.meta.bands, place.coarse.meta.bands
    bands = {n: (names[0].index(n), names[1].index(n)) for n in names[0] if n in names[1]}
    planes = centred(fine.values[at], coarse.values[at], both, bands) if both.any() else {}
    correlation = correlations(planes)
    alike = bool(correlation) and float(np.median([*correlation.values()])) >= LEAST_CORRELATION
    planes = {name: planes[name] for name in correlation}
    moved = [round(step, 3) for step in shift(planes)] if alike else []
    return {
        "fine": place.fine.files[at].path.name, "coarse": place.coarse.files[at].path.name,
        "day": day.isoformat(), "coarse_day": other.isoformat(), "days_apart": (other - day).days,
        "tier": tier_of(day, other, "season") or "none", "resampled": "none",
        "clear": round(float(clear.mean()), 6), "correlation": correlation,
        "shift": moved, "shifted": math.hypot(*moved) > FLAG,
    }  # fmt: skip


def _remarks(looks: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Yield what is odd about pairs, counted over the regions; the data card lists every pair."""
    apart = [look for look in looks if look["days_apart"]]
    unlike = [look for look in looks if look["correlation"] and not look["shift"]]
    found = {
        "are of different days": len(apart),
        "have no band of one name that varies in both images, so these are not compared": sum(
            not look["correlation"] for look in looks
        ),
        f"agree little: their median correlation over bands is below {LEAST_CORRELATION}": len(
            unlike
        ),
        f"lie more than {FLAG} coarse pixels apart": sum(look["shifted"] for look in looks),
    }
    for what, count in found.items():
        if count:
            yield f"{count} of {len(looks)} pairs {what}; the data card lists them"
