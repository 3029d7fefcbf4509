"""Kills, full disks, damaged files, wrong inputs: nothing lost, one reason given."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import train_toys as tt
from support import programs

from rsbench.core.errors import DiskFull, HorizonError, InputError, RsbenchError, TrainingError
from rsbench.models.api import Stage
from rsbench.store.read import Store
from rsbench.training.options import Options
from rsbench.training.train import Interrupted


@pytest.fixture(autouse=True)
def _cards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("RSBENCH_CACHE", str(tmp_path / "cache"))
    with tt.toy_card():
        yield


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return tt.store(tmp_path / "store")


def start(store: Store, folder: Path, **options: str) -> programs.Program:
    return programs.start(tt.child(store.path, folder, **options))


def wait_for(process: programs.Program, step: int) -> None:
    for line in process.stdout:
        if int(line) >= step:
            return
    raise AssertionError(process.communicate()[1])


def test_killed_outright_it_goes_on_to_the_same_bits(store: Store, tmp_path: Path) -> None:
    whole = tt.run(tt.model(), store, budget="40steps", out_dir=tmp_path / "a")
    for step in (13, 31):  # a state is kept at every tenth step
        process = start(store, tmp_path / "b")
        wait_for(process, step)
        process.kill()
        process.wait()
        process.communicate()
        assert (tmp_path / "b" / "state.json").is_file()
        assert not (tmp_path / "b" / "checkpoint.json").exists()
    parts = tt.run(tt.model(), store, budget="40steps", out_dir=tmp_path / "b")
    assert 0 < parts.steps_now < 40
    assert tt.digest(parts) == tt.digest(whole)
    assert tt.curve(parts) == tt.curve(whole)
    left = {p.name for p in (tmp_path / "b").iterdir()}
    assert left == {"weights.safetensors", "checkpoint.json", "history.csv", ".lock"}


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_leaves_a_state_and_says_how_to_go_on(
    store: Store, tmp_path: Path, number: int, code: int
) -> None:
    process = start(store, tmp_path / "b")
    wait_for(process, 7)
    process.send_signal(number)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == code
    assert errors.strip().count("\n") == 0, errors
    assert "Type the same command again; it goes on from there" in errors
    position = json.loads((tmp_path / "b" / "state.json").read_text())["position"]
    assert position["step"] >= 7
    whole = tt.run(tt.model(), store, budget="40steps", out_dir=tmp_path / "a")
    parts = tt.run(tt.model(), store, budget="40steps", out_dir=tmp_path / "b")
    assert tt.digest(parts) == tt.digest(whole)


def test_two_processes_do_not_train_into_one_folder(store: Store, tmp_path: Path) -> None:
    process = start(store, tmp_path / "b", budget="1000steps")
    wait_for(process, 1)
    with pytest.raises(TrainingError, match="another process is training there"):
        tt.run(tt.model(), store, out_dir=tmp_path / "b")
    while not (tmp_path / "b" / "state.json").exists():
        assert process.poll() is None
        time.sleep(0.05)
    process.kill()
    process.communicate()
    with pytest.raises(TrainingError, match="another training is unfinished"):
        tt.run(tt.model(), store, out_dir=tmp_path / "b")


def fail_after(calls: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the n-th write of tensors find the disk full, after half of the file."""
    import safetensors.torch
    from safetensors import SafetensorError

    plain = safetensors.torch.save_file
    count = [0]

    def save(tensors: Any, path: str) -> None:
        count[0] += 1
        if count[0] >= calls:
            Path(path).write_bytes(b"half")
            raise SafetensorError("I/O error: No space left on device (os error 28)")
        plain(tensors, path)

    monkeypatch.setattr(safetensors.torch, "save_file", save)


@pytest.mark.parametrize("calls", [1, 4, 7])
def test_a_full_disk_keeps_what_was_written(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, calls: int
) -> None:
    often = Options(validations=20)
    whole = tt.run(tt.model(), store, out_dir=tmp_path / "a", options=often)
    with monkeypatch.context() as patch:
        fail_after(calls, patch)
        with pytest.raises(DiskFull, match="no room left"):
            tt.run(tt.model(), store, out_dir=tmp_path / "b", options=often)
    assert not list((tmp_path / "b").glob(".tmp-*"))
    assert not (tmp_path / "b" / "checkpoint.json").exists()
    parts = tt.run(tt.model(), store, out_dir=tmp_path / "b", options=often)
    assert tt.digest(parts) == tt.digest(whole)


