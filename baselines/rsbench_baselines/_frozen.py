"""Networks of which some parts are loaded from files, frozen, and not in the state dict."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any, cast

import torch
from torch import Tensor, nn


class PartlyFrozen(nn.Module):
    """A network with frozen parts; ``base``, the SHA-256 of their files, is in the state dict.

    Weights that were trained with other files are refused when they are loaded.

    Args:
        frozen: names of the submodules that files fill.
    """

    base: Tensor

    def __init__(self, frozen: tuple[str, ...]) -> None:
        super().__init__()
        self.frozen = frozen
        self.register_buffer("base", torch.zeros(32, dtype=torch.uint8))
        if frozen:
            self.register_state_dict_post_hook(_without_frozen)  # type: ignore[no-untyped-call]
            self.register_load_state_dict_pre_hook(_with_own)  # type: ignore[no-untyped-call]

    def place(self, part: str) -> AbstractContextManager[object]:
        """Build a part that files will fill on the meta device, others where the default is."""
        return torch.device("meta") if part in self.frozen else nullcontext()

    def freeze(self) -> None:
        """Let no frozen part take a gradient."""
        for part in self.frozen:
            self.get_submodule(part).requires_grad_(False).eval()


def _without_frozen(module: nn.Module, state: dict[str, Any], prefix: str, _: Any) -> None:
    heads = tuple(f"{prefix}{part}." for part in cast(PartlyFrozen, module).frozen)
    for name in [n for n in state if n.startswith(heads)]:
        del state[name]


def _with_own(
    module: nn.Module, state: dict[str, Any], prefix: str, metadata: Any, strict: bool,
    missing: list[str], unexpected: list[str], errors: list[str],
) -> None:  # fmt: skip
    given = state.get(prefix + "base")
    own = cast(Tensor, module.base)
    if given is not None and not torch.equal(given.cpu(), own.cpu()):
        errors.append("the weights were trained with another frozen prior")
    for part in cast(PartlyFrozen, module).frozen:
        for name, tensor in module.get_submodule(part).state_dict().items():
            state.setdefault(f"{prefix}{part}.{name}", tensor)
