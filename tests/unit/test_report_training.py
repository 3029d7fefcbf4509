"""Learning curves in a report, and the warning of a predictor that collapsed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from scores_fixtures import make_run, make_units, save_run

from rsbench.evaluation.report import write_report
from rsbench.evaluation.report.board import boards, of_row
from rsbench.evaluation.report.page_training import collapsed, curves
from rsbench.evaluation.scores import Scores
from rsbench.evaluation.table import to_markdown


def history(*ratios: float) -> list[dict[str, Any]]:
    return [
        {
            "stage": "jepa" if i < 2 else "generator",
            "step": 10 * i,
            "loss": 1.0 / (i + 1),
            "rate": 1e-3,
            "terms": {"variance.ratio": ratio} if i < 2 else {"flow": 1.0},
        }
        for i, ratio in enumerate(ratios)
    ]


def test_stages_have_lines_of_their_own_and_embeddings_a_picture() -> None:
    found = curves({"a": history(0.5, 0.8, 1, 1), "b": history(0.2, 0.3, 1, 1)}, simulated=True)
    assert [curve.title for curve in found] == ["a", "b", "embeddings"]
    assert [name for name, _, _ in found[0].key] == ["loss, jepa", "loss, generator"]
    assert [name for name, _, _ in found[2].key] == ["a", "b"]
    assert "simulated" in found[2].chart


@pytest.mark.parametrize(("last", "said"), [(0.09, [("a", 0.09)]), (0.11, [])])
def test_a_collapse_is_what_ends_below_a_tenth(last: float, said: list[Any]) -> None:
    assert collapsed({"a": history(0.01, last, 1, 1), "b": [{"step": 1, "loss": 2.0}]}) == said


def test_models_without_terms_keep_their_curve() -> None:
    points = [{"stage": "fit", "step": i, "loss": 2.0 - i, "validation": 1.0} for i in range(2)]
    (only,) = curves({"simvp": points}, simulated=False)
    assert [name for name, _, _ in only.key] == ["loss", "validation"]
    assert "simulated" not in only.chart


def test_no_two_lines_of_a_picture_look_alike() -> None:
    """Five ablations, or four stages and what chose the weights."""
    points = [{"step": s, "terms": {"variance.ratio": 0.5}} for s in range(2)]
    *_, picture = curves(dict.fromkeys("abcdefgh", points), simulated=False)
    looks = [(style, dash) for _, style, dash in picture.key]
    assert len(looks) == len(set(looks)) == 8


def test_presets_of_one_model_keep_their_own_curves_and_weights(tmp_path: Path) -> None:
    """Ablations are presets of one model: the report draws all, and warns of the one that fell."""
    folders = []
    for preset, ratio in (("tiny_a", 0.02), ("tiny", 0.6)):
        models = {
            "persistence": ("trivial", "", 1.0), "damped_persistence": ("trivial", "", 0.9),
            "sjd": ("model", preset, 0.8),
        }  # fmt: skip
        units = make_units(models=models, metrics=("mse@1",), bands=("all",))
        run = make_run(
            weights={"sjd": preset.ljust(64, "0")}, history={"sjd": history(0.9, ratio, 1, 1)}
        )
        folders.append(save_run(tmp_path / preset, Scores(units, run)))
    (board,) = boards(folders)
    assert set(board.run.history) == {"sjd tiny_a", "sjd tiny"}
    assert collapsed(board.run.history) == [("sjd tiny_a", 0.02)]
    assert of_row(board.run.weights, "sjd", "tiny_a").startswith("tiny_a")
    assert of_row(board.run.weights, "sjd", "tiny").startswith("tiny0")
    picture = curves(board.run.history, simulated=True)[-1]
    assert [name for name, _, _ in picture.key] == ["sjd tiny_a", "sjd tiny"]
    write_report(folders, tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text()
    assert "sjd tiny_a" in page
    assert "spread of predicted over target embeddings" in page


@pytest.mark.parametrize(
    ("cosine", "rank", "said"),
    [
        (0.79, 0.13, []),
        (0.81, 0.13, ["mean cosine of two tokens of an image 0.81 (above 0.8"]),
        (0.79, 0.12, ["effective rank of tokens over their width 0.12 (below 0.125"]),
    ],
)
def test_collapsed_tokens_are_said_in_report_and_table(
    cosine: float, rank: float, said: list[str], tmp_path: Path
) -> None:
    """Of validation samples, at the end of the stage that watches them."""
    points = [
        {"stage": "pretrain", "step": 10 * (i + 1), "loss": 1.0,
         "terms": {"token.cosine": 0.95}, "validation_terms": {"token.cosine": c, "rank.share": r}}
        for i, (c, r) in enumerate([(0.2, 0.9), (cosine, rank)])
    ]  # fmt: skip
    points.append({"stage": "probe", "step": 21, "validation": 0.1})
    models = {"majority": ("trivial", "", 1.0), "sjd": ("model", "tiny", 0.8)}
    units = make_units(models=models, metrics=("mse@1",), bands=("all",))
    scores = Scores(units, make_run(weights={"sjd": "a" * 64}, history={"sjd": points}))
    folder = save_run(tmp_path / "run", scores)
    write_report([folder], tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text()
    text = to_markdown(scores.table(), scores=[scores])
    assert ("has collapsed" in page) == bool(said)
    assert "mean cosine of two tokens of an image" in page  # its chart
    assert ("collapsed: sjd tiny: " in text) == bool(said)
    assert all(part in page and part in text for part in said)
