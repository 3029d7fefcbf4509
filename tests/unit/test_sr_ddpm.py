"""Diffusion for super-resolution: counts, scales, the sampler against theory, memory, training."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import segment_toys as toys
import torch

import rsbench as rb
from rsbench.catalog import Protocol, load_protocol
from rsbench.core.digest import sealed
from rsbench.core.errors import InputError
from rsbench.evaluation.own_entry import own_entry
from rsbench.models.api import Stage
from rsbench.models.checkpoint import load_into
from rsbench.models.contract_data import Samples, Shape, make_samples
from rsbench.models.registry import create_model
from rsbench.store.read import Store
from rsbench.tasks.settings import evaluation_config
from rsbench.tasks.superresolve.example import COARSE, EXAMPLE
from rsbench.training.train import TrainRequest, fresh_model, train
from rsbench_baselines.ddpm.diffusion import Diffusion
from rsbench_baselines.sr_ddpm import card
from rsbench_baselines.sr_ddpm.model import AT_ONCE, SCALE, SPACING, SuperResolution
from rsbench_baselines.sr_ddpm.scale import LIMIT, REACH, Scale
from rsbench_baselines.superresolve_reference.model import Fitted, line_sums, resampled


def tiny(**options: Any) -> SuperResolution:
    made = create_model("sr_ddpm", "tiny", **options)
    assert isinstance(made, SuperResolution)
    return made


def pairs(samples: int = 3, members: int = 1, bands: int = 4) -> Samples:
    shape = Shape(samples, 1, 1, bands, 32, made=EXAMPLE)
    return make_samples(shape, seed=3, masked=False, members=members)


@pytest.mark.parametrize("preset", ["tiny", "small"])
def test_the_number_of_parameters_is_that_of_the_card(preset: str) -> None:
    with torch.device("meta"):
        module = create_model("sr_ddpm", preset, bands=4, inputs=4).module  # type: ignore[attr-defined]
    count = sum(p.numel() for p in module.parameters())
    assert count == card.presets[preset].parameters == {"tiny": 73_468, "small": 19_409_924}[preset]


def test_scales_are_those_of_the_fitted_line() -> None:
    data = pairs(4)
    model, fitted = tiny(), Fitted("bicubic")
    model.solve(SCALE, [(data.given, data.want, data.truth)])
    found = fitted.fit([(data.given, data.want, data.truth)])
    scale = model.module.get_submodule("scale")
    assert isinstance(scale, Scale)
    assert scale.gain.flatten().tolist() == pytest.approx(
        [found[f"gain {c}"] for c in range(4)], rel=1e-5
    )
    x, _ = resampled(data.given.frames[COARSE], data.want.size, "bicubic")
    left = data.truth.values[:, 0, 0] - fitted.predict(data.given, data.want).values[:, 0, 0]
    expected = REACH * left.double().square().mean((0, 2, 3)).sqrt()
    assert scale.spread.flatten().tolist() == pytest.approx(expected.tolist(), rel=1e-4)
    shown = scale.condition(x)
    assert shown.mean((0, 2, 3)).tolist() == pytest.approx([0.0] * 4, abs=1e-4)
    assert shown.std((0, 2, 3)).tolist() == pytest.approx([1.0] * 4, abs=1e-2)


def test_a_residual_within_reach_goes_round() -> None:
    scale, draw = Scale(2, 3), torch.Generator().manual_seed(0)
    x, fine = torch.rand(4, 3, 16, 16, generator=draw), torch.rand(4, 2, 16, 16, generator=draw)
    whole = torch.ones(4, 1, 16, 16, dtype=torch.bool)
    scale.set(line_sums(x[:, :2], fine, whole), line_sums(x, x, whole))
    base = scale.base(x)
    drawn = scale.residual(fine, base)
    assert torch.allclose(scale.image(drawn, base), fine, atol=1e-6)
    assert scale.residual(fine + 100, base).max() == LIMIT


def test_solving_in_parts_is_solving_at_once() -> None:
    data = pairs(4)
    whole, parts = tiny(), tiny()
    whole.solve(SCALE, [(data.given, data.want, data.truth)])
    from rsbench.models.contract_data import rows

    cut = [rows(data, [0]), rows(data, [1, 2]), rows(data, [3])]
    parts.solve(SCALE, [(one.given, one.want, one.truth) for one in cut])
    for name, tensor in whole.module.get_submodule("scale").state_dict().items():
        assert torch.allclose(tensor, parts.module.state_dict()[f"scale.{name}"], rtol=1e-6)
    with pytest.raises(ValueError, match="no pair"):
        tiny().solve(SCALE, [])


class Exact(torch.nn.Module):
    """The best estimate of the noise in Gaussian residuals of a known mean and deviation."""

    def __init__(self, mean: float, deviation: float, bars: torch.Tensor) -> None:
        super().__init__()
        self.mean, self.deviation, self.bars = mean, deviation, bars
        self.sizes: list[int] = []

    def forward(self, x: torch.Tensor, times: torch.Tensor) -> torch.Tensor:
        self.sizes.append(x.shape[0])
        noisy, kept = x[:, :4], self.bars[times][:, None, None, None].float()
        total = kept * self.deviation**2 + 1 - kept
        return (1 - kept).sqrt() * (noisy - kept.sqrt() * self.mean) / total


def exact(mean: float, deviation: float, **options: Any) -> tuple[SuperResolution, Exact]:
    model = tiny(**options)
    denoiser = Exact(mean, deviation, model._diffusion.alpha_bars)
    model.module.net = denoiser
    return model, denoiser


def kept_deviation(diffusion: Diffusion, times: Sequence[int], eta: float, own: float) -> float:
    """Return the deviation that steps with the exact noise of Gaussian images leave, by theory."""
    variance = 1.0
    for time, before in zip(times, [*times[1:], -1], strict=True):
        now, then = diffusion.alpha_bar(time), diffusion.alpha_bar(before)
        noise = math.sqrt(1 - now) / (now * own**2 + 1 - now)
        clean = (1 - math.sqrt(1 - now) * noise) / math.sqrt(now)
        fresh = diffusion.sigma(time, before, eta)
        factor = math.sqrt(then) * clean + math.sqrt(max(1 - then - fresh**2, 0)) * noise
        variance = factor**2 * variance + fresh**2
    return math.sqrt(variance)


@pytest.mark.parametrize(("eta", "steps"), [(0.0, 8), (0.0, 50), (1.0, 100)])
def test_the_sampler_draws_a_gaussian_residual(eta: float, steps: int) -> None:
    """With the exact noise, residuals have the mean of the data and the deviation of theory."""
    mean, deviation = 0.05, 1 / REACH
    model, _ = exact(mean, deviation, sampling_steps=steps, eta=eta)
    data = pairs(4, members=4)
    drawn = model.predict(data.given, data.want).values[:, :, 0]
    x, _ = resampled(data.given.frames[COARSE], data.want.size, "bicubic")
    left = drawn - x[:, None]  # the scales are those of no line: gain 1, offset 0
    assert float(left.mean()) == pytest.approx(mean, abs=0.004)
    times = model._diffusion.times(steps, power=SPACING)
    expected = kept_deviation(model._diffusion, times, eta, deviation)
    assert float(left.std()) == pytest.approx(expected, rel=0.03)
    assert expected / deviation > (0.7 if steps == 8 else 0.9)
    if steps == 8:  # times that are evenly spread lose most of it
        even = kept_deviation(model._diffusion, model._diffusion.times(8), eta, deviation)
        assert even / deviation < 0.4


def test_members_differ_and_a_repeated_draw_does_not() -> None:
    model, _ = exact(0.0, 0.1)
    data = pairs(2, members=3)
    first, again = (model.predict(data.given, data.want).values for _ in range(2))
    assert torch.equal(first, again)
    assert not torch.equal(first[:, 0], first[:, 1])
    alone = model.predict(data.given, replace(data.want, members=1)).values
    assert torch.allclose(first[:, :1], alone, atol=1e-6)


@pytest.mark.parametrize(("samples", "members"), [(20, 1), (3, 7), (9, 2)])
def test_no_call_of_the_network_grows_with_the_number_of_images(samples: int, members: int) -> None:
    model, denoiser = exact(0.0, 0.1, sampling_steps=2)
    data = pairs(samples, members=members)
    found = model.predict(data.given, data.want).values
    assert found.shape == (samples, members, 1, 4, 32, 32)
    assert max(denoiser.sizes) <= AT_ONCE
    assert sum(denoiser.sizes) == 2 * samples * members


def test_other_bands_are_refused() -> None:
    data = pairs(1, bands=3)
    with pytest.raises(InputError, match=r"3 bands .*bands=3"):
        tiny().predict(data.given, data.want)
    with pytest.raises(InputError, match=r"3 bands given to sr_ddpm.*inputs=3"):
        tiny(bands=3, inputs=5).predict(data.given, data.want)


def test_a_training_solves_the_scales_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RSBENCH_CACHE", str(tmp_path / "cache"))
    data = toys.write_store(tmp_path / "store", regions=5)
    rules = Protocol.model_validate(
        {**load_protocol("superresolve").model_dump(), "window": 32, "stride": 96}
    )
    model = fresh_model("sr_ddpm", "tiny", seed=0, bands=4, inputs=4, steps=2, sampling_steps=1)
    assert isinstance(model, SuperResolution)
    request = TrainRequest(
        preset="tiny", protocol=rules, sensor=toys.HR, bands=toys.BANDS, context=1, device="cpu"
    )
    result = train(model, card.of("tiny"), data, request)
    named: Sequence[Stage] = model.stages()
    assert [stage.name for stage in named] == ["scale", "fit"]
    scale = model.module.get_submodule("scale").state_dict()
    assert not torch.allclose(scale["gain"], torch.ones(4, 1, 1))
    assert (Path(result.checkpoint) / "weights.safetensors").is_file()
    _require_coarse_bands(model, Path(result.checkpoint), data, rules)
    table = rb.evaluate(model, data, rules, members=2, suite="mse@1,crps.fair@1").table()
    own = table[(table["model"] == "sr_ddpm") & (table["band"] == "all")].set_index("metric")
    assert own.loc["crps.fair@1", "value"] > 0
    assert own.loc["mse@1", "value"] > 0


def _require_coarse_bands(model: Any, folder: Path, data: Store, rules: Protocol) -> None:
    """Wanted bands are equal, those given are not: refused, also after loading; old ones open."""
    note = json.loads((folder / "checkpoint.json").read_text())
    assert note["inputs"] == list(toys.BANDS)
    del note["inputs"]
    for inputs in ((*toys.BANDS[:3], "B11"), toys.BANDS, None):
        stated = {"inputs": inputs} if inputs else {}
        (folder / "checkpoint.json").write_text(json.dumps(sealed({**note, **stated})))
        load_into(model, folder, data, split=None)
        if inputs in (toys.BANDS, None):
            own_entry(evaluation_config(data, rules), model)
            continue
        with pytest.raises(InputError, match=r"it was trained on the bands .* B11"):
            own_entry(evaluation_config(data, rules), model)


TABLE = Path(__file__).parents[2] / "results" / "demo-pairs" / "superresolve" / "table.csv"


@pytest.mark.skipif(not TABLE.is_file(), reason="not run from a checkout")
def test_the_recorded_table_shows_detail_beside_its_error() -> None:
    """Drawn images have more of the fine power than a fitted line, and larger errors."""
    table = pd.read_csv(TABLE)
    mean = table[table["stratum"] == "all"].groupby(["model", "metric"])["value"].mean().abs()
    assert mean["sr_ddpm", "spectrum.ratio@1"] < 0.2 * mean["bicubic_fitted", "spectrum.ratio@1"]
    assert mean["sr_ddpm", "rmse@1"] > mean["bicubic_fitted", "rmse@1"]
