"""Several processes, as torchrun starts them on two nodes: one training, one checkpoint."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import train_toys
from safetensors.torch import load_file
from support import programs
from train_toys import child, model, run, toy_card

from rsbench.core.errors import InputError
from rsbench.models.checkpoint import Checkpoint
from rsbench.store.read import Store
from rsbench.training.launch import Launch, is_first_rank

STEPS = 6


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return train_toys.store(tmp_path_factory.mktemp("stores") / "toy")


@pytest.fixture(autouse=True)
def _toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("RSBENCH_CACHE", str(tmp_path / "cache"))
    with toy_card():
        yield


def launched(rank: int, world: int, port: int) -> dict[str, str]:
    """What torchrun sets in a process of a node with one process."""
    return {
        "TORCHELASTIC_RUN_ID": "none", "RANK": str(rank), "LOCAL_RANK": "0",
        "WORLD_SIZE": str(world), "LOCAL_WORLD_SIZE": "1", "GROUP_RANK": str(rank),
        "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "OMP_NUM_THREADS": "1",
    }  # fmt: skip


def test_two_nodes_train_one_model(store: Store, tmp_path: Path) -> None:
    """Both processes take a step together: each half of the batch, and one set of weights."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    folder = tmp_path / "together"
    program = child(store.path, folder, budget=f"{STEPS}steps")
    both = [programs.start(program, **launched(rank, 2, port)) for rank in range(2)]
    said = [process.communicate() for process in both]
    assert [process.returncode for process in both] == [0, 0], said
    note = Checkpoint.load(folder)
    assert note.steps == STEPS
    alone = run(model(), store, budget=f"{STEPS}steps", out_dir=tmp_path / "alone")
    assert note.plan != Checkpoint.load(alone.checkpoint).plan
    together = load_file(folder / "weights.safetensors")
    other = load_file(alone.checkpoint / "weights.safetensors")
    # Dropout and the norm see half a batch each; the first weights and the crops are the same.
    start = model().module.state_dict()
    for name in ("head.weight", "body.0.weight"):
        step = (other[name] - start[name]).flatten()
        mine = (together[name] - start[name]).flatten()
        assert float(torch.cosine_similarity(step, mine, dim=0)) > 0.5
        assert not torch.equal(together[name], other[name])


def test_the_launch_is_what_torchrun_started(monkeypatch: pytest.MonkeyPatch) -> None:
    assert Launch.of(3) == Launch(3, 1)
    for name, value in launched(5, 6, 1).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    assert Launch.of(1) == Launch.of(2) == Launch(2, 3)
    assert Launch.of(2).size == 6
    assert not is_first_rank()
    monkeypatch.setenv("RANK", "0")
    assert is_first_rank()
    with pytest.raises(InputError, match="torchrun --nproc-per-node 4"):
        Launch.of(4)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    with pytest.raises(InputError, match="different numbers"):
        Launch.of(1)
