"""The U-Net with metadata and its control branch, from classes of diffusers.

Names of parameters are those of the released program (samar-khanna/DiffusionSat), so that its
weights load by name. L. Zhang and others, "Adding conditional control to text-to-image diffusion
models", ICCV 2023; S. Khanna and others, "DiffusionSat", ICLR 2024, section 3.2.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from itertools import pairwise
from typing import Any, NamedTuple, cast

import torch
from diffusers import UNet2DConditionModel
from diffusers.models.embeddings import TimestepEmbedding
from diffusers.models.transformers.transformer_temporal import TransformerTemporalModel
from torch import Tensor, nn
from torch.nn import functional as F

from rsbench_baselines._latent import quiet
from rsbench_baselines.diffusionsat.metadata import FIELDS
from rsbench_baselines.diffusionsat.sizes import ControlSize

COPIED = ("conv_in", "time_embedding", "metadata_embedding", "down_blocks", "mid_block")
"""Parts of the U-Net that a control branch starts as a copy of."""

_UNet: Any = UNet2DConditionModel


class MetadataUNet(_UNet):  # type: ignore[misc]
    """The U-Net of Stable Diffusion; each metadata number adds a vector to that of the time.

    Args:
        config: of UNet2DConditionModel.
    """

    def __init__(self, **config: Any) -> None:
        super().__init__(**config)
        width = self.config.block_out_channels[0]
        self.metadata_embedding = nn.ModuleList(TimestepEmbedding(width, 4 * width) for _ in FIELDS)

    def code(self, metadata: Tensor) -> Tensor:
        """Return the sum of the vectors of metadata ``(…, 7)``: ``(…, 4·width)``."""
        return coded(self.time_proj, self.metadata_embedding, metadata)

    def get_aug_embed(
        self, emb: Tensor, encoder_hidden_states: Tensor, added_cond_kwargs: Mapping[str, Tensor]
    ) -> Tensor:
        """Return the vector that is added to that of the time: the one of the metadata."""
        return added_cond_kwargs["metadata"]


def unet(config: Mapping[str, Any]) -> MetadataUNet:
    """Build the U-Net."""
    return cast(MetadataUNet, quiet(MetadataUNet, config))


def coded(sines: nn.Module, embedders: nn.ModuleList, metadata: Tensor) -> Tensor:
    """Return the summed vectors ``(…, D)`` of metadata ``(…, 7)``, each by its own embedder."""
    flat = metadata.reshape(-1, len(embedders))
    found = [embed(sines(flat[:, i]).to(flat.dtype)) for i, embed in enumerate(embedders)]
    return torch.stack(found).sum(dim=0).view(*metadata.shape[:-1], -1)


class Stem(nn.Module):
    """Takes in condition frames; its output is 0 before training."""

    def __init__(self, size: ControlSize, outputs: int) -> None:
        super().__init__()
        conv: Any = nn.Conv3d if size.frames else nn.Conv2d
        self.frames = size.frames
        first = size.widths[0]
        self.conv_in = conv(size.channels, first, 3, padding=1)
        self.blocks = nn.ModuleList()
        for (before, after), stride in zip(pairwise(size.widths), size.strides, strict=True):
            self.blocks.append(conv(before, before, 3, padding=1))
            self.blocks.append(
                conv(before, after, (1, 3, 3), padding=(0, 1, 1), stride=(1, stride, stride))
                if size.frames
                else conv(before, after, 3, padding=1, stride=stride)
            )
        self.conv_out = zeroed(conv(size.widths[-1], outputs, 3, padding=1))

    def forward(self, frames: Tensor) -> Tensor:
        """Map ``(N, T, C, H, W)`` to ``(N, T, outputs, h, w)``."""
        x = frames.transpose(1, 2) if self.frames else frames[:, 0]
        for layer in (self.conv_in, *self.blocks):
            x = F.silu(layer(x))
        x = self.conv_out(x)
        return torch.as_tensor(x.transpose(1, 2) if self.frames else x[:, None])


class Residuals(NamedTuple):
    """What a control branch adds to the skips and to the middle of the U-Net."""

    skips: tuple[Tensor, ...]
    middle: Tensor


class Control(nn.Module):
    """A trainable copy of the U-Net's encoder that sees condition frames; adds 0 at first.

    Each skip passes a convolution that starts at 0, in some places a layer over the frames, and
    is summed over the frames.

    Args:
        unet: whose encoder is copied.
        size: of the branch.
    """

    def __init__(self, unet: MetadataUNet, size: ControlSize) -> None:
        super().__init__()
        self.size = size
        self.time_proj = unet.time_proj
        for name in COPIED:
            self.add_module(name, copy.deepcopy(unet.get_submodule(name)))
        widths, layered = skip_widths(unet.config)
        self.controlnet_cond_embedding = Stem(size, widths[0])
        conv: Any = nn.Conv3d if size.frames else nn.Conv2d
        self.controlnet_down_blocks = nn.ModuleList(zeroed(conv(w, w, 1)) for w in widths)
        self.controlnet_mid_block = zeroed(conv(widths[-1], widths[-1], 1))
        if size.heads is not None:
            self.temporal_blocks = nn.ModuleList(_temporal(unet.config, size, widths, layered))
            self.mixing_attns = nn.ParameterList(
                nn.Parameter(torch.tensor(size.mix if layer else 0.0), requires_grad=layer)
                for layer in layered
            )

    def take(self, unet: nn.Module) -> None:
        """Copy the encoder of a U-Net into this branch."""
        for name in COPIED:
            self.get_submodule(name).load_state_dict(unet.get_submodule(name).state_dict())

    def code(self, metadata: Tensor, frames: Tensor) -> Tensor:
        """Return ``(N, T, D)``: of wanted metadata ``(N, 7)`` and each frame's ``(N, T, 7)``."""
        embedders = cast(nn.ModuleList, self.metadata_embedding)
        own = coded(self.time_proj, embedders, frames)
        return own + coded(self.time_proj, embedders, metadata)[:, None]

    def forward(
        self, noisy: Tensor, times: Tensor, tokens: Tensor, stem: Tensor, code: Tensor
    ) -> Residuals:
        """Return what is added to the U-Net.

        Args:
            noisy: ``(N, c, h, w)`` latents.
            times: ``(N,)``.
            tokens: ``(N, n, D)``.
            stem: ``(N, T, width, h, w)``, of the frames.
            code: ``(N, T, 4·width)``, of the metadata.
        """
        T = stem.shape[1]
        emb = self.time_embedding(self.time_proj(times).to(noisy.dtype))  # type: ignore[operator]
        emb = (emb[:, None] + code).flatten(0, 1)
        tokens = tokens.repeat_interleave(T, dim=0)
        x = (self.conv_in(noisy)[:, None] + stem).flatten(0, 1)  # type: ignore[operator]
        kept: tuple[Tensor, ...] = (x,)
        for block in cast(nn.ModuleList, self.down_blocks):
            seen = {"encoder_hidden_states": tokens} if _attends(block) else {}
            x, found = block(hidden_states=x, temb=emb, **seen)
            kept += found
        x = self.mid_block(x, emb, encoder_hidden_states=tokens)  # type: ignore[operator]
        skips = tuple(self._summed(i, skip, T) for i, skip in enumerate(kept))
        return Residuals(skips, self._gated(self.controlnet_mid_block, x, T).sum(dim=2))

    def _gated(self, gate: nn.Module, x: Tensor, frames: int) -> Tensor:
        """Return ``(N, C, T, h, w)`` of ``(N·T, C, h, w)`` behind a convolution of one pixel."""
        if self.size.frames:
            return cast(Tensor, gate(x.view(-1, frames, *x.shape[1:]).transpose(1, 2)))
        return cast(Tensor, gate(x)[:, :, None])

    def _summed(self, index: int, skip: Tensor, frames: int) -> Tensor:
        x = self._gated(self.controlnet_down_blocks[index], skip, frames)
        if self.size.heads is not None and not isinstance(
            layer := self.temporal_blocks[index], nn.Identity
        ):
            share = Clamped.apply(self.mixing_attns[index])  # type: ignore[no-untyped-call]
            flat = x.transpose(1, 2).flatten(0, 1)
            passed: Tensor = layer(flat, num_frames=frames, return_dict=False)[0]
            passed = passed.view(-1, frames, *passed.shape[1:]).transpose(1, 2)
            x = share * passed + (1 - share) * x
        return x.sum(dim=2)


