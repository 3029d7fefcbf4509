"""The whole network: image encoder, predictor, teacher, adapter, and the latent generator."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any, cast

import torch
from torch import Tensor, nn

from rsbench_baselines.sat_jepa_diff import generator
from rsbench_baselines.sat_jepa_diff.adapter import Adapter, Conditions
from rsbench_baselines.sat_jepa_diff.generator import Latents, Prompt
from rsbench_baselines.sat_jepa_diff.lora import Lora
from rsbench_baselines.sat_jepa_diff.objective import Teacher, plain_norm
from rsbench_baselines.sat_jepa_diff.sizes import EMBEDDING, Sizes
from rsbench_baselines.sat_jepa_diff.vit import Encoder, Predictor, init

BASE = ("transformer.", "vae.")


class Network(nn.Module):
    """Everything that has weights.

    A prior that was loaded is frozen and no part of the state dict; in its place ``base``, the
    SHA-256 of its files, says which one the other weights were trained with.

    Args:
        sizes: of the preset.
        bands: of an image.
        kind: the adapter's, ``paper`` or ``grid``.
        history: give the adapter its attention to earlier outputs.
        momentum, steps: the teacher's first momentum, and steps until it stands still.
    """

    base: Tensor

    def __init__(
        self, sizes: Sizes, bands: int, *, kind: str, history: bool = False,
        momentum: float = 0.999, steps: int = 1,
    ) -> None:  # fmt: skip
        super().__init__()
        self.frozen_base = not sizes.own_prior
        joint = int(sizes.transformer["joint_attention_dim"])
        pooled = int(sizes.transformer["pooled_projection_dim"])
        self.encoder = Encoder(
            bands, patch=sizes.patch, width=sizes.width, depth=sizes.depth, heads=sizes.heads,
            spread=sizes.spread, loud=sizes.loud,
        )  # fmt: skip
        self.predictor = Predictor(
            sizes.width, inner=sizes.inner, depth=sizes.inner_depth, heads=sizes.inner_heads,
            spread=sizes.spread,
        )  # fmt: skip
        self.head = nn.Linear(sizes.width, EMBEDDING)
        init(self.head)
        self.teacher = Teacher(self.encoder, momentum=momentum, steps=steps)
        self.adapter = Adapter(
            sizes.width, bands, hidden=sizes.hidden, joint=joint, pooled=pooled, kind=kind,
            history=history,
        )  # fmt: skip
        # A prior that is loaded takes its tensors from files: ten gigabytes are not filled twice.
        with torch.device("meta") if self.frozen_base else nullcontext():
            self.vae = generator.vae(sizes.vae, bands)
            self.transformer = generator.transformer(sizes.transformer)
        self.lora = Lora(self.transformer, rank=sizes.rank, alpha=sizes.alpha)
        self.prompt = Prompt(joint, pooled, text=sizes.text)
        self.register_buffer("base", torch.zeros(32, dtype=torch.uint8))
        if self.frozen_base:
            self.vae.requires_grad_(False)
            self.transformer.requires_grad_(False)
            self.register_state_dict_post_hook(_without_base)  # type: ignore[no-untyped-call]
            self.register_load_state_dict_pre_hook(_with_own_base)  # type: ignore[no-untyped-call]

    @property
    def latents(self) -> Latents:
        """Images to latents and back."""
        return Latents(self.vae)

    def grid(self, image: Tensor) -> tuple[int, int]:
        """Return rows and columns of an image's tokens."""
        patch = self.encoder.patch
        return image.shape[-2] // patch, image.shape[-1] // patch

    def foresee(
        self, image: Tensor, kept: Tensor | None = None, wanted: Tensor | None = None
    ) -> Tensor:
        """Return normalised tokens ``(B, n, W)`` of the next year at the wanted places."""
        seen = self.encoder(image, kept)
        return plain_norm(self.predictor(seen, kept, wanted, self.grid(image)))

    def condition(
        self, tokens: Tensor, grid: tuple[int, int] | None, image: Tensor | None
    ) -> Conditions:
        """Join the text's embeddings and the adapter's answer: ``(B, text + n, D)``, ``(B, P)``."""
        own = self.adapter(tokens, grid, image)
        text, pooled = self.prompt(tokens.shape[0])
        hidden = torch.cat([text.to(own.hidden.dtype), own.hidden], dim=1)
        return Conditions(hidden, (pooled + own.pooled) / 2)

    def velocity(self, x: Tensor, sigma: Tensor, conditions: Conditions) -> Tensor:
        """Return the velocity of noised latents."""
        return generator.velocity(self.transformer, x, sigma, conditions.hidden, conditions.pooled)


def _without_base(module: nn.Module, state: dict[str, Any], prefix: str, _: Any) -> None:
    for name in [n for n in state if n.startswith(tuple(prefix + head for head in BASE))]:
        del state[name]


def _with_own_base(
    module: nn.Module, state: dict[str, Any], prefix: str, metadata: Any, strict: bool,
    missing: list[str], unexpected: list[str], errors: list[str],
) -> None:  # fmt: skip
    given = state.get(prefix + "base")
    own = cast(Tensor, module.base)
    if given is not None and not torch.equal(given.cpu(), own.cpu()):
        errors.append("the weights were trained with another frozen prior")
    for head in BASE:
        part = module.get_submodule(head.removesuffix("."))
        for name, tensor in part.state_dict().items():
            state.setdefault(prefix + head + name, tensor)
