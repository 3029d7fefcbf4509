"""Similarity of images and texts by a small network in files of CLIP's layout."""

from __future__ import annotations

import json
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import segment_toys as toys
import torch
from torch import Tensor

if find_spec("transformers") is None:
    pytest.skip("transformers is not installed", allow_module_level=True)

import rsbench as rb
from rsbench.core.digest import sha256_file
from rsbench.core.errors import MetricUnavailable
from rsbench.metrics import clip
from rsbench.models.registry import create_model
from rsbench.tasks.settings import cases, evaluation_config

WORDS = ("<|startoftext|>", "<|endoftext|>", "a</w>", "b</w>", "a", "b")
MEAN, SPREAD, SIDE = (0.5, 0.4, 0.3), (0.2, 0.3, 0.4), 32


def network() -> Any:
    """Return a small CLIP network with random weights."""
    import transformers

    torch.manual_seed(0)
    sizes = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1,
             "num_attention_heads": 2}  # fmt: skip
    text = {**sizes, "vocab_size": len(WORDS), "max_position_embeddings": 8, "bos_token_id": 0,
            "eos_token_id": 1}  # fmt: skip
    vision = {**sizes, "image_size": SIDE, "patch_size": 16}
    config = transformers.CLIPConfig(text_config=text, vision_config=vision, projection_dim=4)
    return transformers.CLIPModel(config).eval()


def written(folder: Path) -> Any:
    """Write the network with its tokenizer and the preparation of images."""
    model = network()
    model.save_pretrained(folder)
    vocabulary = {word: i for i, word in enumerate(WORDS)}
    (folder / "vocab.json").write_text(json.dumps(vocabulary))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    size = {"height": SIDE, "width": SIDE}
    for name, content in (
        ("tokenizer_config.json", {"tokenizer_class": "CLIPTokenizer", "model_max_length": 8,
                                   "pad_token": WORDS[1], "unk_token": WORDS[1]}),
        ("preprocessor_config.json", {"image_processor_type": "CLIPImageProcessor",
                                      "crop_size": size, "size": {"shortest_edge": SIDE},
                                      "image_mean": MEAN, "image_std": SPREAD}),
    ):  # fmt: skip
        (folder / name).write_text(json.dumps(content))
    return model


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("RSBENCH_WEIGHTS", str(tmp_path))
    monkeypatch.setattr(clip, "folders", lambda: (tmp_path,))
    clip._loaded.cache_clear()
    yield tmp_path / clip.FOLDER
    clip._loaded.cache_clear()


def cosines(model: Any, images: Tensor, tokens: list[list[int]]) -> Tensor:
    """Return cosines from the two towers and their projections, without the processor."""
    mean, spread = (torch.tensor(part)[:, None, None] for part in (MEAN, SPREAD))
    found = []
    with torch.no_grad():
        for image, ids in zip(images, tokens, strict=True):
            seen = model.vision_model(pixel_values=((image - mean) / spread)[None]).pooler_output
            read = model.text_model(input_ids=torch.tensor([ids])).pooler_output
            a = (model.visual_projection.weight @ seen[0]).double()
            b = (model.text_projection.weight @ read[0]).double()
            found.append((a @ b) / (a.norm() * b.norm()))
    return torch.stack(found)


def test_the_value_is_the_cosine_of_both_embeddings(place: Path) -> None:
    model, images = written(place), torch.rand(2, 3, SIDE, SIDE)
    assert clip.absence() is None
    found = clip.similarity(images, ["a b", "b"])
    expected = cosines(model, images, [[0, 2, 3, 1], [0, 3, 1]])
    torch.testing.assert_close(found.double(), expected, rtol=1e-5, atol=1e-6)
    assert float((expected[0] - expected[1]).abs()) > 1e-3
    assert clip.weights() == {
        "file": "clip/model.safetensors", "sha256": sha256_file(place / "model.safetensors"),
    }  # fmt: skip


def test_a_table_has_its_mean_and_states_the_weights(place: Path, tmp_path: Path) -> None:
    written(place)
    store = toys.write_store(tmp_path / "store", regions=5)
    scores = rb.evaluate(create_model("class_mean", classes=3), store, "generate",
                         suite="text.image@1")  # fmt: skip
    assert scores.run.extra["metric_weights"]["clip"] == clip.weights()
    table = scores.table()
    rows = table[(table["model"] == "real") & (table["metric"] == "text.image@1")]
    config = evaluation_config(store, "generate")
    expected = []
    for case in cases(config):
        image, valid = case.truth[:, 0, [2, 1, 0]], case.valid[:, 0]
        mean = (image * valid).sum((-1, -2)) / valid.sum((-1, -2))
        shown = torch.where(valid, image, mean[..., None, None])
        shown = (shown / 0.6).clamp(0, 1) ** (1 / 2.2)  # display@1
        expected.append(clip.similarity(shown, case.given.texts))
    assert float(rows["value"].iloc[0]) == pytest.approx(
        float(torch.cat(expected).mean()), abs=1e-5
    )


def without(folder: Path, name: str) -> None:
    from safetensors.torch import load_file, save_file

    path = folder / "model.safetensors"
    save_file({n: t for n, t in load_file(path).items() if n != name}, path, {"format": "pt"})


def test_a_folder_that_is_no_network_is_one_sentence(place: Path) -> None:
    written(place)
    (place / "preprocessor_config.json").rename(place / "moved")
    assert str(clip.absence()).endswith("clip lacks preprocessor_config.json")
    (place / "moved").rename(place / "preprocessor_config.json")
    without(place, "text_projection.weight")
    with pytest.raises(MetricUnavailable, match=r"lacks text_projection\.weight"):
        clip.similarity(torch.rand(1, 3, SIDE, SIDE), ["a"])
    (place / "model.safetensors").write_bytes(b"\x08" + bytes(15))
    with pytest.raises(MetricUnavailable, match=r"cannot be loaded \(SafetensorError\)"):
        clip.similarity(torch.rand(1, 3, SIDE, SIDE), ["a"])
