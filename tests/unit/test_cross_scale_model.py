"""Cross-scale pretraining as a model: stages, statistics, heads, and what only training sees."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import segment_toys as toys
import torch
import train_toys as tt
from torch import Tensor

import rsbench as rb
from rsbench.catalog import load_protocol
from rsbench.core.errors import InputError
from rsbench.evaluation.fit import fit, training_pairs
from rsbench.models import registry
from rsbench.models.api import Frames
from rsbench.models.checkpoint import load_into
from rsbench.models.contract_data import Shape, make_samples
from rsbench.models.registry import create_model
from rsbench.models.rollout import collect
from rsbench.store.read import Store
from rsbench.tasks.settings import evaluation_config
from rsbench.training.options import Options
from rsbench.training.train import Interrupted, TrainRequest, TrainResult, fresh_model, train
from rsbench_baselines.cross_scale.model import CrossScale
from rsbench_baselines.standardise import Standardise, added, sums_of

CLASSES = ("water", "trees", "crops")


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return toys.write_store(tmp_path_factory.mktemp("pairs") / "store", regions=10)


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RSBENCH_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


def model(preset: str = "tiny_ijepa_sa", **options: Any) -> CrossScale:
    steps = {} if preset == "tiny_random" else {"steps": 4}
    made = fresh_model("cross_scale", preset, seed=0, bands=4, classes=3, **steps, **options)
    assert isinstance(made, CrossScale)
    return made


def run(
    made: CrossScale, data: Store, preset: str = "tiny_ijepa_sa", *, progress: Any = None,
    **changes: Any,
) -> TrainResult:  # fmt: skip
    request = TrainRequest(
        preset=preset, protocol=load_protocol("segment"), sensor=toys.MR, bands=CLASSES, context=1,
        device="cpu", **changes,
    )  # fmt: skip
    card = registry.card("cross_scale").of(preset)
    return train(made, card, data, request, progress=progress)


def weights(result: TrainResult, part: str) -> dict[str, Tensor]:
    from safetensors.torch import load_file

    found = load_file(result.checkpoint / "weights.safetensors")
    return {name: tensor for name, tensor in found.items() if name.startswith(part)}


def same(one: dict[str, Tensor], two: dict[str, Tensor]) -> bool:
    return one.keys() == two.keys() and all(torch.equal(one[n], two[n]) for n in one)


@pytest.fixture(scope="module")
def solved(store: Store) -> TrainResult:
    return run(model(), store)


def test_a_checkpoint_holds_statistics_encoder_and_head(store: Store, solved: TrainResult) -> None:
    assert solved.history[0]["stage"] == "statistics"
    assert solved.steps == 1 + 4 + 1
    fresh = model()
    load_into(fresh, solved.checkpoint, store, split="test")
    table = rb.evaluate(fresh, store, "segment").table().set_index(["model", "metric", "band"])
    assert table.loc["cross_scale", "inputs"].iloc[0].endswith("finer images in training")
    score = float(table.loc[("cross_scale", "miou@1", "all"), "value"])
    assert score > float(table.loc[("majority", "miou@1", "all"), "value"])
    assert ("random_encoder", "miou@1", "all") in table.index  # in every table of the task
    for name, sensor in (("mr", toys.MR), ("hr", toys.HR)):
        values = [store.read_physical(region, sensor)[0] for region in store.split("train")]
        seen = [
            store.read(region, sensor, array="valid")[:, None] for region in store.split("train")
        ]
        kept = torch.cat([
            torch.as_tensor(v).movedim(1, -1)[torch.as_tensor(s)[:, 0]]
            for v, s in zip(values, seen, strict=True)
        ]).double()  # fmt: skip
        scale = fresh.module.get_submodule(f"scale.{name}")
        torch.testing.assert_close(scale.mean.double(), kept.mean(0), rtol=1e-5, atol=1e-6)
        wanted = kept.std(0, unbiased=False)
        torch.testing.assert_close(scale.deviation.double(), wanted, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("head", ["linear", "linear.p2", "upernet", "knn"])
def test_another_head_takes_the_same_pretraining_and_leaves_it_as_it_is(
    store: Store, solved: TrainResult, head: str
) -> None:
    steps = {} if head == "knn" else {"probe_steps": 2}
    result = run(model(head=head, **steps), store)
    assert result.steps_now == (1 if head == "knn" else 2)
    for part in ("base.", "scale."):
        assert same(weights(solved, part), weights(result, part))
    before = model(head=head).module.state_dict()
    after = weights(result, "head.")
    assert any(not torch.equal(before[name], tensor) for name, tensor in after.items())


def test_a_frozen_encoder_is_in_evaluation_mode_and_has_no_gradient(store: Store) -> None:
    made, modes = model(head="linear", probe_steps=1), []
    plain = made._network.encode

    def encode(frames: Frames) -> list[Tensor]:
        maps = plain(frames)
        modes.append((made._network.base.training, any(x.requires_grad for x in maps)))
        return maps

    made._network.encode = encode  # type: ignore[method-assign]
    run(made, store)
    assert set(modes) == {(False, False)}


def test_an_encoder_that_is_not_frozen_learns_with_the_head(
    store: Store, solved: TrainResult
) -> None:
    result = run(model(head="linear", probe_steps=2, freeze=False), store)
    moved = [
        name for name, tensor in weights(result, "base.").items()
        if not torch.equal(tensor, weights(solved, "base.")[name])
    ]  # fmt: skip
    assert moved
    assert all(name.startswith("base.encoder.") for name in moved)
    with pytest.raises(InputError, match="a head in closed form gives the encoder no gradient"):
        model(head="lda", freeze=False)


def test_choices_that_need_finer_images_start_from_a_preset_that_has_them() -> None:
    with pytest.raises(InputError, match="Take preset tiny_ijepa_sa, and set these options"):
        model("tiny_ijepa_mr", affinity="gram", teach="hr")
    assert model("tiny_ijepa_sa", affinity="mse", weight=0.5, ratio=4).stages()
    with pytest.raises(InputError, match=r"heads are linear, linear\.p2, lda"):
        model(head="mlp")


@pytest.mark.parametrize(
    ("preset", "options", "found"),
    [
        ("tiny_random", {"learning_rate": 0.1}, "its encoder is not pretrained"),
        ("tiny_random", {"affinity": "gram", "teach": "interp"}, "its encoder is not pretrained"),
        ("tiny_latentmim_mr", {"weight": 2.0, "pos": "ground"}, "weight=2.0, pos=ground with"),
        ("tiny_ijepa_sa", {"probe_steps": 3}, "a head in closed form has no steps"),
    ],
)
def test_options_that_change_nothing_are_refused(
    preset: str, options: dict[str, Any], found: str
) -> None:
    with pytest.raises(InputError, match=found):
        model(preset, **options)


@pytest.mark.parametrize("variant", ["mr", "sa_interp", "random"])
def test_variants_without_finer_images_run_on_a_store_without_them(
    tmp_path: Path, variant: str
) -> None:
    data = toys.write_store(tmp_path / "store", regions=5, finer=False)
    preset = "tiny_random" if variant == "random" else f"tiny_ijepa_{variant}"
    result = run(model(preset), data, preset)
    assert {p["stage"] for p in result.history} >= {"statistics", "probe"}
    assert any(p["stage"] == "pretrain" for p in result.history) == (variant != "random")


def test_a_variant_that_needs_finer_images_is_refused_without_them(tmp_path: Path) -> None:
    data = toys.write_store(tmp_path / "store", regions=5, finer=False)
    with pytest.raises(InputError, match="its finer sensors are none, and one is needed") as error:
        run(model(), data)
    assert error.value.exit_code == 2


@pytest.mark.parametrize("base", ["ijepa", "latentmim"])
@pytest.mark.parametrize(
    "variant", ["mr", "hr", "sa", "sa_interp", "sa_mse", "sa_block", "mr_fine"]
)
def test_every_variant_has_a_loss_with_what_shows_a_collapse(base: str, variant: str) -> None:
    preset = f"tiny_{base}_{variant}"
    card = registry.card("cross_scale").of(preset)
    made, samples = model(preset), samples_of(preset)
    stage = next(stage for stage in made.stages() if stage.name == "pretrain")
    terms = made.loss(stage, samples.given, samples.want, samples.truth)
    assert set(stage.watched) <= terms.keys()
    assert ("affinity" in terms) == variant.startswith("sa")
    terms["total"].backward()
    assert card.taught == (variant in ("hr", "sa", "sa_mse", "sa_block"))
    if card.taught:
        with pytest.raises(ValueError, match="reads high-resolution images, and none was given"):
            made.loss(stage, replace(samples.given, taught={}), samples.want, samples.truth)


def samples_of(preset: str) -> Any:
    card = registry.card("cross_scale").of(preset)
    shape = replace(Shape.of(card, samples=2), taught=card.taught)
    return make_samples(shape, seed=3, masked=False)


def test_labels_do_not_reach_the_loss_of_pretraining() -> None:
    made, samples = model(), samples_of("tiny_ijepa_sa")
    stage = made.stages()[1]
    found = []
    for truth in (samples.truth, replace(samples.truth, values=1 - samples.truth.values)):
        torch.manual_seed(0)
        fresh = model()
        found.append(float(fresh.loss(stage, samples.given, samples.want, truth)["total"].detach()))
    assert found[0] == found[1]


def test_standardisation_is_of_valid_pixels_and_adds_up() -> None:
    values = torch.tensor([[1.0, 3.0], [5.0, 100.0]])[None, None, None, None].repeat(
        2, 1, 1, 1, 1, 1
    )
    valid = torch.tensor([[True, True], [True, False]])[None, None, None, None].repeat(
        2, 1, 1, 1, 1, 1
    )
    times = torch.zeros(2, 1, dtype=torch.int64)
    frames = Frames(values, valid, times, ("a",), "reflectance", (False,), (0.0, 1.0))
    scale = Standardise(1)
    scale.set(added([sums_of(frames), sums_of(frames)]))
    assert float(scale.mean) == 3.0
    assert float(scale.deviation) == pytest.approx((8 / 3) ** 0.5)
    shown = scale(frames)[0, 0]
    assert shown[1, 1] == 0  # after standardisation
    assert float(shown[0, 0]) == pytest.approx(-2 / (8 / 3) ** 0.5)


def test_a_random_encoder_depends_on_its_seed_alone(store: Store) -> None:
    config = evaluation_config(store, "segment")

    def fitted(seed: int, before: int) -> dict[str, float]:
        torch.manual_seed(before)
        made = create_model("random_encoder", bands=4, classes=3, seed=seed)
        fit(made, config)
        return dict(made.module.state_dict())

    one, two, other = fitted(0, 1), fitted(0, 2), fitted(1, 1)
    assert same(one, two)  # type: ignore[arg-type]
    assert not same(one, other)  # type: ignore[arg-type]


def test_pairs_of_a_fit_can_be_read_twice(store: Store) -> None:
    pairs = training_pairs(evaluation_config(store, "segment"))
    one, two = ([given.samples for given, _, _ in pairs] for _ in range(2))
    assert one == two
    assert sum(map(len, one)) == len(store.split("train"))


def test_an_encoder_with_other_weights_is_fitted_anew(store: Store) -> None:
    """The code and the options are the same: the weights are part of the key of a fit."""
    from rsbench_baselines.encoder_probe import EncoderProbe

    config = evaluation_config(store, "segment")
    known = registry.card("random_encoder")
    digests = []
    for gain in (1.0, 2.0, 1.0):
        encoder = torch.nn.Conv2d(4, 3, 4, 4, bias=False)
        torch.nn.init.constant_(encoder.weight, gain)
        with torch.no_grad():
            encoder.weight[:, :, 0] *= torch.arange(3)[:, None, None]
        made = EncoderProbe(encoder, bands=4, width=3, classes=3)
        registry.adopt(made, known)
        digests.append(fit(made, config))
        answer = collect(made, known, *asked(config)).values
        assert answer.shape[3] == 3
    assert digests[0] == digests[2] != digests[1]


class Listed(torch.nn.Module):
    """Tokens as a list, as transformers give them, behind a layer that gives a grid."""

    def __init__(self) -> None:
        super().__init__()
        self.grid = torch.nn.Conv2d(4, 3, 4, 4)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.grid(image).flatten(2).mT[..., [2, 0, 1]]


def test_a_layer_of_an_encoder_can_be_probed(store: Store) -> None:
    """The discriminant does not depend on the order of channels, so that both must agree."""
    from rsbench_baselines.encoder_probe import EncoderProbe

    config, known = evaluation_config(store, "segment"), registry.card("random_encoder")
    encoder, answers, digests = Listed(), [], []
    for layer in ("", "grid"):
        made = EncoderProbe(encoder, bands=4, width=3, classes=3, layer=layer)
        registry.adopt(made, known)
        digests.append(fit(made, config))
        answers.append(collect(made, known, *asked(config)).values)
    torch.testing.assert_close(*answers, rtol=1e-4, atol=1e-5)
    assert digests[0] != digests[1]


def test_a_layer_that_is_not_there_or_has_no_tokens_is_one_sentence(store: Store) -> None:
    from rsbench_baselines.encoder_probe import EncoderProbe

    with pytest.raises(InputError, match=r"no layer of this name\. Name one of grid;"):
        EncoderProbe(Listed(), bands=4, width=3, classes=3, layer="gird")
    made = EncoderProbe(Listed(), bands=4, width=5, classes=3, layer="grid")
    registry.adopt(made, registry.card("random_encoder"))
    with pytest.raises(InputError, match=r"layer grid: it has shape .*, not \(B, 5, h, w\)"):
        fit(made, evaluation_config(store, "segment"))


def asked(config: Any) -> Sequence[Any]:
    from rsbench.tasks.settings import cases

    case = next(iter(cases(config)))
    return case.given, case.want


@pytest.mark.parametrize("preset", ["tiny_ijepa_sa", "tiny_latentmim_mr"])
def test_interrupted_pretraining_ends_with_the_same_weights(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, preset: str
) -> None:
    """The teacher takes up every step once, also where its loss is watched before a save."""
    whole = run(model(preset), store, preset)
    monkeypatch.setenv("RSBENCH_CACHE", str(tmp_path / "other"))
    stop = tt.after(2, lambda: os.kill(os.getpid(), signal.SIGINT))

    def advance(label: str, done: int, total: int) -> None:
        if label.endswith("pretrain"):
            stop(label, done, total)

    with pytest.raises(Interrupted):
        run(model(preset), store, preset, progress=advance)
    torch.manual_seed(7)
    parts = run(model(preset), store, preset)
    assert 0 < parts.steps_now < whole.steps
    assert same(weights(whole, ""), weights(parts, ""))


def test_watching_with_averaged_weights_changes_no_weight(store: Store, tmp_path: Path) -> None:
    found = []
    for watched in ((), ("token.cosine",)):
        made = model()
        first, second, last = made.stages()
        made._training = replace(
            made._training, stages=(first, replace(second, watched=watched), last)
        )
        found.append(weights(run(made, store, options=Options(ema=0.9)), ""))
    assert same(*found)
