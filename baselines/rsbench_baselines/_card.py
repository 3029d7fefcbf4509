"""What cards of trained networks have in common; imports no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rsbench import Card, PresetInfo
from rsbench_baselines._parity import PARITY

REVISED: Mapping[str, Any] = {"revision": 2}
"""Options of presets whose network computes otherwise than before under the same parameter names.

A checkpoint or a run with other preset options is not taken for today's.
"""
REVISION = "network revision 2"
"""In the column ``inputs`` of rows of a network that computes otherwise than before."""
SAMPLER_TOLERANCE = 1e-4
"""Of iterative samplers: rounding that differs with the batch passes through every step."""
NO_LICENCE_FILE = "Apache-2.0 (written from the paper; the authors' code has no licence file)"


@dataclass(frozen=True)
class UNetSize:
    """Size of a U-Net for fusion.

    Args:
        parameters: number of all parameters at ``bands``.
        idle: prefixes of parameters that no output depends on.
        bands: of every image.
        base, mult: the width of each level is ``base·mult``; sides halve between levels.
        groups: of every group norm.
    """

    parameters: int
    idle: tuple[str, ...] = ()
    bands: int = 6
    base: int = 64
    mult: tuple[int, ...] = (1, 2, 4)
    groups: int = 8

    @property
    def multiple_of(self) -> int:
        """Both sides in pixels must be a multiple of this."""
        return int(2 ** (len(self.mult) - 1))


def preset(
    count: int,
    note: str,
    options: Mapping[str, Any] | None = None,
    card: Mapping[str, Any] | None = None,
    idle: Mapping[str, str] | None = None,
) -> PresetInfo:
    """Return a preset whose parameters are all trained."""
    return PresetInfo(count, count, 0, note, options or {}, card or {}, idle or {})


def tiled(tile: int, halo: int, multiple_of: int) -> dict[str, object]:
    """Return the fields of a card that say how large images are cut into tiles."""
    return {"multiple_of": multiple_of, "tile": tile, "halo": halo}


def trained_card(
    name: str, *, presets: Mapping[str, PresetInfo], citation: str, **fields: Any
) -> Card:
    """Return the card of a trainable network whose builder is ``NAME.model:build``.

    Args:
        name: of the model and of its folder.
        presets: by name.
        citation: of the publication.
        fields: further fields of :class:`rsbench.Card`.
    """
    build = f"rsbench_baselines.{name}.model:build"
    return Card(
        name=name,
        presets=presets,
        citation=citation,
        build=build,
        trainable=True,
        parity=PARITY[name],
        **fields,
    )


def fusion_card(
    name: str, *, references: int = 1, licence: str = NO_LICENCE_FILE, **fields: Any
) -> Card:
    """Return the card of a fusion network that takes one number of reference dates.

    Args:
        name: of the model and of its folder.
        references: number of reference dates.
        licence: of the code.
        fields: further fields of :class:`rsbench.Card`.
    """
    return trained_card(
        name,
        task="fusion",
        licence=licence,
        min_context=references,
        max_context=references,
        **{"default_preset": "paper", **fields},
    )
