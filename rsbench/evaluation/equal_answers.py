"""Entries of a table whose predictions are equal bit for bit."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

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
