from __future__ import annotations

from pathlib import Path

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image, ImageSequence
from scores_fixtures import make_run, make_scores, make_units, save_run
from typer.testing import CliRunner

import rsbench as rb
from rsbench.cli.main import app
from rsbench.core.errors import InputError
from rsbench.evaluation.scores import Scores

mpl.use("agg")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    units = make_units(metrics=("mse@1", "rmse@1", "ssim@1"), bands=("all",))
    scores = Scores(units, make_run())
    return save_run(tmp_path_factory.mktemp("plot") / "run", scores, viewer=True, masked=True)


@pytest.fixture
def ax() -> Axes:
    return Figure().subplots()


def texts(axes: Axes) -> list[str]:
    return [text.get_text() for text in axes.texts]


def test_a_strip_has_truth_entries_errors_and_dates(folder: Path, ax: Axes) -> None:
    assert rb.plot.strip(folder, entries=["simvp"], leads=[1, 3], ax=ax) is ax
    assert len(ax.images) == 3 * 2
    assert "year +3\n2020" in texts(ax)
    assert any(text.startswith("error, 0 to 0.0") for text in texts(ax))
    assert len(rb.plot.strip(folder, errors=False, ax=Figure().subplots()).images) == 3 * 3


def test_the_enlarged_part_is_that_of_the_picture(tmp_path: Path, ax: Axes) -> None:
    real = save_run(tmp_path / "run", make_scores({"simulated": False}, regions=8), viewer=True)
    rb.plot.strip(real, leads=[2], zoom=(10, 20, 30, 15), ax=ax)
    whole, part = (np.asarray(image.get_array()) for image in ax.images[:2])
    np.testing.assert_array_equal(part, whole[20:35, 10:40])
    left, right, low, high = ax.images[1].get_extent()
    assert (right - left) / (low - high) == pytest.approx(2.0)
    frame = ax.patches[0]
    assert (frame.get_x(), frame.get_y()) == pytest.approx((10 / 96, 20 / 96))


def test_a_picture_of_simulated_data_says_so(folder: Path, tmp_path: Path) -> None:
    shown = [
        np.asarray(rb.plot.strip(run, leads=[1], ax=Figure().subplots()).images[0].get_array())
        for run in (
            folder,
            save_run(tmp_path / "r", make_scores({"simulated": False}), viewer=True, masked=True),
        )
    ]
    assert (shown[0] != shown[1]).any()
    assert "simulated" in texts(rb.plot.ranking(folder, ax=Figure().subplots()))


def test_the_ranking_is_in_order_of_the_metric(folder: Path, ax: Axes) -> None:
    rb.plot.ranking(folder, "mse", lead=2, entries=["persistence", "simvp"], ax=ax)
    assert [label.get_text() for label in ax.get_yticklabels()] == ["persistence", "simvp"]
    table = Scores.load(folder).table().set_index(["model", "metric", "lead", "band", "stratum"])
    row = table.loc["simvp", "mse@1", 2, "all", "all"]
    spans = [line.get_xdata() for line in ax.lines if len(line.get_xdata()) == 2]
    assert [row["lo"], row["hi"]] in [list(span) for span in spans]


def test_decay_and_plane_draw_the_entries_chosen(folder: Path, ax: Axes) -> None:
    scores = Scores.load(folder)
    rb.plot.decay(scores, "rmse@1", entries=["simvp/tiny"], ax=ax)
    assert len(ax.lines) == 1
    plane = rb.plot.perception_distortion(
        scores, ("rmse", "ssim"), entries=["simvp", "oracle"], ax=Figure().subplots()
    )
    assert [len(line.get_xdata()) for line in plane.lines] == [3, 3]
    assert plane.get_ylabel() == "perception: ssim@1"
    with pytest.raises(InputError, match="no metric of perception was scored"):
        rb.plot.perception_distortion(scores, ax=ax)
    with pytest.raises(InputError, match="no pictures were kept"):
        rb.plot.strip(scores)


def test_the_command_writes_equal_files_again(folder: Path, tmp_path: Path) -> None:
    for name, head in (("a.pdf", b"%PDF"), ("a.svg", b"<?xml"), ("a.png", b"\x89PNG")):
        typed = ["figure", str(folder), "ranking", "--metric", "ssim", "--out"]
        first, second = tmp_path / name, tmp_path / f"again-{name}"
        for path in (first, second):
            assert CliRunner().invoke(app, [*typed, str(path), "--width", "3"]).exit_code == 0
        assert first.read_bytes().startswith(head)
        assert first.read_bytes() == second.read_bytes()


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        (["strip", "--lead", "9"], "lead 9: pictures of lead 1, 2, 3 were kept"),
        (["ranking", "--lead", "9"], "lead 9: these runs have lead 1 to 3"),
        (["decay", "--metric", "smis"], "Known: mse@1, rmse@1"),
        (["strip", "--zoom", "90,0,20,20"], "not inside the pictures, which are 96 × 96"),
        (["strip", "--zoom", "1,2,3"], "four whole numbers"),
        (["strip", "--region", "sim-1"], "Did you mean sim-01"),
        (["strip", "--rows", "oracle"], "entry with pictures"),
        (["decay", "--zoom", "1,2,3,4"], "they are of strips"),
        (["decay", "--lead", "1"], "it shows all lead times"),
        (["ranking", "--metric", "ssim,rmse"], "it shows one metric"),
        (["rankin"], "Did you mean ranking"),
    ],
)
def test_what_is_not_there_is_refused_in_one_sentence(
    folder: Path, tmp_path: Path, typed: list[str], said: str
) -> None:
    out = tmp_path / "figure.pdf"
    found = CliRunner().invoke(app, ["figure", str(folder), *typed, "--out", str(out)])
    assert isinstance(found.exception, InputError)
    assert said in str(found.exception)
    assert not out.exists()


def test_a_file_is_not_replaced_and_its_kind_is_known(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "a.pdf").write_bytes(b"mine")
    for name, said in (
        ("a.pdf", "exists"),
        ("a.gif", "a decay does not move"),
        ("a.tif", "ending in .pdf"),
    ):
        typed = ["figure", str(folder), "decay", "--out", str(tmp_path / name)]
        assert said in str(CliRunner().invoke(app, typed).exception)
    assert (tmp_path / "a.pdf").read_bytes() == b"mine"


def test_a_strip_moves_over_the_lead_times(folder: Path, tmp_path: Path) -> None:
    typed = ["figure", str(folder), "strip", "--rows", "simvp", "--out", str(tmp_path / "a.gif")]
    assert CliRunner().invoke(app, [*typed, "--width", "2"]).exit_code == 0
    with Image.open(tmp_path / "a.gif") as film:
        frames = [np.asarray(one.convert("RGB")) for one in ImageSequence.Iterator(film)]
    assert len(frames) == 3
    assert (frames[0] != frames[2]).any()
