"""What would go wrong without a word: leaks, repeated noise, untrained stages, odd batches."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import toys
import train_toys as tt

from rsbench.core.errors import HorizonError
from rsbench.models.api import Given, Stage, Want
from rsbench.models.noise import Noise
from rsbench.store.cache import open_cache
from rsbench.store.read import Store
from rsbench.tasks.forecast.samples import Extent, index
from rsbench.training.data import Crops, TrainingData, Validation
from rsbench.training.plan import Budget, Plan, one_cycle
from rsbench.training.train import fresh_model


@pytest.fixture(autouse=True)
def _cards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("RSBENCH_CACHE", str(tmp_path / "cache"))
    with tt.toy_card():
        yield


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return tt.store(tmp_path / "store")


def plan(store: Store, **changes: Any) -> Plan:
    base = Plan(
        model="toy", preset="default", options={}, dataset_digest=store.digest, scheme="space",
        sensor="s2", bands=("B02", "B03", "B04", "B08"), window=tt.SIDE, grid=(tt.SIDE, tt.SIDE),
        shortest=1, context=3, longest=3, leads=(1,), stages=(tt.STAGE,), budget="20steps",
        seed=0, devices=1, precision="32-true", batch_size=None, initial="",
    )  # fmt: skip
    return replace(base, **changes)


def data(store: Store, **changes: Any) -> TrainingData:
    return TrainingData.open(store, plan(store, **changes), tt.protocol())


def crops(store: Store, **changes: Any) -> Crops:
    return Crops(data(store, **changes))


def test_only_training_regions_are_seen(store: Store) -> None:
    made = tt.model()
    tt.run(made, store, context=3)
    seen = {region for _, regions in made.seen for region in regions}
    assert seen == set(store.split("train"))


def test_validation_sees_validation_regions_only(store: Store) -> None:
    found = Validation(data(store), tt.CARD).samples
    assert {s.region for s in found} == set(store.split("val"))
    everything = index(store, tt.protocol(), "val", Extent(horizon=1, context=3))
    assert set(found) <= set(everything)
    assert len(set(found)) == len(found)


def test_training_by_date_sees_no_target_of_a_later_split(store: Store) -> None:
    """Of seven target dates two are for training, two for validation, three for the test."""
    rules = tt.protocol(scheme="space-time")
    opened = TrainingData.open(store, plan(store, context=1, longest=1, leads=(2,)), rules)
    drawn = [s for step in range(60) for s in Crops(opened).draw(0, step, 3)]
    assert {s.region for s in drawn} == set(store.split("train"))
    assert {t for s in drawn for t in s.targets} == {1, 2}
    assert {t for s in drawn for t in s.context} == {0}
    found = Validation(opened, tt.CARD).samples
    assert {s.region for s in found} == set(store.split("val"))
    assert {t for s in found for t in s.targets} == {3, 4}
    with pytest.raises(HorizonError, match="on 3 leads"):
        Crops(TrainingData.open(store, plan(store, context=1, longest=1, leads=(3,)), rules))


def test_pixels_of_the_test_dates_change_no_weight(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights, arrays = [], toys.arrays
    for factor in (1, 2):

        def changed(*args: Any, factor: int = factor, **options: Any) -> Any:
            made = arrays(*args, **options)
            made.values[5:] //= factor
            return made

        monkeypatch.setattr(toys, "arrays", changed)
        made = tt.store(tmp_path / f"store{factor}")
        own = tt.model()
        tt.run(own, made, protocol=tt.protocol(scheme="space-time"))
        weights.append(own.module.state_dict())
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])


def test_validation_agrees_with_a_sum_by_hand(store: Store) -> None:
    cache = open_cache(store, "s2")
    made = tt.model()
    check = Validation(data(store), tt.CARD)
    found = check.mse(made, Noise(0), torch.device("cpu"))
    total, count = 0.0, 0
    made.network.eval()
    for sample in check.samples:
        values, valid = cache.patch(sample.region, sample.window, [sample.start, sample.targets[0]])
        scaled = np.where(valid[:, None], values * 1e-4, 0.0)
        with torch.no_grad():
            answer = made.network(torch.from_numpy(scaled[:1]).float())[0].double().numpy()
        for band in range(4):
            error = (answer[band] - scaled[1, band])[valid[1]]
            total += float((error**2).sum())
            count += error.size
    assert found == pytest.approx(total / count, rel=1e-6)


def test_a_step_depends_on_its_number_alone(store: Store) -> None:
    one, two = crops(store), crops(store)
    forward = [one.draw(0, step, 5) for step in range(6)]
    backward = [two.draw(0, step, 5) for step in reversed(range(6))][::-1]
    assert forward == backward
    assert len(set(forward)) == 6
    assert one.draw(1, 0, 5) != one.draw(0, 0, 5) if len(plan(store).leads) > 1 else True
    assert crops(store, seed=1).draw(0, 0, 5) != forward[0]


def test_crops_cover_starts_places_and_contexts(store: Store) -> None:
    made = crops(store)
    samples = [s for step in range(200) for s in made.draw(0, step, 6)]
    assert {s.start for s in samples} == set(range(7))
    assert {len(s.context) for s in samples} == {1, 2, 3}
    assert {s.targets[0] for s in samples} == set(range(1, 8))
    assert all(s.targets == (s.start + 1,) for s in samples)
    origins = {(s.window.y, s.window.x) for s in samples}
    assert {y for y, _ in origins} == set(range(33))  # 64 px regions, 32 px crops
    whole = np.mean([len(made.draw(0, step, 1)[0].context) == 3 for step in range(600)])
    assert whole == pytest.approx(0.5 + 0.5 / 3, abs=0.06)


def test_every_region_comes_before_any_comes_again(store: Store) -> None:
    for step in range(20):
        regions = [s.region for s in crops(store).draw(0, step, 3)]
        assert len(set(regions)) == 3


def test_noise_is_fresh_at_every_step(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    fields: list[torch.Tensor] = []
    plain = tt.ToyModel.loss

    def loss(self: tt.ToyModel, stage: Stage, given: Given, want: Want, truth: Any) -> Any:
        same = replace(want, samples=want.samples[:1])
        moved = replace(same, samples=(replace(same.samples[0], region="a", key="a"),))
        fields.append(moved.noise.normal("x", moved, channels=1)[..., :4, :4])
        return plain(self, stage, given, want, truth)

    monkeypatch.setattr(tt.ToyModel, "loss", loss)
    tt.run(tt.model(), store, budget="6steps")
    assert len({f.numpy().tobytes() for f in fields}) == 6


def test_a_stage_moves_its_own_modules_only(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = tt.model("two")
    before = {n: t.clone() for n, t in made.module.state_dict().items()}
    modes: list[tuple[str, bool, bool]] = []
    plain = tt.ToyModel.loss

    def loss(self: tt.ToyModel, stage: Stage, *rest: Any) -> Any:
        modes.append((stage.name, self.network.body.training, self.network.head.training))
        if stage.name == "pretrain":
            assert torch.equal(self.network.head.weight, before["head.weight"])
        elif len(modes) and not any(m[0] == "fit" for m in modes[:-1]):
            middle.update({n: t.clone() for n, t in self.module.state_dict().items()})
        return plain(self, stage, *rest)

    middle: dict[str, torch.Tensor] = {}
    monkeypatch.setattr(tt.ToyModel, "loss", loss)
    tt.run(made, store, preset="two")
    after = made.module.state_dict()
    assert set(modes) == {("pretrain", True, False), ("fit", False, True)}
    assert not torch.equal(after["body.0.weight"], before["body.0.weight"])
    for name, tensor in after.items():
        # Running statistics of a closed module must stand still, too.
        assert torch.equal(tensor, middle[name]) == (not name.startswith("head")), name
    assert all(p.requires_grad for p in made.module.parameters())


def test_a_frozen_parameter_stays_frozen(store: Store) -> None:
    made = tt.model()
    made.network.head.weight.requires_grad_(False)
    before = made.network.head.weight.detach().clone()
    tt.run(made, store)
    assert torch.equal(made.network.head.weight, before)
    assert not made.network.head.weight.requires_grad


def test_mixed_precision_is_really_used(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    plain = tt.ToyModel.loss

    def loss(self: tt.ToyModel, *rest: Any) -> Any:
        seen.append(torch.is_autocast_enabled("cpu"))
        return plain(self, *rest)

    monkeypatch.setattr(tt.ToyModel, "loss", loss)
    result = tt.run(tt.model(), store, precision="bf16-mixed")
    assert all(seen)
    assert result.history[-1]["loss"] > 0


def test_first_weights_depend_on_the_seed_alone() -> None:
    torch.manual_seed(1)
    one = fresh_model("toy", seed=4)
    torch.manual_seed(2)
    state = torch.get_rng_state()
    two = fresh_model("toy", seed=4)
    assert torch.equal(state, torch.get_rng_state())
    other = fresh_model("toy", seed=5)
    assert isinstance(one, tt.ToyModel)
    assert isinstance(two, tt.ToyModel)
    assert isinstance(other, tt.ToyModel)
    assert torch.equal(one.network.head.weight, two.network.head.weight)
    assert not torch.equal(one.network.head.weight, other.network.head.weight)


def test_the_rate_goes_up_once_and_down_once() -> None:
    rates = [one_cycle(i / 1000) for i in range(1000)]
    peak = int(np.argmax(rates))
    assert rates[0] == pytest.approx(1 / 25)
    assert peak == 300
    assert rates[peak] == pytest.approx(1.0)
    assert all(a < b for a, b in pairwise(rates[: peak + 1]))
    assert all(a > b for a, b in pairwise(rates[peak:]))
    assert one_cycle(1.0) == pytest.approx(1e-4)


@pytest.mark.parametrize("steps", [3, 4, 10, 11, 97, 1000])
def test_stages_share_all_of_the_budget(steps: int) -> None:
    stages = [Stage(n, 1e-3, steps=s, batch_size=1) for n, s in (("a", 1), ("b", 500), ("c", 7))]
    parts = Budget.parse(f"{steps}steps", stages).share(stages)
    assert sum(p.steps or 0 for p in parts) == steps
    assert min(p.steps or 0 for p in parts) >= 1
