"""Predictions made elsewhere: read from files, checked, and scored by the path of every row."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import fusion_toys
import numpy as np
import pandas as pd
import pytest
import toys
from typer.testing import CliRunner

import rsbench as rb
from rsbench import Card, Given, Prediction, PresetInfo, Want
from rsbench.catalog import Protocol, load_protocol
from rsbench.core.errors import Incomparable, InputError, PixelError, RsbenchError, SchemaError
from rsbench.evaluation.submissions import ScoreOptions, export_task, score_answers
from rsbench.models.registry import adopt
from rsbench.store.read import Store
from rsbench.tasks.config import EvaluationOptions

SIDE, HORIZON = 256, 2
ASKED = EvaluationOptions(horizon=HORIZON)


class Copy:
    """The last frame, zeros where it is invalid."""

    def predict(self, given: Given, want: Want) -> Prediction:
        last = given.frames[want.sensor].values[:, :, -1:]
        return Prediction(last.expand(-1, want.members, want.times.shape[1], -1, -1, -1))


class FirstReference:
    """The first reference, zeros where it is invalid."""

    def predict(self, given: Given, want: Want) -> Prediction:
        first = given.frames[want.sensor].values[:, :, :1]
        return Prediction(first.expand(-1, want.members, -1, -1, -1, -1))


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RSBENCH_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield toys.write_store(
            tmp_path_factory.mktemp("toy") / "s", regions=4, size=SIDE, years=4, simulated=False,
            simulation=None, floor=False, meta=toys.sensor_meta(bands=toys.BANDS[:3]),
        )  # fmt: skip


@pytest.fixture(scope="module")
def exported(store: Store, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("tasks")
    return {
        form: export_task(store, root / form, options=ASKED, form=form)
        for form in ("npy", "zarr", "geotiff", "envi")
    }


def frame(folder: Path, form: str, region: str, day: str) -> np.ndarray[Any, Any]:
    if form == "npy":
        return np.load(folder / "context" / region / f"{day}.npy")
    if form == "zarr":
        import zarr

        return np.asarray(zarr.open_array(folder / "context", path=f"{region}/{day}")[...])
    import rasterio

    suffix = {"geotiff": "tif", "envi": "dat"}[form]
    with rasterio.open(folder / "context" / region / f"{day}.{suffix}") as file:
        return np.asarray(file.read())


def write_answer(
    place: Path, form: str, item: dict[str, Any], values: Any, grid: dict[str, Any]
) -> None:
    region, start = item["region"], item["start"]
    (place / region).mkdir(exist_ok=True)
    if form == "npy":
        np.save(place / region / f"{start}.npy", values)
    elif form == "zarr":
        import zarr

        zarr.save_array(place / region / start, values)
    elif form == "envi":  # as MATLAB's multibandwrite does, with a header by hand
        (place / region / start).mkdir()
        for day, image in zip(item["targets"], values, strict=True):
            path = place / region / start / f"{day}.img"
            path.write_bytes(image.transpose(1, 0, 2).astype(">f4").tobytes())
            head = {"samples": SIDE, "lines": SIDE, "bands": len(image), "data type": 4,
                    "interleave": "bil", "byte order": 1}  # fmt: skip
            lines = ["ENVI", *(f"{key} = {held}" for key, held in head.items())]
            path.with_suffix(".hdr").write_text("\n".join(lines))
    else:
        import rasterio

        (place / region / start).mkdir()
        for day, image in zip(item["targets"], values, strict=True):
            with rasterio.open(
                place / region / start / f"{day}.tif", "w", driver="GTiff", dtype="float32",
                count=len(image), height=SIDE, width=SIDE, crs=grid["crs"],
                transform=rasterio.Affine(*grid["transform"]),
            ) as file:  # fmt: skip
                file.write(image)


def answer(task_folder: Path, place: Path, form: str = "npy", members: int = 0) -> Path:
    """Copy the last frame the way a stranger would: from task.json and the files alone."""
    shutil.copytree(task_folder / "predictions", place)
    note = json.loads((place / "answer.json").read_text())
    (place / "answer.json").write_text(json.dumps({**note, "model": "copy"}))
    task = json.loads((task_folder / "task.json").read_text())
    for item in task["forecasts"]:
        last = frame(task_folder, form, item["region"], item["context"][-1])
        values = np.stack([last] * len(item["targets"]))
        if members:
            off = np.arange(members, dtype=np.float32) - (members - 1) / 2
            values = values[:, None] + off[None, :, None, None, None]
        write_answer(place, form, item, values, task["regions"][item["region"]])
    return place


def units(frame: pd.DataFrame) -> pd.DataFrame:
    key = ["region", "start", "lead", "metric", "band"]
    return frame[frame["model"] == "copy"].sort_values(key).drop(columns="preset")


@pytest.mark.filterwarnings("error:The given NumPy array is not writable")
@pytest.mark.parametrize("form", ["npy", "zarr", "geotiff", "envi"])
def test_answers_score_as_the_model_itself_does(
    store: Store, exported: dict[str, Path], form: str, tmp_path: Path
) -> None:
    place = answer(exported[form], tmp_path / "mine", form)
    scores = score_answers(place, store, tmp_path / "run", ScoreOptions(suite="pixel")).scores
    model = Copy()
    card = Card("copy", "forecast", "copy", {"default": PresetInfo(0, 0)}, "m:build", "-", "-")
    adopt(model, card)
    inside = rb.evaluate(model, store, horizon=HORIZON, suite="pixel")
    pd.testing.assert_frame_equal(
        units(scores.units).reset_index(drop=True), units(inside.units).reset_index(drop=True),
        rtol=1e-12,
    )  # fmt: skip
    assert {"persistence", "damped_persistence"} <= set(scores.units["model"])
    assert scores.run.device == "elsewhere"
    assert len(scores.run.weights["copy"] or "") == 64
    assert (tmp_path / "run" / "report.html").is_file()


def test_only_context_is_written(store: Store, exported: dict[str, Path]) -> None:
    task = json.loads((exported["npy"] / "task.json").read_text())
    given = {day for item in task["forecasts"] for day in item["context"]}
    wanted = {day for item in task["forecasts"] for day in item["targets"]}
    assert wanted - given == {"2020-07-01"}
    written = {p.name[:10] for p in (exported["npy"] / "context").rglob("*.npy")}
    assert written == given
    assert set(task["regions"]) == set(store.split("test"))
    item = task["forecasts"][0]
    values, valid = store.read_physical(item["region"], "s2")
    first = item["context"][0]
    assert np.array_equal(frame(exported["npy"], "npy", item["region"], first), values[0])
    seen = np.load(exported["npy"] / "context" / item["region"] / f"{first}.valid.npy")
    assert np.array_equal(seen, valid[0])


def test_members_are_scored_by_their_mean(
    store: Store, exported: dict[str, Path], tmp_path: Path
) -> None:
    one = answer(exported["npy"], tmp_path / "one")
    five = answer(exported["npy"], tmp_path / "five", members=5)
    a, b = (
        score_answers(
            place, store, tmp_path / f"{place.name}-run", ScoreOptions(suite="mae@1")
        ).scores
        for place in (one, five)
    )
    pd.testing.assert_frame_equal(units(a.units), units(b.units), rtol=1e-5)


def spoil_note(place: Path, **changes: Any) -> None:
    note = json.loads((place / "answer.json").read_text())
    (place / "answer.json").write_text(json.dumps({**note, **changes}))


def spoil_array(place: Path, change: Callable[[np.ndarray[Any, Any]], Any]) -> None:
    path = sorted(place.rglob("*.npy"))[0]
    np.save(path, change(np.load(path)))


def nan_at(values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    values[1, 2, 130, 7] = np.nan
    return values


def in_dn(place: Path, number: int) -> None:
    for path in sorted(place.rglob("*.npy"))[:number]:
        np.save(path, np.load(path) * 1e4)


@pytest.mark.parametrize(
    ("spoil", "kind", "words"),
    [
        (lambda p: spoil_note(p, digest="0" * 64), Incomparable, "dataset 000000000000"),
        (lambda p: spoil_note(p, model="name-your-model"), InputError, "no name"),
        (lambda p: spoil_note(p, model="oracle"), InputError, "an entry of every table"),
        *(
            (partial(spoil_note, model=name), InputError, r"its model .* is refused: ")
            for name in ("a/b", "../a", "a|b", "a=b", " a", "a\n", "nul.", "a" * 101)
        ),
        (lambda p: spoil_note(p, preset="x/y"), InputError, "its preset 'x/y' is refused"),
        (lambda p: spoil_note(p, context=[3]), InputError, r"does not fit \(context: "),
        (lambda p: spoil_note(p, bands=3), InputError, r"does not fit \(bands: "),
        (lambda p: spoil_note(p, format=None), InputError, r"does not fit \(format: "),
        (lambda p: spoil_note(p, horizon=10**30), InputError, "horizon"),
        (lambda p: (p / "answer.json").write_text("[]"), InputError, "no JSON object"),
        (lambda p: spoil_note(p, bands=["B04", "B03", "B02"]), Incomparable, "they hold s2 B04"),
        (lambda p: spoil_note(p, schema="rsbench.task@9"), SchemaError, "rsbench.task@9"),
        (lambda p: spoil_note(p, format="hdf5"), InputError, "format 'hdf5'"),
        (lambda p: spoil_note(p, colour="red"), InputError, "colour"),
        (lambda p: (p / "answer.json").write_text("{"), InputError, "not JSON"),
        (lambda p: (p / "answer.json").unlink(), InputError, "there is no answer.json"),
        (lambda p: shutil.rmtree(p / "toy-04"), InputError, "3 of 3 predictions are absent"),
        (lambda p: spoil_array(p, lambda v: v[:, :2]), InputError, r"its shape is \(2, 2, 256"),
        (lambda p: spoil_array(p, lambda v: v[..., 1:]), InputError, r"its shape is \(2, 3, 256"),
        (lambda p: spoil_array(p, lambda v: v.astype(int)), InputError, "its type is int"),
        (lambda p: spoil_array(p, lambda v: v.astype("f2")), InputError, "its type is float16"),
        (
            lambda p: in_dn(p, 3), InputError,
            "3 of 3 that were looked at lie mostly outside the value range 0 … 1; .*Write reflect",
        ),
        (
            lambda p: spoil_array(p, nan_at), PixelError,
            "start 2017-07-01: 1 values are not finite, the first at lead 2, band B04, row 130",
        ),
        (
            lambda p: sorted(p.rglob("*.npy"))[0].write_bytes(b"\x93NUMPY"), InputError,
            "cut short",
        ),
    ],
)  # fmt: skip
def test_what_cannot_be_scored_is_refused_in_words(
    store: Store, exported: dict[str, Path], tmp_path: Path, spoil: Callable[[Path], object],
    kind: type[RsbenchError], words: str,
) -> None:  # fmt: skip
    place = answer(exported["npy"], tmp_path / "mine")
    spoil(place)
    with pytest.raises(kind, match=words) as caught:
        score_answers(place, store, tmp_path / "run", ScoreOptions(suite="pixel"))
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("form", ["npy", "zarr", "geotiff"])
def test_digests_in_the_note_are_compared_with_the_files(
    store: Store, exported: dict[str, Path], form: str, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    place = answer(exported[form], tmp_path / "task" / "predictions", form)
    before = (place / "answer.json").read_text()
    monkeypatch.chdir(tmp_path)
    page = (Path(__file__).parents[2] / "docs" / "models.md").read_text(encoding="utf-8")
    mark = "<!-- run by tests/unit/test_outside_answers.py -->\n```python\n"
    exec(page.split(mark)[1].split("```")[0], {})  # what a user types
    assert len(json.loads((place / "answer.json").read_text())["sha256"]) >= 3

    def scored() -> None:
        score_answers(place, store, tmp_path / "run", ScoreOptions(suite="mae@1"))

    scored()
    path = next(p for p in sorted(place.rglob("*")) if p.is_file() and p.stat().st_size > 5000)
    body = path.read_bytes()
    (place / "more").write_bytes(b"")
    with pytest.raises(InputError, match=r"answer\.json has no digest of it"):
        scored()
    (place / "more").unlink()
    path.write_bytes(body[:-9] + bytes([body[-9] ^ 1]) + body[-8:])
    with pytest.raises(InputError, match=rf"(?s){path.name}.*its SHA-256 is .*, answer.json state"):
        scored()
    (place / "answer.json").write_text(before)  # the remedy: without the digests, or with new ones
    score_answers(place, store, tmp_path / "other", ScoreOptions(suite="mae@1"))
    spoil_note(place, sha256={"gone": "0" * 64})
    with pytest.raises(InputError, match="there is no such file"):
        scored()
    spoil_note(place, sha256=["0" * 64])
    with pytest.raises(InputError, match=r"does not fit \(sha256: "):
        scored()


def test_a_single_answer_outside_the_range_has_no_similarity(
    store: Store, exported: dict[str, Path], tmp_path: Path
) -> None:
    place = answer(exported["npy"], tmp_path / "mine")
    in_dn(place, 1)
    path = sorted(place.rglob("*.npy"))[1]
    np.save(path, np.load(path).astype(">f8"))  # another byte order is no other value
    run = score_answers(place, store, tmp_path / "run", ScoreOptions(suite="mae@1,ssim@1"))
    rows = units(run.scores.units)
    missing = rows[rows["band"] == "all"].groupby("metric")["n_missing"].sum()
    windows = 4 * HORIZON  # of the prediction
    assert missing["ssim@1"] == windows
    assert missing["mae@1"] == 0
    says = f"copy: ssim@1: {windows} images have no value: prediction or truth lies mostly outside"
    assert says in (run.out / "table.md").read_text(encoding="utf-8")
    page = (run.out / "report.html").read_text(encoding="utf-8")
    assert f"{windows} images have no value" in page
    # What was clipped stands with the metric.
    assert "Values clipped: copy 39 %." in (run.out / "table.md").read_text(encoding="utf-8")
    assert "values clipped: copy 39 %" in page


def test_envi_files_of_another_size_or_place_are_refused(
    store: Store, exported: dict[str, Path], tmp_path: Path
) -> None:
    place = answer(exported["envi"], tmp_path / "mine", "envi")
    path = next(place.rglob("*.img"))
    whole = path.read_bytes()
    path.write_bytes(whole[:-4])
    with pytest.raises(InputError, match="its header states"):
        score_answers(place, store, tmp_path / "run")
    path.write_bytes(whole)
    header = path.with_suffix(".hdr")
    header.write_text(header.read_text() + "\nmap info = {UTM, 1, 1, 5, 9, 10, 10, 33, North}")
    with pytest.raises(InputError, match="lies on another grid"):
        score_answers(place, store, tmp_path / "run")
    header.unlink()
    with pytest.raises(InputError, match="Put its ENVI header there"):
        score_answers(place, store, tmp_path / "run")


def test_a_geotiff_on_another_grid_is_refused(
    store: Store, exported: dict[str, Path], tmp_path: Path
) -> None:
    import rasterio

    place = answer(exported["geotiff"], tmp_path / "mine", "geotiff")
    with rasterio.open(sorted(place.rglob("*.tif"))[0], "r+") as file:
        file.transform = file.transform @ rasterio.Affine.translation(1, 0)
    with pytest.raises(InputError, match="another grid"):
        score_answers(place, store, tmp_path / "run", ScoreOptions(suite="pixel"))


def test_the_commands(store: Store, tmp_path: Path) -> None:
    from rsbench.cli.main import app

    runner = CliRunner()
    task, out = tmp_path / "task", tmp_path / "run"
    done = runner.invoke(
        app, ["export-task", str(store.path), str(task), "--horizon", "1", "--split", "val"]
    )
    assert done.exit_code == 0, done.output
    assert "rsbench score" in done.output
    place = answer(task, tmp_path / "mine")
    typed = ["score", str(place), "--data", str(store.path), "--out", str(out), "--suite", "pixel"]
    done = runner.invoke(app, typed)
    assert done.exit_code == 0, done.output
    assert "copy" in done.output
    assert json.loads((out / "run.json").read_text())["split"] == "val"
    again = runner.invoke(app, typed)
    assert "nothing was left to do" in again.output
    with pytest.raises(InputError, match="exists already"):
        export_task(store, task)


def test_answers_to_a_fusion_score_as_the_model_itself_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A copy of the first reference, read from files, under conditions that hide coarse images."""
    monkeypatch.setenv("RSBENCH_CACHE", str(tmp_path / "cache"))
    store = fusion_toys.write_triplets(
        tmp_path / "s", splits=("val", "test", "test"), times=fusion_toys.days(4), size=(32, 32)
    )
    task_folder = export_task(store, tmp_path / "task", protocol="fusion2")
    task = json.loads((task_folder / "task.json").read_text())
    assert task["task"] == "fusion"
    assert len(task["fusions"]) == 4
    place = tmp_path / "mine"
    shutil.copytree(task_folder / "predictions", place)
    note = json.loads((place / "answer.json").read_text())
    (place / "answer.json").write_text(json.dumps({**note, "model": "elsewhere"}))
    for item in task["fusions"]:
        fine, coarse = (item["frames"][name] for name in ("fine", "coarse"))
        assert item["start"] == fine["dates"][0]
        assert set(coarse["dates"]) == {*fine["dates"], *item["targets"]}
        first = task_folder / "context" / fine["folder"] / f"{fine['dates'][0]}.npy"
        assert not (first.parent / f"{item['targets'][0]}.npy").exists()
        (place / item["region"]).mkdir(exist_ok=True)
        np.save(place / item["region"] / f"{item['name']}.npy", np.load(first)[None])
    scores = score_answers(place, store, tmp_path / "run", ScoreOptions(suite="pixel")).scores
    assert {"copy_f0", "mean_refs", "elsewhere"} <= set(scores.units["model"])
    model, card = (
        FirstReference(),
        Card("inside", "fusion", "-", {"default": PresetInfo(0, 0)}, "m:build", "-", "-"),
    )
    adopt(model, card)
    inside = rb.evaluate(model, store, "fusion2", suite="pixel").units
    key = ["region", "start", "target", "metric", "band", "zone"]
    ours = scores.units[scores.units["model"] == "elsewhere"].sort_values(key)
    theirs = inside[inside["model"] == "inside"].sort_values(key)
    for column in (*key, "value_sum", "weight"):
        assert ours[column].tolist() == pytest.approx(theirs[column].tolist(), nan_ok=True)
    spoil_note(place, model="copy_f0")
    with pytest.raises(InputError, match="an entry of every table"):
        score_answers(place, store, tmp_path / "other", ScoreOptions(suite="pixel"))


def test_hidden_coarse_pixels_are_hidden_in_the_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RSBENCH_CACHE", str(tmp_path / "cache"))
    store = fusion_toys.write_triplets(
        tmp_path / "s", splits=("test",), times=fusion_toys.days(3), size=(32, 32)
    )
    rules = load_protocol("fusion2").model_dump(mode="json")
    hidden = {"name": "cloudy", "dates": [0, 1, 2], "cloud": 0.25}
    stressed = Protocol.model_validate({**rules, "conditions": [hidden]})
    monkeypatch.setattr("rsbench.tasks.settings.load_protocol", lambda _: stressed)
    folder = export_task(store, tmp_path / "task")
    (item,) = json.loads((folder / "task.json").read_text())["fusions"]
    coarse = item["frames"]["coarse"]
    seen = {
        day: np.load(folder / "context" / coarse["folder"] / f"{day}.valid.npy").mean()
        for day in coarse["dates"]
    }
    assert [seen[day] for day in sorted(seen)] == [1.0, 0.75, 1.0]
