"""Weights that a network's authors published, loaded by name.

A `Layout` states how the released state names the layers of a network. What stands before all names
of a file (``module.``, ``net.ema_model.``) is removed. Then all names and shapes must agree; the
order of the tensors in a file has no meaning.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import takewhile
from typing import ClassVar

import torch
from torch import Tensor, nn

from rsbench import InputError

SHOWN = 3
RELEASED = "released weights"
"""In the column ``inputs`` of rows whose weights were not trained by rsbench."""


@dataclass(frozen=True)
class Layout:
    """How a released state names the tensors of a network.

    Args:
        names: released name → ours, of layers or tensors, in whole parts; of several that fit the
            longest applies. Names without an entry stay as they are.
        merged: last parts of our names whose first two axes are one axis in the released state.
        computed: last parts of released names whose tensors hold nothing learned; left out.
        own: our names that a released state does not have; their tensors stay.
    """

    names: Mapping[str, str] = field(default_factory=dict)
    merged: tuple[str, ...] = ()
    computed: tuple[str, ...] = ()
    own: tuple[str, ...] = ()


class LoadsReleased(ABC):
    """A model that loads weights under the names of its authors' program.

    Attributes:
        revision: of the network; None if it always computed as it does now.
        weights_loaded: whether released weights were loaded, so that the model may be scored.
    """

    revision: ClassVar[str | None] = None
    weights_loaded = False

    @abstractmethod
    def released(self) -> tuple[nn.Module, Layout]:
        """Return the network that predicts, and the layout of its released state."""

    def load_released(self, state: Mapping[str, Tensor]) -> None:
        """Load weights that the authors' program saved, by name; they may then be scored.

        Args:
            state: tensors by name, as read from the file.

        Raises:
            InputError: if a tensor is missing, left over or of another shape; names the first ones.
        """
        network, layout = self.released()
        load_released(network, state, layout)
        self.weights_loaded = True

    @property
    def inputs(self) -> str | None:
        """Return what is added to the column ``inputs`` of a table.

        Rows of an earlier network of the same name and preset, and of released weights, are other
        rows.
        """
        said = (self.revision, RELEASED if self.weights_loaded else None)
        return ", ".join(part for part in said if part) or None


def below(theirs: str, ours: str, parts: Mapping[str, str]) -> dict[str, str]:
    """Return a table for the parts of one module."""
    return {f"{theirs}.{a}": f"{ours}.{b}" for a, b in parts.items()}


def renamed(names: Iterable[str], table: Mapping[str, str]) -> dict[str, str]:
    """Return new name → name; the longest beginning that the table has is replaced.

    Raises:
        InputError: if two names would become one.
    """
    found: dict[str, str] = {}
    for name in names:
        parts = name.split(".")
        heads = (".".join(parts[:n]) for n in range(len(parts), 0, -1))
        known = next((head for head in heads if head in table), None)
        new = name if known is None else table[known] + name[len(known) :]
        if new in found:
            raise InputError(
                "loading released weights",
                f"{found[new]} and {name} of the file would both become {new}",
                "Give the state of one network",
            )
        found[new] = name
    return found


def load_released(
    network: nn.Module,
    state: Mapping[str, Tensor],
    layout: Layout | Mapping[str, str] | None = None,
) -> None:
    """Replace all weights of a network by those of a released state, by name.

    Args:
        network: whose weights are replaced.
        state: tensors by name, as read from the file.
        layout: of the state, or its table of names alone; without, names are those of the network.

    Raises:
        InputError: if a tensor is missing, left over or of another shape; names the first ones.
            The network is unchanged.
    """
    layout = layout if isinstance(layout, Layout) else Layout(layout or {})
    kept = network.state_dict()
    own = {name: tensor for name, tensor in kept.items() if name not in layout.own}
    asked = f"loading released weights into {type(network).__name__}"
    others = [str(name) for name, value in state.items() if not isinstance(value, Tensor)]
    if others:
        raise InputError(
            asked,
            _some(others, "entry is no tensor", "entries are no tensors"),
            "Give the tensors of one network: checkpoint['state_dict'], or --key state_dict",
        )
    names = _matched(state, own, layout)
    found = {new: _parted(state[name], own.get(new), new, layout) for new, name in names.items()}
    faults = _faults(found, own, names)
    if faults:
        raise InputError(
            asked,
            "; ".join(faults),
            "Give the state of one network, of the preset and number of bands of this one",
        )
    network.load_state_dict({**kept, **found}, strict=True)


def _matched(state: Iterable[str], own: Mapping[str, Tensor], layout: Layout) -> dict[str, str]:
    """Return our name → name in the file, without the common beginning that fits best."""
    learned = [name for name in state if name.rpartition(".")[2] not in layout.computed]
    columns = zip(*(name.split(".")[:-1] for name in learned), strict=False)
    shared = [parts[0] for parts in takewhile(lambda parts: len(set(parts)) == 1, columns)]
    best: dict[str, str] = {}
    for cut in range(len(shared) + 1):
        start = len("".join(f"{part}." for part in shared[:cut]))
        table = renamed((name[start:] for name in learned), layout.names)
        if not best or len(table.keys() & own.keys()) > len(best.keys() & own.keys()):
            best = {new: ".".join([*shared[:cut], name]) for new, name in table.items()}
    return best


def _parted(tensor: Tensor, ours: Tensor | None, name: str, layout: Layout) -> Tensor:
    """Divide the first axis of a tensor in two, where ours has both."""
    if ours is None or name.rpartition(".")[2] not in layout.merged:
        return tensor
    return tensor.reshape(ours.shape) if tensor.shape == ours.flatten(0, 1).shape else tensor


def _faults(
    found: Mapping[str, Tensor], own: Mapping[str, Tensor], names: Mapping[str, str]
) -> list[str]:
    """Return a phrase for each kind of difference; names of the file where it has the tensor."""
    unknown = [names[new] for new in found if new not in own]
    absent = [new for new in own if new not in found]
    pairs = [(names[new], found[new], tensor) for new, tensor in own.items() if new in found]
    shapes = [
        f"{name} {list(theirs.shape)}, not {list(ours.shape)}"
        for name, theirs, ours in pairs
        if theirs.shape != ours.shape
    ]
    kinds = [
        f"{name} {theirs.dtype}, not {ours.dtype}"
        for name, theirs, ours in pairs
        if theirs.is_floating_point() != ours.is_floating_point()
    ]
    broken = [name for name, theirs, _ in pairs if not bool(torch.isfinite(theirs).all())]
    return [
        *_each(unknown, "tensor of the file is unknown", "tensors of the file are unknown"),
        *_each(absent, "tensor of the network is absent", "tensors of the network are absent"),
        *_each(shapes, "tensor has another shape", "tensors have other shapes"),
        *_each(kinds, "tensor holds other numbers", "tensors hold other numbers"),
        *_each(broken, "tensor is not finite", "tensors are not finite"),
    ]


def _each(names: list[str], one: str, several: str) -> list[str]:
    return [_some(names, one, several)] if names else []


def _some(names: list[str], one: str, several: str) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return f"{len(names)} {one if len(names) == 1 else several}: {', '.join(names[:SHOWN])}{more}"
