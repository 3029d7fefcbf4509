"""What networks read: images resized to grids of tokens, and the positions of those tokens."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor
from torch.nn import functional as F

from rsbench_baselines._vit import Axis, Encoder, sincos
from rsbench_baselines.cross_scale import affinity
from rsbench_baselines.cross_scale.options import Pretraining, Sizes

DEPTHS = 4
"""Token maps that ``encode`` returns."""


def resized(image: Tensor, height: int, width: int) -> Tensor:
    """Resize ``(B, C, H, W)``, bilinear and antialiased; an image of that size is unchanged."""
    if image.shape[-2:] == (height, width):
        return image
    return F.interpolate(
        image, size=(height, width), mode="bilinear", align_corners=False, antialias=True
    )


def base_image(options: Pretraining, sizes: Sizes, mr: Tensor, hr: Tensor | None) -> Tensor:
    """Return the image that the base method reads, ``grid·cell`` pixels a side.

    Args:
        mr: standardised mid-resolution crops ``(B, C, H, W)``.
        hr: standardised high-resolution crops of the same ground, of any size.
    """
    side = sizes.grid * sizes.cell
    return resized(_required(hr) if options.see == "hr" else mr, side, side)


def teacher_image(options: Pretraining, sizes: Sizes, mr: Tensor, hr: Tensor | None) -> Tensor:
    """Return the image of the affinity's teacher, ``ratio`` times as many pixels a side."""
    side = options.ratio * sizes.grid * sizes.cell
    return resized(mr if options.teach == "interp" else _required(hr), side, side)


def affinity_loss(
    options: Pretraining, student: Tensor, fine: Tensor, kept: Tensor | None = None
) -> Tensor:
    """Return the affinity of tokens ``(B, N, D)`` to the teacher's ``(B, N·s², D)``.

    Args:
        kept: tokens that count, as in :func:`over_kept`.
    """
    loss = {"gram": affinity.gram_loss, "mse": affinity.mse_loss}[options.affinity]
    return over_kept(loss, student, affinity.pool_children(fine, options.ratio), kept)


@dataclass(frozen=True)
class ValidTokens:
    """Tokens that count in the loss, ``(B, grid²)`` bool; None where all do.

    Args:
        base: those with a valid pixel of the image that the base method reads.
        affinity: those with a valid pixel of the mid-resolution image, all of whose children have
            one of the teacher's image.
    """

    base: Tensor | None = None
    affinity: Tensor | None = None


EVERY = ValidTokens()


def valid_tokens(options: Pretraining, sizes: Sizes, mr: Tensor, hr: Tensor | None) -> ValidTokens:
    """Return which tokens count.

    Args:
        mr: valid pixels of mid-resolution crops ``(B, 1, H, W)`` bool.
        hr: those of high-resolution crops of the same ground.
    """
    grid = sizes.grid
    base = _with_pixels(_required(hr) if options.see == "hr" else mr, grid)
    if options.affinity == "none":
        return ValidTokens(_unless_all(base))
    fine = _with_pixels(mr if options.teach == "interp" else _required(hr), options.ratio * grid)
    whole = -F.max_pool2d(-fine, options.ratio)
    return ValidTokens(_unless_all(base), _unless_all(base * whole))


def _with_pixels(valid: Tensor, grid: int) -> Tensor:
    return F.adaptive_max_pool2d(valid.float(), grid)


def _unless_all(kept: Tensor) -> Tensor | None:
    return None if kept.all() else kept.flatten(1) > 0


def chosen(kept: Tensor | None, index: Tensor) -> Tensor | None:
    """Return which of the tokens at ``index (B, n)`` count; None where all do."""
    return None if kept is None else kept.gather(1, index)


def over_kept(
    loss: Callable[[Tensor, Tensor], Tensor], one: Tensor, other: Tensor, kept: Tensor | None
) -> Tensor:
    """Return a mean loss over the tokens that count; 0 where no image has two of them.

    Args:
        loss: of ``one`` and ``other``, ``(B, N, D)``, a mean over images and tokens.
        kept: ``(B, N)`` bool; None where all count. An image has the weight of its tokens.
    """
    if kept is None:
        return loss(one, other)
    total, count = (one * 0).sum(), 0
    for a, b, own in zip(one, other, kept, strict=True):
        number = int(own.sum())
        if number > 1:
            total = total + loss(a[own][None], b[own][None]) * number
            count += number
    return total / max(count, 1)


def places(
    width: int, rows: int, columns: int, *, inclusive: bool = False, ratio: int = 1,
    ground: bool = False, base: float,
) -> Tensor:  # fmt: skip
    """Return codes of the positions of a grid ``(rows·columns, width)``.

    Args:
        inclusive: positions run from 0 to the number of tokens, as in LatentMIM, instead of to
            one less, as in I-JEPA.
        ratio: fine tokens along a side of a token.
        ground: give a fine token the coordinates of its centre on the coarse grid.
        base: of the wavelengths.
    """
    axes = (_axis(count, inclusive, ratio if ground else 1) for count in (rows, columns))
    return sincos(width, *axes, base=base)


def _axis(count: int, inclusive: bool, ratio: int) -> Axis:
    coarse = count // ratio
    step = coarse / (coarse - 1) if inclusive and coarse > 1 else 1.0
    return Axis(count, step * (0.5 / ratio - 0.5), step / ratio)


def token_maps(encoder: Encoder, sizes: Sizes, image: Tensor, *, inclusive: bool) -> list[Tensor]:
    """Return maps of normalised tokens ``(B, D, h, w)`` at four depths, the last one last.

    Args:
        image: standardised mid-resolution images ``(B, C, H, W)``. A token covers as much ground
            as in training: ``h = H·grid/crop``, rounded. Patches are read without gaps.
    """
    rows, columns = (max(round(side * sizes.grid / sizes.crop), 1) for side in image.shape[-2:])
    shown = resized(image, rows * sizes.patch, columns * sizes.patch)
    codes = places(encoder.width, rows, columns, inclusive=inclusive, base=encoder.base)
    found = encoder.depths(shown, DEPTHS, codes)
    return [x[:, -rows * columns :].mT.reshape(len(x), -1, rows, columns) for x in found]


def watched(student: Tensor, predicted: Tensor, target: Tensor) -> dict[str, Tensor]:
    """Return what shows a collapse: cosines between tokens, and the student's effective rank."""
    student, predicted, target = student.detach(), predicted.detach(), target.detach()
    return {
        "token_cosine": affinity.token_cosine(student),
        "effective_rank": affinity.effective_rank(student),
        "predicted_cosine": affinity.token_cosine(predicted),
        "target_cosine": affinity.token_cosine(target),
    }


def _required(hr: Tensor | None) -> Tensor:
    if hr is None:
        raise ValueError("this pretraining reads high-resolution images, and none was given")
    return hr