class Clamped(torch.autograd.Function):
    """Clamp to 0 … 1 whose gradient is that of the identity."""

    @staticmethod
    def forward(ctx: Any, value: Tensor) -> Tensor:
        """Return the clamped value."""
        return value.clamp(0, 1)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        """Return the gradient as it is."""
        return gradients[0].clone()


def zeroed(conv: nn.Module) -> nn.Module:
    """Set all parameters of a layer to 0."""
    for parameter in conv.parameters():
        nn.init.zeros_(parameter)
    return conv


def skip_widths(config: Any) -> tuple[list[int], list[bool]]:
    """Return the channels of each skip, and whether a temporal layer follows its convolution."""
    blocks = config.block_out_channels
    widths, layered = [blocks[0]], [True]
    for index, width in enumerate(blocks):
        widths += [width] * config.layers_per_block
        layered += [False] * config.layers_per_block
        if index + 1 < len(blocks):
            widths.append(width)
            layered.append(True)
    return widths, layered


def _temporal(
    config: Any, size: ControlSize, widths: list[int], layered: list[bool]
) -> list[nn.Module]:
    """Return the layers over frames; where there is none, the identity.

    As released, the first has ``size.heads``; in the others the number of heads of the U-Net is
    taken as their width.
    """
    own = config.attention_head_dim
    found: list[nn.Module] = []
    place = 0
    for index, (width, layer) in enumerate(zip(widths, layered, strict=True)):
        if not layer:
            found.append(nn.Identity())
            continue
        heads = cast("tuple[int, int]", size.heads)
        if index:
            heads = (width // own[place], own[place])
            place += 1
        block: Any = TransformerTemporalModel(
            num_attention_heads=heads[0], attention_head_dim=heads[1], in_channels=width,
            num_layers=1, norm_num_groups=config.norm_num_groups,
        )  # fmt: skip
        if size.mix:
            zeroed(block.proj_out)  # else a layer with a share would add something at once
        found.append(block)
    return found


def _attends(block: nn.Module) -> bool:
    return bool(getattr(block, "has_cross_attention", False))
