"""The deepest fusion of SA-STF: references aligned to the target date, then selected."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn

from rsbench_baselines.sa_stf.blocks import ImageBlock, NormConv
from rsbench_baselines.sa_stf.sizes import Mode, Variant
from rsbench_baselines.tokens import attend


@dataclass(frozen=True)
class Maps:
    """One map ``(N, C, h, w)`` per image: coarse 1, 0, 2 and fine 0, 2."""

    c1: Tensor
    c0: Tensor
    c2: Tensor
    f0: Tensor
    f2: Tensor

    def each(self, module: nn.Module) -> Maps:
        """Send all five through one module, as one batch."""
        return Maps.split(module(torch.cat([self.c1, self.c0, self.c2, self.f0, self.f2])))

    @staticmethod
    def split(joined: Tensor) -> Maps:
        """Undo a concatenation along the batch."""
        return Maps(*joined.chunk(5))


@dataclass(frozen=True)
class Alignment:
    """What the alignment loss compares: two estimates of the coarse target map, and that map."""

    from0: Tensor
    from2: Tensor
    target: Tensor


class SelfAttention(nn.Module):
    """Attention between all positions, one head, with a shortcut."""

    def __init__(self, channels: int, groups: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(groups, channels)
        self.qkv = nn.Conv2d(channels, 3 * channels, 1, bias=False)
        self.out = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Keep the shape ``(N, C, h, w)``."""
        q, k, v = self.qkv(self.norm(x)).flatten(2).mT[:, None].chunk(3, dim=-1)
        found = attend(q, k, v).mT.reshape(x.shape)
        return x + torch.as_tensor(self.out(found))


def pointwise(inputs: int, channels: int) -> nn.Sequential:
    """Return 1×1, SiLU, 1×1."""
    return nn.Sequential(
        nn.Conv2d(inputs, channels, 1), nn.SiLU(), nn.Conv2d(channels, channels, 1)
    )


class Aligner(nn.Module):
    """Temporal-feature alignment of one reference: Ĉ1 = a_l⊙C_r + b and HR = a_h⊙F_r + b.

    The slope a_l comes from the two coarse maps, b from the difference of fine and coarse, and
    a_h carries the slope over to the fine map by cross attention.

    Args:
        channels, groups: of the maps and the norm.
        mode: ``official`` averages b over the map and sums the attended slopes over the
            queries; ``paper`` keeps b per position and sums over the keys.
    """

    def __init__(self, channels: int, groups: int, mode: Mode) -> None:
        super().__init__()
        self.official = mode == "official"
        self.slope = pointwise(2 * channels, channels)
        self.gap = nn.Conv2d(channels, channels, 1, bias=False)
        self.offset = pointwise(channels, channels)
        self.norm = nn.GroupNorm(groups, channels)
        self.query = nn.Conv2d(channels, channels, 1, bias=False)
        self.key = nn.Conv2d(channels, channels, 1, bias=False)
        self.value = nn.Conv2d(channels, channels, 1, bias=False)
        self.project = nn.Conv2d(channels, channels, 1)  # idle, as published

    def forward(self, target: Tensor, coarse: Tensor, fine: Tensor) -> tuple[Tensor, Tensor]:
        """Return HR and Ĉ1 of maps ``(N, C, h, w)``."""
        slope = self.slope(torch.cat([target, coarse], dim=1))
        gap = self.gap(fine - coarse)
        if self.official:
            gap = gap.mean(dim=(2, 3), keepdim=True)
        offset = self.offset(gap)
        return self._carried(slope, coarse, fine) * fine + offset, slope * coarse + offset

    def _carried(self, slope: Tensor, coarse: Tensor, fine: Tensor) -> Tensor:
        q = self.query(self.norm(fine)).flatten(2)
        k = self.key(self.norm(coarse)).flatten(2)
        v = self.value(slope).flatten(2)
        scores = torch.softmax(q.transpose(1, 2) @ k * q.shape[1] ** -0.5, dim=2)
        found: Tensor = v @ (scores if self.official else scores.transpose(1, 2))
        return found.reshape(fine.shape)


