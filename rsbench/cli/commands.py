"""What the longer commands of the command line do; texts go through ``say`` and ``note``."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rsbench.cli.app import confirmed
from rsbench.core.errors import InputError
from rsbench.core.file_lock import new_directory, target_lock
from rsbench.core.io import disk_errors, read_json

if TYPE_CHECKING:
    from rsbench.store.read import Store

Say = Callable[[str], None]


def inspect_command(path: Path, *, as_json: bool, say: Say) -> None:
    """Say what a store holds: identity, sensors, labels, regions, splits, coverage."""
    from rsbench.store.export.card_labels import label_shares
    from rsbench.store.export.coverage import coverage, picture
    from rsbench.store.export.summary import inspect_store, store_identity
    from rsbench.store.read import open_store

    store = open_store(path)
    if as_json:
        say(json.dumps(inspect_store(store), indent=2))
        return
    for key, item in store_identity(store).items():
        say(f"{key:10} {_plain(item)}")
    for sensor, found in label_shares(store).items():
        shares = ", ".join(f"{name} {share:.1%}" for name, share in found["classes"].items())
        none = f"without class {found['without class']:.1%}"
        say(f"{'labels':10} {' '.join(found['labels'])} beside {sensor}: {shares}; {none}")
        for split, classes in found["splits"].items():
            parts = ", ".join(f"{name} {share:.1%}" for name, share in classes.items() if share)
            say(f"{'':10} of the labelled pixels of {split}: {parts}")
    for line in picture(coverage(store)):
        say(line)


def _plain(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, dict):
        return "; ".join(f"{name}: {_plain(item)}" for name, item in value.items())
    return " ".join(map(str, value)) if isinstance(value, list) else str(value)


def add_texts_command(path: Path, texts: Path, out: Path, *, say: Say) -> None:
    """Write a copy of a store with texts, and say how many images have one."""
    from rsbench.core.progress import progress
    from rsbench.store.add_texts import add_texts, read_texts
    from rsbench.store.read import open_store
    from rsbench.store.texts import described

    read = read_texts(texts)
    with progress() as advance:
        store = add_texts(open_store(path), read, out, advance=advance)
    say(f"{out}  {described(store)}; digest {store.digest[:12]}")


def export_command(path: Path, out: Path, *, region: str | None, say: Say) -> None:
    """Write GeoTIFFs into a new folder, or again into that of the same store."""
    from rsbench.store.export.geotiff import export_geotiff
    from rsbench.store.read import open_store

    store = open_store(path)
    if out.exists() and (not out.is_dir() or (any(out.iterdir()) and not _exported(store, out))):
        raise InputError(
            f"exporting into {out}", "something else is there already", "Choose another --out"
        )
    asked, elsewhere = f"exporting into {out}", "choose another --out"
    if out.exists():
        with disk_errors(asked, elsewhere), target_lock(out, asked, elsewhere):
            files = export_geotiff(store, out, region=region)
    else:
        with new_directory(out, asked, elsewhere) as folder:
            files = export_geotiff(store, folder, region=region)
    say(f"{out}  {len(files)} files")


def require_free(path: Path, lost: str | None) -> None:
    """Ask before a file is replaced; without a terminal, refuse.

    Args:
        path: the file.
        lost: what would be lost; None for nothing.

    Raises:
        InputError: if something would be lost and that is not confirmed.
    """
    if lost is None:
        return
    asked = sys.stdin is not None and sys.stdin.isatty()
    if not (asked and confirmed(f"{path}: {lost}. Replace it?")):
        raise InputError(f"writing {path}", lost, "Give another --against, or add --overwrite")


def _exported(store: Store, out: Path) -> bool:
    """Say whether a folder holds an export of this very store, whole or not."""
    note = out / "dataset.json"
    if not note.is_file():
        return all(path.name in store.regions for path in out.iterdir())
    try:
        return bool(read_json(note)["digest"] == store.digest)
    except (ValueError, KeyError, TypeError):
        return False
