"""I-JEPA with the spatial-affinity loss.

M. Assran et al., "Self-supervised learning from images with a joint-embedding predictive
architecture", CVPR 2023, arXiv 2301.08243; J. G. Waithaka et al., arXiv 2601.12964.
"""

from __future__ import annotations

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional as F

from rsbench_baselines._teacher import Teacher
from rsbench_baselines._vit import Encoder, Predictor, Start, pick
from rsbench_baselines.cross_scale import masking, views
from rsbench_baselines.cross_scale.affinity import children
from rsbench_baselines.cross_scale.options import Pretraining, Sizes


class IJepa(nn.Module):
    """Predicts an average teacher's tokens of four blocks from the rest of the image.

    One teacher gives the targets and, on a finer grid, the tokens of the affinity. It takes up
    each optimiser step before the next loss.

    Args:
        sizes: of the networks.
        options: what the loss is made of.
        steps: optimiser steps, after which the teacher's momentum is 1.
    """

    def __init__(self, sizes: Sizes, options: Pretraining, *, steps: int) -> None:
        super().__init__()
        options.check(sizes)
        self.sizes = sizes
        self.options = options
        self.encoder = Encoder(
            sizes.bands, patch=sizes.patch, width=sizes.width, depth=sizes.depth,
            heads=sizes.heads, start=Start(sizes.spread, sizes.loud),
        )  # fmt: skip
        self.predictor = Predictor(
            sizes.width, inner=sizes.inner, depth=sizes.inner_depth, heads=sizes.inner_heads,
            start=Start(sizes.spread, sizes.spread),
        )  # fmt: skip
        self.teacher = Teacher(self.encoder, momentum=sizes.momentum, steps=steps)

    def loss(
        self, mr: Tensor, hr: Tensor | None, draw: Generator,
        valid: views.ValidTokens = views.EVERY,
    ) -> dict[str, Tensor]:  # fmt: skip
        """Return the terms of the loss; ``total`` is minimised.

        Args:
            mr: standardised mid-resolution crops ``(B, C, H, W)``.
            hr: standardised high-resolution crops of the same ground, bands in the order of
                ``mr``; None where unused.
            draw: generator of the masks, on the CPU.
            valid: tokens that count.

        Returns:
            ``base``, ``affinity`` where asked for, ``total``, and what shows a collapse.
        """
        self.teacher.follow(self.encoder)
        image = views.base_image(self.options, self.sizes, mr, hr)
        masks = masking.multi_block(len(image), self.sizes.grid, draw)
        context, targets = masks.context.to(image.device), masks.targets.to(image.device)
        seen = self.encoder(image, context)
        wanted = self._targets(image, targets)
        predicted = self._predicted(seen, context, targets)
        kept = views.chosen(valid.base, targets.flatten(1))
        kept = None if kept is None else kept.reshape(wanted.shape[:2])
        terms = {"base": views.over_kept(F.smooth_l1_loss, predicted.float(), wanted, kept)}
        terms["total"] = terms["base"]
        if self.options.affinity != "none":
            fine = views.teacher_image(self.options, self.sizes, mr, hr)
            terms["affinity"] = self._affinity((image, fine), seen, context, draw, valid.affinity)
            terms["total"] = terms["base"] + self.options.weight * terms["affinity"]
        return {**terms, **views.watched(seen, predicted, wanted)}

    def encode(self, image: Tensor) -> list[Tensor]:
        """Return maps of tokens ``(B, D, h, w)`` of mid-resolution images, at four depths."""
        return views.token_maps(self.encoder, self.sizes, image, inclusive=False)

    def _targets(self, image: Tensor, targets: Tensor) -> Tensor:
        """Return the normalised tokens of all blocks ``(4B, m, D)``, images outside."""
        tokens = self.teacher(image).float()
        return pick(F.layer_norm(tokens, tokens.shape[-1:]), targets.flatten(1)).reshape(
            targets.shape[0] * targets.shape[1], targets.shape[2], -1
        )

    def _predicted(self, seen: Tensor, context: Tensor, targets: Tensor) -> Tensor:
        blocks = targets.shape[1]
        return self.predictor(  # type: ignore[no-any-return]
            seen.repeat_interleave(blocks, 0), context.repeat_interleave(blocks, 0),
            targets.flatten(0, 1), (self.sizes.grid, self.sizes.grid),
        )  # fmt: skip

    def _affinity(
        self, images: tuple[Tensor, Tensor], seen: Tensor, context: Tensor, draw: Generator,
        kept: Tensor | None,
    ) -> Tensor:  # fmt: skip
        image, fine = images
        if self.options.tokens == "block":
            context = masking.rectangle(len(image), self.sizes.grid, draw).to(image.device)
            seen = self.encoder(image, context)
        ratio, grid = self.options.ratio, self.sizes.grid
        codes = views.places(
            self.encoder.width, ratio * grid, ratio * grid, ratio=ratio,
            ground=self.options.pos == "ground", base=self.encoder.base,
        )  # fmt: skip
        with torch.no_grad():
            found = self.teacher(fine, children(context, grid, ratio), codes)
        return views.affinity_loss(self.options, seen, found, views.chosen(kept, context))
