"""The toy VAE and transformer of latent diffusion before their first training step."""

from __future__ import annotations

import json
from pathlib import Path
from typing import cast

import pytest
import torch
from torch.nn import functional as F

pytest.importorskip("diffusers")

from rsbench.core.errors import InputError
from rsbench.models.checkpoint import NOTE, load_into
from rsbench.models.registry import card, create_model
from rsbench.store.read import Store
from rsbench_baselines.sat_jepa_diff.adapter import Conditions
from rsbench_baselines.sat_jepa_diff.network import Autoencoder, Generator
from rsbench_baselines.sat_jepa_diff.sizes import LARGE, SMALL

TOYS = ("sat_jepa_diff", "sd35", "vae_roundtrip", "random_adapter")


def land(bands: int, side: int = 32) -> torch.Tensor:
    """Return two images in shares of the range times the gain, with detail in every pixel."""
    generator = torch.Generator().manual_seed(bands)
    smooth = F.interpolate(torch.rand(2, bands, 4, 4, generator=generator), size=side)
    return 0.1 + 0.3 * smooth + 0.02 * torch.randn(2, bands, side, side, generator=generator)


@pytest.mark.parametrize("bands", [1, 3, 4, 8])
@torch.no_grad()
def test_the_vae_starts_as_the_mean_of_each_cell(bands: int) -> None:
    """Without a training step the round trip loses the differences within a cell, and an offset."""
    torch.manual_seed(0)
    latents = Autoencoder(SMALL, bands).eval().latents
    image = land(bands)
    assert (latents.channels, latents.side) == (8, 2)
    found = latents.decode(latents.posterior(image)[0])
    mean = F.interpolate(F.avg_pool2d(image, 2), scale_factor=2)
    offset = (found - mean).mean(dim=(0, 2, 3), keepdim=True)
    assert float(offset.abs().max()) < 0.08
    assert float((found - offset - mean).std()) < 0.1 * float(image.std())
    assert float((found - offset - image).std()) < 0.4 * float(image.std())


@torch.no_grad()
def test_noise_passes_the_toy_transformer_from_the_first_step() -> None:
    torch.manual_seed(0)
    network = Generator(SMALL, 3, kind=None)
    x = torch.randn(2, network.latents.channels, 16, 16)
    found = network.velocity(x, torch.full((2,), 0.9), Conditions(*network.prompt(2)))
    assert float(torch.corrcoef(torch.stack([found.flatten(), x.flatten()]))[0, 1]) > 0.8


def test_the_published_vae_keeps_its_cells() -> None:
    with torch.device("meta"):
        latents = Autoencoder(LARGE, 3).latents
    assert (latents.channels, latents.side) == (16, 8)


@pytest.mark.parametrize("name", TOYS)
def test_toy_presets_state_the_revision_and_large_ones_do_not(name: str) -> None:
    """Checkpoints and rows of the earlier toy networks are not taken for those of today."""
    model = create_model(name, "tiny", bands=3)
    assert str(getattr(model, "inputs", None)).endswith("network revision 2")
    presets = card(name).presets
    revised = {n: p.options.get("revision") for n, p in presets.items()}
    assert revised == {n: 2 if n.startswith("tiny") else None for n in presets}


@pytest.mark.parametrize("name", TOYS)
def test_checkpoints_of_the_earlier_toy_networks_are_refused_by_name(
    name: str, tmp_path: Path
) -> None:
    presets = card(name).presets["tiny"].options
    note = {
        "schema": 1, "model": name, "preset": "tiny", "options": {"bands": 3}, "dataset": "demo",
        "dataset_digest": "0" * 64, "scheme": "space", "sensor": "s2", "bands": ["a"] * 3,
        "context": 1, "window": 32, "regions": [], "selected_on": [], "seed": 0, "steps": 1,
        "stages": [], "precision": "32-true", "budget": None, "selection": {}, "plan": "0" * 64,
        "weights_digest": "0" * 64, "history": [],
        "preset_options": {n: v for n, v in presets.items() if n != "revision"},
    }  # fmt: skip
    (tmp_path / NOTE).write_text(json.dumps(note))
    asked = rf"{tmp_path} for {name}, preset tiny: .*\(network revision 1, now 2\)"
    with pytest.raises(InputError, match=asked) as refused:
        load_into(create_model(name, "tiny", bands=3), tmp_path, cast(Store, None), split=None)
    assert "Train again" in str(refused.value)
