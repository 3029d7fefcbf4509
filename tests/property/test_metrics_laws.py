"""Laws every metric obeys: identity, symmetry, masks, batches, and order under growing noise."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import rsbench as rb
from rsbench.metrics import ImageOptions, PerImage, image_metrics, info, metric_info

READY = tuple(
    m.id for m in metric_info(probe=False) if m.available and m.kind == "image" and not m.needs
)
SIGNED = ("spectrum.ratio@1", "edge.roberts@1", "texture.lbp@1")
MARGIN = "psnr.shift@1"
"""The truth loses its margin, and the prediction does not."""
SYMMETRIC = tuple(m for m in READY if not m.startswith("ergas") and m not in (*SIGNED, MARGIN))
SIDE = 32
# These published forms add 1e-8 below, so a copy falls short of perfect.
SLACK = {"ssim.blur2@1": 1e-4, "sam.gpstfdiff@1": 1e-3}
# One published angle is not zero for a copy, and so need not grow with noise.
LAWFUL = tuple(m for m in READY if info(m).perfect is not None)

settings.register_profile("metrics", deadline=None, max_examples=8, derandomize=True)
settings.load_profile("metrics")


def noise(seed: int, n: int, c: int, side: int = SIDE) -> torch.Tensor:
    return torch.randn(n, c, side, side, generator=torch.Generator().manual_seed(seed))


def scenes(seed: int, n: int, c: int, side: int = SIDE) -> torch.Tensor:
    """Smooth fields with texture between 0.1 and 0.9."""
    coarse = noise(seed, n, c, side // 4)
    field = torch.nn.functional.interpolate(coarse, scale_factor=4, mode="bilinear")
    return (0.5 + 0.12 * field + 0.02 * noise(seed + 1, n, c, side)).clamp(0.1, 0.9)


def blobs(seed: int, n: int, c: int, share: float) -> torch.Tensor:
    field = torch.nn.functional.interpolate(noise(seed, n, c, SIDE // 8), scale_factor=8)
    valid = field > torch.quantile(field.flatten(1), share, dim=1).view(n, 1, 1, 1)
    valid[..., : SIDE // 2, : SIDE // 2] = True
    return valid


def score(p: torch.Tensor, t: torch.Tensor, **options: object) -> dict[str, PerImage]:
    given = {"data_range": 1.0, "options": ImageOptions(ratio=4)} | options
    return image_metrics(READY, p, t, **given)  # type: ignore[arg-type]


def same(a: dict[str, PerImage], b: dict[str, PerImage], rel: float = 1e-6) -> None:
    for metric in READY:
        assert torch.equal(a[metric].ok, b[metric].ok), metric
        ok = a[metric].ok
        torch.testing.assert_close(
            a[metric].value[ok], b[metric].value[ok], rtol=rel, atol=rel,
            msg=lambda m, metric=metric: f"{metric}: {m}",
        )  # fmt: skip


seeds = st.integers(0, 2**20)
bands = st.integers(2, 6)


@given(seeds, bands)
def test_a_copy_of_the_truth_is_perfect(seed: int, c: int) -> None:
    t = scenes(seed, 2, c)
    found = score(t.clone(), t)
    for metric in LAWFUL:
        result, perfect = found[metric], info(metric).perfect
        assert result.ok.all(), metric
        assert result.value.tolist() == pytest.approx([perfect] * 2, abs=SLACK.get(metric, 1e-6)), (
            metric
        )


@given(seeds, bands)
def test_a_copy_stays_perfect_under_any_mask(seed: int, c: int) -> None:
    t = scenes(seed, 2, c)
    found = score(t.clone(), t, valid=blobs(seed, 2, 1, 0.3))
    for metric in LAWFUL:
        result, perfect = found[metric], info(metric).perfect
        for value in result.value[result.ok].tolist():
            assert value == pytest.approx(perfect, abs=SLACK.get(metric, 1e-6)), metric


@given(seeds, bands)
def test_values_stay_in_their_declared_range(seed: int, c: int) -> None:
    for metric, result in score(scenes(seed, 2, c), scenes(seed + 9, 2, c)).items():
        low, high = info(metric).range
        for value in result.value[result.ok].tolist():
            assert low is None or value >= low, metric
            assert high is None or value <= high, metric


@given(seeds, bands)
def test_symmetric_metrics_do_not_mind_which_image_is_the_truth(seed: int, c: int) -> None:
    p, t = scenes(seed, 2, c), scenes(seed + 9, 2, c)
    forward, backward = score(p, t), score(t, p)
    for metric in SYMMETRIC:
        torch.testing.assert_close(
            forward[metric].value, backward[metric].value, rtol=1e-6, atol=1e-6
        )
    for signed in SIGNED:
        torch.testing.assert_close(forward[signed].value, -backward[signed].value)


@given(seeds, bands, st.booleans(), st.sampled_from([0.05, 0.3, 0.5]))
def test_what_stands_under_the_mask_changes_no_bit(
    seed: int, c: int, per_band: bool, share: float
) -> None:
    t = scenes(seed, 3, c)
    p = (t + 0.05 * noise(seed + 3, 3, c)).clamp(0, 1)
    valid = blobs(seed + 5, 3, c if per_band else 1, share)
    clean = score(p, t, valid=valid)
    fill = torch.tensor([math.nan, math.inf, -1e30])[torch.arange(3) % 3].view(3, 1, 1, 1)
    dirty = score(torch.where(valid, p, fill), torch.where(valid, t, fill.flip(0)), valid=valid)
    for metric in READY:
        assert torch.equal(clean[metric].value.nan_to_num(), dirty[metric].value.nan_to_num()), (
            metric
        )
        assert clean[metric].counts == dirty[metric].counts, metric


@given(seeds, bands)
def test_a_full_mask_is_no_mask(seed: int, c: int) -> None:
    t = scenes(seed, 2, c)
    p = (t + 0.05 * noise(seed + 3, 2, c)).clamp(0, 1)
    valid = torch.ones(2, 1, SIDE, SIDE, dtype=torch.bool)
    same(score(p, t), score(p, t, valid=valid))
    # A neighbour with a hole sends the whole chunk through the masked path.
    valid[1, :, :4, :4] = False
    both = score(p, t, valid=valid, options=ImageOptions(chunk=2, ratio=4))
    alone = score(p[:1], t[:1])
    for metric in READY:
        torch.testing.assert_close(
            both[metric].value[:1], alone[metric].value, rtol=2e-6, atol=1e-6
        )


@given(seeds, bands, st.integers(1, 7), st.randoms(use_true_random=False))
def test_neither_batch_nor_order_matters(seed: int, c: int, size: int, random: object) -> None:
    t = scenes(seed, 5, c)
    p = (t + 0.05 * noise(seed + 3, 5, c)).clamp(0, 1)
    valid = blobs(seed + 5, 5, 1, 0.2)
    whole = score(p, t, valid=valid)
    same(whole, score(p, t, valid=valid, options=ImageOptions(chunk=size, ratio=4)))
    order = list(range(5))
    random.shuffle(order)  # type: ignore[attr-defined]
    shuffled = score(p[order], t[order], valid=valid[order])
    for metric in READY:
        torch.testing.assert_close(
            whole[metric].value[order], shuffled[metric].value, rtol=1e-6, atol=1e-6,
            equal_nan=True,
        )  # fmt: skip


@given(seeds, bands)
def test_asking_for_more_metrics_changes_no_value(seed: int, c: int) -> None:
    t = scenes(seed, 2, c)
    p = (t + 0.05 * noise(seed + 3, 2, c)).clamp(0, 1)
    together = score(p, t)
    for metric in READY:
        alone = rb.metrics.compute([metric], p, t, data_range=1.0, ratio=4)[metric]
        assert torch.equal(alone, together[metric].value), metric


@given(seeds)
def test_more_noise_is_never_better(seed: int) -> None:
    t = scenes(seed, 4, 3)
    grain = noise(seed + 3, 4, 3)
    levels = [score((t + s * grain).clamp(0, 1), t) for s in (0.01, 0.03, 0.09)]
    for metric in LAWFUL:
        means = [float(level[metric].value.mean()) for level in levels]
        kind = info(metric).direction
        badness = [-m if kind == "higher" else abs(m) for m in means]
        assert badness == sorted(badness), metric


@given(seeds, st.floats(-500, 500), st.floats(0.5, 500))
def test_a_change_of_unit_changes_no_clipped_score(seed: int, low: float, span: float) -> None:
    t = scenes(seed, 1, 3).double()
    p = (t + 0.05 * noise(seed + 3, 1, 3)).clamp(0, 1).double()
    clipped = [m for m in READY if m.startswith(("ssim", "gssim", "psnr", "cc", "spectrum"))]
    options = ImageOptions(ratio=4)
    plain = image_metrics(clipped, p, t, data_range=1.0, options=options)
    moved = image_metrics(
        clipped, low + span * p, low + span * t, data_range=(low, low + span), options=options
    )
    for metric in clipped:
        torch.testing.assert_close(plain[metric].value, moved[metric].value, rtol=1e-6, atol=1e-6)
