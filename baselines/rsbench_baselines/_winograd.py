"""Convolutions with fewer multiplications on a CPU: Winograd's minimal filtering.

A. Lavin and S. Gray, "Fast algorithms for convolutional neural networks", CVPR 2016, eq. 8:
``Y = Aᵀ [(G g Gᵀ) ⊙ (Bᵀ d B)] A`` for a kernel g and a tile d of 6×6 pixels. Kernels of 5×5 give
2×2 outputs per tile (2.8 times fewer multiplications), kernels of 3×3 give 4×4 (4 times fewer).
The products of all channels and tiles are 36 matrix products.

The points of interpolation are 0, ±2/3, ±3/2 and infinity. Rounding errors are then 2 to 4 times
those of the plain convolution in float32; with the points 0, ±1, ±2 they are 6 to 9 times.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

SIDE = 6
"""Side of a tile of the input, in pixels."""
POINTS = (0.0, 2 / 3, -2 / 3, 3 / 2, -3 / 2)
TILES = 64
"""The fewest tiles for which they pay."""
CHANNELS = {3: 40, 5: 48}
"""The fewest channels for which they pay, by side of the kernel: in·out / (in + out)."""
SCRATCH = 2 << 20
"""Numbers of one temporary array; larger ones cost more in new pages of memory than in sums."""


def applies(x: Tensor, weight: Tensor) -> bool:
    """Return whether both are float32 on a CPU, outside autocast and the compiler."""
    return (
        x.device.type == "cpu"
        and x.dtype == weight.dtype == torch.float32
        and not torch.is_autocast_enabled("cpu")
        and not torch.compiler.is_compiling()
    )


def pays(x: Tensor, weight: Tensor) -> bool:
    """Return whether this way is faster than the plain convolution of stride 1.

    Measured with one thread (``tests/bench/test_bench_models.py``). The answer depends on
    shapes, type and device alone, so that two runs have the same bits.

    Args:
        x: input ``(N, in, H, W)``.
        weight: kernels ``(out, in, k, k)``.
    """
    outputs, inputs, *sides = weight.shape
    if sides[0] != sides[1] or sides[0] not in CHANNELS or not applies(x, weight):
        return False
    plan = Plan.of(x, sides[0])
    enough = inputs * outputs >= CHANNELS[sides[0]] * (inputs + outputs)
    return enough and plan.images * plan.rows * plan.columns >= TILES


@cache
def matrices(kernel: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return Aᵀ, G and Bᵀ, each times itself by Kronecker, in float64.

    Rows of G and Bᵀ have a length near 1; the powers of two taken out of them are in Aᵀ.

    Returns:
        ``(m², 36)``, ``(36, k²)``, ``(36, 36)`` with m = 7 - k.
    """
    with torch.device("cpu"):
        outer = torch.zeros(SIDE, SIDE, dtype=torch.float64)
        for row in range(SIDE):
            others = [p for k, p in enumerate(POINTS) if k != row]
            outer[row, : len(others) + 1] = _polynomial(others)
        points = torch.tensor(POINTS, dtype=torch.float64)
        gaps = points[:, None] - points + torch.eye(len(POINTS), dtype=torch.float64)
        inner = _powers(points, kernel) / F.pad(gaps.prod(1), (0, 1), value=1.0)[:, None]
        answer = _powers(points, SIDE + 1 - kernel)
    for matrix in (inner, outer):
        lengths = 2.0 ** matrix.norm(dim=1, keepdim=True).log2().round()
        matrix /= lengths
        answer *= lengths
    answer = answer.T.contiguous()
    return torch.kron(answer, answer), torch.kron(inner, inner), torch.kron(outer, outer)


def _powers(points: Tensor, width: int) -> Tensor:
    # Row of the point infinity: the highest power alone.
    return torch.cat([points[:, None] ** torch.arange(width), torch.eye(width).double()[-1:]])


def _polynomial(roots: Sequence[float]) -> Tensor:
    """Return the coefficients of ∏(x - root), the constant first."""
    found = torch.ones(1, dtype=torch.float64)
    for root in roots:
        found = F.pad(found, (1, 0)) - root * F.pad(found, (0, 1))
    return found


class Transformed(NamedTuple):
    """Transformed kernels ``(36, in, out)``, and the sum of their gradients while it is made."""

    values: Tensor
    gradient: Gradient


