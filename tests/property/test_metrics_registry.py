"""Laws of every registered metric of every kind: range, copies, masks, units and types."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import pytest
import torch
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from weight_fixtures import random_alex

from rsbench.core.errors import InputError
from rsbench.metrics import (
    ImageOptions,
    PerImage,
    SetScore,
    compute_pooled,
    compute_sets,
    image_metrics,
    info,
    member_metrics,
    metric_info,
)
from rsbench.metrics.queries import needs_case

NEEDED = frozenset({"alexnet", "lpips-alex"})
IDS = tuple(
    m.id
    for m in metric_info(probe=False)
    if NEEDED.issuperset(m.needs) and not needs_case(m.id)  # those read training images of a store
)
CLASS_MAPS = tuple(m for m in IDS if info(m).kind == "pooled" or m == "brier@1")
IMAGES = tuple(m for m in IDS if info(m).kind in ("image", "change") and m not in CLASS_MAPS)
MEMBERS = tuple(m for m in IDS if info(m).kind == "members")
SETS = tuple(m for m in IDS if info(m).kind == "set")
SIDE, N = 64, 5
SLACK = {"ssim.blur2@1": 1e-4, "sam.gpstfdiff@1": 2e-3}
"""Published forms with a constant below the line fall short of perfect."""
NOT_SCALE_FREE = {"ergas.gpstfdiff@1", "sam.gpstfdiff@1"}
"""Published forms with a constant in the data's unit."""
ABSENT_IS_ZERO = {"miou.pangaea@1"}
"""A published form that counts absent classes as 0."""

registry = settings(deadline=None, max_examples=5, derandomize=True, phases=(Phase.generate,))
seeds = st.integers(0, 2**20)


