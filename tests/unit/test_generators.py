"""CRS-Diff and Text2Earth: sizes, what they are told, and their text encoder."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import pytest
import torch

pytest.importorskip("diffusers")

from generator_toys import SOURCE, tiny

from rsbench.core.errors import InputError
from rsbench.models.api import Frames
from rsbench.models.contract_data import Samples, Shape, make_samples
from rsbench.models.registry import create_model
from rsbench.tasks.generate.example import CLASSES, EXAMPLE
from rsbench_baselines._text import ENCODER, TOKENIZER, Clip
from rsbench_baselines.crs_diff.model import coloured
from rsbench_baselines.crs_diff.network import numbers
from rsbench_baselines.text2earth.model import level_of

NAMES = ("crs_diff", "text2earth")


pytestmark = pytest.mark.usefixtures("one_thread")


def samples() -> Samples:
    return make_samples(Shape(2, 1, 1, 3, 32, made=EXAMPLE, classes=len(CLASSES)), masked=False)


def test_parts_of_crs_diff_have_the_published_numbers_of_parameters() -> None:
    with torch.device("meta"):
        model: Any = create_model("crs_diff", "paper")
    parts = {n: sum(p.numel() for p in m.parameters())
             for n, m in model.module.named_children()}  # fmt: skip
    assert parts["unet"] == 859_520_964
    assert parts["adapter"] == 419_462_288
    assert parts["content"] == 47_213_568
    assert parts["metadata"] == 2_876_160
    features = model.module.adapter.features
    assert sum(p.numel() for p in features.parameters()) == 8_210_528


def test_text2earth_has_the_u_net_of_stable_diffusion_with_levels() -> None:
    with torch.device("meta"):
        model: Any = create_model("text2earth", "paper")
    count = sum(p.numel() for p in model.module.unet.parameters())
    assert count - model.module.unet.class_embedding.weight.numel() == 865_910_724
    assert [level_of(gsd) for gsd in (128, 10, 1, 0.5, 30, 500, 0.1)] == [10, 14, 17, 18, 12, 0, 0]


def test_metadata_numbers_of_crs_diff_by_hand() -> None:
    """Another order and other ranges than DiffusionSat: 2002 is the middle of 1980 … 2024."""
    found = numbers(-90.0, 45.0, 2.5, 0.1, date(2002, 6, 31 - 1))
    assert found == pytest.approx((500, 500, 1000 * 30 / 31, 500, 100, 750, 250), abs=1e-6)


def test_classes_are_colours_in_the_last_map() -> None:
    one_hot = torch.eye(8).view(1, 8, 8, 1)  # a row per class
    maps = coloured(torch.cat([one_hot, torch.zeros(1, 8, 1, 1)], dim=2), 18)
    assert maps.shape == (1, 18, 9, 1)
    assert not maps[:, :15].any()
    rows = {tuple(row.tolist()) for row in maps[0, 15:, :, 0].T}
    assert len(rows) == 9  # eight classes and no class
    assert float(maps.max()) == 1.0


def test_at_the_start_maps_change_no_bit() -> None:
    model, data = tiny("crs_diff"), samples()
    network = model.module.eval()
    conditions = network.conditions(model.shown(data.given, data.want).inputs)
    noisy, times = torch.randn(2, network.codec.channels, 8, 8), torch.tensor([5, 500])
    with torch.no_grad():
        plain = network.unet(noisy, times, conditions.tokens, class_labels=conditions.added,
                             return_dict=False)[0]  # fmt: skip
        assert torch.equal(network.answer(conditions)(noisy, times), plain)
        network.adapter.middle_gate.bias.fill_(0.1)
        assert not torch.equal(network.answer(conditions)(noisy, times), plain)
        assert torch.equal(network.answer(conditions, controlled=False)(noisy, times), plain)
        (control,) = model.controls().values()
        drawn = [
            control.predict(given, data.want).values
            for given in (
                data.given,
                replace(data.given, frames=data.given.clone().each(inverted).frames),
            )
        ]
    assert torch.equal(*drawn)  # the map is not seen


def inverted(frames: Frames) -> Frames:
    return replace(frames, values=1 - frames.values)


def test_training_reaches_every_adapter() -> None:
    model, data = tiny("crs_diff"), samples()
    (stage,) = model.stages()
    model.loss(stage, data.given, data.want, data.truth)["total"].backward()
    without = {name.split(".")[0] for name, part in model.module.named_parameters()
               if part.grad is None and not name.endswith("key.bias")}  # fmt: skip
    assert without == set()
    gate = model.module.adapter.middle_gate.weight
    assert gate.grad is not None
    assert float(gate.grad.abs().max()) > 0


@pytest.mark.parametrize("name", NAMES)
def test_conditions_are_encoded_once_per_sample(name: str) -> None:
    model, data = tiny(name, at_once=2, sampling_steps=2), samples()
    network, seen = model.module, []
    network.words.register_forward_hook(lambda *_: seen.append("words"))
    network.unet.register_forward_hook(lambda _, inputs, __: seen.append(len(inputs[0])))
    if name == "crs_diff":
        network.adapter.features.register_forward_hook(lambda *_: seen.append("maps"))
        network.metadata.register_forward_hook(lambda *_: seen.append("metadata"))
    with torch.no_grad():
        found = model.predict(data.given, replace(data.want, members=3)).values
    assert found.shape == (2, 3, 1, 3, 32, 32)
    encoded = [one for one in seen if isinstance(one, str)]
    assert sorted(encoded) == (["maps", "metadata", "words"] if name == "crs_diff" else ["words"])
    assert [one for one in seen if not isinstance(one, str)] == [2] * 6


@pytest.mark.parametrize("name", NAMES)
def test_an_image_without_a_text_is_refused(name: str) -> None:
    data = samples()
    with pytest.raises(InputError, match="no text is given"):
        tiny(name).predict(replace(data.given, texts=()), data.want)


def test_a_map_of_other_classes_is_refused() -> None:
    data = samples()
    with pytest.raises(InputError, match=r"a map of 5 classes.*Build it with classes=5"):
        tiny("crs_diff", classes=4).predict(data.given, data.want)


@pytest.mark.parametrize("name", ["crs_diff", "satsynth", "class_mean"])
def test_a_map_of_another_grid_is_refused(name: str) -> None:
    model = create_model(name, classes=5) if name == "class_mean" else tiny(name, classes=5)
    data = samples()
    half = data.given.each(lambda f: replace(f, values=f.values[..., ::2, ::2],
                                             valid=f.valid[..., ::2, ::2]))  # fmt: skip
    with pytest.raises(InputError, match=r"the map labels has 16×16 px\. Bring the map"):
        model.predict(half, data.want)
    moved = {"labels": tuple(replace(g, crs="EPSG:32601") for g in data.given.grids["labels"])}
    with pytest.raises(InputError, match="the map labels is on another grid"):
        model.predict(replace(data.given, grids=moved), data.want)


@pytest.mark.parametrize(
    ("name", "options", "said"),
    [
        ("crs_diff", {"bands": 4}, "the frozen VAE takes 3"),
        ("text2earth", {"weights": "/nowhere"}, "config.json cannot be read"),
        ("crs_diff", {"weights": "/nowhere"}, "config.json cannot be read"),
    ],
)
def test_weights_that_are_not_there(name: str, options: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        create_model(name, "paper", **options)


def text_encoder(folder: Path, drop: str = "") -> Any:
    """Write a small text encoder and its tokenizer."""
    transformers = pytest.importorskip("transformers")
    from safetensors.torch import load_file, save_file

    config = transformers.CLIPTextConfig(
        vocab_size=6, hidden_size=16, intermediate_size=16, num_hidden_layers=1,
        num_attention_heads=2, max_position_embeddings=8, bos_token_id=0, eos_token_id=1,
    )  # fmt: skip
    model = transformers.CLIPTextModel(config).eval()
    model.save_pretrained(folder / ENCODER)
    if drop:
        path = folder / ENCODER / "model.safetensors"
        state = {n: t for n, t in load_file(path).items() if not n.endswith(drop)}
        save_file(state, path, metadata={"format": "pt"})
    (folder / TOKENIZER).mkdir(parents=True)
    words = ["<|startoftext|>", "<|endoftext|>", "a</w>", "b</w>", "a", "b"]
    vocabulary = {word: i for i, word in enumerate(words)}
    (folder / TOKENIZER / "vocab.json").write_text(json.dumps(vocabulary))
    (folder / TOKENIZER / "merges.txt").write_text("#version: 0.2\n")
    return model


def test_a_text_encoder_comes_from_its_files(tmp_path: Path) -> None:
    model = text_encoder(tmp_path)
    clip = Clip(SOURCE, tmp_path, 16)
    tokens = clip(("a b", ""))
    assert tokens.shape == (2, 8, 16)
    ids = torch.tensor([[0, 2, 3, 1, 1, 1, 1, 1]])
    torch.testing.assert_close(tokens[:1], model(ids)[0].detach())
    with pytest.raises(InputError, match="has width 16, the network takes 1024"):
        Clip(SOURCE, tmp_path, 1024)


def test_a_text_encoder_without_a_tensor_is_refused(tmp_path: Path) -> None:
    text_encoder(tmp_path, drop="final_layer_norm.weight")
    with pytest.raises(InputError, match=r"lacks .*final_layer_norm\.weight"):
        Clip(SOURCE, tmp_path, 16)
    with pytest.raises(InputError, match="cannot be loaded"):
        Clip(SOURCE, tmp_path / "nothing", 16)
