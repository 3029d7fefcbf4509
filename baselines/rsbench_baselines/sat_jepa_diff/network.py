"""The networks: the latent generator with its adapter, and the predictor of tokens before it."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

from rsbench_baselines._frozen import PartlyFrozen
from rsbench_baselines._teacher import Teacher
from rsbench_baselines._vit import Encoder, Predictor, Start, init
from rsbench_baselines.sat_jepa_diff import generator
from rsbench_baselines.sat_jepa_diff.adapter import Adapter, Conditions
from rsbench_baselines.sat_jepa_diff.generator import Latents, Prompt
from rsbench_baselines.sat_jepa_diff.lora import Lora
from rsbench_baselines.sat_jepa_diff.objective import plain_norm
from rsbench_baselines.sat_jepa_diff.sizes import EMBEDDING, Sizes


class Autoencoder(PartlyFrozen):
    """The VAE of latent diffusion; a prior that was loaded is frozen."""

    PARTS: ClassVar[tuple[str, ...]] = ("vae",)

    def __init__(self, sizes: Sizes, bands: int) -> None:
        super().__init__(() if sizes.own_prior else self.PARTS)
        with self.place("vae"):
            self.vae = generator.vae(sizes.vae, bands)
        if sizes.own_prior:
            generator.start_averaging(self.vae)
        else:
            self.vae.requires_grad_(False)

    @property
    def latents(self) -> Latents:
        """Images to latents and back."""
        return Latents(self.vae)


class Generator(Autoencoder):
    """Latent diffusion, with an adapter and low-rank updates where it has them.

    Args:
        sizes: of the preset.
        bands: of an image.
        kind: the adapter's, ``paper`` or ``grid``; None for no adapter, text only.
        history: give the adapter its attention to earlier outputs.
        updates: with low-rank updates of the transformer.
    """

    PARTS = ("transformer", "vae")

    def __init__(
        self, sizes: Sizes, bands: int, *, kind: str | None, history: bool = False,
        updates: bool = True,
    ) -> None:  # fmt: skip
        super().__init__(sizes, bands)
        self.patch = sizes.patch
        self.width = sizes.width
        joint = int(sizes.transformer["joint_attention_dim"])
        pooled = int(sizes.transformer["pooled_projection_dim"])
        self.adapter = None if kind is None else Adapter(
            sizes.width, bands, hidden=sizes.hidden, joint=joint, pooled=pooled, kind=kind,
            history=history,
        )  # fmt: skip
        with self.place("transformer"):
            self.transformer = generator.transformer(sizes.transformer)
        self.lora = Lora(self.transformer, rank=sizes.rank, alpha=sizes.alpha) if updates else None
        self.prompt = Prompt(joint, pooled, text=sizes.text)
        if self.frozen:
            self.transformer.requires_grad_(False)
        else:
            generator.start_passing(self.transformer)

    def grid(self, image: Tensor) -> tuple[int, int]:
        """Return rows and columns of an image's tokens."""
        return image.shape[-2] // self.patch, image.shape[-1] // self.patch

    def condition(
        self, tokens: Tensor, grid: tuple[int, int] | None, image: Tensor | None,
        *, adapter: Adapter | None = None,
    ) -> Conditions:  # fmt: skip
        """Join the text's embeddings and an adapter's answer: ``(B, text + n, D)``, ``(B, P)``.

        ``adapter`` is used instead of the network's own.
        """
        asked = adapter or self.adapter
        if asked is None:
            raise ValueError("a generator without an adapter is conditioned on its prompt alone")
        own = asked(tokens, grid, image)
        text, pooled = self.prompt(tokens.shape[0])
        hidden = torch.cat([text.to(own.hidden.dtype), own.hidden], dim=1)
        return Conditions(hidden, (pooled + own.pooled) / 2)

    def text(self, image: Tensor) -> Conditions:
        """Return the embeddings of the text only, one row per image."""
        return Conditions(*self.prompt(image.shape[0]))

    def velocity(self, x: Tensor, sigma: Tensor, conditions: Conditions) -> Tensor:
        """Return the velocity of noised latents."""
        return generator.velocity(self.transformer, x, sigma, conditions.hidden, conditions.pooled)


class Network(Generator):
    """Sat-JEPA-Diff as a whole: image encoder, predictor and teacher before the generator.

    Args:
        momentum, steps: the teacher's first momentum, and steps until it no longer changes.
    """

    def __init__(
        self, sizes: Sizes, bands: int, *, kind: str, history: bool = False,
        momentum: float = 0.999, steps: int = 1,
    ) -> None:  # fmt: skip
        super().__init__(sizes, bands, kind=kind, history=history)
        self.encoder = Encoder(
            bands, patch=sizes.patch, width=sizes.width, depth=sizes.depth, heads=sizes.heads,
            start=Start(sizes.spread, sizes.enter, base=sizes.base),
        )  # fmt: skip
        self.predictor = Predictor(
            sizes.width, inner=sizes.inner, depth=sizes.inner_depth, heads=sizes.inner_heads,
            start=Start(sizes.spread, sizes.inner_enter, sizes.match, sizes.base),
        )  # fmt: skip
        self.head = nn.Linear(sizes.width, EMBEDDING)
        init(self.head)
        self.teacher = Teacher(self.encoder, momentum=momentum, steps=steps)

    def foresee(
        self, image: Tensor, kept: Tensor | None = None, wanted: Tensor | None = None
    ) -> Tensor:
        """Return normalised tokens ``(B, n, W)`` of the next year at the wanted positions."""
        seen = self.encoder(image, kept)
        return plain_norm(self.predictor(seen, kept, wanted, self.grid(image)))
