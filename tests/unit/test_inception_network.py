"""The Inception network and its input, with weights made on the spot."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from weight_fixtures import nowhere, put

import rsbench as rb
from rsbench.core.errors import InputError, MetricUnavailable
from rsbench.metrics import inception

State = dict[str, torch.Tensor]


def made() -> tuple[torch.nn.Module, State]:
    """torchvision's network of the same layout, with random weights and statistics."""
    models = pytest.importorskip("torchvision.models")
    torch.manual_seed(0)
    net = models.inception_v3(
        weights=None, aux_logits=False, init_weights=False, num_classes=1008
    ).eval()
    for name, buffer in net.named_buffers():
        if name.endswith("running_mean"):
            buffer.normal_(0, 0.1)
        if name.endswith("running_var"):
            buffer.uniform_(0.5, 1.5)
    return net, {k: v.clone() for k, v in net.state_dict().items()}


@pytest.fixture(scope="module")
def network() -> tuple[torch.nn.Module, State]:
    return made()


def test_the_taps_are_those_of_another_implementation(
    network: tuple[torch.nn.Module, State], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    net, state = network
    put(monkeypatch, tmp_path, "inception", state)
    x = torch.rand(2, 3, 299, 299, generator=torch.Generator().manual_seed(1)) * 2 - 1
    from torch.nn.functional import avg_pool2d, max_pool2d
    from torchvision.models import inception as theirs

    taps: dict[int, torch.Tensor] = {}
    watched = {net.maxpool1: 64, net.maxpool2: 192, net.Mixed_6e: 768, net.Mixed_7c: 2048}
    for layer, tap in watched.items():
        layer.register_forward_hook(
            lambda _, __, out, tap=tap: taps.__setitem__(tap, out.mean((-1, -2)))
        )
    # The 2015 weights pool without padding, and by maximum in the last block.
    last = {"on": False}
    net.Mixed_7c.register_forward_pre_hook(lambda *_: last.update(on=True))
    net.Mixed_7c.register_forward_hook(lambda *_: last.update(on=False))

    def pool(x: torch.Tensor, kernel_size: int, stride: int, padding: int) -> torch.Tensor:
        if last["on"]:
            return max_pool2d(x, kernel_size, stride, padding)
        return avg_pool2d(x, kernel_size, stride, padding, count_include_pad=False)

    functions = SimpleNamespace(
        avg_pool2d=pool, max_pool2d=max_pool2d, relu=torch.nn.functional.relu
    )
    monkeypatch.setattr(theirs, "F", functions)
    with torch.no_grad():
        net(x)
        found = inception.network(x, 2048)
    assert sorted(found) == sorted(taps) == [64, 192, 768, 2048]
    for tap, values in taps.items():
        assert found[tap].shape == (2, tap)
        gap = (found[tap] - values).abs().max() / values.abs().max()
        assert float(gap) < 1e-4, tap
    with torch.no_grad():
        assert sorted(inception.network(x, 192)) == [64, 192]  # no deeper than asked
    # Pools of another layout take several times as long on a CPU.
    weights = inception._state(x.device, inception.find(inception.NAME)[1]).values()
    assert all(weight.is_contiguous(memory_format=torch.channels_last) for weight, _ in weights)


def test_the_resize_has_no_half_pixel_centres() -> None:
    x = torch.arange(4.0).view(1, 1, 1, 4).expand(1, 3, 4, 4)
    found = inception.resized(x, antialias=False)[0, 0, 0]
    # target i looks at source i · 4 / 299; beyond the last column there is only the last column
    expected = [min(i * 4 / 299, 3.0) for i in range(299)]
    assert found.tolist() == pytest.approx(expected, abs=1e-5)
    # rows alike
    assert torch.allclose(inception.resized(x.mT, antialias=False), inception.resized(
        x, antialias=False).mT, atol=1e-5)  # fmt: skip


def test_bytes() -> None:
    x = torch.tensor([0.0, 0.5 / 255, 0.6 / 255, 10 / 255, 1.0])
    assert inception.to_bytes(x, "round").tolist() == [0, 0, 1, 10, 255]
    assert inception.to_bytes(x, "truncate").tolist() == [0, 0, 0, 10, 255]
    assert inception.to_bytes(x, "wrap").tolist() == [0, 0, 0, 246, 1]


def test_fid_and_kid_run_and_are_deterministic(
    network: tuple[torch.nn.Module, State], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    put(monkeypatch, tmp_path, "inception", network[1])
    g = torch.Generator().manual_seed(2)
    t = torch.rand(6, 3, 32, 32, generator=g)
    p = (t * 0.7).roll(1, 0)
    ids = [f"fid.inception{tap}@1" for tap in inception.TAPS] + ["kid.inception2048@1"]
    found = rb.metrics.compute_sets(ids, p, t, data_range=1.0, unit="display")
    again = rb.metrics.compute_sets(ids, p, t, data_range=1.0, unit="display")
    for metric in ids:
        assert found[metric].value == again[metric].value
        assert found[metric].n == 6
    assert [found[m].d for m in ids] == [64, 192, 768, 2048, 2048]
    same = rb.metrics.compute_sets(ids, t.clone(), t, data_range=1.0, unit="display")
    assert same["fid.inception64@1"].value == pytest.approx(0.0, abs=1e-9)
    assert found["fid.inception64@1"].value > 0.0
    with pytest.raises(InputError, match="red, green and blue"):
        rb.metrics.compute_sets(
            ["fid.inception64@1"], torch.rand(2, 6, 32, 32), torch.rand(2, 6, 32, 32),
            data_range=1.0,
        )  # fmt: skip


def test_a_file_without_a_layer_is_refused(
    network: tuple[torch.nn.Module, State], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    state = {k: v for k, v in network[1].items() if "Mixed_6c.branch_pool.bn.weight" not in k}
    put(monkeypatch, tmp_path, "inception", state)
    with pytest.raises(InputError, match="lacks a layer"):
        inception.network(torch.zeros(1, 3, 299, 299), 64)


def test_without_the_file_there_is_no_number(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    nowhere(monkeypatch, tmp_path)
    x = torch.rand(2, 3, 32, 32)
    with pytest.raises(MetricUnavailable, match="weights inception are not here"):
        rb.metrics.compute_sets(["fid.inception2048@1"], x, x, data_range=1.0)
