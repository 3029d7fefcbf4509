"""All formats, in the order of the report."""

from __future__ import annotations

from fuzz import answers, arguments, catalogue, gate, geojson, images, locks, runs, stac, stores
from fuzz.driver import Format

FORMATS: tuple[Format, ...] = (
    *arguments.FORMATS, geojson.FORMAT, locks.FORMAT, *catalogue.FORMATS, *stac.FORMATS,
    *images.FORMATS, *stores.FORMATS, *answers.FORMATS, *runs.FORMATS, *gate.FORMATS,
)  # fmt: skip
