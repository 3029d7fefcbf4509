"""STARFM, ESTARFM and FSDAF against a loop over pixels written from the papers' equations."""

from __future__ import annotations

import sys
from typing import Any

import fusion_classic as loops
import numpy as np
import pytest
import torch
from fusion_toys import sample

from rsbench.core.errors import InputError
from rsbench.models.registry import card, create_model
from rsbench.models.rollout import collect

F64 = loops.F64
KELVIN = (200.0, 350.0)


def scene(
    bands: int, size: tuple[int, int] = (26, 31), *, seed: int = 0, dates: int = 3
) -> tuple[F64, F64]:
    """Fields of four classes that change apart: fine images, and smooth coarse ones, in 0 … 1.

    Every date holds a few pixels like no other, and dark ground that grows darker.
    """
    rng = np.random.default_rng(seed)
    classes = np.kron(rng.integers(0, 4, (size[0] // 5 + 1, size[1] // 5 + 1)), np.ones((5, 5)))
    classes = classes[: size[0], : size[1]].astype(int)
    level = rng.uniform(0.1, 0.5, (4, bands))
    level[0] = 0.02
    growth = rng.uniform(-0.1, 0.15, (4, bands))
    growth[0] = -0.009
    fine = np.stack([(level + k * growth)[classes].transpose(2, 0, 1) for k in range(dates)])
    fine += rng.normal(0, 0.006, fine.shape)
    for _ in range(6):
        y, x = rng.integers(0, size[0]), rng.integers(0, size[1])
        fine[:, :, y, x] += rng.uniform(0.2, 0.4)
    low = np.stack([[_blur(band) for band in date] for date in fine])
    low += rng.normal(0, 0.004, (dates, bands, 1, 1)) + 0.06 * np.arange(dates)[:, None, None, None]
    return np.float32(fine).astype(float), np.float32(low).astype(float)


def _blur(band: F64) -> F64:
    padded = np.pad(band, 4, mode="edge")
    out: F64 = np.lib.stride_tricks.sliding_window_view(padded, (9, 9)).mean(axis=(2, 3))
    return out


def holes(shape: tuple[int, ...], seed: int) -> loops.Mask:
    """Two blocks and some lone pixels that are not valid."""
    seen = np.random.default_rng(seed).random(shape) > 0.03
    seen[0, :, 3:9, 4:11] = False
    seen[-1, :, 15:18, 20:] = False
    return seen


def tensor(images: F64) -> torch.Tensor:
    return torch.tensor(images)[None]


def answer(name: str, fine: F64, low: F64, options: dict[str, Any], **given_as: Any) -> F64:
    """Through the door; the target stands second among the coarse dates."""
    given, want = sample(tensor(fine), tensor(low), **given_as)
    found = collect(create_model(name, **options), card(name), given, want).values[0, 0, 0]
    return found.double().numpy()


# STARFM ----------------------------------------------------------------------------------


@pytest.mark.parametrize("bands", [1, 3])
@pytest.mark.parametrize("pairs", [1, 2])
def test_starfm_is_the_loop(bands: int, pairs: int) -> None:
    fine, low = scene(bands)
    refs, dates = ([0, 2], [0, 1, 2]) if pairs == 2 else ([0], [0, 1])
    found = answer("starfm", fine[refs], low[dates], {"half": 7})
    known = [(fine[k], low[k]) for k in refs]
    by_loop = loops.starfm(known, low[1], half=7)
    np.testing.assert_allclose(found, by_loop, atol=1e-6, rtol=0)
    # The loop is no copy of a fallback: most pixels have candidates beside themselves.
    plain = np.mean([f + low[1] - c for f, c in known], axis=0)
    assert np.abs(found - plain).mean() > 1e-3


def test_starfm_is_the_loop_around_holes() -> None:
    """A pixel that one pair does not know is predicted from the other."""
    fine, low = scene(2)
    fine_seen, low_seen = holes((2, 1, 26, 31), 1), holes((3, 1, 26, 31), 2)
    found = answer(
        "starfm", fine[[0, 2]], low, {"half": 5},
        fine_valid=tensor(fine_seen), coarse_valid=tensor(low_seen),
    )  # fmt: skip
    masks = [
        np.broadcast_to(fine_seen[i] & low_seen[k] & low_seen[1], (2, 26, 31))
        for i, k in ((0, 0), (1, 2))
    ]
    by_loop = loops.starfm([(fine[0], low[0]), (fine[2], low[2])], low[1], seen=masks, half=5)
    known = (masks[0] | masks[1])[0]
    np.testing.assert_allclose(found[:, known], by_loop[:, known], atol=1e-6, rtol=0)
    assert (masks[0] ^ masks[1]).any()
    assert (~known).any()
    assert np.isfinite(found).all()


# ESTARFM ---------------------------------------------------------------------------------


@pytest.mark.parametrize("similar", [None, 20])
@pytest.mark.parametrize("bands", [1, 3])
def test_estarfm_is_the_loop(bands: int, similar: int | None) -> None:
    fine, low = scene(bands, seed=bands)
    found = answer("estarfm", fine[[0, 2]], low, {"half": 7, "similar": similar})
    pairs = [(fine[0], low[0]), (fine[2], low[2])]
    by_loop = loops.estarfm(pairs, low[1], half=7, similar=similar)
    np.testing.assert_allclose(found, by_loop, atol=1e-6, rtol=0)


def test_estarfm_of_the_authors_believes_what_is_significant() -> None:
    """Pixels with few similar ones, as the loop with SciPy's p value of the regression."""
    fine, low = scene(2, seed=1)
    fine += np.random.default_rng(1).normal(0, 0.02, fine.shape)
    fine = np.float32(fine).astype(float)
    pairs = [(fine[0], low[0]), (fine[2], low[2])]
    options = {"half": 3, "similar": 8, "significant": 0.05}
    loops.REACHED.clear()
    by_loop = loops.estarfm(pairs, low[1], **options)
    assert loops.REACHED["not significant"] > 20
    assert loops.REACHED["fitted"] > 20
    found = answer("estarfm", fine[[0, 2]], low, options)
    np.testing.assert_allclose(found, by_loop, atol=1e-6, rtol=0)
    untested = answer("estarfm", fine[[0, 2]], low, {**options, "significant": None})
    assert np.abs(found - untested).max() > 1e-3


def test_the_f_test_has_the_quantiles_of_scipy() -> None:
    from scipy import stats

    from rsbench_baselines.estarfm.model import critical

    freedom = torch.tensor([10, 14, 38, 200, 5200])
    for p in (0.01, 0.05):
        expected = stats.f.isf(p, 1, freedom.numpy())
        np.testing.assert_allclose(critical(freedom, p).numpy(), expected, rtol=1e-3)


def test_estarfm_is_the_loop_around_holes() -> None:
    fine, low = scene(2, seed=4)
    fine_seen, low_seen = holes((2, 1, 26, 31), 1), holes((3, 1, 26, 31), 2)
    found = answer(
        "estarfm", fine[[0, 2]], low, {"half": 6},
        fine_valid=tensor(fine_seen), coarse_valid=tensor(low_seen),
    )  # fmt: skip
    seen = fine_seen.all(axis=(0, 1)) & low_seen.all(axis=(0, 1))
    pairs = [(fine[0], low[0]), (fine[2], low[2])]
    by_loop = loops.estarfm(pairs, low[1], seen=seen, half=6)
    np.testing.assert_allclose(found[:, seen], by_loop[:, seen], atol=1e-6, rtol=0)
    assert np.isfinite(found).all()


def test_estarfm_answers_in_a_hole_from_the_reference_that_shows_it() -> None:
    """The ground under a cloud of the first reference is the second's, plus the mean change."""
    fine, low = scene(2, seed=4)
    seen = np.ones((2, 1, 26, 31), np.bool_)
    seen[0, :, 8:18, 10:20] = False
    hidden = np.where(seen, fine[[0, 2]], -9999.0)
    found = answer("estarfm", hidden, low, {"half": 6}, fine_valid=tensor(seen))
    change = np.where(seen[0], low[1] - low[2], np.nan)
    for y, x in ((8, 10), (12, 15), (17, 19)):
        window = change[:, y - 6 : y + 7, x - 6 : x + 7]
        expected = fine[2, :, y, x] + np.nanmean(window, axis=(1, 2))
        np.testing.assert_allclose(found[:, y, x], expected, atol=1e-6, rtol=0)
    neither = seen.copy()
    neither[1] = seen[0]
    found = answer("estarfm", fine[[0, 2]], low, {"half": 6}, fine_valid=tensor(neither))
    low_change = np.abs(found - low[1])[:, 8:18, 10:20]
    assert low_change.mean() < 0.05  # what fills the gap is the coarse image of the date


def test_the_scenes_reach_every_branch_of_estarfm() -> None:
    fine, low = scene(3, seed=3)
    loops.REACHED.clear()
    loops.estarfm([(fine[0], low[0]), (fine[2], low[2])], low[1], half=7)
    assert set(loops.REACHED) == {"few", "fitted", "not believed", "outside"}


# Compiled loops ---------------------------------------------------------------------------


def compiled(name: str, fine: F64, low: F64, options: dict[str, Any], **given_as: Any) -> F64:
    """The compiled answer, which is held to that of plain torch first."""
    pytest.importorskip("numba")
    found = answer(name, fine, low, {**options, "engine": "compiled"}, **given_as)
    plain = answer(name, fine, low, options, **given_as)
    np.testing.assert_allclose(found, plain, atol=1e-6, rtol=0)
    return found


@pytest.mark.parametrize("pairs", [1, 2])
def test_compiled_starfm_is_the_loop_around_holes(pairs: int) -> None:
    fine, low = scene(2)
    refs, dates = ([0, 2], [0, 1, 2]) if pairs == 2 else ([0], [0, 1])
    fine_seen = holes((len(refs), 1, 26, 31), 1)
    found = compiled("starfm", fine[refs], low[dates], {"half": 5}, fine_valid=tensor(fine_seen))
    masks = [np.broadcast_to(seen, (2, 26, 31)) for seen in fine_seen]
    by_loop = loops.starfm([(fine[k], low[k]) for k in refs], low[1], seen=masks, half=5)
    known = fine_seen.any(axis=0)[0]
    np.testing.assert_allclose(found[:, known], by_loop[:, known], atol=1e-6, rtol=0)


@pytest.mark.parametrize("similar", [None, 20])
@pytest.mark.parametrize("bands", [1, 3])
def test_compiled_estarfm_is_the_loop_around_holes(bands: int, similar: int | None) -> None:
    """The scene of three bands reaches every branch, see above."""
    fine, low = scene(bands, seed=3)
    fine_seen = holes((2, 1, 26, 31), 1)
    options = {"half": 7, "similar": similar}
    found = compiled("estarfm", fine[[0, 2]], low, options, fine_valid=tensor(fine_seen))
    seen = fine_seen.all(axis=(0, 1))
    pairs = [(fine[0], low[0]), (fine[2], low[2])]
    by_loop = loops.estarfm(pairs, low[1], seen=seen, half=7, similar=similar)
    np.testing.assert_allclose(found[:, seen], by_loop[:, seen], atol=1e-6, rtol=0)


@pytest.mark.parametrize("name", ["starfm", "estarfm"])
def test_compiled_strips_and_threads_change_nothing(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("numba")
    from rsbench_baselines.fusion_trivial import windows

    fine, low = scene(2, seed=7)
    options = {"half": 5, "engine": "compiled"}
    whole = answer(name, fine[[0, 2]], low, options)
    real = windows.each_strip
    for model in ("starfm", "estarfm"):
        module = f"rsbench_baselines.{model}.model.each_strip"
        monkeypatch.setattr(module, lambda *parts: real(*parts[:4], 1))  # strips of two rows
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        parts = answer(name, fine[[0, 2]], low, options)
    finally:
        torch.set_num_threads(before)
    np.testing.assert_allclose(parts, whole, atol=1e-7, rtol=0)


@pytest.mark.parametrize("name", ["starfm", "estarfm"])
def test_compiled_without_numba_says_how_to_install(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "numba", None)
    with pytest.raises(InputError, match=r"engine='compiled'.*pip install 'rsbench\[compiled\]'"):
        create_model(name, "compiled")
    assert create_model(name) is not None  # the default asks for nothing
    with pytest.raises(InputError, match="no such engine"):
        create_model(name, engine="fast")


# FSDAF -----------------------------------------------------------------------------------


@pytest.mark.parametrize("bands", [1, 3])
@pytest.mark.parametrize("size", [(32, 40), (27, 30)])
def test_fsdaf_is_the_loop(bands: int, size: tuple[int, int]) -> None:
    """27×30 pixels end in cut blocks of 8."""
    fine, low = scene(bands, size, seed=bands)
    found = answer("fsdaf", fine[:1], low[:2], {"half": 6}, footprint=8)
    by_loop = loops.fsdaf(fine[0], low[0], low[1], 8, half=6)
    np.testing.assert_allclose(found, by_loop, atol=1e-6, rtol=0)
    assert np.abs(by_loop - fine[0]).mean() > 0.01


def test_fsdaf_is_the_loop_around_holes() -> None:
    fine, low = scene(2, (32, 40), seed=9)
    fine_seen, low_seen = holes((1, 1, 32, 40), 1), holes((2, 1, 32, 40), 2)
    low_seen[1] |= ~low_seen[0]
    found = answer(
        "fsdaf", fine[:1], low[:2], {"half": 6}, footprint=8,
        fine_valid=tensor(fine_seen), coarse_valid=tensor(low_seen),
    )  # fmt: skip
    seen = fine_seen.all(axis=(0, 1)) & low_seen.all(axis=(0, 1))
    assert not seen.all()
    # Gaps are filled before: a fine one by the coarse image there, a coarse one by the other date.
    shown = np.where(low_seen[::-1], low[1::-1], 0)
    low_filled = np.where(low_seen, low[:2], shown)
    fine_filled = np.where(fine_seen[0], fine[0], low_filled[0])
    by_loop = loops.fsdaf(fine_filled, low_filled[0], low_filled[1], 8, seen=seen, half=6)
    np.testing.assert_allclose(found[:, seen], by_loop[:, seen], atol=1e-6, rtol=0)
    assert np.isfinite(found).all()


def test_fsdaf_keeps_the_mass_of_every_coarse_pixel() -> None:
    """Block means of T + r are those of F plus the coarse change, whatever T, S, H and R are."""
    from rsbench_baselines.fsdaf.blocks import Blocks
    from rsbench_baselines.fsdaf.model import MOST_WEIGHT, residuals

    generator = torch.Generator().manual_seed(0)

    def draw(*shape: int) -> torch.Tensor:
        return torch.rand(*shape, generator=generator, dtype=torch.float64)

    blocks = Blocks(8, draw(30, 43) > 0.1)
    fine, temporal, alike = draw(30, 43), draw(30, 43), draw(30, 43)
    smooth = temporal + 5 * (draw(30, 43) > 0.98)  # single pixels draw all of the weight
    grown = draw(4, 6) - 0.5
    added = residuals(temporal, fine, smooth, grown, alike, blocks)
    wanted = blocks.mean(fine) + grown
    torch.testing.assert_close(blocks.mean(temporal + added), wanted, atol=1e-12, rtol=0)
    left = wanted - blocks.mean(temporal)
    share = (added / blocks.spread(left))[blocks.seen]
    assert float(share.min()) >= 0
    assert float(share.max()) < 2 * MOST_WEIGHT
    assert float(share.std()) > 0.1


def test_class_changes_use_the_pixels_between_two_order_statistics() -> None:
    """Of 15 pixels of one class those ranked 1 to 13, counted from 0, are used.

    With shares of 1 the least-squares solution is a mean, here of 2 … 12, 14 and 99. Interpolated
    quantiles would be 2.4 and 65 and would leave out 2 and 99.
    """
    from rsbench_baselines.fsdaf.model import Fsdaf

    steps = torch.tensor([*range(1, 15), 1000.0], dtype=torch.float64)
    kinds = torch.ones(1, 15, dtype=torch.float64)
    steps[12] = 99.0  # rank 13, the largest that is used
    found = Fsdaf(classes=1).class_changes(kinds, steps)
    expected = (sum([*range(2, 13), 14]) + 99) / 13
    torch.testing.assert_close(found, torch.tensor([expected], dtype=torch.float64))


def test_the_class_changes_are_those_that_a_mixture_was_made_of() -> None:
    from rsbench_baselines.fsdaf.model import Fsdaf

    kinds = torch.rand(4, 300, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    kinds = kinds**4
    kinds /= kinds.sum(dim=0)
    steps = torch.tensor([0.1, -0.05, 0.0, 0.2], dtype=torch.float64)
    found = Fsdaf().class_changes(kinds, steps @ kinds)
    torch.testing.assert_close(found, steps, atol=1e-12, rtol=0)
    only = torch.tensor([[1.0] * 20, [0.0] * 20], dtype=torch.float64)
    alone = Fsdaf(classes=2).class_changes(only, torch.full((20,), 0.3, dtype=torch.float64))
    assert alone.tolist() == pytest.approx([0.3, 0.0])  # a class that is nowhere does not change


@pytest.mark.parametrize("span", [5, 8])
def test_the_spline_is_scipys(span: int) -> None:
    from scipy.interpolate import RBFInterpolator

    from rsbench_baselines.fsdaf.spline import spline

    rng = np.random.default_rng(0)
    values, known = rng.random((2, 6, 7)), rng.random((6, 7)) > 0.2
    found = spline(torch.tensor(values), torch.tensor(known), span).numpy()
    middle = (span - 1) / 2
    nodes = np.argwhere(known) * span + middle
    pixels = np.stack(np.meshgrid(np.arange(6 * span), np.arange(7 * span), indexing="ij"), -1)
    for band in range(2):
        surface = RBFInterpolator(nodes, values[band][known], kernel="thin_plate_spline", degree=1)
        expected = surface(pixels.reshape(-1, 2).astype(float)).reshape(found[band].shape)
        np.testing.assert_allclose(found[band], expected, atol=1e-6)


@pytest.mark.parametrize("shape", [(1, 1), (1, 5), (4, 1), (2, 2), (50, 60)])
def test_the_spline_of_a_plane_is_the_plane(shape: tuple[int, int]) -> None:
    """Also where all centres lie on a line, and where a large image is solved part by part."""
    from rsbench_baselines.fsdaf.spline import spline

    h, w = shape
    y, x = torch.meshgrid(*(torch.arange(n).double() for n in shape), indexing="ij")
    found = spline((0.2 + 0.3 * y - 0.1 * x)[None], torch.ones(shape, dtype=torch.bool), 4)[0]
    fine_y, fine_x = ((torch.arange(4 * n).double() - 1.5) / 4 for n in shape)
    expected = 0.2 + (0.3 * fine_y * (h > 1))[:, None] - (0.1 * fine_x * (w > 1))[None]
    torch.testing.assert_close(found.double(), expected, atol=1e-6, rtol=1e-6)


def test_parts_of_a_large_spline_agree_with_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    from rsbench_baselines.fsdaf import spline as module

    values = torch.rand(1, 40, 40, generator=torch.Generator().manual_seed(2)).double()
    known = torch.ones(40, 40, dtype=torch.bool)
    whole = module.spline(values, known, 4)
    monkeypatch.setattr(module, "WHOLE", 100)
    parts = module.spline(values, known, 4)
    assert float((parts - whole).abs().max()) < 0.01  # of noise between 0 and 1
    assert not torch.equal(parts, whole)


# All -------------------------------------------------------------------------------------

CLASSIC = [
    ("starfm", {"half": 5}, [0, 2], [0, 1, 2]),
    ("estarfm", {"half": 5}, [0, 2], [0, 1, 2]),
    ("fsdaf", {"half": 5}, [0], [0, 1]),
]


@pytest.mark.parametrize(("name", "options", "refs", "dates"), CLASSIC)
def test_units_do_not_move_the_answer(
    name: str, options: dict[str, Any], refs: list[int], dates: list[int]
) -> None:
    """Weights depend on the scale of numbers; it is taken from the stated value range."""
    fine, low = scene(2, seed=5)
    fine, low = fine[refs], low[dates]
    plain = answer(name, fine, low, options, footprint=8)
    dn = answer(name, 1e4 * fine, 1e4 * low, options, value_range=(0.0, 1e4), footprint=8)
    np.testing.assert_allclose(dn / 1e4, plain, atol=2e-6, rtol=0)
    unstated = answer(name, 1e4 * fine, 1e4 * low, options, footprint=8)
    assert np.abs(unstated / 1e4 - plain).max() > 1e-3


def test_kelvin_from_one_band() -> None:
    fine, low = scene(1, seed=6)
    span, start = KELVIN[1] - KELVIN[0], KELVIN[0]
    warm, cool = (np.float32(start + span * v).astype(float) for v in (fine[[0, 2]], low))
    pairs = [((warm[i] - start) / span, (cool[k] - start) / span) for i, k in ((0, 0), (1, 2))]
    target = (cool[1] - start) / span
    for name, loop in (("starfm", loops.starfm), ("estarfm", loops.estarfm)):
        if name == "estarfm":
            # R of one band compares the numbers themselves, not their shares.
            ratio = [np.abs(warm[i] - cool[k]) / (warm[i] + cool[k]) for i, k in ((0, 0), (1, 2))]
            likeness = 1 - np.mean(ratio, axis=0)[0]
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(loops, "_likeness", lambda *_, r=likeness: r)
                by_loop = loop(pairs, target, half=5)
        else:
            by_loop = loop(pairs, target, half=5)
        found = answer(name, warm, cool, {"half": 5}, value_range=KELVIN)
        np.testing.assert_allclose(found, start + span * by_loop, atol=6e-5, rtol=0)


@pytest.mark.parametrize(("name", "options", "refs", "dates"), CLASSIC)
def test_strips_and_threads_change_nothing(
    name: str,
    options: dict[str, Any],
    refs: list[int],
    dates: list[int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from rsbench_baselines.fsdaf import model as fsdaf
    from rsbench_baselines.fusion_trivial import windows

    fine, low = scene(2, seed=7)
    whole = answer(name, fine[refs], low[dates], options, footprint=8)
    monkeypatch.setattr(windows, "CPU_CELLS", 1)
    monkeypatch.setattr(fsdaf, "ROWS", 8)
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        parts = answer(name, fine[refs], low[dates], options, footprint=8)
    finally:
        torch.set_num_threads(before)
    np.testing.assert_allclose(parts, whole, atol=1e-7, rtol=0)
