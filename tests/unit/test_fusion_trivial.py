"""The six rows that always stand in a fusion table, on numbers worked by hand."""

from __future__ import annotations

import pytest
import torch
from fusion_toys import sample

from rsbench.models.api import Want
from rsbench.models.registry import card, create_model
from rsbench.models.rollout import collect
from rsbench.tasks.fusion.task import TASK

# One pixel, two bands. F0 = (.1, .3), F2 = (.3, .5); C0 = (.2, .2), C1 = (.25, .4), C2 = (.1, .6).
F0, F2 = (0.1, 0.3), (0.3, 0.5)
C0, C1, C2 = (0.2, 0.2), (0.25, 0.4), (0.1, 0.6)


def column(*dates: tuple[float, ...]) -> torch.Tensor:
    return torch.tensor(dates)[None, :, :, None, None]


def answer(name: str, fine: torch.Tensor, coarse: torch.Tensor, **options: object) -> list[float]:
    given, want = sample(fine, coarse, **options)  # type: ignore[arg-type]
    values = collect(create_model(name), card(name), given, want).values
    assert values.shape[:4] == (1, want.members, 1, fine.shape[2])
    assert bool((values == values[:, :1]).all())
    return [float(v) for v in values[0, 0, 0, :, 0, 0]]


@pytest.mark.parametrize(
    ("name", "by_hand"),
    [
        ("copy_f0", (0.1, 0.3)),
        ("copy_f2", (0.3, 0.5)),
        ("mean_refs", (0.2, 0.4)),
        ("interpolate_refs", (0.2, 0.4)),  # the target date is half-way
        ("add_change", (0.1 + 0.25 - 0.2, 0.3 + 0.4 - 0.2)),
        ("copy_c1", (0.25, 0.4)),
    ],
)
@pytest.mark.parametrize("members", [1, 3])
def test_by_hand(name: str, by_hand: tuple[float, float], members: int) -> None:
    found = answer(name, column(F0, F2), column(C0, C1, C2), members=members)
    assert found == pytest.approx(by_hand, abs=1e-7)


def test_these_are_the_rows_of_every_table() -> None:
    assert TASK.reference_models == (
        "copy_f0",
        "copy_f2",
        "mean_refs",
        "interpolate_refs",
        "add_change",
        "copy_c1",
    )


def test_from_one_pair_after_which_the_target_comes() -> None:
    """The change is taken from the pair's own coarse image, whatever the order of dates."""
    assert answer("add_change", column(F0), column(C0, C1), target=1) == pytest.approx((0.15, 0.5))
    assert answer("add_change", column(F0), column(C1, C0), target=0) == pytest.approx((0.15, 0.5))


def test_a_gap_is_filled_by_what_is_valid_beside_it() -> None:
    """A fine gap takes the other reference; a coarse gap the mean of the other dates there."""
    no_first = torch.tensor([[False, True]])[:, :, None, None, None]
    assert answer("copy_f0", column((0.0, 0.0), F2), column(C0, C1, C2), fine_valid=no_first) == (
        pytest.approx(F2)
    )
    none = torch.zeros_like(no_first)
    dark = column((0.0, 0.0), (0.0, 0.0))
    assert answer("copy_f0", dark, column(C0, C1, C2), fine_valid=none) == pytest.approx(C0)
    no_target = torch.tensor([[True, False, True]])[:, :, None, None, None]
    found = answer(
        "copy_c1", column(F0, F2), column(C0, (9.0, 9.0), C2), coarse_valid=no_target
    )  # fmt: skip
    assert found == pytest.approx(((0.2 + 0.1) / 2, (0.2 + 0.6) / 2))


def test_a_batch_whose_targets_stand_at_different_places() -> None:
    """Rows are taken apart by their own dates, not by those of the first row."""
    fine = torch.cat([column(F0, F2), column(F2, F0)])
    given, want = sample(fine, torch.cat([column(C0, C1, C2), column(C1, C0, C2)]))
    moved = want.times.clone()
    moved[1] -= 16  # the second sample's target is its first coarse date
    frames = given.frames["fine"]
    frames.times[1, 0] += 16
    values = collect(
        create_model("add_change"), card("add_change"), given, _at(want, moved)
    ).values[:, 0, 0, :, 0, 0]
    assert values[0].tolist() == pytest.approx((0.15, 0.5))
    assert values[1].tolist() == pytest.approx((0.3 + 0.25 - 0.2, 0.5 + 0.4 - 0.2))


def _at(want: Want, times: torch.Tensor) -> Want:
    from dataclasses import replace

    return replace(want, times=times)


@pytest.mark.parametrize(
    ("moved", "share"), [(-8, 0.25), (8, 0.75), (-16, 0.0), (-40, 0.0), (40, 1.0)]
)
def test_interpolation_goes_by_the_target_date(moved: int, share: float) -> None:
    """References stand 16 days before and after; outside of them the nearer one is taken."""
    given, want = sample(column(F0, F2), column(C0, C1, C2))
    given.frames["coarse"].times[:, 1] += moved
    values = collect(
        create_model("interpolate_refs"), card("interpolate_refs"), given,
        _at(want, want.times + moved),
    ).values  # fmt: skip
    by_hand = [f0 + share * (f2 - f0) for f0, f2 in zip(F0, F2, strict=True)]
    assert values[0, 0, 0, :, 0, 0].tolist() == pytest.approx(by_hand, abs=1e-6)
