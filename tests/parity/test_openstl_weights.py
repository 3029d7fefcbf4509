"""Checkpoints in OpenSTL's layout: forward passes are equal, and nothing is loaded by order."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest
import torch
from public_names import public_name
from torch import Tensor, nn

from rsbench.core.errors import InputError
from rsbench.models.checkpoint import Checkpoint, trainable
from rsbench.models.checkpoint_files import read_tensors
from rsbench.models.registry import create_model
from rsbench.models.weights_import import import_weights

CASES: dict[str, tuple[str, str, dict[str, Any]]] = {
    "gsta": ("simvp", "paper", {"hid_S": 8, "hid_T": 12, "N_S": 4, "N_T": 3, "mlp_ratio": 2.0}),
    "incepu": ("simvp", "incepu", {"hid_S": 8, "hid_T": 16, "N_S": 2, "N_T": 2}),
    "v1": ("predrnn", "paper", {"num_hidden": (6, 6), "filter_size": 3}),
    "v2": ("predrnn", "paper_v2", {"num_hidden": (6, 6), "filter_size": 3}),
}


def drawn(case: str) -> tuple[nn.Module, dict[str, Tensor]]:
    """A network with random weights, and its state under OpenSTL's names in any order."""
    name, preset, options = CASES[case]
    torch.manual_seed(1)
    network = trainable(create_model(name, preset, **options)).module
    for tensor in network.state_dict().values():
        if tensor.is_floating_point():
            tensor.copy_(0.5 * torch.rand(tensor.shape) + 0.1)
    rows = [(f"model.{public_name(name, n)}", t.clone())
            for n, t in network.state_dict().items() if n != "samples_seen"]  # fmt: skip
    random.Random(2).shuffle(rows)
    return network.eval(), dict(rows)


def answer(network: nn.Module, case: str) -> Tensor:
    generator = torch.Generator().manual_seed(3)
    if case in ("v1", "v2"):
        frames = torch.rand(2, 2, 3, 16, 16, generator=generator)
        state = network.zero()  # type: ignore[operator]
        for t in range(2):
            found, state, _ = network(frames[:, t], state)
        return torch.as_tensor(found)
    frames = torch.rand(2, *((10, 1) if case == "incepu" else (1, 3)), 16, 16, generator=generator)
    return torch.as_tensor(network(frames))


@pytest.mark.parametrize("case", CASES)
def test_an_imported_state_predicts_as_the_network_that_it_is_of(case: str, tmp_path: Path) -> None:
    name, preset, options = CASES[case]
    network, state = drawn(case)
    assert not network.state_dict().keys() & state.keys()
    torch.save({"epoch": 7, "state_dict": state}, tmp_path / "best.pth")
    torch.manual_seed(9)
    out = import_weights(
        tmp_path / "best.pth", name, preset, tmp_path / "out", key="state_dict", options=options
    )
    assert Checkpoint.load(out).imported == "best.pth"
    heir = trainable(create_model(name, preset, **options)).module.eval()
    with torch.no_grad():
        expected = answer(network, case)
        assert not torch.allclose(answer(heir, case), expected)
        heir.load_state_dict(read_tensors(out / "weights.safetensors"))
        assert torch.equal(answer(heir, case), expected)


@pytest.mark.parametrize(
    ("case", "other", "told"),
    [
        ("gsta", "v1", r"file are unknown: \S+, \S+, \S+ and \d+ more; .* network are absent"),
        ("gsta", "incepu", "absent"),
        ("v1", "v2", r"1 tensor of the file is unknown: model\.adapter\.weight"),
        ("v2", "v1", r"1 tensor of the network is absent: adapter\.weight"),
    ],
)
def test_a_file_of_another_network_is_refused(
    case: str, other: str, told: str, tmp_path: Path
) -> None:
    name, preset, options = CASES[case]
    torch.save(drawn(other)[1], tmp_path / "w.pth")
    with pytest.raises(InputError, match=told):
        import_weights(tmp_path / "w.pth", name, preset, tmp_path / "out", options=options)
    assert not (tmp_path / "out").exists()


def test_a_file_of_another_size_is_refused_with_the_first_shapes(tmp_path: Path) -> None:
    torch.save(drawn("gsta")[1], tmp_path / "w.pth")
    options = {**CASES["gsta"][2], "hid_T": 16}
    with pytest.raises(
        InputError, match=r"have other shapes: \S+ \[[\d, ]+\], not \[[\d, ]+\], .*more"
    ):
        import_weights(tmp_path / "w.pth", "simvp", "paper", tmp_path / "out", options=options)
