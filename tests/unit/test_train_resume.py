"""N + N = 2N: a training that was interrupted ends with the same bits as one that was not."""

from __future__ import annotations

import json
import os
import random
import signal
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import toys
import train_toys as tt

from rsbench.core.digest import sealed
from rsbench.core.errors import InputError, TrainingError
from rsbench.models.api import Stage
from rsbench.models.checkpoint import NOTE, Checkpoint, load_into
from rsbench.models.checkpoint_search import (
    CheckpointQuery,
    FittingCheckpoints,
    fitting_checkpoints,
)
from rsbench.store.read import Store
from rsbench.training.options import Options
from rsbench.training.plan import POINTS
from rsbench.training.train import Interrupted


@pytest.fixture(autouse=True)
def _cards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("RSBENCH_CACHE", str(tmp_path / "cache"))
    with tt.toy_card():
        yield


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return tt.store(tmp_path / "store")


def interrupt() -> None:
    os.kill(os.getpid(), signal.SIGINT)


@pytest.mark.parametrize(("preset", "step"), [("default", 10), ("default", 7), ("two", 3)])
def test_interrupted_equals_uninterrupted(
    store: Store, tmp_path: Path, preset: str, step: int
) -> None:
    whole = tt.run(tt.model(preset), store, preset=preset, out_dir=tmp_path / "a")
    with pytest.raises(Interrupted) as stop:
        tt.run(
            tt.model(preset), store, preset=preset, out_dir=tmp_path / "b",
            progress=tt.after(step, interrupt),
        )  # fmt: skip
    assert "Type the same command again" in str(stop.value)
    assert stop.value.exit_code == 130
    torch.manual_seed(99)  # what happens in between must not matter
    parts = tt.run(tt.model(preset), store, preset=preset, out_dir=tmp_path / "b")
    assert tt.digest(parts) == tt.digest(whole)
    assert tt.curve(parts) == tt.curve(whole)
    assert (parts.best_val, parts.steps) == (whole.best_val, whole.steps)
    assert 0 < parts.steps_now < whole.steps_now
    phases = Checkpoint.load(tmp_path / "b").provenance["phases"]
    assert {*phases} == {"read", "transfer", "step", "validation", "write"}


def test_a_chain_of_interruptions_in_every_stage(store: Store, tmp_path: Path) -> None:
    whole = tt.run(tt.model("two"), store, preset="two", out_dir=tmp_path / "a")
    sittings = 0
    while True:
        sittings += 1
        try:
            # Every sitting reports a step; the second report of each is its last.
            count = [0]

            def advance(label: str, done: int, total: int, count: list[int] = count) -> None:
                if label.startswith("training"):
                    count[0] += 1
                    if count[0] == 6:
                        interrupt()

            parts = tt.run(
                tt.model("two"), store, preset="two", out_dir=tmp_path / "b", progress=advance
            )
            break
        except Interrupted:
            assert sittings < 20
    assert sittings >= 3
    assert tt.digest(parts) == tt.digest(whole)
    assert tt.curve(parts) == tt.curve(whole)


def test_the_model_ends_with_the_weights_of_the_checkpoint(store: Store) -> None:
    from safetensors.torch import load_file

    made = tt.model()
    result = tt.run(made, store)
    kept = load_file(result.checkpoint / "weights.safetensors")
    assert kept.keys() == made.module.state_dict().keys()
    assert all(torch.equal(kept[n], t) for n, t in made.module.state_dict().items())
    assert not made.module.training


def test_training_learns_and_keeps_the_best(store: Store) -> None:
    result = tt.run(tt.model(), store, budget="120steps")
    values = [p["validation"] for p in result.history]
    assert result.best_val == min(values)
    assert result.best_val < 0.5 * values[0]