class Gradient:
    """The sum of a gradient over all uses of the kernels in one backward pass.

    Every use adds its matrix products to one array. Sums by autograd would make an array for
    each use, which takes longer than the products.
    """

    def __init__(self) -> None:
        self._pass = -1
        self._total: Tensor | None = None

    def add(self, read: Tensor, products: Tensor) -> None:
        """Add ``read @ products``, ``(36, in, tiles) @ (36, tiles, out)``."""
        # What a pass left that did not reach the weights is dropped.
        now = torch._C._current_graph_task_id()
        if self._total is None or now != self._pass:
            self._pass, self._total = now, torch.bmm(read, products)
        else:
            self._total.baddbmm_(read, products)

    def take(self) -> Tensor | None:
        """Return the sum of this pass and forget it."""
        found, self._total = self._total, None
        return found if self._pass == torch._C._current_graph_task_id() else None


def transformed(weight: Tensor) -> Transformed:
    """Return the transforms of kernels ``(out, in, k, k)``, for :func:`convolve`.

    A rollout transforms its kernels once and reads them at every step.
    """
    gradient = Gradient()
    return Transformed(_Transform.apply(weight, gradient), gradient)  # type: ignore[no-untyped-call]


def convolve(
    parts: Sequence[Tensor], kernels: Transformed, kernel: int, bias: Tensor | None = None
) -> Tensor:
    """Return the convolution of stride 1 that keeps the sides.

    Args:
        parts: inputs ``(N, C, H, W)`` that are read as one, channels after channels.
        kernels: by :func:`transformed`.
        kernel: side k of the kernels, 3 or 5.
        bias: ``(out,)``, added to every pixel.

    Returns:
        ``(N, out, H, W)`` in the layout ``channels_last``.
    """
    found: Tensor = _Convolution.apply(kernel, kernels.gradient, kernels.values, bias, *parts)  # type: ignore[no-untyped-call]
    return found