class Selector(nn.Module):
    """Spatially-adaptive selection among a fine map and its two aligned forms.

    Where fine maps differ less among themselves than from the coarse target, nothing changed
    and the first fine map is kept; elsewhere the aligned map nearer to the coarse target.

    Args:
        channels, groups: of the maps and the norms.
        mode: ``official`` decides per channel and position, ``paper`` per position.
    """

    def __init__(self, channels: int, groups: int, mode: Mode) -> None:
        super().__init__()
        self.official = mode == "official"
        self.norm = nn.GroupNorm(groups, channels)  # idle, as published
        self.block = NormConv(channels, channels, groups)
        self.skip = nn.Conv2d(channels, channels, 1)

    def forward(self, maps: Maps, high0: Tensor, high2: Tensor) -> Tensor:
        """Return the selected map joined with the coarse target, through a block."""
        same, nearer0 = self.choose(maps, high0, high2)
        chosen = torch.where(same, maps.f0, torch.where(nearer0, high0, high2))
        out: Tensor = self.block(chosen) + self.skip(maps.c1)
        return out

    @torch.no_grad()
    def choose(self, maps: Maps, high0: Tensor, high2: Tensor) -> tuple[Tensor, Tensor]:
        """Return where nothing changed, and where HR0 is nearer than HR2; ties are False."""
        fine = self._apart(maps.f0, maps.f2)
        to0, to2 = self._apart(maps.c1, maps.f0), self._apart(maps.c1, maps.f2)
        same = fine < torch.minimum(to0, to2)
        return same, self._apart(maps.c1, high0) < self._apart(maps.c1, high2)

    def _apart(self, a: Tensor, b: Tensor) -> Tensor:
        squared = (a - b).square()
        return squared if self.official else squared.sum(dim=1, keepdim=True)


class MapFusion(nn.Module):
    """Fusion by convolutions: coarse maps, fine maps, then both."""

    def __init__(self, channels: int, groups: int) -> None:
        super().__init__()
        self.coarse = NormConv(3 * channels, channels, groups)
        self.fine = NormConv(2 * channels, channels, groups)
        self.out = nn.Conv2d(2 * channels, channels, 1)

    def forward(self, maps: Maps) -> Tensor:
        """Return ``(N, C, h, w)``."""
        coarse = self.coarse(torch.cat([maps.c1, maps.c0, maps.c2], dim=1))
        fine = self.fine(torch.cat([maps.f0, maps.f2], dim=1))
        out: Tensor = self.out(torch.cat([coarse, fine], dim=1))
        return out


class JointFusion(nn.Module):
    """Both aligned maps and the coarse target joined without selection."""

    def __init__(self, channels: int, groups: int) -> None:
        super().__init__()
        self.block = NormConv(3 * channels, channels, groups)
        self.skip = nn.Conv2d(channels, channels, 1)

    def forward(self, maps: Maps, high0: Tensor, high2: Tensor) -> Tensor:
        """Return ``(N, C, h, w)``."""
        joined = torch.cat([high0, high2, maps.c1], dim=1)
        out: Tensor = self.block(joined) + self.skip(maps.c1)
        return out


class DeepFusion(nn.Module):
    """Five maps of the deepest level to one, F_d.

    Args:
        channels, groups: of the maps and the norms.
        mode: see `Aligner` and `Selector`.
        variant: ``taylor`` fuses by convolutions as the other levels do; ``taylor_tfa`` aligns
            and joins; ``taylor_saf`` selects among references taken as aligned; the others
            align and select. The paper names these rows and leaves their form open.
    """

    def __init__(self, channels: int, groups: int, mode: Mode, variant: Variant) -> None:
        super().__init__()
        self.aligns = variant in ("full", "taylor_tfa", "tfa_saf")
        self.plain = variant == "taylor"
        self.before = ImageBlock(channels, channels, groups)
        if self.plain:
            self.fuse = MapFusion(channels, groups)
        else:
            self.attention = SelfAttention(channels, groups)
        if self.aligns:
            self.align0 = Aligner(channels, groups, mode)
            self.align2 = Aligner(channels, groups, mode)
        if variant == "taylor_tfa":
            self.select: nn.Module = JointFusion(channels, groups)
        elif not self.plain:
            self.select = Selector(channels, groups, mode)
        self.after = ImageBlock(channels, channels, groups)

    def forward(self, maps: Maps) -> tuple[Tensor, Alignment | None]:
        """Return F_d ``(N, C, h, w)`` and, where maps were aligned, what to compare."""
        maps = maps.each(self.before)
        if self.plain:
            return cast(Tensor, self.after(self.fuse(maps))), None
        maps = maps.each(self.attention)
        high0, high2, alignment = maps.f0, maps.f2, None
        if self.aligns:
            high0, from0 = self.align0(maps.c1, maps.c0, maps.f0)
            high2, from2 = self.align2(maps.c1, maps.c2, maps.f2)
            alignment = Alignment(from0, from2, maps.c1)
        return cast(Tensor, self.after(self.select(maps, high0, high2))), alignment
