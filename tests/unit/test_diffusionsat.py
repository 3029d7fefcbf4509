"""DiffusionSat: sizes, metadata, the control branch, what is encoded how often, its weights."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import pytest
import torch
import toys
from torch import Tensor, nn

pytest.importorskip("diffusers")

import generator_toys
from generator_toys import SOURCE

from rsbench.core.errors import InputError
from rsbench.core.grid import Grid
from rsbench.evaluation.run import RunRequest, run_model
from rsbench.models.contract_data import Samples, Shape, make_samples
from rsbench.models.registry import create_model
from rsbench.store.add_texts import add_texts
from rsbench_baselines import _latent, _text
from rsbench_baselines._snapshot import STEM, Snapshot
from rsbench_baselines.diffusionsat import generator
from rsbench_baselines.diffusionsat.generator import Generator
from rsbench_baselines.diffusionsat.metadata import metadata, numbers, place_of
from rsbench_baselines.diffusionsat.model import CONTROL, PRIOR, SLOTS
from rsbench_baselines.diffusionsat.network import Control, MetadataUNet, Stem, unet
from rsbench_baselines.diffusionsat.sizes import SD21, TOY, ControlSize, Sizes

pytestmark = pytest.mark.usefixtures("one_thread")


def samples(seed: int = 3, **changed: Any) -> Samples:
    shape = Shape(**{"samples": 2, "context": 3, "leads": 1, "bands": 3, "side": 32, **changed})
    return make_samples(shape, seed=seed)


def tiny(**options: Any) -> Any:
    return generator_toys.tiny("diffusionsat", **options)


def count(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def test_parts_have_the_published_numbers_of_parameters() -> None:
    """On the meta device, which holds shapes only; sums by hand from the layers of each part."""
    with torch.device("meta"):
        network = unet(SD21)
        branch = Control(network, ControlSize(True, 3))
        stem = Stem(ControlSize(True, 3), 320)
        flat = Control(network, ControlSize(False, 3, heads=None))
        bands = Control(network, ControlSize(False, 10, strides=(2, 2, 1), heads=None))
    assert count(network) == 880_264_644
    assert count(network.metadata_embedding) == 14_353_920
    assert count(branch) == 433_183_100
    assert count(stem) == count(branch.controlnet_cond_embedding) == 2_750_832
    temporal = [count(layer) for layer in branch.temporal_blocks if count(layer)]
    assert temporal == [5_580_736, 2_259_520, 9_024_640, 36_071_680]
    gates = count(branch.controlnet_down_blocks) + count(branch.controlnet_mid_block)
    assert gates == 11_479_680
    assert count(flat) == 378_582_160
    assert count(bands) == 378_583_168


def test_the_metadata_example() -> None:
    found = numbers(-122.4, 37.8, 10.0, 0.0, date(2018, 9, 11))
    expected = (160.0, 710.0, 10_000.0, 0.0, 1000 * 38 / 120, 750.0, 1000 * 11 / 31)
    assert found == pytest.approx(expected, abs=1e-6)
    assert expected[4] == pytest.approx(316.67, abs=0.005)
    assert expected[6] == pytest.approx(354.84, abs=0.005)


def test_place_and_pixel_size_come_from_the_grid() -> None:
    """The central meridian of UTM 33 on the equator, 1 km north of it, and a grid in degrees."""
    utm = Grid("EPSG:32633", (10.0, 0.0, 499_000.0, 0.0, -10.0, 1_000.0), 200, 200)
    assert place_of(utm) == pytest.approx((15.0, 0.0, 10.0), abs=1e-9)
    degrees = Grid("EPSG:4326", (0.001, 0.0, -60.1, 0.0, -0.001, 10.1), 200, 200)
    assert place_of(degrees) == pytest.approx((-60.0, 10.0, 111.31949), abs=1e-5)
    with pytest.raises(ValueError, match="is not known"):
        place_of(replace(utm, crs="somewhere"))
    days = torch.tensor([[17_785, 0]])  # 2018-09-11 and 1970-01-01
    found = metadata([utm], days, torch.tensor([[0.25, 0.0]]))
    assert found.shape == (1, 2, 7)
    assert found[0, 0].tolist() == pytest.approx(
        [1000 * 195 / 360, 500.0, 10_000.0, 250.0, 1000 * 38 / 120, 750.0, 1000 * 11 / 31], rel=1e-6
    )
    assert float(found[0, 1, 4]) == pytest.approx(1000 * -10 / 120)


def test_a_short_context_is_preceded_by_its_first_frame() -> None:
    model = tiny()
    data = samples(context=2)
    shown = model.shown(data.given, data.want).inputs
    assert shown.frames.shape == (2, SLOTS, 4, 32, 32)
    assert torch.equal(shown.frames[:, 0], shown.frames[:, 1])
    assert torch.equal(shown.dated[:, 0], shown.dated[:, 1])
    assert not torch.equal(shown.dated[:, 1], shown.dated[:, 2])
    whole = model.shown(*pair(samples(context=3))).inputs
    assert len({tuple(row.tolist()) for row in whole.dated[0]}) == 3


def pair(data: Samples) -> tuple[Any, Any]:
    return data.given, data.want


def test_the_wanted_date_is_told_in_both_directions() -> None:
    """Year and month of the wanted image change the drawing; earlier ones are as good as later."""
    model = tiny()
    data = samples()
    seen = []
    for days in (data.want.times, data.want.times - 5 * 365, data.want.times + 5 * 365):
        want = replace(data.want, times=days)
        shown = model.shown(data.given, want).inputs
        seen.append(shown.metadata[0, 4].item())
        assert torch.equal(shown.dated, model.shown(data.given, data.want).inputs.dated)
    assert seen[1] < seen[0] < seen[2]


def noised(model: Any, data: Samples, *, controlled: bool) -> Tensor:
    network: Generator = model.module
    conditions = network.conditions(model.shown(data.given, data.want).inputs)
    noisy = torch.randn(2, network.codec.channels, 8, 8, generator=torch.Generator().manual_seed(1))
    answer = network.answer(conditions, controlled=controlled)
    return answer(noisy, torch.tensor([10, 900]))


def test_at_the_start_the_branch_changes_no_bit() -> None:
    model, data = tiny(), samples()
    model.module.eval()
    with torch.no_grad():
        assert torch.equal(noised(model, data, controlled=True),
                           noised(model, data, controlled=False))  # fmt: skip
        model.module.control.controlnet_mid_block.bias.fill_(0.1)
        moved = noised(model, data, controlled=True) - noised(model, data, controlled=False)
    assert float(moved.abs().max()) > 0


def test_the_control_without_branch_sees_no_frame() -> None:
    model, data = tiny(gain=0.0), samples()
    (name,) = model.controls()
    assert name == " · without branch"
    with torch.no_grad():
        assert torch.equal(*drawn_by(model, data))
        branch = model.module.control
        for gate in (branch.controlnet_mid_block, branch.controlnet_cond_embedding.conv_out):
            gate.weight.fill_(0.1)
        with_branch, without = drawn_by(model, data)
        assert not torch.equal(with_branch, without)
        later = replace(data, given=samples(seed=4).given)
        assert torch.equal(drawn_by(model, later)[1], without)
        assert not torch.equal(drawn_by(model, later)[0], with_branch)


def drawn_by(model: Any, data: Samples) -> tuple[Tensor, Tensor]:
    """Return the images of a model and of its control."""
    (control,) = model.controls().values()
    own, other = (one.predict(data.given, data.want).values for one in (model, control))
    return own, other


def test_the_branch_starts_as_a_copy_of_the_trained_encoder_once() -> None:
    model, data = tiny(), samples()
    prior, control = model.stages()
    assert (prior.name, control.name) == (PRIOR, CONTROL)
    network = model.module
    with torch.no_grad():
        network.unet.conv_in.weight.add_(1.0)  # as training of the prior does
    network.eval()
    model.loss(control, data.given, data.want, data.truth)
    assert not torch.equal(network.control.conv_in.weight, network.unet.conv_in.weight)
    network.control.train()
    model.loss(control, data.given, data.want, data.truth)
    assert torch.equal(network.control.conv_in.weight, network.unet.conv_in.weight)
    with torch.no_grad():
        network.control.conv_in.weight.add_(1.0)  # as its own training does
    model.loss(control, data.given, data.want, data.truth)
    assert not torch.equal(network.control.conv_in.weight, network.unet.conv_in.weight)


class Calls:
    """The number of rows of each call of the parts of a network."""

    def __init__(self, network: Generator) -> None:
        self.seen: dict[str, list[int]] = {}
        embed = network.control.controlnet_cond_embedding
        for name, part in (("unet", network.unet), ("stem", embed)):
            part.register_forward_hook(self._hook(name))
        for owner in (network.unet, network.control):
            self._wrap(owner, "code")
        words: Any = network.words
        network.clip = lambda texts: (self._note("texts", len(texts)), words(texts))[1]

    def _note(self, name: str, rows: int) -> None:
        self.seen.setdefault(name, []).append(rows)

    def _hook(self, name: str) -> Any:
        return lambda module, inputs, output: self._note(name, len(inputs[0]))

    def _wrap(self, owner: Any, name: str) -> None:
        inner, label = getattr(owner, name), f"{type(owner).__name__}.{name}"

        def noted(first: Tensor, *others: Tensor) -> Tensor:
            self._note(label, len(first))
            found: Tensor = inner(first, *others)
            return found

        setattr(owner, name, noted)


@pytest.mark.parametrize(("guidance", "calls"), [(1.0, 1), (2.0, 2)])
def test_conditions_are_encoded_once_per_sample_and_memory_is_bounded(
    guidance: float, calls: int
) -> None:
    model = tiny(guidance=guidance, at_once=2, sampling_steps=2)
    data = samples()
    seen = Calls(model.module)
    with torch.no_grad():
        found = model.predict(data.given, replace(data.want, members=3)).values
    assert found.shape == (2, 3, 1, 3, 32, 32)
    assert seen.seen["stem"] == [2]
    assert seen.seen["texts"] == [2] * calls
    assert seen.seen["MetadataUNet.code"] == seen.seen["Control.code"] == [2] * calls
    # Six images, two at once, two steps; with guidance each step is two calls.
    assert seen.seen["unet"] == [2] * (3 * 2 * calls)


def test_words_change_the_image_after() -> None:
    """Before image + words → after image: one frame, and texts beside it."""
    model, data = tiny(), samples(context=1)
    outputs = []
    for text in ("", "after a flood", "after a fire"):
        given = with_texts(data, text)
        with torch.no_grad():
            outputs.append(model.predict(given, data.want).values)
    assert not torch.equal(outputs[0], outputs[1])
    assert not torch.equal(outputs[1], outputs[2])


def test_words_reach_it_in_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One frame, one date and the text of the wanted image, from a store to a table."""
    monkeypatch.setenv("RSBENCH_CACHE", str(tmp_path / "cache"))
    split = ("train", "val", "test", "test")
    store = toys.write_store(
        tmp_path / "a", size=32, years=2, floor=False, split=split, simulation=None
    )
    texts = {name: {"2018-07-01": f"after a flood of {name}"} for name in store.regions}
    told = add_texts(store, texts, tmp_path / "b")
    seen: list[str] = []

    def noted(word: bytes) -> int:
        seen.append(word.decode())
        return len(word)

    monkeypatch.setattr(_text, "crc32", noted)
    rules = tmp_path / "after.yaml"
    rules.write_text("name: after\ndescription: One date ahead.\ncontext: 1\nhorizon: 1\n"
                     "window: 32\nstride: 32\nsuite: [mse@1]\n")  # fmt: skip
    request = RunRequest(
        model="diffusionsat", preset="tiny", data=told.path, protocol=str(rules), budget="2steps",
        device="cpu", keep="none", options={"sampling_steps": 1}, out=tmp_path / "run",
    )  # fmt: skip
    scores = run_model(request).scores
    own = {"diffusionsat", "diffusionsat · shuffled", "diffusionsat · without branch"}
    assert own <= set(scores.units["model"])
    assert {"flood", *store.regions} <= {*seen}  # in training, validation and scoring


