"""Entries of a table whose predictions are equal bit for bit."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from rsbench.core.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor

    from rsbench.evaluation.entries import ModelEntry
    from rsbench.evaluation.run_info import RunInfo

ANSWERS = "answers"
"""Entry of run.json: name of a model → digest of its predictions, cases and leads in order."""


@dataclass
class AnswerDigests:
    """Digests of the predictions of every entry."""

    _hashers: dict[str, hashlib._Hash] = field(default_factory=dict)

    def add(self, entry: ModelEntry, values: Tensor) -> None:
        """Add the ``(B, C, H, W)`` predictions of an entry."""
        hasher = self._hashers.setdefault(entry.model, hashlib.sha256())
        hasher.update(values.contiguous().numpy().tobytes())

    def digests(self) -> dict[str, str]:
        """Return name of the entry → digest."""
        return {name: hasher.hexdigest() for name, hasher in sorted(self._hashers.items())}


def require_distinct(name: str, digests: Mapping[str, str]) -> None:
    """Refuse an entry whose predictions are those of another model.

    Args:
        name: of the entry that the table is about; it may be one of the reference models.
        digests: name of an entry → digest of its predictions. Members of its own ensemble may be
            equal to their mean.

    Raises:
        InputError: names the other model.
    """
    own = digests.get(name)
    same = [
        other for other, digest in digests.items()
        if digest == own and other.partition(" · ")[0] != name
    ]  # fmt: skip
    if same:
        raise InputError(
            f"scoring {name}",
            f"its predictions equal those of {', '.join(same)} bit for bit",
            "Check that its head reads the images, or that the files are its own",
        )


def equal_notes(runs: Iterable[RunInfo]) -> list[str]:
    """Return one note for each set of entries that predicted the same bits."""
    named: dict[str, set[str]] = {}
    for run in runs:
        for model, digest in run.extra.get(ANSWERS, {}).items():
            named.setdefault(digest, set()).add(model)
    return [
        f"equal predictions, bit for bit: {', '.join(sorted(names))}"
        for names in named.values()
        if len(names) > 1
    ]
