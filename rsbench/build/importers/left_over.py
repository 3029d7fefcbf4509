"""Images in the folders of an import that are not taken, so that none is left out silently."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from rsbench.build.importers.raster import is_image


def left_below(folder: Path) -> list[str]:
    """Return one line that says how many images in folders below are not taken, if some are not."""
    if not any(is_image(p) for p in folder.iterdir()):
        return []
    below = [p for p in sorted(folder.rglob("*")) if p.parent != folder and is_image(p)]
    if not below:
        return []
    first = below[0].relative_to(folder)
    return [
        f"{len(below)} images in folders below {folder} are not taken, the first: {first}. To take "
        "them, move the images that lie beside these folders into one of their own"
    ]


def left_beside(source: Path, taken: Iterable[Path]) -> list[str]:
    """Return one line per folder of a source, and one for its own images, that are not taken.

    Args:
        source: the folder that is imported.
        taken: folders and files in it that are taken.
    """
    known = {path.absolute() for path in taken}
    lines = []
    others = [p for p in sorted(source.iterdir()) if p.absolute() not in known]
    for folder in others:
        images = sum(map(is_image, folder.rglob("*"))) if folder.is_dir() else 0
        if images:
            lines.append(f"the folder {folder.name} with {images} images is not taken")
    own = [path.name for path in others if is_image(path)]
    if own:
        lines.append(f"{len(own)} images beside the folders are not taken, the first: {own[0]}")
    return lines
