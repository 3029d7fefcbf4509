"""SatSynth: bit planes by hand, sizes, drawing under a map, and the pair of half the size."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rsbench.core.errors import InputError
from rsbench.models.contract_data import Shape, make_samples
from rsbench.models.registry import card, create_model
from rsbench_baselines.satsynth.bits import bits_of, codes, decode, encode
from rsbench_baselines.satsynth.model import JointDiffusion, Pair


@given(st.integers(2, 17), st.integers(0, 2**16))
@settings(max_examples=40, deadline=None)
def test_bit_planes_go_round(classes: int, seed: int) -> None:
    draw = torch.Generator().manual_seed(seed)
    indices = torch.randint(0, classes, (2, 3, 4), generator=draw)
    planes = encode(indices, classes)
    assert planes.shape == (2, bits_of(classes), 3, 4)
    assert set(planes.unique().tolist()) <= {-1.0, 1.0}
    noisy = planes + 0.9 * (2 * torch.rand(planes.shape, generator=draw) - 1)
    assert torch.equal(decode(planes, classes)[0], indices)
    found, illegal = decode(noisy, classes)
    assert torch.equal(found, indices)  # no bit crosses its threshold
    assert not illegal.any()


@pytest.mark.parametrize(("classes", "bits"), [(2, 1), (3, 2), (4, 2), (5, 3), (16, 4), (17, 5)])
def test_the_number_of_bits_is_the_logarithm_rounded_up(classes: int, bits: int) -> None:
    assert bits_of(classes) == bits
    assert codes(classes).shape == (classes, bits)
    assert len({tuple(code) for code in codes(classes).tolist()}) == classes


def test_an_illegal_code_becomes_the_nearest_class_and_is_counted() -> None:
    """Of 5 classes, (.9, .6, .2) reads 110₂ = 6; its nearest code is 100₂, then 010₂."""
    planes = 2 * torch.tensor([0.9, 0.6, 0.2])[None, :, None, None] - 1
    index, illegal = decode(planes, 5)
    assert index.item() == 4
    assert illegal.item()
    far = (planes[0, :, 0, 0] - codes(5)).square().sum(1) / 4
    assert far[4].item() == pytest.approx(0.41)
    assert far[2].item() == pytest.approx(1.01)


def test_one_class_is_refused() -> None:
    with pytest.raises(InputError, match="two classes or more"):
        create_model("satsynth", classes=1)


@pytest.mark.parametrize(("name", "preset", "count"), [
    ("satsynth", "tiny", 73_543), ("satsynth", "paper", 95_001_991),
    ("satsynth_sr", "tiny", 147_590), ("satsynth_sr", "paper", 190_012_046),
])  # fmt: skip
def test_sizes(name: str, preset: str, count: int) -> None:
    with torch.device("meta"):
        model = create_model(name, preset)
    assert isinstance(model, JointDiffusion)
    assert sum(p.numel() for p in model.module.parameters()) == count
    assert card(name).presets[preset].parameters == count


class Oracle(torch.nn.Module):
    """Returns the noise in pairs whose image is known: 0 everywhere, whatever the bits are."""

    def __init__(self, model: JointDiffusion) -> None:
        super().__init__()
        self.model = model
        self.seen: list[torch.Tensor] = []

    def forward(self, x: torch.Tensor, times: torch.Tensor) -> torch.Tensor:
        self.seen.append(x)
        kept = self.model._diffusion.alpha_bars[times[0]].sqrt()
        # The image is the mean of the bits, so that it shows which bits were set.
        bits = x[:, self.model._bands :] / kept
        image = bits.mean(1, keepdim=True).expand(-1, self.model._bands, -1, -1)
        clean = torch.cat([image, bits], dim=1).clamp(-1, 1)
        spread = (1 - kept**2).sqrt()
        return ((x - kept * clean) / spread).float()


def test_the_bits_of_the_map_are_set_before_every_step() -> None:
    model = create_model("satsynth", sampling_steps=6)
    assert isinstance(model, JointDiffusion)
    oracle = Oracle(model)
    model._network.pairs = oracle  # type: ignore[assignment]
    data = make_samples(Shape.of(card("satsynth"), samples=2), members=2)
    drawn = model.predict(data.given, data.want).values
    assert drawn.shape == (2, 2, 1, 4, 16, 16)
    labels = data.given.frames["labels"]
    known = labels.valid[:, 0, 0]
    planes = encode(labels.values[:, 0, 0].argmax(1), 5)
    last = oracle.seen[-1][:, 4:].unflatten(0, (2, 2))
    kept = model._diffusion.alpha_bars[0].sqrt()  # the last call is at time 0
    apart = (last / kept - planes[:, None])[known[:, None].expand_as(last)]
    assert float(apart.abs().max()) < 0.1  # set, but for the noise of the last step
    free = (last / kept - planes[:, None])[~known[:, None].expand_as(last)]
    assert float(free.abs().mean()) > 0.3
    other = torch.where(labels.valid, labels.values, 1 - labels.values)
    frames = {"labels": replace(labels, values=other)}
    again = model.predict(replace(data.given, frames=frames), data.want).values
    assert torch.equal(drawn, again)  # values without a class change no bit


def test_a_drawn_pair_has_legal_classes() -> None:
    model = create_model("satsynth_sr", sampling_steps=2)
    assert isinstance(model, JointDiffusion)
    data = make_samples(Shape.of(card("satsynth_sr"), samples=2), members=3)
    image, index, illegal = model.synthesise(data.given, data.want)
    assert image.values.shape == (2, 3, 1, 4, 16, 16)
    assert index.shape == illegal.shape == (2, 3, 16, 16)
    assert int(index.max()) < 5
    assert 0 < float(illegal.float().mean()) < 1  # untrained bits are often no class
    assert not torch.equal(image.values[:, 0], image.values[:, 1])


def test_half_the_size_is_the_mean_of_valid_blocks() -> None:
    values = torch.arange(16.0).view(1, 1, 4, 4).repeat(1, 2, 1, 1)
    valid = torch.ones(1, 2, 4, 4).bool()
    valid[0, :, 0, 0] = False
    small = Pair(values, valid).halved(1)
    assert small.values[0, 0].tolist() == [[0, 4.5], [10.5, 12.5]]
    assert small.values[0, 1].tolist() == [[0, 2], [8, 10]]
    assert small.valid[0, 0].tolist() == [[False, True], [True, True]]


def test_the_range_of_the_training_pixels_goes_round() -> None:
    model = create_model("satsynth")
    assert isinstance(model, JointDiffusion)
    data = make_samples(Shape.of(card("satsynth"), samples=4), masked=False)
    scale, fit = model.stages()
    assert scale.closed_form
    model.solve(scale, [(data.given, data.want, data.truth)])
    image = data.truth.values[:, 0, 0]
    scaled = model._network.range.scaled(image)
    assert float(scaled.min()) == pytest.approx(-1)
    assert float(scaled.max()) == pytest.approx(1)
    assert torch.allclose(model._network.range.physical(scaled), image, atol=1e-6)
    total = model.loss(fit, data.given, data.want, data.truth)["total"]
    assert float(total.detach()) == pytest.approx(1, abs=0.05)  # the output starts at 0
