"""Metrics as published code computes them, faults included, to read published tables.

No default suite has them. Each docstring names the code and the difference from the metric of this
package. Masks are those of this package: the published code has none unless the docstring says so.
"""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor

from rsbench.metrics.images import ImageBatch, PerImage, total
from rsbench.metrics.pixel import capped, decibel
from rsbench.metrics.structure import C1, C2, ZERO, average, box_means, of_parts
from rsbench.metrics.windows import moments, normalise, similarity

# --------------------------------------------------------------------------- Sat-JEPA-Diff


def mae_clip(images: ImageBatch) -> PerImage:
    """Mean absolute error of images clipped to the range and mapped onto [0, 1].

    L1 of Sat-JEPA-Diff's evaluation. Differs from ``mae@1`` by the clipping, which hides errors
    outside of the range, and by the unit. ``counts`` say how much was clipped.
    """
    x, y = images.scaled
    return replace(PerImage.of_sums(images, total((x - y).abs_())), counts=images.clipped)


def mse_clip(images: ImageBatch) -> PerImage:
    """Mean squared error of images clipped to the range and mapped onto [0, 1]."""
    x, y = images.scaled
    return replace(PerImage.of_sums(images, total((x - y).square_())), counts=images.clipped)


def psnr_clip(images: ImageBatch) -> PerImage:
    """10·log10(1 / MSE) dB of clipped images per image; 100 where the MSE is below 1e-10.

    The mean over images exceeds the PSNR of the mean error by an amount that depends on how much
    the errors of the images differ.
    """
    x, y = images.scaled
    error = total((x - y).square_())
    return capped(PerImage.of_sums(images, error, lambda e: -decibel(e)), images.clipped)


def ssim_zero(images: ImageBatch) -> PerImage:
    """SSIM 11/1.5 per band with zeros beyond the border, mean over the whole map.

    Sat-JEPA-Diff's evaluation; L = 1 after clipping. The zeros beyond the border are alike in
    both images, so small images lie some hundredths above ``ssim@1``.
    """
    x, y = (image.double() for image in images.scaled)
    norm = None if images.valid is None else normalise(images.valid, ZERO, x.dtype)
    parts = []
    for bands in images.band_groups():
        here = None if norm is None else norm.of(bands)
        maps = images.buffers.take("maps", (4, *x[:, bands].shape), x)
        maps[0], maps[1] = x[:, bands], y[:, bands]
        found = moments(maps, ZERO, here, buffers=images.buffers)
        quality = similarity(found, C1, C2, buffers=images.buffers)
        parts.append(average(quality, None if here is None else here.keep))
    return of_parts(parts, images)


# --------------------------------------------------------------------------------- OpenSTL

BOX, SAMPLES = 7, 49


def _frame_sum(images: ImageBatch, sums: Tensor) -> PerImage:
    """Mean over valid elements times the elements of the frame."""
    count = images.count.sum(1)
    elements = images.truth[0].numel()
    return PerImage.of(sums.sum(1) / count * elements, count > 0)


def mse_openstl(images: ImageBatch) -> PerImage:
    """Sum over bands and pixels of the squared error of a frame, in the data's unit squared.

    OpenSTL calls it MSE: it grows with the frame, by a factor of bands × rows × columns over
    ``mse@1``. Not clipped. Under a mask the valid mean stands for the whole frame.
    """
    return _frame_sum(images, images.squared)


def mae_openstl(images: ImageBatch) -> PerImage:
    """Sum over bands and pixels of the absolute error of a frame; OpenSTL calls it MAE."""
    return _frame_sum(images, total((images.prediction - images.truth).abs_()))