def test_the_best_is_kept_not_the_last(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    from rsbench.training.data import Validation

    values = iter([5.0, 2.0, 3.0, 4.0, *range(5, 30)])
    seen: list[dict[str, torch.Tensor]] = []

    def mse(self: Validation, model: tt.ToyModel, *_: object) -> float:
        seen.append({n: t.clone() for n, t in model.module.state_dict().items()})
        return float(next(values))

    monkeypatch.setattr(Validation, "mse", mse)
    made = tt.model()
    result = tt.run(made, store, budget="40steps", options=Options(validations=20))
    assert result.best_val == 2.0
    best = made.module.state_dict()
    assert all(torch.equal(best[n], t) for n, t in seen[1].items())
    assert not all(torch.equal(best[n], t) for n, t in seen[-1].items())
    # Two better points, then eight without: it stopped early.
    assert len(result.history) == 10
    assert result.steps == 20


def test_same_seed_same_weights_whatever_the_global_state(store: Store, tmp_path: Path) -> None:
    digests = []
    for number in (1, 2):
        torch.manual_seed(number)
        np.random.seed(number)  # noqa: NPY002
        digests.append(tt.digest(tt.run(tt.model(), store, out_dir=tmp_path / str(number))))
    assert digests[0] == digests[1]
    other = tt.run(tt.model(seed=1), store, seed=1, out_dir=tmp_path / "other")
    assert tt.digest(other) != digests[0]


def test_the_global_state_is_left_alone(store: Store) -> None:
    torch.manual_seed(3)
    np.random.seed(3)  # noqa: NPY002
    random.seed(3)
    want = (torch.rand(1), np.random.rand(), random.random())  # noqa: NPY002
    torch.manual_seed(3)
    np.random.seed(3)  # noqa: NPY002
    random.seed(3)
    handlers = [signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM)]
    tt.run(tt.model(), store)
    assert (torch.rand(1), np.random.rand(), random.random()) == want  # noqa: NPY002
    assert not torch.are_deterministic_algorithms_enabled()
    assert [signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM)] == handlers


def test_batches_in_parts_give_nearly_the_same_gradient(store: Store, tmp_path: Path) -> None:
    # Without dropout, norm statistics and noise the two differ by rounding alone.
    def made() -> tt.ToyModel:
        model = tt.model(stages=(replace(tt.STAGE, clip=0.0),))
        for module in model.module.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = 0.0
        model.network.body[1] = torch.nn.Identity()
        model.loss = _plain_loss(model)  # type: ignore[method-assign]
        return model

    whole, parts = made(), made()
    tt.run(whole, store, out_dir=tmp_path / "a", budget="3steps")
    tt.run(parts, store, out_dir=tmp_path / "b", budget="3steps", batch_size=2)
    assert parts.calls == 2 * whole.calls
    for a, b in zip(whole.module.parameters(), parts.module.parameters(), strict=True):
        assert torch.allclose(a, b, atol=1e-4)


def _plain_loss(model: tt.ToyModel):  # type: ignore[no-untyped-def]
    def loss(stage, given, want, truth):  # type: ignore[no-untyped-def]
        model.calls += 1
        x = given.frames[want.sensor].values[:, 0, -1]
        return {"total": (model.network(x) - truth.values[:, 0, 0]).square().mean()}

    return loss


def test_a_finished_training_is_kept(store: Store) -> None:
    first = tt.run(tt.model(), store)
    again = tt.run(made := tt.model(), store)
    assert again.checkpoint == first.checkpoint
    assert (again.steps_now, again.steps, again.best_val) == (0, first.steps, first.best_val)
    assert made.calls == 0
    anew = tt.run(made := tt.model(), store, resume=False)
    assert made.calls == anew.steps
    assert tt.digest(anew) == tt.digest(first)


def test_other_plans_lie_elsewhere(store: Store) -> None:
    first = tt.run(tt.model(), store)
    assert tt.run(tt.model(), store, budget="21steps").checkpoint != first.checkpoint
    assert tt.run(tt.model(seed=5), store).checkpoint != first.checkpoint
    with pytest.raises(TrainingError, match="another training lies there"):
        tt.run(tt.model(), store, budget="21steps", out_dir=first.checkpoint)


def test_an_unfinished_training_of_another_plan_is_not_mixed_in(
    store: Store, tmp_path: Path
) -> None:
    with pytest.raises(Interrupted):
        tt.run(tt.model(), store, out_dir=tmp_path / "x", progress=tt.after(5, interrupt))
    with pytest.raises(TrainingError, match="another training is unfinished there"):
        tt.run(tt.model(), store, out_dir=tmp_path / "x", budget="50steps")


def test_minutes_are_a_budget(store: Store) -> None:
    result = tt.run(tt.model(), store, budget="0.02min")
    assert result.steps >= 1
    assert result.seconds < 5.0
    # It ends when the time is up, or when enough of its points were no better than the best.
    assert result.seconds >= 1.2 or len(result.history) < POINTS
    assert result.history[-1]["step"] == result.steps


