"""Options of a training: augmentation by hand, averaged weights, speed, and resuming with all."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import train_toys as tt
from torch import Tensor, nn

from rsbench.core.digest import sha256_json
from rsbench.core.errors import InputError, UnknownName
from rsbench.metrics.precision import products
from rsbench.models.api import Frames
from rsbench.models.contract_data import SENSOR, Shape, make_samples
from rsbench.store.read import Store
from rsbench.training.augment import MIX_SHARE, augmented, box, mixed, pasted
from rsbench.training.data import TrainingBatch
from rsbench.training.options import AUGMENTATIONS, Average, Options, faster
from rsbench.training.train import Interrupted

ALL: dict[str, Any] = {"augment": AUGMENTATIONS, "ema": 0.9, "channels_last": True}


def training_batch() -> TrainingBatch:
    shape = Shape(samples=4, context=2, leads=1, bands=3, side=16)
    data = make_samples(shape, masked=True)
    return TrainingBatch(data.given, data.want, data.truth)


def stacked(item: TrainingBatch) -> Tensor:
    """Context, truth and masks of each sample as one ``(B, K, H, W)``."""
    frames = (item.given.frames[SENSOR], item.truth)
    parts = [t.float().flatten(1, 3) for f in frames for t in (f.values, f.valid)]
    return torch.cat(parts, dim=1)


def constant(item: TrainingBatch, levels: list[float]) -> TrainingBatch:
    """Give every sample one number, everywhere valid."""

    def fill(frames: Frames) -> Frames:
        level = torch.tensor(levels).view(-1, 1, 1, 1, 1, 1)
        return replace(
            frames, values=level.expand_as(frames.values).clone(),
            valid=torch.ones_like(frames.valid),
        )  # fmt: skip

    frames = {SENSOR: fill(item.given.frames[SENSOR])}
    return TrainingBatch(replace(item.given, frames=frames), item.want, fill(item.truth))


# Augmentation ---------------------------------------------------------------------------


@pytest.mark.parametrize(("names", "count"), [(("flips",), 4), (("flips", "rotations"), 8)])
def test_all_dates_truth_and_masks_move_together(names: tuple[str, ...], count: int) -> None:
    item = training_batch()
    before = stacked(item)
    ways: set[int] = set()
    for seed in range(40):
        after = stacked(augmented(item, names, seed))
        for row in range(len(before)):
            whole = before[row]
            flips = [whole, whole.flip(-2), whole.flip(-1), whole.flip((-2, -1))]
            same = [*flips, *(f.transpose(-2, -1) for f in flips)]
            found = [n for n, one in enumerate(same) if torch.equal(one, after[row])]
            assert len(found) == 1, "one symmetry of the square for everything of a sample"
            ways.add(found[0])
    assert len(ways) == count


def test_a_draw_depends_on_the_seed_alone_and_off_is_off() -> None:
    item = training_batch()
    before = stacked(item)
    for names in (("flips",), ("mixup",), AUGMENTATIONS):
        one, same = augmented(item, names, 3), augmented(item, names, 3)
        assert torch.equal(stacked(one), stacked(same))
        others = [stacked(augmented(item, names, s)) for s in range(4, 16)]
        assert any(not torch.equal(stacked(one), other) for other in others)
    assert augmented(item, (), 3) is item
    assert torch.equal(stacked(item), before), "the samples themselves stay"


def test_mixup_mixes_inputs_and_targets_with_one_share() -> None:
    item = constant(training_batch(), [0.0, 1.0, 2.0, 3.0])
    partners = torch.tensor([1, 2, 3, 0])
    found = mixed(item, partners, np.array([0.75, 0.5, 1.0, 0.6]))
    for frames in (found.given.frames[SENSOR], found.truth):
        for row, level in enumerate((0.25, 1.5, 2.0, 1.8)):
            assert torch.allclose(frames.values[row], torch.tensor(level))
    masked = training_batch()
    valid = masked.truth.valid
    both = mixed(masked, partners, np.full(4, 0.5)).truth
    assert torch.equal(both.valid, valid & valid[partners])
    assert bool((both.values[~both.valid.expand_as(both.values)] == 0).all())


def test_mixup_leaves_the_larger_part_to_the_sample_itself() -> None:
    item = constant(training_batch(), [0.0, 0.0, 0.0, 1.0])
    mixing = 0
    for seed in range(60):
        levels = augmented(item, ("mixup",), seed).truth.values.mean(dim=(1, 2, 3, 4, 5))
        assert float(levels[3]) >= 0.5
        assert bool((levels[:3] <= 0.5).all())
        mixing += 0.0 < float(levels.max()) < 1.0
    # Half of the steps mix; a quarter of these draw the sample itself as its partner.
    assert 60 * MIX_SHARE * 0.4 < mixing < 60 * MIX_SHARE * 1.3


def test_cutmix_pastes_one_box_everywhere() -> None:
    item = training_batch()
    before, partners = stacked(item), torch.tensor([1, 0, 3, 2])
    places = [(slice(2, 9), slice(0, 5)), (slice(0, 0), slice(3, 9)),
              (slice(0, 16), slice(0, 16)), (slice(15, 16), slice(15, 16))]  # fmt: skip
    after = stacked(pasted(item, partners, places))
    for row, (rows, columns) in enumerate(places):
        expected = before[row].clone()
        expected[:, rows, columns] = before[int(partners[row]), :, rows, columns]
        assert torch.equal(after[row], expected)


def test_a_box_covers_one_minus_its_share() -> None:
    rng = np.random.default_rng(0)
    for share in (0.0, 0.36, 0.75, 1.0):
        side = (1 - share) ** 0.5
        for _ in range(200):
            rows, columns = box(rng, share, 40, 60)
            for part, most in ((rows, 40), (columns, 60)):
                size = part.stop - part.start
                assert 0 <= part.start <= part.stop <= most
                if part.start > 0 and part.stop < most:  # not clipped
                    assert size == pytest.approx(side * most, abs=1)


def test_names_and_windows_that_cannot_be_are_refused() -> None:
    with pytest.raises(UnknownName, match="Did you mean cutmix"):
        Options(augment=("cutmx",))
    with pytest.raises(InputError, match="is listed twice"):
        Options(augment=("flips", "flips"))
    with pytest.raises(InputError, match="below 1"):
        Options(ema=1.0)
    item = training_batch()
    tall = replace(item.want, grids=tuple(replace(g, height=8) for g in item.want.grids))
    with pytest.raises(InputError, match="quarter turn"):
        augmented(TrainingBatch(item.given, tall, item.truth), ("rotations",), 0)


# Averaged weights -----------------------------------------------------------------------


def test_the_average_by_hand_and_back() -> None:
    module = nn.Linear(1, 1, bias=False)
    values = [0.0, 1.0, -2.0, 4.0, 3.0]
    with torch.no_grad():
        module.weight.fill_(values[0])
    average, expected = Average(module, 0.25), values[0]
    for step, value in enumerate(values[1:], start=1):
        with torch.no_grad():
            module.weight.fill_(value)
        average.update(step)
        rate = min(0.25, (1 + step) / (10 + step))
        expected = rate * expected + (1 - rate) * value
        with average.shown():
            assert module.weight.item() == pytest.approx(expected, rel=1e-6)
        assert module.weight.item() == value
    other = Average(nn.Linear(1, 1, bias=False), 0.25)
    other.restore(average.tensors())
    assert torch.equal(other.tensors()["average/weight"], average.tensors()["average/weight"])
    assert Average(module, 0.0).tensors() == {}


# In a training --------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def _cards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("RSBENCH_CACHE", str(tmp_path / "cache"))
    with tt.toy_card():
        yield


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return tt.store(tmp_path / "store")


@pytest.mark.parametrize("preset", ["default", "two"])
def test_interrupted_with_all_options_equals_uninterrupted(
    store: Store, tmp_path: Path, preset: str
) -> None:
    options = Options(**ALL)
    whole = tt.run(tt.model(preset), store, preset=preset, options=options, out_dir=tmp_path / "a")
    with pytest.raises(Interrupted):
        tt.run(
            tt.model(preset), store, preset=preset, options=options, out_dir=tmp_path / "b",
            progress=tt.after(7, lambda: os.kill(os.getpid(), signal.SIGINT)),
        )  # fmt: skip
    parts = tt.run(tt.model(preset), store, preset=preset, options=options, out_dir=tmp_path / "b")
    assert tt.digest(parts) == tt.digest(whole)
    assert tt.curve(parts) == tt.curve(whole)


def test_each_option_changes_the_training_and_none_leaves_no_trace(store: Store) -> None:
    plain = tt.run(tt.model(), store)
    same = tt.run(tt.model(), store, options=Options())
    assert same.checkpoint == plain.checkpoint
    assert same.steps_now == 0, "the same plan: the finished training is found"
    for changed in ({"ema": 0.9}, {"augment": ("flips",)}, {"augment": ("cutmix", "mixup")}):
        other = tt.run(tt.model(), store, options=Options(**changed))  # type: ignore[arg-type]
        assert other.checkpoint != plain.checkpoint
        assert tt.digest(other) != tt.digest(plain)
        note = (other.checkpoint / "checkpoint.json").read_text()
        assert next(iter(changed)) in note.partition('"training"')[2]


def test_averaged_weights_are_those_that_are_validated_and_kept(store: Store) -> None:
    made = tt.model()
    result = tt.run(made, store, options=Options(ema=0.95), budget="10steps")
    again = tt.run(tt.model(), store, options=Options(ema=0.95), budget="10steps")
    assert again.best_val == result.best_val
    raw = tt.run(tt.model(), store, budget="10steps")
    # Losses of the steps are those of the raw weights, whatever is averaged beside them.
    losses = [[p["loss"] for p in r.history] for r in (result, raw)]
    assert losses[0] == losses[1]
    assert result.best_val != raw.best_val


def test_layout_and_compilation_change_nothing_but_speed(store: Store) -> None:
    plain, found = tt.run(tt.model(), store, budget="6steps"), {}
    for name, options in {
        "last": Options(channels_last=True), "eager": Options(compile="eager"),
        "tf32": Options(tf32=True),
    }.items():  # fmt: skip
        made = tt.model()
        before = torch.get_float32_matmul_precision()
        found[name] = tt.run(made, store, options=options, budget="6steps")
        assert torch.get_float32_matmul_precision() == before
        assert made.module._compiled_call_impl is None
        weight = made.network.head.weight
        assert weight.is_contiguous()
        # Dropout draws along memory, so another layout drops other pixels.
        near = 2e-2 if name == "last" else 1e-4
        assert found[name].best_val == pytest.approx(plain.best_val, rel=near)


def test_a_layout_of_the_models_own_stays() -> None:
    planar, own = nn.Conv2d(2, 2, 3), nn.Conv2d(2, 2, 3).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    both = nn.ModuleList([planar, own])
    strides = [conv.weight.stride() for conv in (planar, own)]
    assert strides[0] != strides[1]
    with faster(both, Options(channels_last=True)):
        assert planar.weight.stride() == own.weight.stride() == strides[1]
    assert [conv.weight.stride() for conv in (planar, own)] == strides


@pytest.mark.parametrize(("asked", "found"), [(False, "ieee"), (True, "tf32")])
def test_products_are_rounded_only_if_asked_whatever_the_process_allowed(
    asked: bool, found: str
) -> None:
    conv = torch.backends.cudnn.conv  # type: ignore[attr-defined]
    before = conv.fp32_precision
    for allowed in ("ieee", "tf32"):
        try:
            conv.fp32_precision = allowed  # now it may differ from that of recurrent networks
            with faster(torch.nn.Linear(1, 1), Options(tf32=asked)):
                assert conv.fp32_precision == torch.backends.cuda.matmul.fp32_precision == found
            assert conv.fp32_precision == allowed
        finally:
            conv.fp32_precision = before


def test_threads_that_multiply_in_full_leave_the_process_as_it_was() -> None:
    conv = torch.backends.cudnn.conv  # type: ignore[attr-defined]
    before = conv.fp32_precision
    first, second = products("ieee"), products("ieee")
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)  # the other is still at work
    assert conv.fp32_precision == "ieee"
    second.__exit__(None, None, None)
    assert conv.fp32_precision == before
    with products("tf32"):
        with products("ieee"):
            assert conv.fp32_precision == "ieee"
        assert conv.fp32_precision == "tf32"
    assert conv.fp32_precision == before


def test_options_go_into_the_plan_only_when_they_are_on() -> None:
    assert Options().chosen() == {}
    kept = Options(**ALL)
    assert Options.of(kept.chosen()) == kept
    assert sha256_json(asdict(Options.of({**kept.chosen(), "augment": list(AUGMENTATIONS)}))) == (
        sha256_json(asdict(kept))
    )


def test_a_model_that_reads_places_refuses_to_have_them_moved(store: Store) -> None:
    made = tt.model()
    made.reads_places = True  # type: ignore[attr-defined]
    with pytest.raises(InputError, match="Leave --augment out"):
        tt.run(made, store, options=Options(augment=("flips",)))
