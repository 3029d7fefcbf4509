"""Weights of networks: found by name, used only if whole, absent with one sentence."""

from __future__ import annotations

import http.server
import pickle
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
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
    metric = f"lpips.{net}@1"
    ours = rb.metrics.compute([metric], p, t, data_range=1.0, unit="display")[metric]
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


class Handler(http.server.SimpleHTTPRequestHandler):
    """Serve files; ``/moved/…`` redirects to a signed address, ``/parts/…`` sends short chunks."""

    protocol_version = "HTTP/1.1"
    elsewhere = ""

    def do_GET(self) -> None:
        if self.path.startswith("/moved/"):
            self.send_response(302)
            self.send_header("Location", f"{self.elsewhere}/{self.path[7:]}?token=secret")
            self.send_header("Content-Length", "0")
            self.end_headers()
        elif self.path.startswith("/parts/"):
            self.send_response(200)
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            for byte in Path(self.directory, self.path[7:]).read_bytes():
                self.wfile.write(b"1\r\n%c\r\n" % byte)
            self.wfile.write(b"0\r\n\r\n")
        else:
            super().do_GET()

    def log_message(self, *args: object) -> None:
        return


@contextmanager
def served(folder: Path, elsewhere: str = "") -> Iterator[str]:
    here = type("Here", (Handler,), {"elsewhere": elsewhere})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(here, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()


def published(folder: Path, url: str, **changes: object) -> room.Weights:
    """Return the entry of the file ``w.pth`` of a folder that is served at ``url``."""
    digest = sha256_file(folder / "w.pth")
    entry = room.Weights("w", (("w.pth", digest),), url, 9, "none")
    return replace(entry, **changes)  # type: ignore[arg-type]


@pytest.fixture
def hub(tmp_path: Path) -> Path:
    folder = tmp_path / "hub"
    folder.mkdir()
    (folder / "w.pth").write_bytes(b"published")
    return folder


@pytest.mark.parametrize("path", ["w.pth", "parts/w.pth", "moved/w.pth"])
def test_a_published_file_is_fetched_once(hub: Path, tmp_path: Path, path: str) -> None:
    told: list[tuple[str, int, int]] = []
    here = tmp_path / "mine"
    with served(hub) as url:
        entry = published(hub, f"{url}/{path}")
        found = room.fetch(
            here, table=(entry,), schemes=("http",), progress=lambda *a: told.append(a)
        )
    assert told[-1] == ("fetching w", 9, 9)
    assert found == [here / "w.pth"]
    assert found[0].read_bytes() == b"published"
    assert found[0].stat().st_mode & 0o777 == 0o644
    # The server is gone: a whole file is not fetched again.
    assert room.fetch(here, table=(entry,), schemes=("http",)) == found


def test_fetching_checks_the_digest_and_leaves_no_half_file(hub: Path, tmp_path: Path) -> None:
    here = tmp_path / "mine"
    with served(hub) as url:
        entry = published(hub, f"{url}/w.pth")
        found = room.fetch(here, table=(entry,), schemes=("http",))
        assert [path.read_bytes() for path in found] == [b"published"]
        (hub / "w.pth").write_bytes(b"something else")
        (here / "w.pth").unlink()
        with pytest.raises(InputError, match="SHA-256"):
            room.fetch(here, table=(entry,), schemes=("http",))
        assert list(here.iterdir()) == []
        with pytest.raises(InputError, match="Only https"):
            room.fetch(here, table=(entry,))


def test_a_file_that_is_far_too_long_is_not_kept(hub: Path, tmp_path: Path) -> None:
    with served(hub) as url:
        entry = published(hub, f"{url}/w.pth", bytes=4)
        with pytest.raises(InputError, match="more than 8 bytes"):
            room.fetch(tmp_path / "mine", table=(entry,), schemes=("http",))
    assert list((tmp_path / "mine").iterdir()) == []


def test_a_redirect_to_another_scheme_is_refused_without_its_token(
    hub: Path, tmp_path: Path
) -> None:
    with served(hub, "ftp://127.0.0.1") as url:
        entry = published(hub, f"{url}/moved/w.pth")
        with pytest.raises(InputError, match=r"opening ftp://127\.0\.0\.1/w\.pth") as refused:
            room.fetch(tmp_path / "mine", table=(entry,), schemes=("http",))
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize("reason", ["404", "ConnectionError"])
def test_an_error_after_a_redirect_does_not_show_the_token(
    hub: Path, tmp_path: Path, reason: str
) -> None:
    elsewhere = "http://127.0.0.1:9" if reason == "ConnectionError" else "/absent"
    with served(hub, elsewhere) as url:
        entry = published(hub, f"{url}/moved/w.pth")
        with pytest.raises(InputError, match=f"cannot be reached .{reason}") as failed:
            room.fetch(tmp_path / "mine", table=(entry,), schemes=("http",))
    assert "secret" not in str(failed.value)
    assert list((tmp_path / "mine").iterdir()) == []


def test_without_pooch_the_error_says_what_to_install(
    hub: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pooch", None)
    with pytest.raises(InputError, match=r"pip install 'rsbench\[models\]'"):
        room.fetch(tmp_path / "mine", table=(published(hub, "https://127.0.0.1/w.pth"),))


def test_red_green_and_blue_must_be_known() -> None:
    six = torch.rand(1, 6, 64, 64)
    kept, dropped = for_bands(("lpips.alex@1",), 6, rgb=False)
    assert kept == ()
    assert "red, green and blue" in dropped["lpips.alex@1"]
    assert six.shape[1] == 6