def conv2d(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Return ``F.conv2d(x, weight, bias, padding=k // 2)``, in the faster way for its shapes."""
    kernel = weight.shape[-1]
    if not pays(x, weight):
        return F.conv2d(x, weight, bias, padding=kernel // 2)
    return convolve([x], transformed(weight), kernel, bias)


@dataclass(frozen=True)
class Plan:
    """How images are cut into tiles: ``rows·columns`` of them per image, each of m×m outputs."""

    images: int
    height: int
    width: int
    kernel: int

    @classmethod
    def of(cls, x: Tensor, kernel: int) -> Plan:
        """Return the plan of an input ``(N, C, H, W)``."""
        images, _, height, width = x.shape
        return cls(images, height, width, kernel)

    @property
    def step(self) -> int:
        """Side m of the outputs of a tile."""
        return SIDE + 1 - self.kernel

    @property
    def rows(self) -> int:
        """Rows of tiles."""
        return -(-self.height // self.step)

    @property
    def columns(self) -> int:
        """Columns of tiles."""
        return -(-self.width // self.step)

    @property
    def padded(self) -> tuple[int, int]:
        """Sides of the padded image."""
        edge = self.kernel - 1
        return self.rows * self.step + edge, self.columns * self.step + edge

    def chunks(self, channels: int) -> Iterator[tuple[slice, slice]]:
        """Yield images and rows of tiles whose temporary arrays are small."""
        row = SIDE * SIDE * self.columns * channels
        images = max(1, SCRATCH // (row * self.rows))
        rows = self.rows if images > 1 else max(1, min(self.rows, SCRATCH // row))
        for image in range(0, self.images, images):
            for first in range(0, self.rows, rows):
                yield slice(image, image + images), slice(first, first + rows)

    def tiles(self, padded: Tensor, at: tuple[slice, slice]) -> Tensor:
        """Return overlapping tiles ``(6, 6, n, rows, columns, C)``, a view of ``(N, H, W, C)``."""
        view = padded[at[0]].unfold(1, SIDE, self.step).unfold(2, SIDE, self.step)
        return view[:, at[1]].permute(4, 5, 0, 1, 2, 3)

    def read(self, padded: Tensor, at: tuple[slice, slice], outer: Tensor) -> Tensor:
        """Return ``(36, tiles, C)``: the transformed tiles of ``(N, H, W, C)``."""
        tiles = self.tiles(padded, at).reshape(SIDE * SIDE, -1)
        return (outer @ tiles).view(SIDE * SIDE, -1, padded.shape[3])

    def write(self, padded: Tensor, at: tuple[slice, slice], outer: Tensor, found: Tensor) -> None:
        """Add to ``(N, H, W, C)`` the gradient ``found`` of what :meth:`read` returned."""
        into = self.tiles(padded, at)
        back = (outer.T @ found.view(SIDE * SIDE, -1)).view(into.shape)
        for row in range(SIDE):
            for column in range(SIDE):
                into[row, column] += back[row, column]

    def outputs(self, image: Tensor, at: tuple[slice, slice]) -> Tensor:
        """Return blocks ``(m, m, n, rows, columns, C)``, a view of ``(N, H, W, C)``."""
        n, _, _, channels = image.shape
        view = image.view(n, self.rows, self.step, self.columns, self.step, channels)
        return view[at].permute(2, 4, 0, 1, 3, 5)

    def pad(self, parts: Sequence[Tensor]) -> Tensor:
        """Return the parts ``(N, C, H, W)`` as one padded ``(N, H', W', ΣC)``."""
        edge = self.kernel // 2
        high, wide = self.padded
        found = parts[0].new_zeros(self.images, high, wide, sum(one.shape[1] for one in parts))
        inside = found[:, edge : edge + self.height, edge : edge + self.width]
        torch.cat([one.permute(0, 2, 3, 1) for one in parts], dim=3, out=inside)
        return found


class _Transform(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, weight: Tensor, gradient: Gradient) -> Tensor:
        outputs, inputs, kernel, _ = ctx.shape = weight.shape
        ctx.gradient = gradient
        ctx.set_materialize_grads(False)
        flat = weight.transpose(0, 1).reshape(inputs * outputs, kernel * kernel)
        found = matrices(kernel)[1].to(weight.dtype) @ flat.T
        return found.view(SIDE * SIDE, inputs, outputs)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *_: Tensor | None) -> tuple[Tensor | None, None]:
        total = ctx.gradient.take()
        if total is None:
            return None, None
        outputs, inputs, kernel, _ = ctx.shape
        flat = total.view(SIDE * SIDE, -1).T @ matrices(kernel)[1].to(total.dtype)
        return flat.view(inputs, outputs, kernel, kernel).transpose(0, 1), None


class _Convolution(torch.autograd.Function):
    """The convolution and its gradients, each in chunks whose temporary arrays are small."""

    @staticmethod
    def forward(
        ctx: Any,
        kernel: int,
        gradient: Gradient,
        kernels: Tensor,
        bias: Tensor | None,
        *parts: Tensor,
    ) -> Tensor:
        ctx.save_for_backward(kernels, *parts)
        ctx.gradient = gradient
        ctx.plan = plan = Plan.of(parts[0], kernel)
        answer, _, outer = (one.to(kernels.dtype) for one in matrices(kernel))
        padded = plan.pad(parts)
        inputs, outputs = kernels.shape[1:]
        found = padded.new_empty(
            plan.images, plan.rows * plan.step, plan.columns * plan.step, outputs
        )
        for at in plan.chunks(max(outputs, inputs)):
            products = torch.bmm(plan.read(padded, at, outer), kernels)
            blocks = plan.outputs(found, at)
            sums = (answer @ products.view(SIDE * SIDE, -1)).view(blocks.shape)
            blocks.copy_(sums) if bias is None else torch.add(sums, bias, out=blocks)
        found = found[:, : plan.height, : plan.width].permute(0, 3, 1, 2)
        return found.contiguous(memory_format=torch.channels_last)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        kernels, *parts = ctx.saved_tensors
        plan: Plan = ctx.plan
        answer, _, outer = (one.to(kernels.dtype) for one in matrices(plan.kernel))
        padded = plan.pad(parts)
        inputs, outputs = kernels.shape[1:]
        _, _, of_kernels, of_bias, *of_parts = ctx.needs_input_grad
        missing = (plan.columns * plan.step - plan.width, plan.rows * plan.step - plan.height)
        image = F.pad(gradient.permute(0, 2, 3, 1), (0, 0, 0, missing[0], 0, missing[1]))
        image = image.contiguous()
        to_padded = torch.zeros_like(padded)
        for at in plan.chunks(max(outputs, inputs)):
            blocks = plan.outputs(image, at).reshape(plan.step**2, -1)
            products = (answer.T @ blocks).view(SIDE * SIDE, -1, outputs)
            if of_kernels:
                ctx.gradient.add(plan.read(padded, at, outer).transpose(1, 2), products)
            if any(of_parts):
                plan.write(to_padded, at, outer, torch.bmm(products, kernels.transpose(1, 2)))
        edge = plan.kernel // 2
        inside = to_padded[:, edge : edge + plan.height, edge : edge + plan.width]
        pieces = torch.split(inside.permute(0, 3, 1, 2), [one.shape[1] for one in parts], dim=1)
        return None, None, None, gradient.sum((0, 2, 3)) if of_bias else None, *pieces
