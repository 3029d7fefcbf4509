"""An ensemble in a table: its mean, its first member, its own scores; change beside all rows."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import toys

import rsbench as rb
from rsbench.evaluation.entries import Placement, model_entry
from rsbench.evaluation.loop import ScoringHooks, first_member, score
from rsbench.evaluation.scores import Scores
from rsbench.evaluation.table import supported_best, to_markdown
from rsbench.metrics import suite
from rsbench.models.api import Card, Given, Prediction, PresetInfo, Want
from rsbench.models.registry import adopt
from rsbench.tasks.config import EvaluationOptions
from rsbench.tasks.settings import cases, evaluation_config


class Jitter:
    """The last frame with noise of its own per member."""

    def predict(self, given: Given, want: Want) -> Prediction:
        frames = given.frames[want.sensor]
        times = want.times.shape[1]
        noise = want.noise.normal("jitter", want, channels=len(want.bands))
        last = frames.values[:, :1, -1]
        values = (last + 0.003 * noise)[:, :, None].expand(-1, -1, times, -1, -1, -1)
        return Prediction(values.float().contiguous())


CARD = Card(
    "jitter", "forecast", "Jitter", {"default": PresetInfo(0, 0)}, "none:none", "none", "none",
    rollout="step",
)  # fmt: skip


@pytest.fixture(scope="module")
def scores(tmp_path_factory: pytest.TempPathFactory) -> Scores:
    root = tmp_path_factory.mktemp("ensemble")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RSBENCH_CACHE", str(root / "cache"))
        store = toys.write_store(
            root / "toy",
            regions=20,
            size=32,
            years=4,
            simulated=False,
            simulation=None,
            invalid=0.0,
        )
        model = Jitter()
        adopt(model, CARD)
        return rb.evaluate(
            model, store, horizon=2, members=3, suite="pixel", metrics="ensemble,change"
        )


def value(scores: Scores, model: str, metric: str, lead: int = 1) -> float:
    table = scores.table()
    found = table[
        (table["model"] == model) & (table["metric"] == metric) & (table["lead"] == lead)
        & (table["band"] == "all") & (table["stratum"] == "all")
    ]  # fmt: skip
    assert len(found) == 1
    return float(found["value"].iloc[0])


def test_mean_and_first_member_are_both_scored(scores: Scores) -> None:
    mean, member = (value(scores, m, "mse@1") for m in ("jitter", first_member("jitter")))
    # Averaging three members leaves a third of the noise that each adds.
    still = value(scores, "persistence", "mse@1")
    assert still < mean < member
    assert (member - still) / (mean - still) == pytest.approx(3.0, rel=0.1)


def test_every_member_is_shown_to_the_viewer_and_only_the_first_is_scored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RSBENCH_CACHE", str(tmp_path / "cache"))
    store = toys.write_store(tmp_path / "toy", size=16, years=3, simulated=False, simulation=None)
    config = evaluation_config(
        store, "year7", EvaluationOptions(horizon=1, members=3, suite="pixel")
    )
    row = model_entry("jitter", "default", "model", Jitter(), CARD, Placement(torch.device("cpu")))
    seen: dict[str, list[torch.Tensor]] = {}
    tally = score(
        [row], cases(config), config.metrics, bands=config.bands,
        value_range=config.meta.value_range,
        hooks=ScoringHooks(
            on_answer=lambda r, _, lead, values: seen.setdefault(r.model, []).append(values)
        ),
    )  # fmt: skip
    members = [f"jitter · member {m}" for m in range(3)]
    assert set(seen) == {"jitter", *members}
    for mean, *parts in zip(seen["jitter"], *(seen[m] for m in members), strict=True):
        torch.testing.assert_close(mean, torch.stack(parts).mean(dim=0))
    assert {key[0] for key in tally.sums} == {"jitter", members[0]}


def test_the_ensemble_is_scored_once_under_its_own_name(scores: Scores) -> None:
    for metric in suite("ensemble"):
        assert scores.units.loc[scores.units["metric"] == metric, "model"].unique() == ["jitter"]
        assert value(scores, "jitter", metric) == value(scores, "jitter", metric)
    counts = [c for c in scores.run.extra["counts"] if c["metric"] == "rank.deviation@1"]
    assert {c["what"] for c in counts} == {f"rank {r}, lead {n}" for r in range(4) for n in (1, 2)}
    # The spread is far smaller than the error of two different years.
    assert value(scores, "jitter", "spread.skill@1", 2) < 0


def test_change_is_shown_for_all_rows_and_ranks_none(scores: Scores) -> None:
    for metric in suite("change"):
        rows = scores.units[scores.units["metric"] == metric]
        assert {"jitter", "persistence"} <= set(rows["model"])
    assert value(scores, "persistence", "change.false@1") == 0.0
    text = to_markdown(scores.table(), scores=[scores])
    assert "### change.false@1 (lower is better; conditioned on the truth, not ranked)" in text
    ranked = {cell[2] for cell in supported_best(scores)}
    assert not ranked & set(suite("change"))


def test_without_members_the_reason_stands_in_the_table(tmp_path: Path) -> None:
    store = toys.write_store(tmp_path / "toy", size=32, years=4, simulated=False, simulation=None)
    found = rb.evaluate(
        rb.create_model("persistence"), store, horizon=1, suite="pixel", metrics="crps.fair@1"
    )
    assert any("--members" in a.reason and a.metric == "crps.fair@1" for a in found.absences())
    assert not (found.units["metric"] == "crps.fair@1").any()
