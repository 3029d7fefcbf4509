"""Weights of networks: found by name, used only if whole, absent with one sentence."""

from __future__ import annotations

import http.server
import pickle
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner
from weight_fixtures import nowhere, put

import rsbench as rb
import rsbench.metrics.weights as room
from rsbench.core.digest import sha256_file
from rsbench.core.errors import InputError, MetricUnavailable
from rsbench.metrics.perceptual import CHANNELS
from rsbench.metrics.registry import info
from rsbench.metrics.suites import for_bands, suite
from rsbench.metrics.weights_read import read_weights

NETWORKS = {"alex": "alexnet", "vgg": "vgg16", "squeeze": "squeezenet1_1"}


def heads(net: str) -> dict[str, torch.Tensor]:
    g = torch.Generator().manual_seed(3)
    return {
        f"lin{i}.model.1.weight": torch.rand(1, c, 1, 1, generator=g)
        for i, c in enumerate(CHANNELS[net])  # type: ignore[index]
    }


@pytest.mark.parametrize("net", ["alex", "vgg", "squeeze"])
def test_the_networks_are_those_of_torchvision(
    net: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    models = pytest.importorskip("torchvision.models")
    torch.manual_seed(0)
    network = getattr(models, NETWORKS[net])(weights=None).eval()
    features = {k: v for k, v in network.state_dict().items() if k.startswith("features.")}
    name = "squeezenet" if net == "squeeze" else NETWORKS[net]
    put(monkeypatch, tmp_path, name, features)
    linear = heads(net)
    put(monkeypatch, tmp_path, f"lpips-{net}", linear)
    t = torch.rand(2, 3, 64, 48)
    p = (t + 0.1 * torch.randn(t.shape)).clamp(0, 1)
    ours = rb.metrics.compute([f"lpips.{net}@1"], p, t, data_range=1.0)[f"lpips.{net}@1"]
    mean = torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1)
    deviation = torch.tensor([0.229, 0.224, 0.225]).view(1, 3, 1, 1)
    a, b = ((x - mean) / deviation for x in (p, t))
    stages, total = iter(linear.values()), torch.zeros(2)
    with torch.no_grad():
        for place, layer in enumerate(network.features[: ENDS[net][-1] + 1]):
            a, b = layer(a), layer(b)
            if place in ENDS[net]:
                a_, b_ = (x / x.norm(dim=1, keepdim=True).clamp_min(1e-10) for x in (a, b))
                weighted = ((a_ - b_) ** 2 * next(stages)).sum(1)
                total += weighted.mean((-1, -2))
    assert next(stages, None) is None
    # Their scaling of [0, 1] inputs rounds the constants of the published one differently.
    assert ours.tolist() == pytest.approx(total.tolist(), rel=5e-3)


ENDS = {
    "alex": (1, 4, 7, 9, 11),
    "vgg": (3, 8, 15, 22, 29),
    "squeeze": (1, 4, 7, 9, 10, 11, 12),
}


def test_without_weights_there_is_one_sentence_and_no_number(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    nowhere(monkeypatch, tmp_path)
    state = info("lpips.vgg@1")
    assert not state.available
    assert "weights vgg16 are not here" in str(state.reason)
    t = torch.rand(1, 3, 64, 64)
    with pytest.raises(MetricUnavailable, match="weights vgg16 are not here"):
        rb.metrics.compute(["lpips.vgg@1"], t, t, data_range=1.0)
    kept, dropped = for_bands(suite("pixel,lpips.vgg@1"), 3)
    assert "lpips.vgg@1" not in kept
    assert dropped == {"lpips.vgg@1": state.reason}


def test_an_altered_file_is_not_used(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    nowhere(monkeypatch, tmp_path)
    (tmp_path / "vgg16-397923af.pth").write_bytes(b"not the weights")
    assert "is not the published file" in str(info("lpips.vgg@1").reason)
    import rsbench.cli.main  # noqa: F401
    from rsbench.cli.app import app
    from rsbench.cli.exit_codes import run_app  # noqa: F401  # registers every command

    done = CliRunner().invoke(app, ["weights", "check"])
    assert done.exit_code == 1
    assert "vgg16        altered" in done.output
    said = done.output.replace("\n", "")
    assert "vgg16-397923af.pth: vgg16-397923af.pth is not the published file" in said
    assert "Remove it, or put the published file there" in said


class _Evil:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (Path.mkdir, (Path("should-never-exist"),))  # type: ignore[return-value]


def test_a_file_that_brings_code_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    path = put(monkeypatch, tmp_path, "alexnet", {"a": torch.zeros(1)})
    path.write_bytes(pickle.dumps(_Evil(), protocol=2))
    entry = replace(room.weights("alexnet"), files=((path.name, sha256_file(path)),))
    monkeypatch.setattr(room, "TABLE", (entry,))
    with pytest.raises(InputError, match="more than tensors"):
        read_weights("alexnet")
    assert not Path("should-never-exist").exists()


def test_safetensors_are_read(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from safetensors.torch import save_file

    path = tmp_path / "mine.safetensors"
    save_file({"features.0.weight": torch.arange(4.0)}, path)
    entry = replace(room.weights("alexnet"), files=((path.name, sha256_file(path)),))
    monkeypatch.setattr(room, "TABLE", (entry,))
    monkeypatch.setenv("RSBENCH_WEIGHTS", str(tmp_path))
    assert read_weights("alexnet")["features.0.weight"].tolist() == [0.0, 1.0, 2.0, 3.0]


@contextmanager
def served(folder: Path) -> Iterator[str]:
    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *args: object) -> None:
            super().__init__(*args, directory=str(folder))  # type: ignore[arg-type]

        def log_message(self, *args: object) -> None:
            return

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()


def test_fetching_checks_the_digest_and_leaves_no_half_file(tmp_path: Path) -> None:
    there, here = tmp_path / "hub", tmp_path / "mine"
    there.mkdir()
    (there / "w.pth").write_bytes(b"published")
    with served(there) as url:
        entry = room.Weights(
            "w", (("w.pth", sha256_file(there / "w.pth")),), f"{url}/w.pth", 9, (), "none"
        )
        found = room.fetch(here, table=(entry,), schemes=("http",))
        assert [path.read_bytes() for path in found] == [b"published"]
        (there / "w.pth").write_bytes(b"something else")
        (here / "w.pth").unlink()
        with pytest.raises(InputError, match="SHA-256"):
            room.fetch(here, table=(entry,), schemes=("http",))
        assert list(here.iterdir()) == []
        with pytest.raises(InputError, match="Only https"):
            room.fetch(here, table=(entry,))


def test_red_green_and_blue_must_be_known() -> None:
    six = torch.rand(1, 6, 64, 64)
    kept, dropped = for_bands(("lpips.alex@1",), 6, rgb=False)
    assert kept == ()
    assert "red, green and blue" in dropped["lpips.alex@1"]
    assert six.shape[1] == 6
