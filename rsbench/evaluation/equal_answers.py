"""Entries of a table whose predictions are equal bit for bit."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from rsbench.core.digest import sha256_json
from rsbench.core.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor

    from rsbench.evaluation.entries import ModelEntry
    from rsbench.evaluation.run_info import RunInfo

ANSWERS = "answers"
"""Entry of run.json: name and preset → digest of the predictions, regions by name."""
PRESET = "/"
"""Stands before a preset that is not the default; names of models have none."""


@dataclass
class AnswerDigests:
    """Digests of the predictions of every entry, by region.

    ``known``: name of the entry → region → digest, of regions scored before.
    """

    known: dict[str, dict[str, str]] = field(default_factory=dict)
    _hashers: dict[str, dict[str, hashlib._Hash]] = field(default_factory=dict)

    def add(self, entry: ModelEntry, regions: Sequence[str], values: Tensor) -> None:
        """Add the ``(B, C, H, W)`` predictions of an entry, of one region per row."""
        preset = "" if entry.preset in ("", "default") else f"{PRESET}{entry.preset}"
        own = self._hashers.setdefault(f"{entry.model}{preset}", {})
        for region, value in zip(regions, values, strict=True):
            own.setdefault(region, hashlib.sha256()).update(value.contiguous().numpy().tobytes())

    def by_region(self) -> dict[str, dict[str, str]]:
        """Return name of the entry → region → digest of its predictions there."""
        found = {name: dict(own) for name, own in self.known.items()}
        for name, own in self._hashers.items():
            fresh = {region: hasher.hexdigest() for region, hasher in own.items()}
            found[name] = found.get(name, {}) | fresh
        return found

    def digests(self) -> dict[str, str]:
        """Return name of the entry, with a preset that is not the default → digest."""
        return {name: sha256_json(own) for name, own in sorted(self.by_region().items())}


def require_distinct(name: str, digests: Mapping[str, str]) -> None:
    """Refuse an entry whose predictions are those of another model.

    Args:
        name: of the entry that the table is about; it may be one of the reference models.
        digests: as :meth:`AnswerDigests.digests` returns them. Members of its own ensemble may
            be equal to their mean.

    Raises:
        InputError: names the other model.
    """
    models = {other: other.partition(PRESET)[0].partition(" · ")[0] for other in digests}
    own = {digest for other, digest in digests.items() if models[other] == name}
    same = [other for other, digest in digests.items() if digest in own and models[other] != name]
    if same:
        raise InputError(
            f"scoring {name}",
            f"its predictions equal those of {', '.join(same)} bit for bit",
            "Check that its head reads the images, or that the files are its own",
        )


def equal_notes(runs: Iterable[RunInfo]) -> list[str]:
    """Return one note for each set of entries that predicted the same bits.

    Entries of one name are the same model unless their weights differ; these are named with the
    seed of their run.
    """
    found: dict[str, dict[tuple[str, str | None], int]] = {}
    for run in runs:
        for name, digest in run.extra.get(ANSWERS, {}).items():
            weights = run.weights.get(name.partition(PRESET)[0])
            found.setdefault(digest, {}).setdefault((name, weights), run.seed)
    return [
        f"equal predictions, bit for bit: {', '.join(sorted(_told(entries)))}"
        for entries in found.values()
        if len(entries) > 1
    ]


def _told(entries: Mapping[tuple[str, str | None], int]) -> Iterator[str]:
    """Yield the names of entries, with the seed where several have one name."""
    names = [name for name, _ in entries]
    for (name, _), seed in entries.items():
        yield f"{name} (seed {seed})" if names.count(name) > 1 else name
