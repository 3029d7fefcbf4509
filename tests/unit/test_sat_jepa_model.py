"""Sat-JEPA-Diff as a model: what is called how often, masks, targets, the frozen prior."""

from __future__ import annotations

import hashlib
import json
import sys
import threading
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import torch
from torch import nn

pytest.importorskip("diffusers")

import rsbench
from rsbench.core.errors import InputError
from rsbench.models.contract_data import Samples, Shape, make_samples
from rsbench.models.registry import card, create_model
from rsbench.models.rollout import collect
from rsbench_baselines.sat_jepa_diff import masks, pretrained, targets
from rsbench_baselines.sat_jepa_diff.network import Network
from rsbench_baselines.sat_jepa_diff.sizes import SMALL, TEXT_TOKENS

CARD = card("sat_jepa_diff")


pytestmark = pytest.mark.usefixtures("one_thread")


def samples(*, bands: int = 3, batch: int = 2, leads: int = 1, members: int = 1) -> Samples:
    return make_samples(Shape(batch, 1, leads, bands, 32), seed=3, members=members)


class Calls:
    """Counts the calls of parts of a network, and the batch of each."""

    def __init__(self, network: Network) -> None:
        self.seen: dict[str, list[int]] = {}
        for name in ("encoder", "predictor", "adapter", "transformer", "prompt"):
            network.get_submodule(name).register_forward_hook(self._of(name))
        for name in ("encode", "decode"):
            self._wrap(network.vae, name)

    def _of(self, name: str) -> Any:
        def hook(module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
            first = inputs[0] if inputs else None
            self.seen.setdefault(name, []).append(len(first) if torch.is_tensor(first) else 1)

        return hook

    def _wrap(self, vae: Any, name: str) -> None:
        inner = getattr(vae, name)

        def counted(x: torch.Tensor) -> Any:
            self.seen.setdefault(name, []).append(len(x))
            return inner(x)

        setattr(vae, name, counted)


@pytest.mark.parametrize("members", [1, 3])
def test_what_a_rollout_calls(members: int) -> None:
    """K calls of the transformer over samples × members at once; everything else once a lead."""
    model: Any = create_model("sat_jepa_diff", "tiny", bands=3, sampler_steps=4)
    data = samples(bands=3, batch=2, leads=3, members=members)
    calls = Calls(model.module)
    collect(model, CARD.of("tiny"), data.given, data.want)
    leads, steps, batch = 3, 4, 2
    # The first frame is one for all members; a predicted one is each member's own.
    frames = [batch, batch * members, batch * members]
    assert calls.seen["encoder"] == frames
    assert calls.seen["predictor"] == frames
    assert calls.seen["adapter"] == frames
    assert calls.seen["encode"] == frames
    assert len(calls.seen["prompt"]) == leads
    assert calls.seen["decode"] == [batch * members] * leads
    assert len(calls.seen["transformer"]) == steps * leads


def test_each_member_draws_its_own_frame() -> None:
    model: Any = create_model("sat_jepa_diff", "tiny", bands=3)
    data = samples(bands=3, batch=1, leads=1, members=2)
    found = collect(model, CARD.of("tiny"), data.given, data.want).values
    assert not torch.equal(found[:, 0], found[:, 1])


def test_bands_come_back_in_the_order_that_was_asked() -> None:
    """The network sees red, green, blue; the answer keeps the order of the protocol."""
    model: Any = create_model("sat_jepa_diff", "tiny", bands=3)
    names = ("B02", "B03", "B04")

    def named(order: tuple[int, ...]) -> Samples:
        data = samples(bands=3, batch=1, leads=1)
        index, bands = list(order), tuple(names[i] for i in order)
        sensor = data.want.sensor
        frames = data.given.frames[sensor]
        shown = replace(frames, values=frames.values[:, :, :, index], bands=bands)
        return replace(
            data,
            given=replace(data.given, frames={sensor: shown}),
            want=replace(data.want, bands=bands),
        )

    straight = collect(model, CARD.of("tiny"), *_pair(named((0, 1, 2)))).values
    turned = collect(model, CARD.of("tiny"), *_pair(named((2, 0, 1)))).values
    torch.testing.assert_close(turned, straight[:, :, :, [2, 0, 1]])


def _pair(data: Samples) -> tuple[Any, Any]:
    return data.given, data.want


@pytest.mark.parametrize(("share", "size"), [(0.0, (6, 8)), (0.5, (10, 9)), (1.0, (14, 9))])
def test_one_number_sets_scale_and_aspect_of_a_target(share: float, size: tuple[int, int]) -> None:
    """By hand on 16×16: 51, 89, 128 tokens at aspects 0.75, 1.125, 1.5; √(n·a) by √(n/a)."""
    assert masks.block_size((16, 16), masks.TARGET_SCALE, masks.TARGET_ASPECT, share) == size


def test_targets_have_the_published_range_of_sizes() -> None:
    torch.manual_seed(0)
    counts = [
        masks.draw(1, (16, 16), whole=False, device=torch.device("cpu")).target.shape[1]
        for _ in range(500)
    ]
    assert (min(counts), max(counts)) == (48, 126)


@pytest.mark.parametrize("whole", [True, False])
def test_blocks_lie_inside_and_only_whole_ones_reach_the_edge(whole: bool) -> None:
    torch.manual_seed(0)
    context, target = set(), set()
    for _ in range(200):
        drawn = masks.draw(4, (16, 16), whole=whole, device=torch.device("cpu"))
        for tokens, seen in ((drawn.context, context), (drawn.target, target)):
            assert tokens.shape[0] == 4
            assert int(tokens.min()) >= 0
            assert int(tokens.max()) < 256
            for row in tokens.tolist():
                assert len(set(row)) == len(row)
            seen.update(tokens.flatten().tolist())
        assert 7 <= drawn.target.shape[1] <= 150
        assert drawn.context.shape[1] >= 160
    edge = {i for i in range(256) if i // 16 == 15 or i % 16 == 15}
    assert (edge & target == edge) if whole else not edge & (target | context)


def test_the_substitute_sees_the_content_of_each_patch_alone() -> None:
    torch.manual_seed(1)
    image = torch.rand(1, 3, 16, 24)
    tokens = targets.substitute(image, 8)
    assert tokens.shape == (1, 6, 64)
    torch.testing.assert_close(tokens.norm(dim=-1), torch.ones(1, 6))
    other = image.clone()
    other[..., :8, 8:16] += 0.1
    changed = (targets.substitute(other, 8) - tokens).abs().amax(dim=-1)[0] > 1e-6
    assert changed.tolist() == [False, True, False, False, False, False]


def test_alpha_earth_rasters_are_read_and_averaged(tmp_path: Path) -> None:
    import numpy as np
    import rasterio
    from rasterio.transform import Affine

    data = samples(bands=3, batch=1, leads=1)
    want = data.want
    grid, sample = want.grids[0], want.samples[0]
    year = (targets.EPOCH + targets.timedelta(days=int(want.times[0, 0]))).year
    stored = np.zeros((64, grid.height, grid.width), np.int8)
    stored[0] = 51  # (51 / 127.5)² = 0.16
    stored[1] = -51
    stored[1, :4] = -128  # masked: counts as zero
    path = tmp_path / f"{sample.region}_{year}.tif"
    with rasterio.open(
        path, "w", driver="GTiff", width=grid.width, height=grid.height, count=64, dtype="int8",
        crs=grid.crs, transform=Affine(*grid.transform[:6]),
    ) as out:  # fmt: skip
        out.write(stored)
    found = targets.AlphaEarth(tmp_path).read(want, 8)
    assert float(found[0, 0, 0]) == pytest.approx(0.16)
    assert (sample.window.x, sample.window.y) == (0, 0)
    assert float(found[0, 0, 1]) == pytest.approx(-0.08)
    assert float(found[0, -1, 1]) == pytest.approx(-0.16)
    with pytest.raises(InputError, match="there is neither"):
        targets.AlphaEarth(tmp_path).read(replace(want, times=want.times + 400), 8)


LOADED = replace(SMALL, own_prior=False, text=TEXT_TOKENS)


def snapshot(folder: Path, *, drop: str = "", reshape: str = "") -> Network:
    """Write a snapshot laid out as the hub's, the transformer in three shards."""
    from safetensors.torch import save_file

    torch.manual_seed(0)
    source = Network(replace(LOADED, own_prior=True), 3, kind="grid")
    for part, config in (("transformer", LOADED.transformer), ("vae", LOADED.vae)):
        place = folder / part
        place.mkdir(parents=True)
        full = {**config, "_class_name": "AsPublished", "_diffusers_version": "0.32.0"}
        (place / "config.json").write_text(json.dumps(full))
        state = {n: t.contiguous() for n, t in getattr(source, part).state_dict().items()}
        state = {n: t for n, t in state.items() if n != drop}
        if reshape in state:
            state[reshape] = state[reshape].flatten()[:1].clone()
        stem = "diffusion_pytorch_model"
        if part == "vae":
            save_file(state, place / f"{stem}.safetensors")
            continue
        names = sorted(state)
        where = {n: f"{stem}-{i % 3 + 1:05d}-of-00003.safetensors" for i, n in enumerate(names)}
        for file in set(where.values()):
            save_file({n: state[n] for n in names if where[n] == file}, place / file)
        (place / f"{stem}.safetensors.index.json").write_text(
            json.dumps({"metadata": {}, "weight_map": where})
        )
    torch.manual_seed(5)
    prompt = {"tokens": torch.randn(TEXT_TOKENS, 64), "pooled": torch.randn(48)}
    save_file(prompt, folder / "prompt.safetensors")
    return source


def test_a_sharded_snapshot_fills_every_tensor(tmp_path: Path) -> None:
    source = snapshot(tmp_path / "s")
    network = Network(LOADED, 3, kind="grid")
    assert network.transformer.proj_out.weight.device.type == "meta"
    pretrained.load(network, tmp_path / "s", LOADED)
    for part in ("transformer", "vae"):
        theirs = getattr(source, part).state_dict()
        for name, tensor in getattr(network, part).state_dict().items():
            assert torch.equal(tensor, theirs[name]), name
        assert not any(p.requires_grad for p in getattr(network, part).parameters())
    assert network.prompt.tokens.shape == (TEXT_TOKENS, 64)
    # Neither transformer nor VAE is in a checkpoint: their digest is.
    saved = network.state_dict()
    assert not [n for n in saved if n.startswith(("transformer.", "vae."))]
    again = Network(LOADED, 3, kind="grid")
    pretrained.load(again, tmp_path / "s", LOADED)
    again.load_state_dict(saved, strict=True)


def test_weights_of_another_prior_are_refused(tmp_path: Path) -> None:
    snapshot(tmp_path / "s")
    network = Network(LOADED, 3, kind="grid")
    pretrained.load(network, tmp_path / "s", LOADED)
    saved = network.state_dict()
    saved["base"] = saved["base"].clone()
    saved["base"][0] += 1
    with pytest.raises(RuntimeError, match="another frozen prior"):
        network.load_state_dict(saved)


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("absent", "1 absent, e.g. proj_out.bias"),
        ("shape", "1 other shapes, e.g. proj_out.bias"),
        ("shard", "00002-of-00003.safetensors is not in"),
        ("outside", "outside"),
        ("config", "of another network: num_layers 3, not 2"),
        ("cut", "cannot be read"),
        ("prompt", "python -m rsbench_baselines.sat_jepa_diff.prompt"),
        ("nothing", "config.json cannot be read"),
    ],
)
def test_a_faulty_snapshot_is_one_sentence(fault: str, said: str, tmp_path: Path) -> None:
    folder = tmp_path / "s"
    name = "proj_out.bias"
    snapshot(folder, drop=name if fault == "absent" else "",
             reshape=name if fault == "shape" else "")  # fmt: skip
    shard = folder / "transformer" / "diffusion_pytorch_model-00002-of-00003.safetensors"
    index = folder / "transformer" / "diffusion_pytorch_model.safetensors.index.json"
    config = folder / "transformer" / "config.json"
    if fault == "shard":
        shard.unlink()
    elif fault == "outside":
        index.write_text(json.dumps({"weight_map": {"x": "../../secret.safetensors"}}))
    elif fault == "config":
        config.write_text(json.dumps({**json.loads(config.read_text()), "num_layers": 3}))
    elif fault == "cut":
        shard.write_bytes(shard.read_bytes()[:200])
    elif fault == "prompt":
        (folder / "prompt.safetensors").unlink()
    elif fault == "nothing":
        config.unlink()
    with pytest.raises(InputError) as caught:
        pretrained.load(Network(LOADED, 3, kind="grid"), folder, LOADED)
    assert said in str(caught.value)


