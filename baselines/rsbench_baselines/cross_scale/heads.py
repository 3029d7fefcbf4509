"""Heads that turn maps of tokens into classes of pixels.

Every head maps ``maps``, token maps ``(B, D, h, w)`` at growing depth, and the ``size`` of the
answer to logits ``(B, K, H, W)``, whose softmax over K are probabilities. Heads in closed form
(:class:`ClosedForm`) are fitted from sums over batches; the others by gradients.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rsbench import InputError, Prediction, Want
from rsbench_baselines.cross_scale.upernet import UPerNet, resized
from rsbench_baselines.discriminant import discriminant

NEIGHBOURS = 5
STORED = 2000
"""Most tokens of a class that the nearest-neighbour head keeps."""
SPREAD = 0.01
"""Standard deviation of the first weights of linear heads."""
Maps = Sequence[Tensor]
Size = tuple[int, int]
Sums = dict[str, Tensor]


@runtime_checkable
class ClosedForm(Protocol):
    """A head that is fitted in one pass over the labelled pixels, without gradients."""

    def statistics(self, maps: Maps, truth: Tensor, valid: Tensor) -> Sums:
        """Return what the head is fitted from, of one batch.

        Args:
            maps: token maps.
            truth: one-hot classes ``(B, K, H, W)``.
            valid: ``(B, 1, H, W)`` bool, where the class counts.
        """
        ...

    def merge(self, first: Sums, second: Sums) -> Sums:
        """Return the statistics of two batches together."""
        ...

    def solve(self, sums: Sums) -> None:
        """Set the head's buffers from the statistics of all batches.

        Raises:
            InputError: when no pixel had a class.
        """
        ...


class Linear(nn.Module):
    """One linear layer a token, its logits bilinearly resized to pixels: ``(D + 1)·K`` weights."""

    def __init__(self, width: int, classes: int) -> None:
        super().__init__()
        self.layer = _layer(width, classes)

    def forward(self, maps: Maps, size: Size) -> Tensor:
        """Return logits ``(B, K, H, W)``."""
        return resized(self.layer(maps[-1]), size)


class LinearPixels(nn.Module):
    """One linear layer that gives a token p² logits a class, one for each of its pixels."""

    def __init__(self, width: int, classes: int, pixels: int) -> None:
        super().__init__()
        self.pixels = pixels
        self.layer = _layer(width, classes * pixels**2)

    def forward(self, maps: Maps, size: Size) -> Tensor:
        """Return logits ``(B, K, H, W)``."""
        return resized(F.pixel_shuffle(self.layer(maps[-1]), self.pixels), size)


class Lda(nn.Module):
    """Linear discriminant analysis of tokens, each counted with the classes of its pixels.

    The pooled covariance is drawn towards a multiple of the identity by the number of tokens, so
    that fewer labelled tokens than features still give a discriminant.
    """

    weight: Tensor
    bias: Tensor

    def __init__(self, width: int, classes: int) -> None:
        super().__init__()
        self.register_buffer("weight", torch.zeros(classes, width))
        self.register_buffer("bias", torch.zeros(classes))

    @torch.no_grad()
    def statistics(self, maps: Maps, truth: Tensor, valid: Tensor) -> Sums:
        """Return sums in float64: weight, features and products of features, and tokens."""
        x, share = _labelled(maps[-1], truth, valid)
        x, y = x.double(), share.double()
        return {
            "count": y.sum(0),
            "total": y.T @ x,
            "products": (x * y.sum(1, keepdim=True)).T @ x,
            "tokens": torch.tensor(float(len(x)), dtype=torch.float64, device=x.device),
        }

    def merge(self, first: Sums, second: Sums) -> Sums:
        """Add the statistics of two batches."""
        return {name: first[name] + second[name] for name in first}

    @torch.no_grad()
    def solve(self, sums: Sums) -> None:
        """Set weight and bias; see :class:`ClosedForm`."""
        if float(sums["count"].sum()) == 0:
            raise _unlabelled("lda")
        # Pixels of one token are one sample: what counts for the shrinkage is tokens.
        found = discriminant(sums["count"], sums["total"], sums["products"], sums["tokens"])
        self.bias.copy_(found[:, 0])
        self.weight.copy_(found[:, 1:-1])

    def forward(self, maps: Maps, size: Size) -> Tensor:
        """Return logits ``(B, K, H, W)``."""
        logits = torch.einsum("kd,bdhw->bkhw", self.weight, maps[-1].float())
        return resized(logits + self.bias[:, None, None], size)


class Knn(nn.Module):
    """Votes of the five nearest stored tokens by cosine, each for the majority of its pixels.

    Of more labelled tokens of a class than are stored, a random part is kept; it depends on the
    order of the batches, and on nothing else that is random.
    """

    tokens: Tensor
    label: Tensor

    def __init__(self, width: int, classes: int, stored: int = STORED) -> None:
        super().__init__()
        self.classes = classes
        self.stored = stored
        self.register_buffer("tokens", torch.zeros(classes * stored, width))
        self.register_buffer("label", torch.full((classes * stored,), -1))
        self._draw = torch.Generator().manual_seed(0)

    @torch.no_grad()
    def statistics(self, maps: Maps, truth: Tensor, valid: Tensor) -> Sums:
        """Return tokens of unit length ``(n, D)``, their classes, and keys for the selection."""
        x, share = _labelled(maps[-1], truth, valid)
        key = torch.rand(len(x), generator=self._draw, dtype=torch.float64).to(x.device)
        found = {"tokens": F.normalize(x.float(), dim=-1), "label": share.argmax(1), "key": key}
        return self._kept(found)

    def merge(self, first: Sums, second: Sums) -> Sums:
        """Join the tokens of two batches and keep those with the smallest keys."""
        return self._kept({name: torch.cat([first[name], second[name]]) for name in first})

    @torch.no_grad()
    def solve(self, sums: Sums) -> None:
        """Store the tokens; see :class:`ClosedForm`."""
        count = len(sums["label"])
        if count == 0:
            raise _unlabelled("knn")
        self.tokens.zero_()[:count] = sums["tokens"]
        self.label.fill_(-1)[:count] = sums["label"]
        self._draw.manual_seed(0)

    def forward(self, maps: Maps, size: Size) -> Tensor:
        """Return the logarithm of shares of votes ``(B, K, H, W)``, interpolated before it."""
        B, _, h, w = maps[-1].shape
        kept = self.label >= 0
        tokens, label = self.tokens[kept], F.one_hot(self.label[kept], self.classes).float()
        asked = F.normalize(maps[-1].float().flatten(2).mT.flatten(0, 1), dim=-1)
        votes = []
        for part in torch.split(asked, 4096):
            near = (part @ tokens.T).topk(min(NEIGHBOURS, len(tokens)), dim=1).indices
            votes.append(label[near].mean(dim=1))
        shares = torch.cat(votes).reshape(B, h, w, -1).permute(0, 3, 1, 2)
        return resized(shares, size).clamp(min=1e-6).log()

    def _kept(self, found: Sums) -> Sums:
        rows = []
        for k in range(self.classes):
            own = (found["label"] == k).nonzero()[:, 0]
            rows.append(own[found["key"][own].argsort()[: self.stored]])
        index = torch.cat(rows)
        return {name: values[index] for name, values in found.items()}


HEADS: Mapping[str, Callable[[int, int, int], nn.Module]] = {
    "linear": lambda width, classes, pixels: Linear(width, classes),
    "linear.p2": LinearPixels,
    "lda": lambda width, classes, pixels: Lda(width, classes),
    "knn": lambda width, classes, pixels: Knn(width, classes),
    "upernet": lambda width, classes, pixels: UPerNet(width, classes),
}


def head(name: str, *, width: int, classes: int, pixels: int) -> Any:
    """Return a new head.

    Args:
        name: ``linear``, ``linear.p2``, ``lda``, ``knn`` or ``upernet``.
        width: D of the tokens.
        classes: K.
        pixels: pixels along a side of a token, for ``linear.p2``.

    Raises:
        InputError: for an unknown name.
    """
    if name not in HEADS:
        raise InputError(f"head={name}", f"heads are {', '.join(HEADS)}", "Use head=lda")
    return HEADS[name](width, classes, pixels)


def answer(logits: Tensor, want: Want) -> Prediction:
    """Return class probabilities, the same for every member, from logits ``(B, K, H, W)``."""
    values = logits.float().softmax(dim=1)[:, None, None]
    return Prediction(values.expand(-1, want.members, -1, -1, -1, -1).contiguous())


def _unlabelled(name: str) -> InputError:
    return InputError(
        f"fitting head={name}", "no valid pixel of the labelled windows has a class",
        "Use a dataset with labels in its training split, or a larger fraction of labels",
    )  # fmt: skip


def _layer(width: int, outputs: int) -> nn.Conv2d:
    layer = nn.Conv2d(width, outputs, 1)
    nn.init.normal_(layer.weight, std=SPREAD)
    nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
    return layer


def _labelled(tokens: Tensor, truth: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
    """Return tokens with a labelled pixel ``(n, D)``, and pixels of each class ``(n, K)``.

    A token's pixels are its share of the map; where they are not whole, neighbours share them.
    """
    h, w = tokens.shape[-2:]
    area = truth.shape[-2] * truth.shape[-1] / (h * w)
    counted = F.adaptive_avg_pool2d(truth.float() * valid, (h, w)) * area
    share = counted.permute(0, 2, 3, 1).flatten(0, 2)
    kept = share.sum(1) > 0
    return tokens.permute(0, 2, 3, 1).flatten(0, 2)[kept], share[kept]
