"""Callbacks, logs, schedules, early stopping and the number of validations of a training."""

from __future__ import annotations

import csv
import os
import signal
import sys
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import train_toys as tt
from third_party import install

from rsbench.core import progress
from rsbench.core.errors import InputError, UnknownName
from rsbench.models.checkpoint import Checkpoint
from rsbench.store.read import Store
from rsbench.training.callbacks import HISTORY, TrainingCallback, TrainingStart, named
from rsbench.training.data import Validation
from rsbench.training.optimisers import OPTIMIZERS, SCHEDULES, schedule
from rsbench.training.options import Options
from rsbench.training.plan import Budget
from rsbench.training.train import Interrupted


@pytest.fixture(autouse=True)
def _cards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("RSBENCH_CACHE", str(tmp_path / "cache"))
    with tt.toy_card():
        yield


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return tt.store(tmp_path_factory.mktemp("toy") / "store")


class Told(TrainingCallback):
    """Keeps all that it is told."""

    def __init__(self) -> None:
        self.starts: list[TrainingStart] = []
        self.steps: list[int] = []
        self.terms: list[dict[str, float]] = []
        self.points: list[dict[str, Any]] = []
        self.outcomes: list[str] = []

    def begin(self, start: TrainingStart) -> None:
        self.starts.append(start)

    def step(self, step: int, terms: Mapping[str, float]) -> None:
        self.steps.append(step)
        self.terms.append(dict(terms))

    def point(self, point: Mapping[str, Any]) -> None:
        self.points.append(dict(point))

    def end(self, outcome: str) -> None:
        self.outcomes.append(outcome)


# Callbacks ------------------------------------------------------------------------------


def rows(folder: Path) -> list[dict[str, str]]:
    """The rows of the file, without empty cells."""
    with (folder / HISTORY).open(encoding="utf-8") as file:
        return [{k: v for k, v in row.items() if v} for row in csv.DictReader(file)]


def test_a_callback_and_the_file_are_told_all_also_after_an_interruption(
    store: Store, tmp_path: Path
) -> None:
    told, folder = Told(), tmp_path / "out"

    def interrupt() -> None:
        os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(Interrupted):
        tt.run(tt.model("two"), store, preset="two", budget="16steps", out_dir=folder,
               callbacks=(told,), progress=tt.after(6, interrupt))  # fmt: skip
    begun = rows(folder)
    result = tt.run(
        tt.model("two"), store, preset="two", budget="16steps", out_dir=folder, callbacks=(told,)
    )
    assert told.outcomes == ["interrupted", "finished"]
    assert told.steps == list(range(1, 17))
    assert all(terms.keys() == {"total"} for terms in told.terms)
    assert told.points == list(result.history)
    assert [start.step for start in told.starts] == [0, 10]  # 6 steps of the second stage
    assert told.starts[0].settings["seed"] == 0
    assert told.starts[0].folder == folder
    written = rows(folder)
    assert written[: len(begun)] == begun
    assert len(begun) == len(told.starts[1].history)
    for row, point in zip(written, result.history, strict=True):
        assert row == {k: str(v) for k, v in point.items()}


def test_a_failed_training_is_told(store: Store) -> None:
    told = Told()
    with pytest.raises(RuntimeError, match="a bug"):
        tt.run(tt.model(fault="bug"), store, callbacks=(told,))
    assert told.outcomes == ["failed"]


def test_a_package_adds_a_callback_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code = "import rsbench\n\nclass Mine(rsbench.TrainingCallback):\n    pass\n"
    install(tmp_path, "my_logs", "rsbench.callbacks",
            {"mine": "my_logs:Mine", "odd": "my_logs:rsbench"}, code)  # fmt: skip
    monkeypatch.syspath_prepend(tmp_path)
    (made,) = named(["mine"])
    assert isinstance(made, TrainingCallback)
    with pytest.raises(InputError, match=r"without the base class rsbench\.TrainingCallback"):
        named(["odd"])
    with pytest.raises(UnknownName, match="mine, odd, tensorboard, wandb"):
        named(["x"])