def with_texts(data: Samples, text: str) -> Any:
    return replace(data.given, texts=(text,) * len(data.want.samples))


SMALL = {**TOY, "in_channels": 4, "out_channels": 4}
SMALL_VAE = {"down_block_types": ("DownEncoderBlock2D",) * 4, "layers_per_block": 1,
             "up_block_types": ("UpDecoderBlock2D",) * 4, "block_out_channels": (8, 8, 8, 8),
             "latent_channels": 4, "norm_num_groups": 4, "scaling_factor": 0.5}  # fmt: skip


class Echo:
    """A text encoder for tests: the length of a text, in every place."""

    def __init__(self, source: Snapshot, folder: Path, width: int) -> None:
        self.width = width

    def __call__(self, texts: Any) -> Tensor:
        return torch.tensor([[[float(len(t))] * self.width] * 3 for t in texts])


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (_latent, generator):
        monkeypatch.setattr(module, "VAE", SMALL_VAE)
    monkeypatch.setattr(generator, "Clip", Echo)


def sizes(*frozen: str) -> Sizes:
    control = ControlSize(True, 0, strides=(2, 2, 2), widths=(8, 8, 8, 8), heads=(2, 8))
    return Sizes(SMALL, control, frozen=frozen)


def snapshot(folder: Path, drop: str = "", config: dict[str, Any] | None = None) -> MetadataUNet:
    """Write U-Net and VAE as the hub lays them out."""
    from safetensors.torch import save_file

    torch.manual_seed(1)
    network = unet(SMALL)
    for name, module, stated in (
        ("unet", network, {**SMALL, **(config or {})}),
        ("vae", _latent.vae(3), SMALL_VAE),
    ):
        (folder / name).mkdir(parents=True)
        (folder / name / "config.json").write_text(json.dumps(stated))
        state = {n: t.contiguous() for n, t in module.state_dict().items()
                 if not (drop and n.startswith(drop))}  # fmt: skip
        save_file(state, folder / name / f"{STEM}.safetensors")
    (folder / _text.ENCODER).mkdir()
    return network