@pytest.fixture(scope="module", autouse=True)
def _weights(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        random_alex(patch, tmp_path_factory.mktemp("weights"))
        yield


def rand(seed: int, *shape: int) -> torch.Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def scenes(seed: int, c: int = 3) -> torch.Tensor:
    """Fields with texture in 0.1 … 0.55, which display@1 shows in full."""
    field = torch.nn.functional.interpolate(rand(seed, N, c, 8, 8), scale_factor=8, mode="bilinear")
    return 0.1 + 0.35 * field + 0.1 * rand(seed + 1, N, c, SIDE, SIDE)


def change_of(t: torch.Tensor) -> torch.Tensor:
    """The frame before: a corner differs."""
    before = t.clone()
    before[..., :12, :12] *= 0.3
    return before


def scores(
    p: torch.Tensor, t: torch.Tensor, valid: torch.Tensor | None = None, scale: float = 1.0
) -> dict[str, PerImage]:
    """Every metric of images and of ensembles, of data in another scale."""
    p, t = p * scale, t * scale
    unit = "reflectance" if scale == 1.0 else "display"
    options = ImageOptions(unit=unit, before=change_of(t), before_valid=valid, ratio=4)
    # display@1 has no other unit of reflectance.
    ids = [m for m in IMAGES if scale == 1.0 or info(m).clips != "display"]
    found = image_metrics(ids, p, t, valid=valid, data_range=scale, options=options)
    members = torch.stack((p, 0.5 * (p + t), 1.5 * t - 0.5 * p), 1)
    return found | member_metrics(MEMBERS, members, t, valid=valid, data_range=scale)


def sets(
    p: torch.Tensor, t: torch.Tensor, valid: torch.Tensor | None = None, scale: float = 1.0
) -> Mapping[str, SetScore]:
    return compute_sets(SETS, p * scale, t * scale, valid, data_range=scale)


def classified(seed: int, c: int = 3) -> tuple[torch.Tensor, torch.Tensor]:
    """Probabilities of classes, and the map of the largest ones as one-hot vectors."""
    p = torch.softmax(6.0 * rand(seed, N, c, SIDE, SIDE), 1)
    return p, torch.nn.functional.one_hot(p.argmax(1), c).movedim(-1, 1).float()


def class_scores(
    p: torch.Tensor, t: torch.Tensor, valid: torch.Tensor | None = None
) -> dict[str, list[float]]:
    """Every value of class maps, those of single classes included; NaN where undefined."""
    pooled = [m for m in CLASS_MAPS if info(m).kind == "pooled"]
    found = {
        metric: [score.value, *([] if score.per_class is None else score.per_class.tolist())]
        for metric, score in compute_pooled(pooled, p, t, valid).items()
    }
    others = [m for m in CLASS_MAPS if m not in pooled]
    images = image_metrics(others, p, t, valid=valid, data_range=1.0)
    return found | {metric: result.value.tolist() for metric, result in images.items()}


def inside(metric: str, value: float) -> bool:
    low, high = info(metric).range
    return (low is None or value >= low - 1e-9) and (high is None or value <= high + 1e-9)


def test_every_kind_is_there() -> None:
    assert set(IDS) == {*IMAGES, *MEMBERS, *SETS, *CLASS_MAPS}
    left_out = {m.id for m in metric_info(probe=False)} - set(IDS)
    assert all(info(m).needs or needs_case(m) for m in left_out)
    assert {"lpips.alex@1", "change.csi@1", "crps.fair@1", "fd.texture@1"} <= set(IDS)


@registry
@given(seeds, st.floats(0.0, 3.0), st.floats(-0.5, 0.5))
def test_a_value_lies_in_the_declared_range_or_is_absent(
    seed: int, gain: float, bias: float
) -> None:
    """Also of wild predictions, far outside the data range, constant or negative."""
    p, t = gain * scenes(seed) + bias, scenes(seed + 7)
    for metric, result in scores(p, t).items():
        assert torch.equal(result.ok, ~result.value.isnan()), metric
        assert all(inside(metric, v) for v in result.value[result.ok].tolist()), metric
        if result.per_band is not None and result.band_ok is not None:
            assert torch.equal(result.band_ok, ~result.per_band.isnan()), metric
            assert all(inside(metric, v) for v in result.per_band[result.band_ok].tolist()), metric
    assert all(inside(metric, score.value) for metric, score in sets(p, t).items())


@registry
@given(seeds)
def test_a_copy_is_perfect_in_every_kind(seed: int) -> None:
    t = scenes(seed)
    found = scores(t.clone(), t)
    for metric, result in found.items():
        perfect = info(metric).perfect
        if perfect is not None:
            assert result.ok.any(), metric
            values = result.value[result.ok].tolist()
            assert values == pytest.approx([perfect] * len(values), abs=SLACK.get(metric, 1e-6))
    # The unbiased distance of a set to itself is below that of two samples.
    for metric, score in sets(t.clone(), t).items():
        perfect = info(metric).perfect or 0.0
        assert score.value <= 1e-6 if perfect == 0.0 else score.value == perfect, metric


@registry
@given(seeds, st.integers(0, N - 1), st.booleans())
def test_an_image_without_a_valid_pixel_has_no_value(seed: int, hidden: int, fill: bool) -> None:
    p, t = scenes(seed), scenes(seed + 7)
    valid = torch.ones(N, 1, SIDE, SIDE, dtype=torch.bool)
    valid[hidden] = False
    if fill:
        p[hidden], t[hidden] = float("nan"), float("inf")
    whole, masked = scores(p.nan_to_num(), t.nan_to_num(posinf=0.0)), scores(p, t, valid)
    others = torch.arange(N) != hidden
    for metric, result in masked.items():
        assert not result.ok[hidden], metric
        assert result.value[hidden].isnan(), metric
        torch.testing.assert_close(
            result.value[others], whole[metric].value[others], rtol=1e-4, atol=1e-5, equal_nan=True
        )
    assert all(score.n == N - 1 for score in sets(p, t, valid).values())


@registry
@given(seeds)
def test_class_maps_obey_the_same_laws(seed: int) -> None:
    (p, own), (_, t) = classified(seed), classified(seed + 7)
    for metric, values in class_scores(p, t).items():
        assert all(inside(metric, v) for v in values), metric
    for metric, values in class_scores(t.clone(), t).items():
        assert values == pytest.approx([info(metric).perfect] * len(values), abs=1e-6), metric
    nowhere = torch.zeros(N, 1, SIDE, SIDE, dtype=torch.bool)
    for metric, values in class_scores(own, t, nowhere).items():
        assert metric in ABSENT_IS_ZERO or all(v != v for v in values), metric


@registry
@given(seeds, st.sampled_from([255.0, 1e4, 3.7e-3]), st.floats(0.02, 1.0))
def test_dn_and_reflectance_give_the_same(seed: int, scale: float, level: float) -> None:
    """Where the unit of the value is not that of the data; dark images included."""
    p, t = level * scenes(seed), level * scenes(seed + 7)
    one, other = scores(p, t), scores(p, t, scale=scale)
    for metric in set(one) & set(other) - NOT_SCALE_FREE:
        if info(metric).unit.startswith("data"):
            continue
        assert torch.equal(one[metric].ok, other[metric].ok), metric
        torch.testing.assert_close(
            one[metric].value, other[metric].value, rtol=2e-4, atol=2e-5, equal_nan=True,
            msg=lambda m, metric=metric: f"{metric}: {m}",
        )  # fmt: skip
    plain, scaled = sets(p, t), sets(p, t, scale=scale)
    for metric in SETS:
        assert scaled[metric].value == pytest.approx(plain[metric].value, rel=1e-3), metric


@pytest.mark.parametrize("metric", [m.id for m in metric_info(probe=False) if not needs_case(m.id)])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_refused_by_every_metric(
    metric: str, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before any weights are read: here, those of every network count as present."""
    import rsbench.metrics.registry as known

    monkeypatch.setattr(known, "absence", lambda name: None)
    half, t = scenes(0).to(dtype), scenes(1)
    kind = info(metric).kind
    calls: dict[str, Callable[[], object]] = {
        "set": lambda: compute_sets([metric], half, t, data_range=1.0, unit="display"),
        "members": lambda: member_metrics(
            [metric], half[:, None].expand(-1, 2, -1, -1, -1), t, data_range=1.0
        ),
        "image": lambda: image_metrics([metric], half, t, data_range=1.0),
        "pooled": lambda: compute_pooled([metric], half, t),
    }
    with pytest.raises(InputError, match=str(dtype)):
        calls["image" if kind == "change" else kind]()
