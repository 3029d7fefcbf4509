"""Mask files beside images: which image each is of, and which of its numbers mean valid."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from rsbench.build.importers.api import ImportRequest
from rsbench.build.importers.pixels import read_part
from rsbench.build.importers.raster import Raster
from rsbench.core.errors import InputError
from rsbench.core.grid import Window

_BESIDE = re.compile(
    r"(?P<image>.+?)(?P<end>[-_. ]?(?:cloud[-_]?mask|f?mask|clouds?|qa|scl|valid|udm2?))$",
    re.IGNORECASE,
)
"""Usual ends of the names of masks."""


def with_masks(request: ImportRequest, rasters: Sequence[Raster]) -> list[Raster]:
    """Return the images with the masks that are files of their own.

    Args:
        request: the import; ``mask`` is how names of masks end, ``mask_valid`` the numbers of a
            mask that mean valid, as ``0,4-7``.
        rasters: images and masks. With a layout of bands, masks are found there.

    Raises:
        InputError: if files look like masks and none are stated, an image has no mask, or it is not
            stated which numbers mean valid.
    """
    options = request.options
    if options.mask is None:
        if options.layout is None:
            _require_no_masks(request, rasters)
        return list(rasters)
    if options.layout is not None and "{band}" in options.layout:
        return list(rasters)
    if any(raster.variable for raster in rasters):
        return list(rasters)  # the mask is a variable, as bands are
    end = core(options.mask)
    masks = {
        (raster.path.parent, image): raster
        for raster in rasters
        if (image := _without(raster.path.stem, end)) is not None
    }
    images = [raster for raster in rasters if raster not in masks.values()]
    return [masked(request, r, masks.get((r.path.parent, r.path.stem))) for r in images]


def core(mask: str) -> str:
    """Return the end of the names of masks without separators."""
    return mask.strip("-_. ").lower()


def _without(stem: str, end: str) -> str | None:
    """Return the name of the image that a mask is of; None for other names."""
    image = stem[: len(stem) - len(end)].rstrip("-_. ")
    return image if stem.lower().endswith(end) and image else None


def masked(request: ImportRequest, image: Raster, mask: Raster | None) -> Raster:
    """Return an image with its mask.

    Raises:
        InputError: if there is none, it has several bands, or it is not stated what is valid.
    """
    if mask is None or mask.bands != 1:
        raise InputError(
            f"the mask of {image.path.name}",
            "there is none" if mask is None else f"{mask.path.name} has {mask.bands} bands",
            f"Give each image a mask of one band whose name ends in {request.options.mask}",
        )
    return replace(image, mask=mask, mask_valid=_numbers(request, mask))


def _numbers(request: ImportRequest, mask: Raster) -> tuple[int, ...]:
    stated = request.options.mask_valid
    if stated is None:
        raise InputError(
            f"--mask {request.options.mask}",
            f"it is not stated which of its numbers mean valid; {_shown(mask)}",
            f"Type, with the numbers that are true: {request.command(mask_valid='1')}",
        )
    if not re.fullmatch(r"\d+(-\d+)?(,\d+(-\d+)?)*", stated.replace(" ", "")):
        raise InputError(f"--mask-valid {stated}", "these are no numbers", "Write e.g. 0,4-7")
    ends = [part.split("-") for part in stated.replace(" ", "").split(",")]
    return tuple(n for end in ends for n in range(int(end[0]), int(end[-1]) + 1))


def _shown(mask: Raster) -> str:
    """Return which numbers a mask holds."""
    pixels, _ = read_part(mask, Window(0, 0, mask.grid.height, mask.grid.width))
    held = np.unique(pixels)
    more = " …" if len(held) > 12 else ""
    return f"{mask.path.name} holds {', '.join(str(n) for n in held[:12])}{more}"


def _require_no_masks(request: ImportRequest, rasters: Sequence[Raster]) -> None:
    """Refuse files that look like masks of others, and tell what to type."""
    images = {(raster.path.parent, raster.path.stem) for raster in rasters}
    for raster in rasters:
        found = _BESIDE.fullmatch(raster.path.stem)
        if found and (raster.path.parent, found["image"]) in images:
            raise InputError(
                f"importing {request.source}",
                f"{raster.path.name} looks like the mask of {found['image']}{raster.path.suffix}; "
                f"{_shown(raster)}",
                "If so, type, with the numbers that mean valid: "
                f"{request.command(mask=found['end'], mask_valid='1')} ; else rename it",
            )
