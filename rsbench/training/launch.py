"""Which processes train together: those that Fabric starts here, or those that torchrun started."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Self

from rsbench.core.errors import InputError

LAUNCHED = "TORCHELASTIC_RUN_ID"
"""Set by ``torchrun`` in every process that it starts."""


@dataclass(frozen=True)
class Crew:
    """Devices of one node, and nodes."""

    devices: int = 1
    nodes: int = 1

    @property
    def size(self) -> int:
        """Processes that share a step's batch."""
        return self.devices * self.nodes

    @classmethod
    def of(cls, devices: int) -> Self:
        """Return the processes of ``torchrun`` under it, else ``devices`` on this node.

        Raises:
            InputError: if another number of devices was asked for than ``torchrun`` started, or
                its nodes have different numbers.
        """
        if LAUNCHED not in os.environ:
            return cls(devices)
        local, world = int(os.environ["LOCAL_WORLD_SIZE"]), int(os.environ["WORLD_SIZE"])
        if devices not in (1, local):
            raise InputError(
                f"training on {devices} devices",
                f"torchrun started {local} processes here",
                f"Leave --devices out, or give torchrun --nproc-per-node {devices}",
            )
        if world % local:
            raise InputError(
                f"training in {world} processes",
                f"{local} of them are here, so nodes have different numbers",
                "Give torchrun the same --nproc-per-node on every node",
            )
        return cls(local, world // local)


def speaks() -> bool:
    """Say whether this is the first of the processes of one training; only it speaks."""
    return os.environ.get("RANK", os.environ.get("LOCAL_RANK", "0")) == "0"
