"""The refusal for something that neither the files nor the options of an import state."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rsbench.core.errors import InputError


class NotStatedError(InputError):
    """Something is not stated.

    Args:
        asked, found, remedy: see :class:`rsbench.core.errors.RsbenchError`.
        lacks: what is not stated, as ``the CRS of a.tif``.
        assumed: options with example values, with which the check can go on. The example of
            ``dates`` gives every file a date of its own.
    """

    def __init__(
        self, asked: str, found: str, remedy: str, *, lacks: str, assumed: Mapping[str, Any]
    ) -> None:
        self.lacks = lacks
        self.assumed = assumed
        super().__init__(asked, found, remedy)