class Hub(BaseHTTPRequestHandler):
    """Answers as the model hub does: what a repository holds, and its files at a commit."""

    root: Path
    COMMIT = "0" * 39 + "1"

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Say nothing."""

    def do_HEAD(self) -> None:
        self._reply(body=False)

    def do_GET(self) -> None:
        self._reply(body=True)

    def _reply(self, *, body: bool) -> None:
        path = urlsplit(self.path).path
        if path.startswith(f"/api/models/{pretrained.REPOSITORY}"):
            files = [p for p in sorted(self.root.rglob("*")) if p.is_file()]
            names = [p.relative_to(self.root).as_posix() for p in files]
            answer: Any = {
                "id": pretrained.REPOSITORY,
                "sha": self.COMMIT,
                "siblings": [{"rfilename": name} for name in names],
            }
            if "/tree/" in path:
                answer = [
                    {"type": "file", "path": name, "size": p.stat().st_size, "oid": str(i)}
                    for i, (name, p) in enumerate(zip(names, files, strict=True))
                ]
            self._send(json.dumps(answer).encode(), "application/json", body=body)
            return
        name = path.partition(f"/resolve/{self.COMMIT}/")[2]
        if name and (self.root / name).is_file():
            self._send((self.root / name).read_bytes(), "application/octet-stream", body=body)
        else:
            self.send_error(404)

    def _send(self, content: bytes, kind: str, *, body: bool) -> None:
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("ETag", f'"{hashlib.sha256(content).hexdigest()}"')
        self.send_header("X-Repo-Commit", self.COMMIT)
        self.end_headers()
        if body:
            self.wfile.write(content)


def test_a_sharded_snapshot_comes_from_a_hub(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The hub's own library fetches from loopback; what is not needed stays there."""
    source = snapshot(tmp_path / "hub")
    (tmp_path / "hub" / "transformer" / "diffusion_pytorch_model.bin").write_bytes(b"pickle")
    (tmp_path / "hub" / "text_encoder_3").mkdir()
    (tmp_path / "hub" / "text_encoder_3" / "model.safetensors").write_bytes(b"large")
    handler = type("OneHub", (Hub,), {"root": tmp_path / "hub"})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        endpoint = f"http://127.0.0.1:{server.server_address[1]}"
        found = pretrained.fetch(endpoint=endpoint, cache=tmp_path / "cache")
        server.shutdown()
    names = {p.relative_to(found).as_posix() for p in found.rglob("*") if p.is_file()}
    assert "prompt.safetensors" in names
    assert not [n for n in names if n.endswith(".bin") or n.startswith("text_encoder")]
    network = Network(LOADED, 3, kind="grid")
    pretrained.load(network, found, LOADED)
    theirs = source.transformer.state_dict()
    for name, tensor in network.transformer.state_dict().items():
        assert torch.equal(tensor, theirs[name]), name


