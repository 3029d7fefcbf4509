"""The colours of bands by their names."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

NAMES = {
    "red": ("red", "r", "B04"),
    "green": ("green", "g", "B03"),
    "blue": ("blue", "b", "B02"),
    "nir": ("nir", "nir08", "B08", "B8A"),
}
"""Colour → names of bands of this colour, the preferred one first. Words are found in any case;
band numbers of Sentinel-2 and HLS in upper case only, as b04 of MODIS is green."""
TRUE_COLOUR = ("red", "green", "blue")
FALSE_COLOUR = ("nir", "red", "green")


def bands_of(bands: Iterable[str], colours: Sequence[str]) -> tuple[str, ...] | None:
    """Return the band of each colour; None where one of the colours is in no name."""
    named = {name: band for band in bands for name in (band.lower(), band)}
    found = [next((named[n] for n in NAMES[c] if n in named), None) for c in colours]
    known = tuple(band for band in found if band is not None)
    return known if len(known) == len(colours) else None
