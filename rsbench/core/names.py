"""Names that become names of files and folders, on every common file system."""

from __future__ import annotations

import re
from collections.abc import Iterable

_PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
_UNSAFE = re.compile(r'[/\\|=:*?"<>\x00-\x1f\x7f-\x9f]')
_DEVICE = re.compile(r"(con|prn|aux|nul|com[0-9]|lpt[0-9])(\..*)?", re.IGNORECASE)
"""Names that Windows keeps for devices, with any ending."""
LONGEST = 100
"""Characters of a name; file systems allow 255 bytes with all endings that are added."""
RESERVED = frozenset({
    "index.json", "zarr.json", "manifest.json", "lock.json.gz", "readme.md", "coverage.svg",
    "dataset.json", "answer.json", "task.json", "build.json", "part.json", "lock", "provenance",
})  # fmt: skip
"""Files that lie beside or in the folders of regions and sensors, in lower case."""


def folder_fault(name: str) -> str | None:
    """Return why a name cannot be the folder of a region or a sensor, or None."""
    if not _PLAIN.fullmatch(name):
        return "it is no folder name of letters, digits, _ . and -, beginning with one of the first"
    low = name.casefold()
    if low in RESERVED or low.startswith("lock-of-") or low.endswith(".incomplete"):
        return "a file of the store has this name"
    return _common_fault(name)


def as_folder(text: str, otherwise: str) -> str:
    """Return a text with hyphens for what a folder's name may not have; ``otherwise`` if empty."""
    return re.sub(r"[^A-Za-z0-9_.-]", "-", text).lstrip("_.-") or otherwise


def label_fault(name: str) -> str | None:
    """Return why a name cannot stand in tables and in names of files, or None."""
    if not name or name != name.strip() or name[0] in ".-":
        return "it is empty, or begins or ends with a space, a dot or a hyphen"
    if found := _UNSAFE.search(name):
        return f"it has the character {found[0]!r}, which has a meaning in paths or tables"
    return _common_fault(name)


def _common_fault(name: str) -> str | None:
    if name.endswith(".") or _DEVICE.fullmatch(name):
        return "some systems do not allow this file name"
    return f"it is longer than {LONGEST} characters" if len(name) > LONGEST else None


def twice(names: Iterable[str]) -> str | None:
    """Return the first name that occurs twice, upper and lower case being equal, or None."""
    seen: set[str] = set()
    for name in names:
        if name.casefold() in seen:
            return name
        seen.add(name.casefold())
    return None