@pytest.mark.parametrize("name", ["tensorboard", "wandb"])
def test_a_log_whose_package_is_absent_names_the_extra(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(InputError, match=rf"not installed. Type: pip install 'rsbench\[{name}\]'"):
        named([name])


def test_tensorboard_gets_every_step_and_point(store: Store, tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    result = tt.run(
        tt.model(), store, out_dir=tmp_path / "a", budget="3steps", callbacks=named(["tensorboard"])
    )
    events = EventAccumulator(str(tmp_path / "a" / "tensorboard")).Reload()
    assert [e.step for e in events.Scalars("train/total")] == [1, 2, 3]
    found = [e.value for e in events.Scalars("curve/validation")]
    assert found == pytest.approx([p["validation"] for p in result.history])


def test_the_run_of_wandb_is_that_of_the_checkpoint_folder(store: Store, tmp_path: Path) -> None:
    """The package is replaced: its own would ask for an account."""
    calls: list[tuple[str, Any]] = []

    class Run:
        def log(self, values: Mapping[str, float], step: int) -> None:
            calls.append((",".join(values), step))

        def finish(self, exit_code: int) -> None:
            calls.append(("finish", exit_code))

    class Package:
        @staticmethod
        def init(**options: Any) -> Run:
            calls.append(("init", options["id"]))
            assert options["config"]["model"] == "toy"
            return Run()

    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "wandb", Package)
        tt.run(tt.model(), store, out_dir=tmp_path / "b", budget="2steps",
               callbacks=named(["wandb"]))  # fmt: skip
    assert calls[0] == ("init", "b")
    assert calls[1:3] == [("train/total", 1), ("train/total", 2)]
    assert "curve/validation" in calls[3][0]
    assert calls[-1] == ("finish", 0)


# Progress -------------------------------------------------------------------------------


def test_lines_off_the_terminal_have_the_loss_and_the_time_left(
    store: Store, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(progress, "EVERY", 0.0)
    with progress.progress() as advance:
        options = Options(validations=2)
        tt.run(tt.model(), store, progress=advance, budget="4steps", options=options)
    lines = capsys.readouterr().err.splitlines()
    trained = [line for line in lines if line.startswith("training toy, fit: ")]
    assert len(trained) == 4
    assert "4 of 4, loss " in trained[-1]
    assert "best validation" in trained[-1]
    assert "left" in trained[-1]
    assert any(line.startswith("validating toy: ") for line in lines)


# Validations and early stopping ---------------------------------------------------------


@pytest.mark.parametrize(
    ("budget", "options", "count"),
    [("20steps", {}, 2), ("5steps", {}, 1), ("5steps", {"validations": 4}, 4)],
)
def test_a_short_trial_validates_once_or_twice(
    budget: str, options: dict[str, Any], count: int, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[int] = []
    monkeypatch.setattr(Validation, "mse", lambda *_: float(calls.append(1) or len(calls)))
    result = tt.run(tt.model(), store, budget=budget, options=Options(**options))
    assert len(calls) == count
    assert [p["step"] for p in result.history][-1] == int(budget.removesuffix("steps"))


def test_long_stages_and_minutes_keep_twenty_validations() -> None:
    assert [Budget(steps=n).points() for n in (9, 10, 199, 200, 20_000)] == [1, 1, 19, 20, 20]
    assert Budget(seconds=6.0).points() == 20


@pytest.mark.parametrize(("patience", "steps"), [(0, 12), (3, 5), (9, 11)])
def test_early_stopping_waits_as_long_as_asked_or_is_off(
    patience: int, steps: int, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = iter([2.0, 1.0, *range(3, 30)])
    monkeypatch.setattr(Validation, "mse", lambda *_: float(next(values)))
    options = Options(validations=12, patience=patience)
    result = tt.run(tt.model(), store, budget="12steps", options=options)
    assert result.steps == steps  # the best is that of step 2
    assert result.best_val == 1.0


# Optimiser and schedule -----------------------------------------------------------------


@pytest.mark.parametrize("name", SCHEDULES)
def test_a_schedule_stays_between_zero_and_the_peak(name: str) -> None:
    rates = [schedule(name)(i / 100) for i in range(101)]
    assert max(rates) == 1.0
    assert min(rates) > 0
    assert (rates[-1] == 1.0) == (name == "constant")


@pytest.mark.parametrize("name", [*OPTIMIZERS, "torch.optim:RMSprop"])
def test_an_interruption_changes_no_bit_with_any_optimiser(
    name: str, store: Store, tmp_path: Path
) -> None:
    options = Options(optimizer=name, schedule="cosine", learning_rate=1e-3)
    whole = tt.run(tt.model(), store, out_dir=tmp_path / "a", budget="6steps", options=options)
    with pytest.raises(Interrupted):
        tt.run(tt.model(), store, out_dir=tmp_path / "b", budget="6steps", options=options,
               progress=tt.after(3, lambda: os.kill(os.getpid(), signal.SIGINT)))  # fmt: skip
    again = tt.run(tt.model(), store, out_dir=tmp_path / "b", budget="6steps", options=options)
    assert tt.digest(again) == tt.digest(whole)
    note = Checkpoint.load(whole.checkpoint)
    assert note.stages[0]["schedule"] == "cosine"
    assert note.training["learning_rate"] == note.stages[0]["learning_rate"] == 1e-3


def test_a_stage_states_its_optimiser_and_options_replace_it(store: Store, tmp_path: Path) -> None:
    stage = replace(tt.STAGE, optimizer="sgd", schedule="constant", learning_rate=1e-3)
    own = tt.run(tt.model(stages=(stage,)), store, out_dir=tmp_path / "a", budget="4steps")
    asked = Options(optimizer="sgd", schedule="constant", learning_rate=1e-3)
    given = tt.run(tt.model(), store, out_dir=tmp_path / "b", budget="4steps", options=asked)
    assert tt.digest(own) == tt.digest(given)
    assert {point["rate"] for point in own.history} == {1e-3}
    plain = tt.run(tt.model(), store, out_dir=tmp_path / "c", budget="4steps")
    assert tt.digest(plain) != tt.digest(own)
    assert "optimizer" not in tt.STAGE.stated()


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"optimizer": "adamv"}, "Did you mean adam or adamw"),
        ({"schedule": "zigzag"}, "Known: constant, cosine, linear, one-cycle"),
        ({"optimizer": "torch.optim:Lyon"}, "cannot be imported"),
        ({"schedule": "no_such_package:rate"}, "cannot be imported"),
        ({"learning_rate": -1.0}, "not positive"),
        ({"learning_rate": float("nan")}, "not positive"),
        ({"patience": -1}, "too small"),
        ({"validations": 0}, "too small"),
    ],
)
def test_wrong_options_are_refused_before_training(
    changed: dict[str, Any], told: str, store: Store
) -> None:
    made = tt.model()
    with pytest.raises(InputError, match=told):
        tt.run(made, store, options=Options(**changed))
    assert made.calls == 0
    assert torch.is_grad_enabled()
