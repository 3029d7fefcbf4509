"""Super-resolution: pairs, cases, the table, files of the task, and what is refused."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import segment_toys as toys
import torch
from PIL import Image as Picture

import rsbench as rb
from rsbench.catalog import Protocol, load_protocol
from rsbench.core.errors import InputError
from rsbench.evaluation.fit import training_pairs
from rsbench.evaluation.run import RunRequest, run_model
from rsbench.evaluation.scores import Scores
from rsbench.evaluation.submissions import ScoreOptions, export_task, score_answers
from rsbench.models.registry import create_model
from rsbench.store.layout import SensorMeta
from rsbench.store.read import Store
from rsbench.tasks.config import EvaluationConfig, EvaluationOptions
from rsbench.tasks.settings import cases, default_protocol, evaluation_config
from rsbench.tasks.superresolve.samples import fitted, given_bands, sensor_pair

PIXELS = "mae@1,mse@1"


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return toys.write_store(tmp_path_factory.mktemp("superresolve") / "store", regions=10)


@pytest.fixture(scope="module")
def same_unit(tmp_path_factory: pytest.TempPathFactory) -> Store:
    meta = toys.meta
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(toys, "meta", lambda name, unit, *rest: meta(name, "reflectance", *rest))
        return toys.write_store(tmp_path_factory.mktemp("same") / "store", regions=5)


@pytest.fixture(scope="module")
def config(store: Store) -> EvaluationConfig:
    return evaluation_config(store, "superresolve", EvaluationOptions(suite=PIXELS))


@pytest.fixture(scope="module")
def scores(store: Store) -> Scores:
    return rb.evaluate(create_model("bicubic_fitted"), store, "superresolve", suite=PIXELS)


def test_the_coarse_image_is_given_on_its_own_grid(config: EvaluationConfig) -> None:
    case = next(iter(cases(config)))
    frames = case.given.frames[toys.MR]
    assert list(case.given.frames) == [toys.MR]  # nothing of the fine sensor is given
    assert frames.values.shape == (4, 1, 1, 4, 32, 32)
    assert case.truth.shape == (4, 1, 4, 128, 128)
    assert (case.want.unit, case.want.value_range) == ("display", (0.0, 255.0))
    assert case.ratio == toys.RATIO
    fine, coarse = case.want.grids[0], case.given.grids[toys.MR][0]
    assert coarse.transform[0] == toys.RATIO * fine.transform[0]
    assert (coarse.transform[2], coarse.transform[5]) == (fine.transform[2], fine.transform[5])


def test_a_window_shows_the_same_ground_of_both(store: Store) -> None:
    rules = load_protocol("superresolve").model_copy(update={"window": 32, "stride": 64})
    small = evaluation_config(store, rules, EvaluationOptions(suite=PIXELS))
    for case in cases(small):
        for row, sample in enumerate(case.samples):
            part = sample.window
            y, x, side = part.y // 4, part.x // 4, part.height // 4
            whole = store.read(sample.region, toys.MR)[0].astype(np.float32) * 1e-4
            found = case.given.frames[toys.MR].values[row, 0, 0]
            seen = case.given.frames[toys.MR].valid[row, 0, 0]
            expected = torch.from_numpy(whole[:, y : y + side, x : x + side])
            assert torch.allclose(found, torch.where(seen, expected, 0))


def test_lines_are_those_of_a_loop_in_float64(config: EvaluationConfig) -> None:
    found = create_model("bicubic_fitted").fit(training_pairs(config))
    xs: list[list[float]] = [[] for _ in toys.BANDS]
    ys: list[list[float]] = [[] for _ in toys.BANDS]
    for case in cases(config, split="train"):
        frames = case.given.frames[toys.MR]
        for row in range(len(case.samples)):
            seen = frames.valid[row, 0, 0, 0].numpy()
            for band in range(4):
                low = frames.values[row, 0, 0, band].numpy()
                filled = np.where(seen, low, low[seen].mean(dtype=np.float64)).astype(np.float32)
                fine = np.asarray(Picture.fromarray(filled).resize((128, 128), Picture.BICUBIC))
                shown = seen.repeat(4, 0).repeat(4, 1) & case.valid[row, 0, 0].numpy()
                xs[band] += fine[shown].tolist()
                ys[band] += case.truth[row, 0, band].numpy()[shown].tolist()
    for band in range(4):
        gain, offset = np.polyfit(np.array(xs[band]), np.array(ys[band]), 1)
        assert found[f"gain {band}"] == pytest.approx(gain, rel=1e-5)
        assert found[f"offset {band}"] == pytest.approx(offset, rel=1e-5, abs=1e-5 * 255)


def test_sums_of_parts_add_up_and_a_flat_band_has_no_gain() -> None:
    from rsbench_baselines.superresolve_reference.model import line, line_sums

    draw = torch.Generator().manual_seed(0)
    x, y = torch.rand(2, 4, 3, 8, 8, generator=draw)
    shown = torch.rand(4, 1, 8, 8, generator=draw) > 0.3
    whole = line_sums(x, y, shown)
    parts = line_sums(x[:1], y[:1], shown[:1]) + line_sums(x[1:], y[1:], shown[1:])
    assert torch.allclose(whole, parts, rtol=1e-14)
    x[:, 1] = 0.25
    gain, offset = line(line_sums(x, y, shown))
    assert gain[1] == 0
    assert float(offset[1]) == pytest.approx(float(y[:, 1][shown[:, 0]].double().mean()))


def test_bicubic_stands_in_the_table_where_units_agree(same_unit: Store, scores: Scores) -> None:
    rows = {"bicubic_fitted", "nearest_fitted"}
    assert set(scores.units["model"]) == rows
    assert ("bicubic", "s2 is reflectance, naip is display") in {
        (a.model, a.reason) for a in scores.run.absent
    }
    other = rb.evaluate(create_model("bicubic"), same_unit, "superresolve", suite=PIXELS)
    assert set(other.units["model"]) == {*rows, "bicubic"}


def test_bicubic_refuses_another_unit(store: Store) -> None:
    with pytest.raises(InputError, match=r"scoring bicubic: s2 is reflectance, naip is display"):
        rb.evaluate(create_model("bicubic"), store, "superresolve", suite=PIXELS)
    case = next(iter(cases(evaluation_config(store, "superresolve"))))
    with pytest.raises(InputError, match=r"unit is display.*bicubic_fitted"):
        create_model("bicubic").predict(case.given, case.want)


def test_metrics_of_change_are_left_out_where_no_earlier_image_is_given(store: Store) -> None:
    options = EvaluationOptions(suite="pixel,change")
    for protocol in ("superresolve", "segment"):
        own = evaluation_config(store, protocol, options)
        assert "change.csi@1" in own.left_out
        assert not {"change.csi@1", "rmse.changed@1"} & {*own.metrics}


def test_bands_given_are_the_wanted_ones_first(store: Store) -> None:
    pair = sensor_pair(store)
    assert given_bands(store, pair, ("B08", "B02")) == ("B08", "B02", "B03", "B04")
    rules = load_protocol("superresolve").model_copy(update={"bands": ("B08", "B02")})
    own = evaluation_config(store, rules, EvaluationOptions(suite=PIXELS))
    case = next(iter(cases(own)))
    assert case.given.frames[toys.MR].bands == ("B08", "B02", "B03", "B04")
    assert case.want.bands == ("B08", "B02")


def test_a_store_of_another_default_is_scored_by_the_protocol_of_the_task(store: Store) -> None:
    assert store.meta.default_protocol == "segment"
    scores = rb.evaluate(create_model("nearest_fitted"), store, suite=PIXELS)
    assert (scores.run.task, scores.run.protocol) == ("superresolve", "superresolve")
    assert default_protocol(store, "segment") == "segment"
    assert default_protocol(store, "fusion") == "segment"  # pairs are no triplets: refused later


class Sized:
    """A store of one region, of a size and a ratio."""

    path, regions = "toy", ("one",)

    def __init__(self, side: int, ratio: int) -> None:
        self.pair = replace(sensor_pair_like(), ratio=ratio)
        self.grids = {name: type("G", (), {"height": side, "width": side}) for name in ("f", "c")}

    def region(self, name: str) -> Any:
        return self


def sensor_pair_like() -> Any:
    from rsbench.tasks.superresolve.samples import SensorPair

    return SensorPair("f", "c", 4)


@pytest.mark.parametrize(
    ("side", "ratio", "window", "name"),
    [(384, 4, 128, "superresolve"), (2560, 10, 120, "superresolve/w120"),
     (384, 3, 120, "superresolve/w120"), (60, 4, 56, "superresolve/w56"),
     (20, 10, 20, "superresolve/w20")],
)  # fmt: skip
def test_windows_fall_on_coarse_pixels(side: int, ratio: int, window: int, name: str) -> None:
    own = Sized(side, ratio)
    found = fitted(load_protocol("superresolve"), own, own.pair)  # type: ignore[arg-type]
    assert (found.window, found.stride, found.name) == (window, window, name)
    assert found.window % ratio == 0


def changed(**changes: Any) -> Protocol:
    return Protocol.model_validate({**load_protocol("superresolve").model_dump(), **changes})


@pytest.mark.parametrize(
    ("changes", "named"),
    [({"context": 2}, "context"), ({"horizon": 2}, "horizon"), ({"scheme": "time"}, "scheme"),
     ({"direction": "past"}, "direction"), ({"bands": ("B99",)}, "B99"),
     ({"labels": {"fraction": 0.5}}, "no labels")],
)  # fmt: skip
def test_other_protocols_are_refused(store: Store, changes: dict[str, Any], named: str) -> None:
    with pytest.raises(InputError, match=named):
        evaluation_config(store, changed(**changes))


def test_other_options_and_stores_are_refused(store: Store, tmp_path: Path) -> None:
    for options, named in ((EvaluationOptions(context=2), "Leave --context out"),
                           (EvaluationOptions(horizon=3), "Leave --horizon out")):  # fmt: skip
        with pytest.raises(InputError, match=named):
            evaluation_config(store, "superresolve", options)
    single = toys.write_store(tmp_path / "single", regions=5, finer=False)
    with pytest.raises(InputError, match=r"its sensors are s2 \(10 m\).*demo-pairs"):
        evaluation_config(single, "superresolve")


def test_a_band_without_partner_is_refused(tmp_path: Path, monkeypatch: Any) -> None:
    meta, own = toys.meta, ("B02", "B03", "B04", "B12")

    def renamed(name: str, *rest: Any) -> SensorMeta:
        made = meta(name, *rest)
        return made if name == toys.MR else replace(made, bands=own, display=None)

    monkeypatch.setattr(toys, "meta", renamed)
    odd = toys.write_store(tmp_path / "odd", regions=5)
    with pytest.raises(InputError, match=r"s2 has no band B12.*`bands` in a protocol file"):
        evaluation_config(odd, "superresolve")
    assert evaluation_config(odd, changed(bands=own[:3])).bands == own[:3]


@pytest.mark.parametrize("form", ["npy", "geotiff"])
def test_answers_from_elsewhere_are_scored(
    config: EvaluationConfig, store: Store, scores: Scores, tmp_path: Path, form: str
) -> None:
    out = export_task(store, tmp_path / "task", protocol="superresolve", form=form)
    task = json.loads((out / "task.json").read_text(encoding="utf-8"))
    entry = task["predictions"][0]
    shown = entry["frames"][toys.MR]
    assert list(entry["frames"]) == [toys.MR]  # the truth is not written
    assert shown["grid"]["height"] == 32
    assert task["regions"][entry["region"]]["height"] == 128
    if form == "geotiff":
        import rasterio

        with rasterio.open(out / "context" / shown["folder"] / f"{shown['dates'][0]}.tif") as file:
            assert (file.height, file.transform.a) == (32, 10.0)
        return
    fitted_line = create_model("bicubic_fitted")
    fitted_line.fit(training_pairs(config))
    note = out / "predictions" / "answer.json"
    note.write_text(note.read_text().replace("name-your-model", "elsewhere"), encoding="utf-8")
    for case in cases(config, batch_size=1):
        (sample,), days = case.samples, case.targets[0]
        place = out / "predictions" / sample.region / f"{days[0]}.npy"
        place.parent.mkdir(exist_ok=True)
        np.save(place, fitted_line.predict(case.given, case.want).values[0, 0].numpy())
    found = score_answers(
        out / "predictions", store, tmp_path / "scored", ScoreOptions(suite=PIXELS)
    ).scores.table()
    rows = found[found["metric"] == "mse@1"].set_index(["model", "band"])["value"]
    assert rows["elsewhere", "all"] == pytest.approx(rows["bicubic_fitted", "all"], rel=1e-6)


def test_the_report_shows_the_coarse_image_in_its_own_pixels_and_colours(
    store: Store, tmp_path: Path
) -> None:
    request = RunRequest(
        model="nearest_fitted", data=store.path, out=tmp_path / "run", suite=PIXELS, device="cpu"
    )
    run_model(request)
    viewer = tmp_path / "run" / "viewer"
    entry = json.loads((viewer / "index.json").read_text(encoding="utf-8"))["entries"][0]
    shown, truth = (np.load(viewer / entry[name]) for name in ("context", "truth"))
    assert (shown.shape, truth.shape) == ((32, 32, 3), (1, 128, 128, 3))
    values = store.read(entry["region"], toys.MR)[0][[2, 1, 0], :-1] * 1e-4
    expected = np.clip(values / 0.6, 0, 1) ** (1 / 2.2) * 255  # reflectance, as display@1
    assert np.abs(shown[:-1] - expected.transpose(1, 2, 0)).max() <= 1
    page = (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
    assert "coarse image" in page
