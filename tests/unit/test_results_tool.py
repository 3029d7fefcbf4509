"""The tool that makes the tables under results: seeds, controls, and what it says was typed."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import pandas as pd
import pytest
from scores_fixtures import make_run, make_units, save_run
from support.tool import load_tool

from rsbench.evaluation.scores import Scores


@pytest.fixture(scope="module")
def tool() -> ModuleType:
    return load_tool("results")


@pytest.fixture
def folders(tmp_path: Path) -> list[Path]:
    """Two models with two seeds each; each brings a control of one name."""
    trivial = make_units(
        models={"persistence": ("trivial", "", 1.0), "damped_persistence": ("trivial", "", 0.9)},
        metrics=("mse@1",), bands=("all",),
    )  # fmt: skip
    found = []
    for m, name in enumerate(("sjd", "sd")):
        for seed in (0, 1):
            own = make_units(
                models={name: ("model", "tiny", 0.5 + 0.1 * m + 0.2 * seed),
                        "round": ("control", "tiny", 2.0 + m + 0.5 * seed)},
                metrics=("mse@1",), bands=("all",), noise=0.0,
            )  # fmt: skip
            run = make_run(seed=seed, weights={name: f"{m}{seed}" * 32}, history={})
            folder = tmp_path / f"{name}-tiny-s{seed}"
            found.append(save_run(folder, Scores(pd.concat([trivial, own]), run)))
    return found


def test_controls_are_named_after_whose_weights_they_hold(
    tool: ModuleType, folders: list[Path]
) -> None:
    table = tool.values(folders)
    rows = table[(table["metric"] == "mse@1") & (table["stratum"] == "all") & (table["lead"] == 1)]
    seeds = rows.groupby("model")["seed"].agg(list).to_dict()
    assert seeds["round of sjd"] == seeds["round of sd"] == seeds["sjd"] == [0, 1]
    assert seeds["persistence"] == [0]  # the same in every run: it stands once
    value = rows.set_index(["model", "seed"])["value"]
    assert value["round of sd", 0] / value["round of sjd", 0] == pytest.approx(1.5)


def test_a_curve_is_the_mean_of_seeds_and_its_band_their_span(
    tool: ModuleType, folders: list[Path], tmp_path: Path
) -> None:
    curves = {c.model: c for c in tool.seeds_as_bands(folders)}
    (low,), (high,), (mean,) = (
        [part[0]] for part in (curves["sjd"].lo, curves["sjd"].hi, curves["sjd"].values)
    )
    assert high / low == pytest.approx(0.7 / 0.5)
    assert mean == pytest.approx((low + high) / 2)
    assert curves["persistence"].lo == curves["persistence"].hi == curves["persistence"].values
    tool.draw(folders, tmp_path / "decay.png")
    assert (tmp_path / "decay.png").read_bytes().startswith(b"\x89PNG")


def test_embeddings_are_drawn_where_a_model_foresees_them(
    tool: ModuleType, folders: list[Path], tmp_path: Path
) -> None:
    assert tool.spreads(folders) == {}
    points = tuple({"step": s, "terms": {"variance.ratio": 0.1 * s}} for s in range(3))
    run = make_run(weights={"sjd": "0" * 64}, history={"sjd": points})
    units = make_units(models={"sjd": ("model", "tiny", 0.5)}, metrics=("mse@1",), bands=("all",))
    folder = save_run(tmp_path / "sjd-tiny_a-s0", Scores(units, run))
    lines = tool.spreads([*folders, folder])
    assert lines == {"sjd-tiny_a-s0": [(s, pytest.approx(0.1 * s)) for s in range(3)]}
    axes = tool.draw_spreads(lines, simulated=True).axes[0]
    assert [line.get_label() for line in axes.lines[:1]] == ["sjd-tiny_a-s0"]
    assert "simulated" in [text.get_text() for text in axes.texts]
    real = tool.draw_spreads(lines, simulated=False).axes[0]
    assert "simulated" not in [text.get_text() for text in real.texts]


def test_the_heading_says_the_whole_command(tool: ModuleType) -> None:
    words = ["--models", "sjd:tiny", "--seeds", "0", "1", "--horizon", "7", "--out", "results/x"]
    parser = tool.arguments()
    asked = parser.parse_args(["STORE", *words])
    assert tool.typed(asked) == words
    assert tool.typed(parser.parse_args(["STORE", *words, "--lead", "3"]))[-4:-2] == ["--lead", "3"]
