"""I-JEPA with the spatial-affinity loss.

M. Assran et al., "Self-supervised learning from images with a joint-embedding predictive
architecture", CVPR 2023, arXiv 2301.08243; J. G. Waithaka et al., arXiv 2601.12964.
"""

from __future__ import annotations

from torch import Generator, Tensor
from torch.nn import functional as F

from rsbench_baselines._teacher import Teacher
from rsbench_baselines._vit import Encoder, Predictor, Start, pick
from rsbench_baselines.cross_scale import masking
from rsbench_baselines.cross_scale.base import BaseMethod, Predicted
from rsbench_baselines.cross_scale.options import Pretraining, Sizes


class IJepa(BaseMethod):
    """Predicts an average teacher's tokens of four blocks from the rest of the image.

    Args:
        sizes: of the networks.
        options: what the loss is made of.
        steps: optimiser steps, after which the teacher's momentum is 1.
    """

    inclusive = False

    def __init__(self, sizes: Sizes, options: Pretraining, *, steps: int) -> None:
        super().__init__(sizes, options)
        self.encoder = Encoder(
            sizes.bands, patch=sizes.patch, width=sizes.width, depth=sizes.depth,
            heads=sizes.heads, start=Start(sizes.spread, sizes.enter),
        )  # fmt: skip
        self.predictor = Predictor(
            sizes.width, inner=sizes.inner, depth=sizes.inner_depth, heads=sizes.inner_heads,
            start=Start(sizes.spread, sizes.spread),
        )  # fmt: skip
        self.teacher = Teacher(self.encoder, momentum=sizes.momentum, steps=steps)

    @property
    def student(self) -> Encoder:
        """The encoder."""
        return self.encoder

    def predict(self, image: Tensor, draw: Generator) -> Predicted:
        """Return tokens of a context, and those of four blocks predicted from it."""
        masks = masking.multi_block(len(image), self.sizes.grid, draw)
        context, targets = masks.context.to(image.device), masks.targets.to(image.device)
        blocks, wanted = targets.shape[1], targets.flatten(1)
        seen = self.encoder(image, context)
        tokens = self.teacher(image).float()
        tokens = pick(F.layer_norm(tokens, tokens.shape[-1:]), wanted)
        predicted = self.predictor(
            seen.repeat_interleave(blocks, 0), context.repeat_interleave(blocks, 0),
            targets.flatten(0, 1), (self.sizes.grid, self.sizes.grid),
        )  # fmt: skip
        target = tokens.reshape(*predicted.shape[:2], -1)
        return Predicted(context, seen, seen, wanted, predicted, target)

    def compare(self, predicted: Tensor, target: Tensor) -> Tensor:
        """Return the smooth L1 difference, in float32."""
        return F.smooth_l1_loss(predicted.float(), target)
