from __future__ import annotations

from pathlib import Path

import pytest
from scores_fixtures import MODELS, make_run, make_scores, make_units

from rsbench.core.errors import InputError
from rsbench.evaluation import decay
from rsbench.evaluation.scores import Scores


@pytest.mark.parametrize(
    ("skill", "origins", "value", "reason"),
    [
        ((0.4, 0.3, 0.1), 5, 2.5, None),  # 0.2 lies half way between 0.3 and 0.1
        ((0.4, 0.2, 0.1), 5, 2.0, None),
        ((0.4, None, 0.1), 5, 1 + 2 * 0.2 / 0.3, None),
        ((0.4, 0.39, 0.3), 5, None, "stays above half"),
        ((0.0, 0.1, 0.2), 5, None, "not above 0"),
        ((-0.1, -0.2, -0.3), 5, None, "not above 0"),
        ((0.4, 0.3, 0.1), 1, None, "each lead always has the same target date"),
        ((None, 0.3, 0.1), 5, None, "no skill at lead 1"),
        ((None, None, None), 5, None, "no skill at lead 1"),
    ],
)
def test_half_life(
    skill: tuple[float | None, ...], origins: int, value: float | None, reason: str | None
) -> None:
    found = decay.half_life((1, 2, 3), skill, origins)
    assert found.value == (None if value is None else pytest.approx(value))
    assert (found.reason is None) == (reason is None)
    assert reason is None or reason in (found.reason or "")


def test_curves_name_k_and_starts() -> None:
    found = {c.model: c for c in decay.curves(make_scores(), "skill.mse@1")}
    assert set(found) == {"simvp", "persistence", "damped_persistence", "oracle", "floor"}
    curve = found["simvp"]
    assert curve.leads == (1, 2, 3)
    assert curve.origins[0] == "2017-07-01"
    assert len(curve.origins) == 5
    assert not curve.confounded
    assert decay.describe(curve) == "k = 1, starts 2017–2021, 12 regions"
    assert curve.half_life is not None
    assert found["damped_persistence"].half_life is None  # its skill is 0 by definition
    assert found["floor"].half_life is None


def test_one_start_is_confounded_and_has_no_half_life() -> None:
    scores = make_scores(years=4, horizon=3)
    (curve,) = [c for c in decay.curves(scores, "skill.mse@1") if c.model == "simvp"]
    assert curve.confounded
    assert "each lead always has the same target date" in decay.describe(curve)
    assert curve.half_life is not None
    assert curve.half_life.value is None
    (other,) = [
        c for c in decay.curves(scores, "mse@1", stratum="same-target") if c.model == "simvp"
    ]
    assert "target 2020" in decay.describe(other)
    assert "each lead always has the same start" in decay.describe(other)


def test_few_regions_have_no_band() -> None:
    curve = decay.curves(make_scores(regions=4), "mse@1")[0]
    assert curve.lo == (None, None, None)
    assert "at least 8" in decay.interval_note(curve.n_regions)
    assert "95 %" in decay.interval_note(12)


def test_dropped_pairs_are_counted() -> None:
    units = make_units()
    lost = (units["start"] == "2019-07-01") & (units["lead"] == 3) & (units["model"] == "simvp")
    lost &= units["region"] == "sim-05"
    units.loc[lost, ["value_sum", "weight", "n_missing"]] = [0.0, 0.0, 4]
    curve = decay.curves(Scores(units, make_run()), "mse@1")[0]
    assert curve.dropped == 1
    assert "1 region–start pairs dropped" in decay.describe(curve)


def test_unknown_metric_names_the_known() -> None:
    with pytest.raises(InputError, match="mse@1"):
        decay.curves(make_scores(regions=2), "fid@9")


def test_styles_keep_models_strong_and_bounds_dotted() -> None:
    models = {**MODELS, "unet": ("model", "tiny", 0.8)}
    look = decay.styles(decay.curves(make_scores(models=models), "mse@1"))
    assert look[("simvp", "tiny")]["colour"] != look[("unet", "tiny")]["colour"]
    assert not look[("simvp", "tiny")]["grey"]
    assert look[("oracle", "fixed")]["dash"] == (1, 3)


def test_errors_far_apart_are_drawn_on_a_logarithmic_axis() -> None:
    for factor, scale in ((2.0, "linear"), (40.0, "log")):
        models = {**MODELS, "unet": ("model", "tiny", factor)}
        errors = decay.curves(make_scores(models=models), "mse@1")
        assert decay.figure(errors, simulated=True).axes[0].get_yscale() == scale
    higher = decay.curves(make_scores(models=models), "ssim@1")
    assert decay.figure(higher, simulated=True).axes[0].get_yscale() == "linear"


def test_figure_burns_simulated_in(tmp_path: Path) -> None:
    drawn = decay.curves(make_scores(), "psnr@1")
    texts = [t.get_text() for t in decay.figure(drawn, simulated=True).axes[0].texts]
    assert "simulated" in texts
    assert not decay.figure(drawn, simulated=False).axes[0].texts
    errors = decay.curves(make_scores(), "mse@1")
    label = decay.figure(errors, simulated=False, unit="reflectance").axes[0].get_ylabel()
    assert label == "mse@1 (reflectance²)"
    decay.save_figure(drawn, tmp_path / "curve.png", simulated=True)
    assert (tmp_path / "curve.png").read_bytes()[:4] == b"\x89PNG"
    with pytest.raises(InputError, match="no curves"):
        decay.figure((), simulated=False)
