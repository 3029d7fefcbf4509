"""Released weights are loaded by name: common beginnings, tables of names, refusals."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import cast

import pytest
import torch
from fusion_toys import write_triplets
from public_names import public_name
from recorded import weight
from torch import Tensor, nn

from rsbench import InputError, create_model, evaluate
from rsbench.core.errors import TrainingError
from rsbench.models.checkpoint import loaded_digest
from rsbench_baselines._fusion_model import FusionModel
from rsbench_baselines.mlff_gan import released as mlff_gan
from rsbench_baselines.mlff_gan.network import Discriminator, Generator
from rsbench_baselines.mlff_gan.sizes import SIZES as MLFF_GAN
from rsbench_baselines.released import Layout, load_released
from rsbench_baselines.sa_stf.network import SASTF
from rsbench_baselines.sa_stf.released import layout as sa_stf_layout
from rsbench_baselines.sa_stf.sizes import SIZES as SA_STF
from rsbench_baselines.stfmamba import released as stfmamba
from rsbench_baselines.stfmamba.network import STFMamba
from rsbench_baselines.stfmamba.sizes import SIZES as STFMAMBA
from rsbench_baselines.swinstfm import released as swinstfm
from rsbench_baselines.swinstfm.network import SwinSTFM
from rsbench_baselines.swinstfm.sizes import SIZES as SWINSTFM


class Net(nn.Module):
    """Two layers of equal shapes, out of alphabetical order, and one of another shape."""

    def __init__(self) -> None:
        super().__init__()
        self.b = nn.Conv2d(4, 4, 3)
        self.a = nn.Conv2d(4, 4, 3)
        self.last = nn.Linear(4, 2)


def equal(network: nn.Module, state: Mapping[str, Tensor]) -> bool:
    own = network.state_dict()
    return own.keys() == state.keys() and all(torch.equal(own[n], t) for n, t in state.items())


@pytest.mark.parametrize("seed", range(20))
def test_a_common_beginning_and_the_order_do_not_matter(seed: int) -> None:
    """``b`` is also the name of a layer."""
    draw = random.Random(seed)
    parts = ("module", "net", "ema_model", "_orig_mod", "b")
    start = draw.choices(parts, k=draw.randrange(5))
    donor, heir = Net(), Net()
    rows = [(".".join([*start, n]), t) for n, t in donor.state_dict().items()]
    draw.shuffle(rows)
    load_released(heir, dict(rows))
    assert equal(heir, donor.state_dict())


def changed(change: Callable[[dict[str, object]], object]) -> Mapping[str, Tensor]:
    state: dict[str, object] = {f"module.{n}": t for n, t in Net().state_dict().items()}
    change(state)
    return cast("Mapping[str, Tensor]", state)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda s: s.update(epoch=3), r"1 entry is no tensor: epoch\. Give the tensors of"),
        (lambda s: s.pop("module.a.bias"), "1 tensor of the network is absent: a.bias"),
        (
            lambda s: s.update({"module.c.bias": torch.zeros(4)}),
            "1 tensor of the file is unknown: module.c.bias",
        ),
        (
            lambda s: s.update({"module.a.bias": torch.zeros(5)}),
            r"1 tensor has another shape: module.a.bias \[5\], not \[4\]",
        ),
        (
            lambda s: s.update({f"other.{i}.bias": torch.zeros(4) for i in range(6)}),
            r"unknown: module.b.weight, module.b.bias, module.a.weight and \d+ more",
        ),
        (
            lambda s: s.update({"module.a.bias": torch.zeros(4, dtype=torch.int8)}),
            "1 tensor holds other numbers: module.a.bias torch.int8, not torch.float32",
        ),
        (
            lambda s: s.update({"module.a.bias": torch.full((4,), float("nan"))}),
            "1 tensor is not finite: module.a.bias",
        ),
        (dict.clear, "6 tensors of the network are absent: b.weight, b.bias, a.weight and 3 more"),
    ],
)
def test_what_does_not_agree_is_refused_by_name(
    change: Callable[[dict[str, object]], object], told: str
) -> None:
    heir = Net()
    before = {n: t.clone() for n, t in heir.state_dict().items()}
    with pytest.raises(InputError, match=f"loading released weights into Net: .*{told}"):
        load_released(heir, changed(change))
    assert equal(heir, before)


def test_layers_that_changed_names_are_not_found_by_their_order() -> None:
    state = {f"l{i}": t for i, t in enumerate(Net().state_dict().values())}
    with pytest.raises(InputError, match="6 tensors of the file are unknown: l0, l1, l2 and 3 mor"):
        load_released(Net(), state)
    with pytest.raises(InputError, match=r"x.weight and y.weight .* both become a.weight"):
        load_released(Net(), {"x.weight": torch.zeros(1), "y.weight": torch.zeros(1)},
                      {"x": "a", "y": "a"})  # fmt: skip


def test_a_table_replaces_whole_parts_and_the_longest_name() -> None:
    donor, heir = Net(), Net()
    state = {f"net.{n.replace('last', 'a.last')}": t for n, t in donor.state_dict().items()}
    load_released(heir, state, {"a": "a", "a.last": "last", "a.la": "b"})
    assert equal(heir, donor.state_dict())
    half = {n: t.half() for n, t in state.items()}
    load_released(heir, half, {"a.last": "last"})
    assert heir.b.weight.dtype == torch.float32


MAMBA = replace(
    STFMAMBA["tiny"], bands=2, widths=(2, 3), pairs=(1, 2), middle=2, sharpen_width=2,
    sharpen_blocks=2, sharpen_pairs=2, spare=True, state=2, rank=2, block=8, token=4, heads=2,
)  # fmt: skip
SWIN = replace(SWINSTFM["released"], bands=2, widths=(4, 6, 6), depths=(2, 1), up_depths=(1, 2),
               window=2, head=2)  # fmt: skip
GAN = MLFF_GAN["tiny"]
Case = tuple[nn.Module, Layout]
CASES: dict[str, Callable[[], Case]] = {
    "swinstfm": lambda: (SwinSTFM(SWIN), swinstfm.layout(SWIN)),
    "mlff_gan": lambda: (Generator(GAN), mlff_gan.generator_layout(GAN)),
    "mlff_gan critic": lambda: (Discriminator(GAN), mlff_gan.discriminator_layout()),
    "stfmamba": lambda: (STFMamba(MAMBA), stfmamba.layout(MAMBA)),
}  # fmt: skip


def ruled(name: str, like: Tensor) -> Tensor:
    return torch.as_tensor(weight(name, tuple(like.shape))).to(like.dtype)


def public(case: str, network: nn.Module) -> dict[str, Tensor]:
    """A state as the authors' program saves it, in alphabetical order."""
    found = {}
    for name, tensor in network.state_dict().items():
        values = ruled(name, tensor)
        merged = name.endswith(("log_rates", "pass_on"))
        found[public_name(case, name)] = values.flatten(0, 1) if merged else values
    if any("relative_position" in name for name in found):
        found["fine_up.layer.blocks.0.attn.relative_position_index"] = torch.zeros(4, 4).long()
        found["fine_up.layer.blocks.0.attn_mask"] = torch.zeros(4, 4, 4)
    return dict(sorted(found.items()))


