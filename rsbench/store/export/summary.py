"""What a store is and holds, as one value."""

from __future__ import annotations

from typing import Any

from rsbench.store.export.card_labels import label_shares
from rsbench.store.export.coverage import coverage
from rsbench.store.read import Store
from rsbench.store.texts import described, has_texts


def store_identity(store: Store) -> dict[str, Any]:
    """Return what a store is: digest, recipe, sensors, dates."""
    first = store.region(store.regions[0]).record
    return {
        "path": str(store.path),
        "digest": store.digest,
        "recipe": store.recipe,
        "simulated": store.simulated,
        "complete": store.complete,
        "sensors": {n: list(m.bands) for n, m in store.meta.sensors.items()},
        "times": [str(t) for t in first.times],
        "step": store.meta.step,
        **({"texts": described(store)} if has_texts(store) else {}),
    }


def inspect_store(store: Store) -> dict[str, Any]:
    """Return what ``rsbench inspect --json`` prints: identity, labels, and coverage by region.

    The validity of every pixel is read, which takes seconds per gigabyte.

    Args:
        store: an open store.

    Returns:
        ``path``, ``digest``, ``recipe``, ``simulated``, ``complete``, ``sensors`` (name → bands),
        ``times`` (ISO dates), ``step`` (ISO 8601 duration), ``texts`` and ``labels`` where there
        are any, and ``regions``: name → split, share of valid pixels (0 to 1) and clear
        observations by date.

    Raises:
        StoreError: if a file is absent or damaged.
    """
    labels = label_shares(store)
    stated = {"labels": labels} if labels else {}
    regions = {name: found.to_json() for name, found in coverage(store).items()}
    return {**store_identity(store), **stated, "regions": regions}