def ssim_openstl(images: ImageBatch) -> PerImage:
    """SSIM in 7 × 7 boxes with sample covariances, 3 px cropped, constants for a range of 2.

    OpenSTL calls scikit-image without a data range; releases that allowed this took −1 … 1 for
    floats, so C1 and C2 are four times those of ``ssim@1`` and values are higher. The prediction
    is clipped onto [0, 1], the truth is not.
    """
    x = images.scaled[0].double()
    y = (images.truth.double() - images.low) / images.span
    if images.valid is not None:
        y = torch.where(images.valid, y, 0.0)
    mean_x, mean_y, squares, product, keep = box_means(x, y, images.valid, BOX)
    if images.valid is not None and keep is not None:
        keep &= images.valid[..., BOX // 2 : -(BOX // 2), BOX // 2 : -(BOX // 2)]
    sample = SAMPLES / (SAMPLES - 1)
    mean_squares = mean_x.square() + mean_y.square()
    variances = sample * (squares - mean_squares)
    covariance = sample * (product - mean_x * mean_y)
    c1, c2 = 4.0 * C1, 4.0 * C2
    quality = (2.0 * mean_x * mean_y + c1) * (2.0 * covariance + c2)
    quality /= (mean_squares + c1) * (variances + c2)
    value, ok = average(quality, keep)
    return PerImage.mean_of_bands(value, ok, counts=images.clipped)


# ---------------------------------------------------------------------- ERGAS, five readings


def _of_bands(factor: float, relative: Tensor, used: Tensor) -> PerImage:
    """The factor times the root of the mean over all bands; undefined where any band is."""
    mean = relative.masked_fill(~used, 0.0).mean(1)
    return PerImage.of(factor * mean.sqrt(), used.all(1) & (mean >= 0))


def ergas_stfdiff(images: ImageBatch) -> PerImage:
    """100/16 · √mean_b(MSE_b / µ_b²) with µ of the *prediction*: prowDIY/STF.

    Its functions take (truth, prediction) and are called the other way round, so a prediction
    that is too bright is divided by its own brightness.
    """
    relative = images.squared / images.count / images.prediction_mean.square()
    return _of_bands(100.0 / 16.0, relative, torch.isfinite(relative))


def ergas_gpstfdiff(images: ImageBatch) -> PerImage:
    """100/16 · √mean_b(MSE_b / (µ_b² + 1e-10)), µ of the truth: JiazhenZhao02091/GPSTFDiff.

    ``ergas.r16@1``, except that dark bands stay in.
    """
    relative = images.squared / images.count / (images.truth_mean.square() + 1e-10)
    return _of_bands(100.0 / 16.0, relative, images.count > 0)


def ergas_swinstfm(images: ImageBatch) -> PerImage:
    """6 · √mean_b(MSE_b / µ_b²), µ of the truth: LouisChen0104/swinstfm.

    Six is 100 · 30 m / 500 m. Invalid pixels are set to zero in both images and *stay in the
    means*, of the error and of µ: with a share v of valid pixels the value is 1/√v times as large.
    """
    everything = float(images.truth[0, 0].numel())
    mean = total(images.truth) / everything
    relative = images.squared / everything / (mean.square() + 1e-100)
    return _of_bands(6.0, relative, images.count > 0)


def ergas_edcstfn(images: ImageBatch) -> PerImage:
    """100/16 · √mean_b(RMSE_b / µ_b) with µ of the prediction: theonegis/edcstfn.

    The relative error is not squared before the mean, so halving the error divides the value by
    √2 only. Undefined where the sum is negative.
    """
    relative = (images.squared / images.count).sqrt() / images.prediction_mean
    return _of_bands(100.0 / 16.0, relative, torch.isfinite(relative))


def ergas_libstf(images: ImageBatch) -> PerImage:
    """100/4/16 · √mean_b(MSE_b / µ_b²), µ of the truth: yc-cui's survey, code LibSTFv1.

    torchmetrics divides by its default ratio 4, the caller by 16 once more. That code also leaves
    out images whose value it takes for an outlier; every image counts here.
    """
    relative = images.squared / images.count / images.truth_mean.square()
    return _of_bands(100.0 / 64.0, relative, torch.isfinite(relative))


# -------------------------------------------------------------------------- SAM, five readings


def _spectra(images: ImageBatch) -> tuple[Tensor, Tensor, Tensor]:
    """Both images in float64, and which pixels are valid in all bands, (n, H, W)."""
    p, t = images.prediction.double(), images.truth.double()
    if images.all_bands is None:
        return p, t, torch.ones_like(t[:, 0], dtype=torch.bool)
    return p, t, images.all_bands[:, 0]


def _mean_angle(angle: Tensor, used: Tensor, what: str, left_out: Tensor) -> PerImage:
    number = used.sum((-1, -2)).double()
    value = total(angle.masked_fill(~used, 0.0)) / number
    return PerImage.of(value, number > 0, counts={what: int(left_out.sum())})


def _mean_of_all(angle: Tensor, valid: Tensor) -> PerImage:
    """Return the mean angle; an image with one undefined angle has no value."""
    undefined = valid & ~torch.isfinite(angle)
    used = valid & ~undefined.flatten(1).any(1)[:, None, None]
    return _mean_angle(angle, used, "zero_spectra", undefined)


def sam_stfdiff(images: ImageBatch) -> PerImage:
    """Mean of acos(cosine) in radians without the NaN: prowDIY/STF.

    The cosine is not clamped: where rounding puts it above 1 the pixel is left out
    (``nan_angles``), as are zero spectra. In float64; float32 adds up to 3e-4 near zero.
    """
    p, t, valid = _spectra(images)
    angle = torch.acos((p * t).sum(1) / (p.square().sum(1).sqrt() * t.square().sum(1).sqrt()))
    defined = torch.isfinite(angle)
    return _mean_angle(angle, valid & defined, "nan_angles", valid & ~defined)


def sam_gpstfdiff(images: ImageBatch) -> PerImage:
    """Mean of acos(p·t / (|p||t| + 1e-8)) in radians, clamped: JiazhenZhao02091/GPSTFDiff.

    A zero spectrum counts as a right angle; equal spectra have √(2e-8)/|t| instead of zero.
    """
    p, t, valid = _spectra(images)
    below = p.square().sum(1).sqrt() * t.square().sum(1).sqrt() + 1e-8
    angle = torch.acos(((p * t).sum(1) / below).clamp(-1.0, 1.0))
    zero = valid & ((p == 0).all(1) | (t == 0).all(1))
    return _mean_angle(angle, valid, "zero_spectra", zero)


def sam_swinstfm(images: ImageBatch) -> PerImage:
    """Angle between the two images *of a band*, as vectors over pixels, mean over bands, degrees.

    LouisChen0104/swinstfm, through the package sewar 0.4.4, whose loop runs over bands: no angle
    between spectra is measured, and a prediction with all spectra wrong may score zero. A band
    without values has no angle. sewar 0.4.10 computes the angle between spectra, as ``sam@1``.
    """
    p, t = images.prediction.double(), images.truth.double()
    below = (total(p * p) * total(t * t)).sqrt()
    used = (below > 0) & (images.count > 0)
    cosine = (total(p * t) / torch.where(used, below, 1.0)).clamp(-1.0, 1.0)
    angle = torch.acos(cosine).masked_fill(~used, 0.0) * (180.0 / math.pi)
    return PerImage.of(angle.mean(1), used.all(1), per_band=angle, band_ok=used)


def sam_edcstfn(images: ImageBatch) -> PerImage:
    """Mean of acos(p·t / (Σ|p| Σ|t|)) in radians: theonegis/edcstfn.

    The norms are sums of absolute values, so equal spectra are far from zero. That code also
    turns its reflectance into whole numbers first, which makes everything zero; not done here.
    """
    p, t, valid = _spectra(images)
    angle = torch.acos((p * t).sum(1) / (p.abs().sum(1) * t.abs().sum(1)))
    return _mean_of_all(angle, valid)


def sam_libstf(images: ImageBatch) -> PerImage:
    """Mean of acos(cosine) in radians, clamped: torchmetrics, in yc-cui's LibSTFv1.

    One zero spectrum makes the mean NaN, and such an image is left out there as it is here.
    """
    p, t, valid = _spectra(images)
    cosine = (p * t).sum(1) / (p.square().sum(1).sqrt() * t.square().sum(1).sqrt())
    return _mean_of_all(torch.acos(cosine.clamp(-1.0, 1.0)), valid)