@pytest.mark.parametrize("case", CASES)
def test_a_small_state_in_the_public_layout_loads_by_name(case: str) -> None:
    network, layout = CASES[case]()
    state = public(case, network)
    assert len(state.keys() & network.state_dict().keys()) < len(state) / 10
    load_released(network, {f"module.{n}": t for n, t in state.items()}, layout)
    for name, tensor in network.state_dict().items():
        assert torch.equal(tensor, ruled(name, tensor)), name


@pytest.mark.parametrize("case", CASES)
def test_a_state_with_another_part_is_refused_by_the_files_names(case: str) -> None:
    network, layout = CASES[case]()
    state = public(case, network) | {"encoder_2.patch_emb.proj.weight": torch.zeros(1)}
    with pytest.raises(InputError, match=r"file is unknown: encoder_2\.patch_emb\.proj\.weight"):
        load_released(network, state, layout)


def test_the_table_of_sa_stf_names_each_of_its_153_layers_once() -> None:
    size = SA_STF["official"]
    with torch.device("meta"):
        layers = {name.rpartition(".")[0] for name in SASTF(size).state_dict()}
    table = sa_stf_layout(size).names
    assert len(table) == len(layers) == 153
    assert set(table.values()) == layers


@pytest.mark.parametrize(
    ("name", "start"),
    [("sa_stf", "network."), ("stfdiff", ""), ("rddm", ""), ("swinstfm", ""),
     ("mlff_gan", "generator."), ("stfmamba", "")],
)  # fmt: skip
def test_a_model_with_released_weights_may_be_scored(name: str, start: str) -> None:
    donor, heir = (cast("FusionModel[nn.Module, object]", create_model(name, "tiny")) for _ in "ab")  # type: ignore[type-var]
    assert loaded_digest(heir) is None
    network, layout = donor.released()
    theirs = {ours: name for name, ours in layout.names.items()}
    state = {}
    for ours, tensor in network.state_dict().items():
        parts = ours.split(".")
        head = next(".".join(parts[:n]) for n in range(len(parts), 0, -1)
                    if ".".join(parts[:n]) in theirs)  # fmt: skip
        merged = parts[-1] in layout.merged
        state[theirs[head] + ours[len(head) :]] = tensor.flatten(0, 1) if merged else tensor
    heir.load_released(state)
    assert loaded_digest(heir) is not None
    mine = heir.module.state_dict()
    assert all(torch.equal(mine[start + n], t) for n, t in network.state_dict().items())
    with pytest.raises(InputError, match="absent"):
        heir.load_released({})


def test_released_weights_are_scored_and_their_digest_is_in_the_table(tmp_path: Path) -> None:
    store = write_triplets(tmp_path / "toy", splits=("test",) * 2, size=(32, 32))
    donor, model = (create_model("swinstfm", "tiny", bands=2) for _ in "ab")
    assert isinstance(donor, FusionModel)
    assert isinstance(model, FusionModel)
    with pytest.raises(TrainingError, match="untrained weights are never scored"):
        evaluate(model, store, "fusion1", suite="pixel")
    state = {public_name("swinstfm", n): t for n, t in donor.module.state_dict().items()}
    model.load_released(state)
    table = evaluate(model, store, "fusion1", suite="pixel").table()
    mine = table[table["model"] == "swinstfm"]
    assert set(mine["weights"]) == {loaded_digest(model)}
    assert mine["inputs"].str.endswith("network revision 2, released weights").all()
