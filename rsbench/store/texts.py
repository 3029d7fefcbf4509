"""The texts of images that a store holds."""

from __future__ import annotations

from datetime import date

from rsbench.store.read import Store


def text_of(store: Store, region: str, day: date) -> str:
    """Return the text of the image of a region of a date; empty where the store has none."""
    return store.manifest(region).record.texts.get(day.isoformat(), "")


def has_texts(store: Store) -> bool:
    """Return whether the store holds the text of any image."""
    return any(store.manifest(name).record.texts for name in store.regions)


def described(store: Store) -> str:
    """Return how many texts there are: ``3 texts, 36 dates of the regions``."""
    records = [store.manifest(name).record for name in store.regions]
    count, dates = sum(len(one.texts) for one in records), sum(len(one.times) for one in records)
    return f"{count} texts, {dates} dates of the regions"