@pytest.mark.parametrize(
    "damage",
    [
        lambda f: next(f.glob("state-*.safetensors")).write_bytes(b"\x00" * 40),
        lambda f: next(f.glob("state-*.safetensors")).unlink(),
        lambda f: (f / "state.json").write_text("{"),
        lambda f: (f / "state.json").write_text("[]"),
    ],
)
def test_a_damaged_state_is_named(
    store: Store, tmp_path: Path, damage: Callable[[Path], object]
) -> None:
    stop = tt.after(9, lambda: os.kill(os.getpid(), signal.SIGINT))
    with pytest.raises(Interrupted):
        tt.run(tt.model(), store, out_dir=tmp_path / "b", progress=stop)
    damage(tmp_path / "b")
    with pytest.raises(InputError, match="Remove that folder and train again"):
        tt.run(tt.model(), store, out_dir=tmp_path / "b")
    # The way out works, too.
    assert tt.run(tt.model(), store, out_dir=tmp_path / "b", resume=False).steps == 20


def test_nan_names_step_and_terms(store: Store) -> None:
    with pytest.raises(TrainingError, match=r"stage fit, step 4.*total = nan"):
        tt.run(tt.model(fault="nan"), store)


def test_a_loss_without_total_is_refused(store: Store) -> None:
    with pytest.raises(TrainingError, match="Name one term total"):
        tt.run(tt.model(fault="unnamed"), store)


def test_too_little_memory_says_what_fits(store: Store) -> None:
    with pytest.raises(TrainingError, match=r"4 samples at once.*--batch-size 1"):
        tt.run(tt.model(fault="memory"), store)
    assert tt.run(tt.model(fault="memory"), store, batch_size=1).steps > 0


def test_another_error_is_not_taken_for_too_little_memory(store: Store) -> None:
    with pytest.raises(RuntimeError, match="a bug of the model"):
        tt.run(tt.model(fault="bug"), store)


@pytest.mark.parametrize(
    ("split", "missing"),
    [(("train", "test"), "val"), (("val", "test"), "train"), (("test",), "train")],
)
def test_a_store_without_a_split_is_refused(
    tmp_path: Path, split: tuple[str, ...], missing: str
) -> None:
    data = tt.store(tmp_path / "bare", split=split)
    with pytest.raises(TrainingError, match=f"without the split {missing}"):
        tt.run(tt.model(), data)


def wrong(**options: Any) -> Callable[[Store], object]:
    return lambda store: tt.run(tt.model(), store, **options)


@pytest.mark.parametrize(
    ("call", "kind", "says"),
    [
        (wrong(protocol=tt.protocol(scheme="time")), InputError, "its split scheme is time"),
        (wrong(precision="8-bit"), InputError, "precision"),
        (wrong(devices=0), InputError, "at least 1"),
        (wrong(batch_size=0), InputError, "at least 1"),
        (wrong(device="abacus"), InputError, "Give --device cpu or cuda"),
        (wrong(sensor="s3"), InputError, "s3"),
        (wrong(bands=("B99",)), InputError, "B99"),
        (wrong(context=0), InputError, "at least 1 frames"),
        (wrong(preset="two"), InputError, "preset default"),
        (wrong(budget="1steps", protocol=tt.protocol(task="fusion")), InputError, "fusion"),
    ],
)
def test_wrong_input_is_one_clear_sentence(
    store: Store, call: Callable[[Store], object], kind: type[RsbenchError], says: str
) -> None:
    with pytest.raises(kind, match=says) as error:
        call(store)
    assert "\n" not in str(error.value)


def test_two_stages_need_two_steps(store: Store) -> None:
    with pytest.raises(InputError, match="at least 2steps"):
        tt.run(tt.model("two"), store, preset="two", budget="1steps")


def test_too_few_dates_are_refused(tmp_path: Path) -> None:
    data = tt.store(tmp_path / "short", years=3)
    stage = Stage("fit", 1e-2, steps=5, batch_size=2, leads=3)
    with pytest.raises(HorizonError, match="have 3 dates"):
        tt.run(tt.model(stages=(stage,)), data)


def test_a_stage_of_unknown_modules_is_refused(store: Store) -> None:
    stage = Stage("fit", 1e-2, steps=5, batch_size=2, modules=("tail",))
    with pytest.raises(TrainingError, match=r"no module tail.*body, head"):
        tt.run(tt.model(stages=(stage,)), store)


def test_frozen_everything_is_refused(store: Store) -> None:
    made = tt.model()
    made.module.requires_grad_(False)
    with pytest.raises(TrainingError, match="none of its parameters takes a gradient"):
        tt.run(made, store)
