"""The whole generator: U-Net, control branch, latents and words, and what conditions it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from rsbench import InputError
from rsbench_baselines import _text
from rsbench_baselines._frozen import PartlyFrozen
from rsbench_baselines._latent import VAE, Answer, Codec, Folded, Vae, vae
from rsbench_baselines._snapshot import Snapshot, digest, digest_of_all, patterns_of
from rsbench_baselines._text import Clip, TextEncoder, Words
from rsbench_baselines.diffusionsat.network import Control, unet
from rsbench_baselines.diffusionsat.sizes import Sizes

METADATA = "metadata_embedding."
PATTERNS = (*patterns_of(("unet", "vae")), *_text.PATTERNS)


@dataclass(frozen=True)
class Inputs:
    """What a generator is told of N images.

    Args:
        frames: condition frames within ±1, with masks ``(N, T, C, H, W)``.
        dated: metadata of the frames ``(N, T, 7)``.
        metadata: of the wanted images ``(N, 7)``.
        texts: one per image; empty where there are none.
    """

    frames: Tensor
    dated: Tensor
    metadata: Tensor
    texts: tuple[str, ...]


@dataclass(frozen=True)
class Conditions:
    """Encoded inputs of N images: see :meth:`Control.forward`; ``added`` is the U-Net's vector."""

    tokens: Tensor
    added: Tensor
    stem: Tensor
    code: Tensor

    def rows(self, index: Tensor) -> Conditions:
        """Return the conditions of some images."""
        whole = (self.tokens, self.added, self.stem, self.code)
        return Conditions(*(part[index] for part in whole))


class Generator(PartlyFrozen):
    """U-Net and control branch.

    Args:
        sizes: of the preset.
        bands: of the wanted images.
    """

    copied: Tensor
    control: Control

    def __init__(self, sizes: Sizes, bands: int) -> None:
        super().__init__(sizes.frozen)
        self.sizes, self.bands = sizes, bands
        channels = bands * sizes.fold**2 or int(sizes.unet["in_channels"])
        self.loaded = ("unet", "vae") if not sizes.fold else ()
        with torch.device("meta") if self.loaded else nullcontext():
            config = {**sizes.unet, "in_channels": channels, "out_channels": channels}
            self.unet: Any = self.make_unet(config)
            if not sizes.fold:
                self.vae = vae(bands)
        self.words = Words(int(sizes.unet["cross_attention_dim"])) if sizes.words else None
        self.clip: TextEncoder | None = None
        self.register_buffer("copied", torch.tensor(False))

    def make_unet(self, config: Mapping[str, Any]) -> nn.Module:
        """Build the U-Net of a configuration."""
        return unet(config)

    def add_control(self, channels: int) -> None:
        """Add the branch that sees condition frames of so many channels, as a copy."""
        self.control = Control(self.unet, replace(self.sizes.control, channels=channels))
        self.freeze()

    def load(self, source: Snapshot, named: str | None) -> None:
        """Fill U-Net, VAE and text encoder from a snapshot; nothing on the meta device."""
        if not self.loaded or self.base.device.type == "meta":
            return
        folder = source.place(named, PATTERNS)
        source.require_config(folder / "unet", self.sizes.unet)
        source.require_config(folder / "vae", {**VAE, "in_channels": self.bands})
        trained = "unet" not in self.frozen
        found = {
            "unet": source.fill(self.unet, folder / "unet", new=METADATA if trained else ""),
            "vae": source.fill(self.vae, folder / "vae"),
        }
        first_weights(self.unet)
        self.clip = Clip(source, folder, int(self.sizes.unet["cross_attention_dim"]))
        texts = {p.name: digest(p) for p in sorted((folder / _text.ENCODER).glob("*.safetensors"))}
        digests = {name: found[name] for name in self.frozen}
        joined = digest_of_all({**digests, "text": digest_of_all(texts).hex()})
        self.base.copy_(torch.tensor(list(joined), dtype=torch.uint8))
        self.freeze()

    @property
    def codec(self) -> Codec:
        """Images to latents and back."""
        return Folded(self.sizes.fold, self.bands) if self.sizes.fold else Vae(self.vae)

    def start_control(self) -> None:
        """Copy the encoder of the trained U-Net into the control branch, once."""
        if not bool(self.copied):
            self.control.take(self.unet)
            self.copied.fill_(True)

    def tokens(self, texts: Sequence[str]) -> Tensor:
        """Return the tokens of texts ``(N, n, D)``.

        Raises:
            InputError: if there is no text encoder.
        """
        encoder = self.clip or self.words
        if encoder is None:
            raise InputError(
                "texts of a generator without a text encoder",
                "no weights were loaded",
                "Give the folder of a snapshot with --option weights=FOLDER",
            )
        return encoder(texts).to(self.copied.device)

    def conditions(self, inputs: Inputs) -> Conditions:
        """Encode inputs; called once per request, for all steps and members."""
        texts = inputs.texts or ("",) * len(inputs.frames)
        return Conditions(
            self.tokens(texts),
            self.unet.code(inputs.metadata),
            self.control.controlnet_cond_embedding(inputs.frames),
            self.control.code(inputs.metadata, inputs.dated),
        )

    def free(self, inputs: Inputs, conditions: Conditions) -> Conditions:
        """Return the conditions without text and metadata; the frames stay, as published."""
        nothing = torch.zeros_like(inputs.metadata)
        return Conditions(
            self.tokens(("",) * len(inputs.frames)),
            self.unet.code(nothing),
            conditions.stem,
            self.control.code(nothing, torch.zeros_like(inputs.dated)),
        )

    def answer(self, conditions: Conditions, *, controlled: bool = True) -> Answer:
        """Return the network under conditions, with or without its control branch."""

        def call(noisy: Tensor, times: Tensor) -> Tensor:
            told: dict[str, Any] = {}
            if controlled:
                added = self.control(
                    noisy, times, conditions.tokens, conditions.stem, conditions.code
                )
                told = {
                    "down_block_additional_residuals": added.skips,
                    "mid_block_additional_residual": added.middle,
                }
            found: Tensor = self.unet(
                noisy, times, conditions.tokens,
                added_cond_kwargs={"metadata": conditions.added}, return_dict=False, **told,
            )[0]  # fmt: skip
            return found.float()

        return call

    def load_control(self, source: Snapshot, state: dict[str, Tensor]) -> None:
        """Load a control branch by the names of the released program."""
        wanted = self.control.state_dict()
        source.require_tensors(wanted, state, "the file")
        self.control.load_state_dict(state)
        self.copied.fill_(True)


def first_weights(module: nn.Module) -> None:
    """Draw the first weights of linear layers that no file filled."""
    for layer in module.modules():
        if isinstance(layer, nn.Linear) and layer.weight.is_meta:
            layer.to_empty(device="cpu")
            layer.reset_parameters()