def test_without_weights_one_sentence_says_where_to_get_them(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """No hub answers at this address; the error names licence, token and folder, and no token."""
    pytest.importorskip("huggingface_hub")
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    monkeypatch.delenv("RSBENCH_WEIGHTS", raising=False)
    with pytest.raises(InputError) as caught:
        pretrained.fetch(endpoint="http://127.0.0.1:9", cache=tmp_path)
    text = str(caught.value)
    assert "HF_TOKEN" in text
    assert "RSBENCH_WEIGHTS" in text
    assert "preset tiny" in text
    assert "hf_secret" not in text
    assert caught.value.__cause__ is None


def test_without_diffusers_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [n for n in sys.modules if n.startswith("rsbench_baselines.sat_jepa_diff.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "diffusers", None)
    with pytest.raises(InputError, match=r"pip install 'rsbench\[generative\]'"):
        create_model("sat_jepa_diff", "tiny")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"preset": "fixed", "bands": 4}, r"4 bands: the frozen VAE takes 3.*--protocol year7-rgb"),
        ({"preset": "tiny", "sampler": "euler"}, "there is no sampler 'euler'"),
        ({"preset": "tiny", "steps": [1]}, "steps of 1 stages: there are 4"),
        ({"preset": "tiny", "embeddings": "nowhere"}, "no folder nowhere"),
    ],
)
def test_options_that_cannot_be(options: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        create_model("sat_jepa_diff", **options)


def test_ablations_train_with_their_own_terms() -> None:
    """The five presets are one network; they differ in the weights of the hybrid loss alone."""
    data = samples()
    totals = {}
    for preset in ("tiny_a", "tiny_b", "tiny_c", "tiny_d", "tiny"):
        torch.manual_seed(0)
        model: Any = create_model("sat_jepa_diff", preset, bands=len(data.want.bands))
        stage = next(s for s in model.stages() if s.name == "jepa")
        torch.manual_seed(1)
        terms = model.loss(stage, data.given, data.want, data.truth)
        assert {"variance.ratio", "variance.predicted", "cosine.similarity"} <= set(terms)
        totals[preset] = (float(terms["total"]), {n: float(t) for n, t in terms.items()})
    shown = totals["tiny"][1]
    assert totals["tiny_a"][0] == pytest.approx(20 * shown["l1"], rel=1e-5)
    assert totals["tiny_b"][0] == pytest.approx(20 * shown["l1"] + 2 * shown["cosine"], rel=1e-5)
    assert len({round(total, 6) for total, _ in totals.values()}) == 5


def test_the_public_face_is_enough() -> None:
    assert issubclass(rsbench.InputError, rsbench.RsbenchError)


def _answers(models: Any, data: Samples) -> dict[str, torch.Tensor]:
    return {
        name: collect(control, card(name).of("tiny"), data.given, data.want).values
        for name, control in models.items()
    }


def test_controls_have_the_prior_and_nothing_that_was_taught() -> None:
    model: Any = create_model("sat_jepa_diff", "tiny", bands=3)
    data = samples()
    before = _answers(model.controls(), data)
    assert set(before) == {"vae_roundtrip", "random_adapter"}
    network = model.module
    with torch.no_grad():
        for part in (network.adapter, network.lora):
            for p in part.parameters():
                p.add_(torch.randn(p.shape, generator=torch.Generator().manual_seed(0)))
    after = _answers(model.controls(), data)
    for name, values in before.items():
        assert torch.equal(after[name], values), name
    with torch.no_grad():
        network.vae.decoder.conv_out.bias.add_(0.5)
    moved = _answers(model.controls(), data)
    for name, values in before.items():
        assert not torch.equal(moved[name], values), name


def test_the_round_trip_is_the_last_frame_through_the_vae() -> None:
    model: Any = create_model("vae_roundtrip", "tiny", bands=3)
    data = samples(batch=1)
    frames = data.given.frames[data.want.sensor]
    valid = torch.ones_like(frames.valid)
    given = replace(data.given, frames={data.want.sensor: replace(frames, valid=valid)})
    found = collect(model, card("vae_roundtrip").of("tiny"), given, data.want).values[:, 0, 0]
    vae = model.module.vae
    with torch.no_grad():
        last = 2 * frames.values[:, 0, -1]  # the toy preset's gain
        mode = vae.encode(2 * last - 1).latent_dist.mode()
        back = (vae.decode(mode).sample + 1) / 2
    torch.testing.assert_close(found, (back / 2).clamp(0, 1), atol=1e-5, rtol=0)


def test_text_alone_sees_neither_the_last_frame_nor_tokens() -> None:
    model: Any = create_model("sd35", "tiny_text", bands=3, sampler="sjd-fm", sampler_steps=2)
    one, other = samples(batch=1), samples(batch=1)
    sensor = other.want.sensor
    frames = other.given.frames[sensor]
    dark = replace(frames, values=frames.values * 0.5)
    given = replace(other.given, frames={sensor: dark})
    entry = card("sd35").of("tiny_text")
    first = collect(model, entry, one.given, one.want).values
    assert torch.equal(first, collect(model, entry, given, other.want).values)
