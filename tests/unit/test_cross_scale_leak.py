"""The hidden class is told from grass with the aerial image, and never without it."""

from __future__ import annotations

from functools import cache

import pytest
import torch
from torch import Tensor

from rsbench.build.kinds.pairs.recipe import pairs_recipe
from rsbench.catalog import load_recipe
from rsbench.metrics import compute_pooled
from rsbench.models.checkpoint_files import tensors_digest
from rsbench.simulate.pair_scenes import BANDS, PHOTO, RIM, Cover, pair_scene
from rsbench.training.signals import seeded
from rsbench_baselines.cross_scale.heads import Lda, head
from rsbench_baselines.cross_scale.ijepa import IJepa
from rsbench_baselines.cross_scale.options import SIZES, Pretraining

TRAIN, TEST = (
    ("sim-01", "sim-02", "sim-03", "sim-04", "sim-05", "sim-06"),
    ("sim-30", "sim-31", "sim-32"),
)
SIDE, STEPS = 32, 50


@cache
def scene(name: str) -> tuple[Tensor, Tensor, Tensor]:
    """Satellite image (C, 96, 96), aerial image (C, 384, 384) in its bands, and one-hot classes."""
    spec = pairs_recipe(load_recipe("demo-pairs")).simulated
    assert spec is not None
    made = pair_scene(spec, name)
    inner = slice(RIM, -RIM)
    order = [PHOTO.index(band) for band in BANDS]
    photo = torch.from_numpy(made.photo()[order].astype("float32"))
    labels = torch.from_numpy(made.labels[inner, inner].astype("int64")) - 1
    truth = torch.nn.functional.one_hot(labels, len(Cover)).permute(2, 0, 1).float()
    image = torch.from_numpy(made.frame().values.astype("float32"))[:, inner, inner]
    return image, photo[:, 4 * RIM : -4 * RIM, 4 * RIM : -4 * RIM], truth


def tiles(image: Tensor, side: int) -> Tensor:
    """Cut ``(C, H, W)`` into ``(n, C, side, side)``."""
    C = image.shape[0]
    return (
        image.unfold(1, side, side)
        .unfold(2, side, side)
        .flatten(1, 2)
        .movedim(1, 0)
        .reshape(-1, C, side, side)
    )


def shown(names: tuple[str, ...], place: int, side: int) -> Tensor:
    return torch.cat([tiles(scene(name)[place], side) for name in names])


def standardised(image: Tensor, like: Tensor) -> Tensor:
    mean, deviation = (f(like.movedim(1, 0).flatten(1), 1) for f in (torch.mean, torch.std))
    return (image - mean[:, None, None]) / deviation[:, None, None]


def encoder(steps: int = 0) -> IJepa:
    """An encoder, pretrained for some steps with an affinity to the aerial images."""
    return pretrained(steps)[0]


@cache
def pretrained(steps: int) -> tuple[IJepa, list[dict[str, float]]]:
    """The encoder, and the terms of its loss at every step."""
    options = Pretraining(affinity="gram", teach="hr")
    with seeded(1):
        network = IJepa(SIZES["ijepa", "tiny"], options, steps=max(steps, 1))
    terms: list[dict[str, float]] = []
    if not steps:
        return network, terms
    mr, hr = shown(TRAIN, 0, SIDE), shown(TRAIN, 1, 4 * SIDE)
    mr, hr = standardised(mr, mr), standardised(hr, hr)
    draw = torch.Generator().manual_seed(2)
    optimiser = torch.optim.AdamW(network.parameters(), lr=1e-3)
    for _ in range(steps):
        chosen = torch.randperm(len(mr), generator=draw)[:8]
        found = network.loss(mr[chosen], hr[chosen], draw)
        found["total"].backward()  # type: ignore[no-untyped-call]
        terms.append({name: float(term.detach()) for name, term in found.items()})
        optimiser.step()
        optimiser.zero_grad()
    return network, terms


@torch.no_grad()
def probed(network: IJepa, place: int, train: tuple[str, ...], test: tuple[str, ...]) -> Tensor:
    """Return class probabilities of the test tiles, from one sensor's images."""
    side = SIDE if place == 0 else 4 * SIDE
    known = shown(train, place, side)
    head = Lda(64, len(Cover))
    truth = shown(train, 2, SIDE)
    maps = network.encode(standardised(known, known))
    head.solve(head.statistics(maps, truth, torch.ones_like(truth[:, :1]).bool()))
    maps = network.encode(standardised(shown(test, place, side), known))
    return torch.as_tensor(head(maps, (SIDE, SIDE)).softmax(1))


def balanced(share: Tensor, truth: Tensor, one: Cover, other: Cover) -> float:
    """Return the balanced accuracy of two classes on their pixels, by the more probable of both."""
    says = (share[:, other - 1] > share[:, one - 1]).float()
    rates = [says[truth[:, k - 1] > 0].mean() for k in (one, other)]
    return float((1 - rates[0] + rates[1]) / 2)


@pytest.mark.parametrize("steps", [0, STEPS])
def test_no_encoder_of_satellite_images_tells_the_hidden_class_from_grass(steps: int) -> None:
    """Also where its training saw the aerial images."""
    share, truth = probed(encoder(steps), 0, TRAIN, TEST), shown(TEST, 2, SIDE)
    assert 0.45 <= balanced(share, truth, Cover.GRASS, Cover.HIDDEN) <= 0.55


def test_the_aerial_image_tells_all_classes() -> None:
    """Eight windows are learnt, and the hidden class is told from grass elsewhere."""
    share, truth = probed(encoder(), 1, TRAIN[:2], TEST[:1]), shown(TEST[:1], 2, SIDE)
    assert balanced(share, truth, Cover.GRASS, Cover.HIDDEN) >= 0.95
    assert compute_pooled(["miou@1"], share, truth)["miou@1"].value >= 0.84


def test_the_affinity_falls_without_a_collapse() -> None:
    terms = pretrained(STEPS)[1]
    assert terms[-1]["affinity"] <= terms[0]["affinity"] / 5
    assert terms[-1]["token_cosine"] <= 0.8
    assert terms[-1]["effective_rank"] >= 8


def test_a_probe_learns_eight_windows_by_heart() -> None:
    """One layer over the frozen tokens of the aerial images; the encoder stays as it is."""
    network, known = encoder(), shown(TRAIN[:1], 1, 4 * SIDE)[:8]
    before = tensors_digest(network.state_dict())
    truth = shown(TRAIN[:1], 2, SIDE)[:8]
    with torch.no_grad():
        maps = network.encode(standardised(known, known))
    with seeded(3):
        probe = head("linear", width=64, classes=len(Cover), pixels=1)
    optimiser = torch.optim.Adam(probe.parameters(), lr=0.03)
    for _ in range(100):
        loss = torch.nn.functional.cross_entropy(probe(maps, (SIDE, SIDE)), truth)
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        optimiser.zero_grad()
    share = probe(maps, (SIDE, SIDE)).softmax(1).detach()
    assert compute_pooled(["miou@1"], share, truth)["miou@1"].value >= 0.95
    assert tensors_digest(network.state_dict()) == before
