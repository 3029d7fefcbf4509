"""Augmentation: laws that hold for any pixel ratios, footprints, places of crops and masks."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.functional import avg_pool2d, one_hot

from rsbench.core.errors import InputError
from rsbench.core.grid import Grid, Window
from rsbench.models.api import Frames, Given, SampleRef, Want
from rsbench.models.noise import Noise
from rsbench.training.augment import augmented
from rsbench.training.data import TrainingBatch
from rsbench.training.options import AUGMENTATIONS

LIMITS = settings(max_examples=60, deadline=None)
SAMPLES = 4
SEEDS = st.integers(0, 2**32 - 1)
REGION = Grid("EPSG:32633", (10.0, 0.0, 0.0, 0.0, -10.0, 0.0), 999, 999)
CORNERS = st.lists(st.tuples(*[st.integers(0, 40)] * 2), min_size=SAMPLES, max_size=SAMPLES)
NAMES = st.sets(st.sampled_from(AUGMENTATIONS), min_size=1).map(tuple)


def frames(values: Tensor, valid: Tensor | None = None, footprint: int = 1) -> Frames:
    """Frames of one member and date from ``(B, C, H, W)``."""
    seen = torch.ones_like(values[:, :1]).bool() if valid is None else valid
    count = values.shape[1]
    return Frames(
        torch.where(seen, values, 0)[:, None, None], seen[:, None, None],
        torch.zeros(len(values), 1, dtype=torch.int64), tuple(f"b{c}" for c in range(count)),
        "reflectance", (False,), (0.0, 1.0), footprint,
    )  # fmt: skip


@dataclass(frozen=True)
class Crops:
    """Square crops of some wanted pixels, at row and column of each sample."""

    side: int
    corners: list[tuple[int, int]]

    def batch(self, shown: dict[str, Frames], truth: Frames) -> TrainingBatch:
        windows = [Window(y, x, self.side, self.side) for y, x in self.corners]
        refs = tuple(SampleRef("r", f"r:{row}", window) for row, window in enumerate(windows))
        grids = tuple(REGION.window(window) for window in windows)
        want = Want("mr", truth.bands, truth.times, grids, refs, 1, Noise(0))
        return TrainingBatch(Given(shown, dict.fromkeys(shown, grids), refs), want, truth)

    def cells(self, row: int, cell: int) -> Tensor:
        """Return the number of the coarse pixel in which each pixel of a crop lies."""
        y, x = (torch.arange(n, n + self.side) // cell for n in self.corners[row])
        return y[:, None] * 100 + x

    def coded(self, cell: int) -> Tensor:
        """Return ``(B, 1, H, W)``: which coarse pixel of which sample each pixel shows."""
        rows = [row * 10_000.0 + self.cells(row, cell) for row in range(len(self.corners))]
        return torch.stack(rows)[:, None]


def whole_cells(cells: Tensor, codes: Tensor) -> bool:
    """Return whether every coarse pixel shows one code."""
    pairs = cells.double() * 100_000 + codes
    return len(pairs.unique()) == len(cells.unique())


@LIMITS
@given(st.integers(1, 9), st.integers(9, 36), CORNERS, SEEDS)
def test_cutmix_cuts_no_coarse_pixel_in_part(
    footprint: int, side: int, corners: list[tuple[int, int]], seed: int
) -> None:
    """Coarse images on the fine grid, wherever in the region the crops start."""
    crops = Crops(side, corners)
    codes = crops.coded(footprint)
    shown = {"fine": frames(codes), "coarse": frames(codes, footprint=footprint)}
    made = augmented(crops.batch(shown, frames(codes)), ("cutmix",), seed)
    for row in range(SAMPLES):
        found = made.given.frames["coarse"].values[row, 0, 0, 0]
        for other in (made.given.frames["fine"], made.truth):
            assert torch.equal(other.values[row, 0, 0, 0], found)
        assert whole_cells(crops.cells(row, footprint), found)
        foreign = found[(found // 10_000).int() != row]
        assert (foreign.unique(return_counts=True)[1] == footprint**2).all(), "whole ones only"


@LIMITS
@given(CORNERS, NAMES, SEEDS)
def test_frames_that_training_alone_sees_move_with_the_others(
    corners: list[tuple[int, int]], names: tuple[str, ...], seed: int
) -> None:
    """They get every change but the box of cutout."""
    values = 1 + torch.rand(SAMPLES, 1, 12, 12, generator=torch.Generator().manual_seed(seed))
    batch = Crops(12, corners).batch({"mr": frames(values)}, frames(values))
    fine = frames(values.repeat_interleave(2, -2).repeat_interleave(2, -1))
    whole = replace(batch.given, taught={"hr": fine})
    made = augmented(TrainingBatch(whole, batch.want, batch.truth), names, seed)
    seen = made.given.taught["hr"]
    assert torch.equal(avg_pool2d(seen.values[:, 0, 0], 2), made.truth.values[:, 0, 0])
    assert torch.equal(seen.valid[..., ::2, ::2], made.truth.valid)


def test_cutmix_and_cutout_move_boxes_of_many_sizes() -> None:
    """On a lattice of 4 px in crops that start off it, boxes lie at many of its places."""
    crops = Crops(32, [(1, 2), (3, 0), (6, 7), (8, 8)])
    codes = crops.coded(4)
    batch = crops.batch({"coarse": frames(codes, footprint=4)}, frames(codes))
    pasted, cut = set(), set()
    for seed in range(30):
        values = augmented(batch, ("cutmix",), seed).truth.values[:, 0, 0, 0]
        own_share = (values // 10_000).int() == torch.arange(4)[:, None, None]
        pasted |= {int(count) for count in (~own_share).sum((1, 2))}
        valid = augmented(batch, ("cutout",), seed).given.frames["coarse"].valid[:, 0, 0, 0]
        cut |= {int(count) for count in (~valid).sum((1, 2))}
    for sizes in (pasted, cut):
        assert len(sizes) > 5
        assert all(size % 16 == 0 for size in sizes)


@LIMITS
@given(
    st.sampled_from([(1, 2), (1, 3), (2, 2), (2, 3), (3, 2)]), st.booleans(), CORNERS, NAMES, SEEDS
)
def test_the_area_mean_of_augmented_fine_images_is_the_augmented_area_mean(
    sizes: tuple[int, int], wants_fine: bool, corners: list[tuple[int, int]],
    names: tuple[str, ...], seed: int,
) -> None:  # fmt: skip
    """Images on two grids, of which either is the wanted one, the coarse one with a footprint."""
    footprint, ratio = sizes
    rng = torch.Generator().manual_seed(seed)
    side = 12
    fine = torch.rand(SAMPLES, 2, side * ratio, side * ratio, generator=rng)
    seen = torch.rand(SAMPLES, 1, side, side, generator=rng) > 0.2
    coarse = frames(avg_pool2d(fine, ratio), seen, footprint)
    whole = seen.repeat_interleave(ratio, -2).repeat_interleave(ratio, -1)
    shown = {"coarse": coarse, "fine": frames(fine, whole)}
    scale = ratio if wants_fine else 1
    crops = Crops(side * scale, [(y * scale, x * scale) for y, x in corners])
    made = augmented(crops.batch(shown, shown["fine" if wants_fine else "coarse"]), names, seed)
    out, mean = made.given.frames["fine"], made.given.frames["coarse"]
    pooled = avg_pool2d(out.values[:, 0, 0], ratio)
    torch.testing.assert_close(pooled, mean.values[:, 0, 0], rtol=0, atol=1e-6)
    assert torch.equal(avg_pool2d(out.valid[:, 0, 0].float(), ratio), mean.valid[:, 0, 0].float())


@LIMITS
@given(st.sampled_from(["mixup", "cutmix"]), st.integers(2, 5), SEEDS)
def test_mixup_makes_soft_classes_and_cutmix_keeps_hard_ones(
    name: str, classes: int, seed: int
) -> None:
    rng = torch.Generator().manual_seed(seed)
    codes = torch.randint(0, classes, (SAMPLES, 16, 16), generator=rng)
    truth = frames(one_hot(codes, classes).permute(0, 3, 1, 2).float(), codes[:, None] > 0)
    batch = Crops(16, [(0, 0)] * SAMPLES).batch({"mr": truth}, truth)
    made = augmented(batch, (name,), seed).truth
    shares = made.values.sum(3, keepdim=True)
    torch.testing.assert_close(shares, made.valid.float(), rtol=0, atol=1e-6)
    if name == "cutmix":
        assert {*made.values.unique().tolist()} <= {0.0, 1.0}


@LIMITS
@given(st.integers(1, 6), CORNERS, st.floats(0.0, 1.0), SEEDS)
def test_cutout_hides_whole_coarse_pixels_of_the_inputs_alone(
    footprint: int, corners: list[tuple[int, int]], share: float, seed: int
) -> None:
    rng, crops = torch.Generator().manual_seed(seed), Crops(18, corners)
    values = 1 + torch.rand(SAMPLES, 3, 18, 18, generator=rng)
    seen = torch.rand(SAMPLES, 1, 18, 18, generator=rng) < share
    shown = {"fine": frames(values, seen), "coarse": frames(values, footprint=footprint)}
    batch = crops.batch(shown, frames(values, seen))
    made = augmented(batch, ("cutout",), seed)
    assert made.truth is batch.truth
    hidden = ~made.given.frames["coarse"].valid[:, 0, 0, 0]
    for row in range(SAMPLES):
        assert whole_cells(crops.cells(row, footprint), hidden[row].int())
    for name, before in shown.items():
        after = made.given.frames[name]
        assert torch.equal(after.valid[:, 0, 0, 0], before.valid[:, 0, 0, 0] & ~hidden)
        assert torch.equal(after.values, torch.where(after.valid, before.values, 0))
        lost = before.valid.flatten(1).any(1) & ~after.valid.flatten(1).any(1)
        assert not lost.any(), "no image loses its last valid pixel"


@pytest.mark.parametrize("name", ["cutmix", "cutout"])
def test_boxes_that_no_grid_allows_are_refused(name: str) -> None:
    values = torch.zeros(SAMPLES, 1, 12, 12)
    plain, coarse = frames(values), frames(values[..., ::2, ::2])
    seeds = range(8)  # of these some mix

    def refuse(shown: Frames, corner: tuple[int, int], match: str) -> None:
        batch = Crops(12, [corner] * SAMPLES).batch({"mr": shown}, plain)
        with pytest.raises(InputError, match=match):
            [augmented(batch, (name,), seed) for seed in seeds]

    refuse(replace(plain, footprint=16), (0, 0), "spans 16 of these pixels")
    refuse(frames(values[..., ::2]), (0, 0), "have 12×6 px")
    refuse(coarse, (1, 0), "does not start on a pixel of its own grid")


def test_ratios_that_are_no_whole_numbers_have_a_common_lattice() -> None:
    """6 wanted pixels beside 20 finer ones, as in RapidAI4EO: boxes are multiples of 3 and 10."""
    fine, wanted = torch.zeros(SAMPLES, 1, 20, 20), torch.zeros(SAMPLES, 1, 6, 6)
    batch = Crops(6, [(3, 6)] * SAMPLES).batch({"hr": frames(fine)}, frames(wanted))
    sizes = set()
    for seed in range(40):
        valid = augmented(batch, ("cutout",), seed).given.frames["hr"].valid
        sizes |= {*(~valid).flatten(1).sum(1).tolist()}
    assert sizes <= {0, 100, 200}
    assert 100 in sizes