@pytest.mark.parametrize("text", ["10", "fast", "0steps", "-3min", "1.5steps", "10 hours", ""])
def test_a_budget_is_steps_or_minutes(store: Store, text: str) -> None:
    with pytest.raises(InputError, match="Give 2000steps or 10min"):
        tt.run(tt.model(), store, budget=text)


def test_it_trains_outside_the_main_thread(store: Store) -> None:
    results = []
    thread = threading.Thread(target=lambda: results.append(tt.run(tt.model(), store)))
    thread.start()
    thread.join()
    assert results[0].steps == 20


def test_what_was_trained_before_does_not_choose_the_weights_of_a_run(store: Store) -> None:
    """Another budget, precision, stages or option count only where the checkpoint is named."""
    now = tt.model().stages()

    def fitting(
        budget: str | None, stages: Sequence[Stage] | None = now, precision: str = "32-true"
    ) -> FittingCheckpoints:
        return fitting_checkpoints(CheckpointQuery(
            model="toy", preset="default", digest=store.digest, split="space", seed=0, context=1,
            sensor="s2", bands=toys.BANDS, budget=budget, stages=stages, precision=precision,
        ))  # fmt: skip

    short = tt.run(tt.model(), store, budget="4steps").checkpoint
    assert fitting(None) == FittingCheckpoints((), ((short, Checkpoint.load(short)),))
    assert fitting("4 steps").same == (short,)
    own = tt.run(tt.model(), store, budget=None).checkpoint
    smooth = tt.run(tt.model(), store, budget=None, options=Options(ema=0.9)).checkpoint
    tt.run(tt.model(), store, budget="5steps")
    assert fitting(None).same == (own,)
    assert fitting("40steps").same == (own,)  # the toy's own budget, said in steps
    assert smooth in [folder for folder, _ in fitting(None).others]
    assert fitting(None, precision="bf16-mixed").same == ()
    assert own in [folder for folder, _ in fitting(None, precision="bf16-mixed").others]
    steeper = [replace(stage, learning_rate=2 * stage.learning_rate) for stage in now]
    assert fitting(None, steeper).same == ()
    assert own in [folder for folder, _ in fitting(None, steeper).others]


def test_watched_terms_are_of_validation_samples_and_change_no_weight(store: Store) -> None:
    """The toy has running statistics, dropout, and a loss that draws from the global generators."""
    plain = tt.run(tt.model(), store)
    model = tt.model(stages=(replace(tt.STAGE, watched=("total",)),))
    watched = tt.run(model, store)
    before, after = (Checkpoint.load(run.checkpoint) for run in (plain, watched))
    assert before.weights_digest == after.weights_digest
    assert all("validation_terms" not in point for point in before.history)
    found = [point["validation_terms"]["total"] for point in after.history]
    assert len(found) == len(after.history) > 1
    assert found[-1] != found[0] != after.history[0]["loss"]
    seen = {region for _, regions in model.seen for region in regions}
    assert seen == {*store.split("train"), *store.split("val")}
    odd = tt.model(stages=(replace(tt.STAGE, watched=("cosine",)),))
    with pytest.raises(TrainingError, match=r"watching cosine .*: its loss returned total"):
        tt.run(odd, store)


def test_weights_of_a_preset_that_has_changed_are_neither_taken_nor_loaded(store: Store) -> None:
    path = tt.run(tt.model(), store).checkpoint

    def found(preset_options: Mapping[str, Any]) -> FittingCheckpoints:
        return fitting_checkpoints(CheckpointQuery(
            model="toy", preset="default", digest=store.digest, split="space", seed=0, context=1,
            budget="20steps", preset_options=preset_options,
        ))  # fmt: skip

    assert found({}).same == (path,)
    assert found({"gain": 8.0}).same == ()
    load_into(tt.model(), path, store, split=None)
    note = json.loads((path / NOTE).read_text())
    (path / NOTE).write_text(json.dumps(sealed({**note, "preset_options": {"gain": 4.0}})))
    with pytest.raises(InputError, match="the preset had other options"):
        load_into(tt.model(), path, store, split=None)
    (path / NOTE).write_text(json.dumps(sealed({**note, "preset_options": None})))
    load_into(tt.model(), path, store, split=None)  # written before they were noted