@pytest.mark.usefixtures("small")
def test_a_released_prior_is_loaded_frozen_and_not_in_the_checkpoint(tmp_path: Path) -> None:
    theirs = snapshot(tmp_path)
    network = Generator(sizes("unet", "vae"), 3)
    assert network.unet.conv_in.weight.is_meta
    network.load(SOURCE, str(tmp_path))
    network.add_control(3)
    assert torch.equal(network.unet.conv_in.weight, theirs.conv_in.weight)
    assert torch.equal(network.control.conv_in.weight, theirs.conv_in.weight)
    assert {n.split(".")[0] for n, p in network.named_parameters() if p.requires_grad} == {
        "control"
    }
    saved = network.state_dict()
    assert not [n for n in saved if n.startswith(("unet.", "vae."))]
    network.load_state_dict(saved, strict=True)
    saved["base"] = saved["base"] + 1
    with pytest.raises(RuntimeError, match="another frozen prior"):
        network.load_state_dict(saved)


@pytest.mark.usefixtures("small")
def test_a_prior_that_is_trained_starts_from_stable_diffusion(tmp_path: Path) -> None:
    """Stable Diffusion has no embedders of metadata: they start new. Nothing else may be absent."""
    theirs = snapshot(tmp_path, drop="metadata_embedding.")
    network = Generator(sizes("vae"), 3)
    network.load(SOURCE, str(tmp_path))
    network.add_control(3)
    assert torch.equal(network.unet.conv_in.weight, theirs.conv_in.weight)
    assert not any(p.is_meta for p in network.parameters())
    assert [n for n in network.state_dict() if n.startswith("unet.metadata_embedding.")]
    with pytest.raises(InputError, match=r"28 absent, e\.g\. metadata_embedding.0.linear_1.bias"):
        Generator(sizes("unet", "vae"), 3).load(SOURCE, str(tmp_path))


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize(
    ("drop", "config", "said"),
    [
        ("conv_in.bias", {}, "1 absent, e.g. conv_in.bias"),
        ("", {"cross_attention_dim": 7}, "of another network: cross_attention_dim 7, not 16"),
    ],
)
def test_weights_of_another_layout_are_one_sentence(
    drop: str, config: dict[str, Any], said: str, tmp_path: Path
) -> None:
    snapshot(tmp_path, drop, config)
    for frozen in (("vae",), ("unet", "vae")):
        with pytest.raises(InputError, match=said):
            Generator(sizes(*frozen), 3).load(SOURCE, str(tmp_path))


def test_a_released_branch_is_loaded_by_name() -> None:
    model = tiny()
    state = {n: t + 1 for n, t in model.module.control.state_dict().items()}
    model.load_released(state)
    assert bool(model.module.copied)
    assert torch.equal(model.module.control.conv_in.bias, state["conv_in.bias"])
    del state["mixing_attns.0"]
    with pytest.raises(InputError, match=r"1 absent, e\.g\. mixing_attns.0"):
        model.load_released(state)


@pytest.mark.parametrize(
    ("preset", "options", "said"),
    [
        ("released", {}, "no folder with its weights is named"),
        ("paper", {"bands": 4}, "the frozen VAE takes 3"),
        ("paper", {"weights": "/nowhere"}, "config.json cannot be read"),
        ("tiny", {"steps": [1]}, "steps of 1 stages: there are 2"),
        ("tiny", {"sampling_steps": 2000}, "2000 sampling steps of a process of 1000"),
    ],
)
def test_options_that_cannot_be(
    preset: str, options: dict[str, Any], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("RSBENCH_WEIGHTS", raising=False)
    with pytest.raises(InputError, match=said):
        create_model("diffusionsat", preset, **options)
