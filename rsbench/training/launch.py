"""The processes of one training: started here by Fabric, or started by ``torchrun``."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Self

from rsbench.core.errors import InputError

LAUNCHED = "TORCHELASTIC_RUN_ID"
"""Set by ``torchrun`` in every process that it starts."""


@dataclass(frozen=True)
class Launch:
    """How many devices each node has, and how many nodes there are."""

    devices: int = 1
    nodes: int = 1

    @property
    def size(self) -> int:
        """Number of processes that share the batch of a step."""
        return self.devices * self.nodes

    @classmethod
    def of(cls, devices: int) -> Self:
        """Return the processes that ``torchrun`` started, else ``devices`` on this node.

        Raises:
            InputError: if ``torchrun`` started another number of processes than was asked for, or
                a different number on each node.
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


def is_first_rank() -> bool:
    """Return True on rank 0, the only rank that prints."""
    return os.environ.get("RANK", os.environ.get("LOCAL_RANK", "0")) == "0"
