"""Weights trained elsewhere under other names, brought to ours so that they load strictly.

The released files of SA-STF were not at hand when this was written: what is here has been tried
on renamed states of this network only. Two ways lead to a strict load, and both refuse rather
than guess: a table of prefixes, or the order of registration, where every layer of the file
must have the shapes of our layer at the same position.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import zip_longest

from torch import Tensor, nn

Layer = tuple[str, tuple[tuple[str, tuple[int, ...]], ...]]
"""Name of a layer, and the name and shape of each of its tensors."""
WRAPPERS = ("module.", "_orig_mod.")


def layers(state: Mapping[str, Tensor]) -> list[Layer]:
    """Return the layers of a state in order, with their tensors' names and shapes."""
    found: dict[str, list[tuple[str, tuple[int, ...]]]] = {}
    for name, tensor in state.items():
        layer, _, leaf = name.rpartition(".")
        found.setdefault(layer, []).append((leaf, tuple(tensor.shape)))
    return [(layer, tuple(sorted(leaves))) for layer, leaves in found.items()]


def unwrapped(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Take off what parallel or compiled training puts before every name."""
    for wrapper in WRAPPERS:
        if state and all(name.startswith(wrapper) for name in state):
            state = {name.removeprefix(wrapper): tensor for name, tensor in state.items()}
    return dict(state)


def renamed(state: Mapping[str, Tensor], prefixes: Mapping[str, str]) -> dict[str, Tensor]:
    """Replace the longest matching prefix (whole parts of a name) of each name."""
    ordered = sorted(prefixes, key=len, reverse=True)
    found: dict[str, Tensor] = {}
    for name, tensor in state.items():
        known = next((p for p in ordered if f"{name}.".startswith(f"{p}.")), None)
        new = name if known is None else f"{prefixes[known]}{name[len(known) :]}"
        if new in found:
            raise ValueError(f"two tensors of the file would become {new}")
        found[new] = tensor
    return found


def by_order(state: Mapping[str, Tensor], network: nn.Module) -> dict[str, Tensor]:
    """Give the tensors of a state our names, layer by layer in order of registration.

    Raises:
        ValueError: if a layer of the file has other shapes than ours at the same position;
            names both.
    """
    found: dict[str, Tensor] = {}
    ours = layers(network.state_dict())
    for place, (theirs, mine) in enumerate(zip_longest(layers(state), ours)):
        if theirs is None or mine is None or theirs[1] != mine[1]:
            raise ValueError(
                f"layer {place} of the file is {_told(theirs)}, ours is {_told(mine)}: the order "
                "differs, so give a table of prefixes, theirs to ours"
            )
        for leaf, _ in mine[1]:
            found[f"{mine[0]}.{leaf}".lstrip(".")] = state[f"{theirs[0]}.{leaf}".lstrip(".")]
    return found


def load_released(
    network: nn.Module,
    state: Mapping[str, Tensor],
    prefixes: Mapping[str, str] | None = None,
) -> None:
    """Load a state of other names into a network, strictly.

    Args:
        network: whose parameters are replaced.
        state: as read from the released file.
        prefixes: beginnings of their names to ours, e.g. ``{"head.conv": "images.stem"}``;
            without, names are kept if they are ours and found by order otherwise.

    Raises:
        ValueError: if the order decides and does not fit.
        RuntimeError: if after renaming a tensor is missing, left over or of another shape.
    """
    state = unwrapped(state)
    if prefixes is not None:
        state = renamed(state, prefixes)
    elif state.keys() != network.state_dict().keys():
        state = by_order(state, network)
    network.load_state_dict(state, strict=True)


def _told(layer: Layer | None) -> str:
    if layer is None:
        return "absent"
    name, leaves = layer
    return f"{name} ({', '.join(f'{leaf} {list(shape)}' for leaf, shape in leaves)})"
