"""Fusion networks as models: scaling, turning, members, seeded noise, options."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, cast

import pytest
import torch
from torch import Tensor

from rsbench.core.errors import InputError
from rsbench.evaluation.gate.waivers import ROW
from rsbench.models.api import Frames, Trainable
from rsbench.models.checkpoint import NOTE, load_into, load_tensors
from rsbench.models.contract_data import Samples, Shape, make_samples
from rsbench.models.registry import card, create_model
from rsbench.models.rollout import collect
from rsbench_baselines.fusion_images import UNSIGNED, Scene, any_way, mirrored
from rsbench_baselines.mlff_gan.model import Sample

if TYPE_CHECKING:
    from rsbench.store.read import Store

SAMPLERS = ("sa_stf", "rddm", "stfdiff")
NETWORKS = (*SAMPLERS, "swinstfm", "mlff_gan", "stfmamba")


def samples(name: str = "sa_stf", *, members: int = 1, count: int = 2, seed: int = 0) -> Samples:
    shape = Shape.of(card(name).of("tiny"), samples=count)
    return make_samples(shape, members=members, seed=seed)


def scaled_by(frames: Frames, factor: float) -> Frames:
    low, high = frames.value_range
    return replace(frames, values=frames.values * factor, value_range=(low * factor, high * factor))


def test_a_scene_shows_the_range_as_the_domain_and_answers_back() -> None:
    data = samples()
    scene = Scene.of(data.given, data.want, references=2)
    fine = data.given.frames[data.want.sensor]
    torch.testing.assert_close(
        scene.fine[0][fine.valid[:, 0, 0].expand_as(scene.fine[0])],
        2 * fine.values[:, 0, 0][fine.valid[:, 0, 0].expand_as(scene.fine[0])] - 1,
    )
    answer = scene.answer(scene.c1, data.want)
    assert answer.values.shape == (2, 1, 1, 4, 32, 32)
    shares = Scene.of(data.given, data.want, references=2, domain=UNSIGNED)
    torch.testing.assert_close(answer.values[:, 0, 0], shares.c1)
    percent = {n: scaled_by(f, 100) for n, f in data.given.frames.items()}
    other = Scene.of(replace(data.given, frames=percent), data.want, references=2)
    torch.testing.assert_close(other.c1, scene.c1)
    torch.testing.assert_close(other.answer(other.c1, data.want).values, 100 * answer.values)


def test_dates_not_their_places_decide_which_image_is_which() -> None:
    data = samples()
    scene = Scene.of(data.given, data.want, references=2)
    low = next(f for n, f in data.given.frames.items() if n != data.want.sensor)
    valid = low.valid[:, 0, 1].expand_as(scene.c1)
    torch.testing.assert_close(scene.c1[valid], 2 * low.values[:, 0, 1][valid] - 1)
    valid = low.valid[:, 0, 2].expand_as(scene.c1)
    torch.testing.assert_close(scene.coarse[1][valid], 2 * low.values[:, 0, 2][valid] - 1)


def test_invalid_truth_shows_the_coarse_target() -> None:
    data = samples()
    scene = Scene.of(data.given, data.want, references=2)
    valid = torch.zeros_like(data.truth.valid)
    valid[..., :16, :] = True
    broken = torch.where(valid, data.truth.values, torch.nan)
    clean, seen = scene.target(replace(data.truth, values=broken, valid=valid), data.want)
    assert torch.equal(clean[..., 16:, :], scene.c1[..., 16:, :])
    torch.testing.assert_close(clean[..., :16, :], 2 * data.truth.values[:, 0, 0, :, :16] - 1)
    assert seen.shape == clean.shape
    assert int(seen.sum()) == seen.numel() // 2


@pytest.mark.parametrize("turn", [mirrored, any_way])
def test_all_images_of_a_sample_turn_alike_and_samples_on_their_own(turn: object) -> None:
    assert callable(turn)
    image = torch.arange(16.0).view(1, 1, 4, 4).expand(64, 1, 4, 4)
    torch.manual_seed(0)
    one, two = turn([image, -image])
    assert torch.equal(one, -two)
    ways = {tuple(sample.flatten().tolist()) for sample in one}
    assert len(ways) == (2 if turn is mirrored else 8)
    assert all(sorted(way) == list(range(16)) for way in ways)


def test_a_wrong_number_of_references_members_or_bands_is_refused() -> None:
    data = samples()
    with pytest.raises(ValueError, match="2 reference dates: this network takes 1"):
        Scene.of(data.given, data.want, references=1)
    several = {
        n: replace(f, values=f.values.expand(-1, 2, -1, -1, -1, -1),
                   valid=f.valid.expand(-1, 2, -1, -1, -1, -1))
        for n, f in data.given.frames.items()
    }  # fmt: skip
    with pytest.raises(ValueError, match="fusion of 2 members of each image"):
        Scene.of(replace(data.given, frames=several), data.want, references=2)
    with pytest.raises(ValueError, match="built for 3 bands"):
        create_model("sa_stf", "tiny", bands=3).predict(data.given, data.want)
    with pytest.raises(InputError, match="schedule=cosine: it is unknown"):
        create_model("sa_stf", "tiny", schedule="cosine")


def predicted(name: str, data: Samples) -> Tensor:
    torch.manual_seed(3)
    model = create_model(name, "tiny", bands=4)
    return collect(model, card(name).of("tiny"), data.given, data.want).values


@pytest.mark.parametrize("name", SAMPLERS)
def test_members_differ_by_their_noise_alone(name: str) -> None:
    three = predicted(name, samples(name, members=3))
    one = predicted(name, samples(name, members=1))
    torch.testing.assert_close(three[:, :1], one, rtol=0, atol=1e-5)
    assert not torch.allclose(three[:, 0], three[:, 1], atol=1e-4)
    data = samples(name, members=1)
    seeded = replace(data, want=replace(data.want, noise=samples(name, seed=5).want.noise))
    assert not torch.allclose(predicted(name, seeded), one, atol=1e-4)


@pytest.mark.parametrize("name", NETWORKS)
def test_the_published_presets_count_for_the_bands_of_the_data(name: str) -> None:
    with torch.device("meta"):
        six, three = (create_model(name, "paper", bands=bands) for bands in (6, 3))
    assert isinstance(six, Trainable)
    assert isinstance(three, Trainable)
    counts = [sum(p.numel() for p in m.module.parameters()) for m in (six, three)]
    assert counts[0] == card(name).presets["paper"].parameters > counts[1]


def test_the_weight_of_alignment_rises_with_the_samples_seen() -> None:
    model = create_model("sa_stf", "tiny", bands=4, steps=10, batch_size=2)
    assert isinstance(model, Trainable)
    data, stage = samples(), model.stages()[0]
    totals = []
    model.module.train()
    for _ in range(6):
        parts = model.loss(stage, data.given, data.want, data.truth)
        share = (parts["total"] - parts["absolute"]) / parts["alignment"]
        totals.append(share.item())
    # Half a cosine over half of the 20 samples; two at a time.
    assert totals[0] == pytest.approx(0, abs=1e-7)
    assert totals[5] == pytest.approx(1e-4, rel=0.02)
    assert totals == sorted(totals)
    model.module.eval()
    model.loss(stage, data.given, data.want, data.truth)
    assert int(model.module.state_dict()["seen"]) == 12


def test_dates_are_exchanged_with_their_masks_sample_by_sample() -> None:
    parts = [torch.full((40, 1, 2, 2), float(i)) for i in range(4)]
    seen, valid = torch.zeros(40, 1, 2, 2).bool(), torch.ones(40, 1, 2, 2).bool()
    torch.manual_seed(0)
    found = Sample(*parts, valid).swapped(seen)
    turned = found.c0[:, 0, 0, 0] == 2
    assert 10 < int(turned.sum()) < 30
    for row, turn in enumerate(turned):
        order = [2.0, 3.0, 0.0, 1.0] if turn else [0.0, 1.0, 2.0, 3.0]
        values = [t[row].unique().tolist() for t in (found.c0, found.f0, found.c1, found.f1)]
        assert values == [[v] for v in order]
        assert bool(found.valid[row].all()) is not bool(turn)


def test_stfmamba_answers_and_learns_from_all_four_images() -> None:
    data = samples("stfmamba", members=2)
    two = predicted("stfmamba", data)
    assert torch.equal(two[:, 0], two[:, 1])
    model = create_model("stfmamba", "tiny", bands=4)
    assert isinstance(model, Trainable)
    parts = dict(model.loss(model.stages()[0], data.given, data.want, data.truth))
    total = parts.pop("total")
    assert len(parts) == 4
    torch.testing.assert_close(total, torch.stack(list(parts.values())).sum())
    total.backward()
    for name, parameter in model.module.named_parameters():
        assert parameter.grad is not None, name


EARLIER = {
    "swinstfm": "coarse.norms.0.weight",
    "mlff_gan": "generator.coarse.convs.0.weight",
    "stfmamba": "encoder.norm.weight",
}
"""One tensor of each network as it was before it was rebuilt."""
SAME_NAMES = ("stfdiff", "rddm", "mcvd")
"""Networks that compute otherwise than before; their tensors kept names and shapes."""
REVISED = (*EARLIER, *SAME_NAMES)


@pytest.mark.parametrize("recorded", [True, False])
@pytest.mark.parametrize("name", REVISED)
def test_weights_of_the_earlier_network_are_refused_by_name(
    name: str, recorded: bool, tmp_path: Path
) -> None:
    """Their preset had no revision, or its options were not yet recorded."""
    options = {n: v for n, v in card(name).presets["tiny"].options.items() if n != "revision"}
    note = {
        "schema": 1, "model": name, "preset": "tiny", "options": {"bands": 4}, "dataset": "demo",
        "dataset_digest": "0" * 64, "scheme": "space", "sensor": "oli", "bands": ["a"] * 4,
        "context": 1, "window": 32, "regions": [], "selected_on": [], "seed": 0, "steps": 1,
        "stages": [], "precision": "32-true", "budget": None, "selection": {}, "plan": "0" * 64,
        "weights_digest": "0" * 64, "preset_options": options if recorded else None, "history": [],
    }  # fmt: skip
    (tmp_path / NOTE).write_text(json.dumps(note))
    model = create_model(name, "tiny", bands=4)
    asked = rf"checkpoint {tmp_path} for {name}, preset tiny: the preset had other options .*"
    asked += r"\(network revision 1, now 2\)"
    with pytest.raises(InputError, match=asked) as refused:
        load_into(model, tmp_path, cast("Store", None), split=None)
    assert "Train again" in str(refused.value)


@pytest.mark.parametrize("name", EARLIER)
def test_tensors_of_a_rebuilt_network_have_other_names(name: str) -> None:
    model = create_model(name, "tiny", bands=4)
    assert isinstance(model, Trainable)
    tensors = {EARLIER[name] if i == 0 else n: t for i, (n, t) in enumerate(
        model.module.state_dict().items())}  # fmt: skip
    with pytest.raises(InputError, match=f"{EARLIER[name]} is not of this model"):
        load_tensors(model, tensors, "the checkpoint")


@pytest.mark.parametrize("name", REVISED)
def test_rows_of_a_revised_network_are_other_rows_than_before(name: str) -> None:
    """A table states the revision among the inputs, which are part of a row's identity."""
    model = create_model(name, "tiny", bands=4)
    assert getattr(model, "inputs", None) == "network revision 2"
    assert {p.options["revision"] for p in card(name).presets.values()} == {2}
    assert "inputs" in ROW
