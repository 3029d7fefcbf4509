"""Protocols from files: identity by content, errors with the line, and the primary endpoint."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import scores_fixtures as fixtures
import toys

import rsbench as rb
from rsbench.catalog import Protocol, load_protocol, windowed_protocol
from rsbench.core.errors import CatalogError, Incomparable, InputError
from rsbench.evaluation.endpoint import endpoint_of
from rsbench.evaluation.gate import compare
from rsbench.evaluation.report.board import boards
from rsbench.evaluation.report.leaderboard import first_metric, rows_of
from rsbench.evaluation.run import RunRequest, resolved
from rsbench.evaluation.scores import Scores
from rsbench.evaluation.submissions import NOTE, ScoreOptions, export_task, score_answers
from rsbench.evaluation.table import to_latex, to_markdown
from rsbench.store.read import Store

TEXT = """\
name: mine
description: Two years ahead.
context: 1
horizon: 2
window: 32
stride: 32
suite: [mae@1, mse@1]
"""


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return toys.write_store(
        tmp_path_factory.mktemp("toy") / "s", regions=4, size=32, years=4, simulation=None,
        floor=False,
    )  # fmt: skip


def written(folder: Path, text: str = TEXT, name: str = "mine.yaml") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def test_a_file_is_named_with_the_digest_of_its_content(tmp_path: Path) -> None:
    first = load_protocol(written(tmp_path))
    name, _, digest = first.name.partition("+")
    assert name == "mine"
    assert len(digest) == 8
    assert load_protocol(first) == first
    reworded = TEXT.replace("Two years", "2 years") + "starts: all\ncurves: [starts, targets]\n"
    assert load_protocol(written(tmp_path, reworded)).name == first.name
    other = load_protocol(written(tmp_path, TEXT.replace("horizon: 2", "horizon: 1")))
    assert other.name.startswith("mine+")
    assert other.name != first.name


def test_the_catalogue_s_own_content_keeps_its_name_and_no_other_takes_it(tmp_path: Path) -> None:
    own = load_protocol("year3")
    assert load_protocol(own) == own
    copy = written(tmp_path, own.model_dump_json(), "copy.yaml")
    assert load_protocol(str(copy)) == own
    changed = own.model_copy(update={"window": 64})
    assert load_protocol(changed).name.startswith("year3+")


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        (
            "context:",
            "contxt:",
            r"mine.yaml:3: there is no key 'contxt' here\. Did you mean context\?",
        ),
        ("horizon: 2", "horizon: two", "mine.yaml:4"),
        ("suite: [mae@1, mse@1]", "suite: [mae]", "mine.yaml:7"),
        ("name: mine", "name: year3/w32", "mine.yaml:1"),
    ],
)
def test_a_wrong_file_is_named_with_its_line(tmp_path: Path, old: str, new: str, says: str) -> None:
    with pytest.raises(CatalogError, match=says):
        load_protocol(written(tmp_path, TEXT.replace(old, new)))


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(CatalogError, match=r"absent\.yaml: the file cannot be read"):
        load_protocol(tmp_path / "absent.yaml")


def test_another_window_is_another_protocol_and_the_same_one_is_not(store: Store) -> None:
    own = load_protocol("year3")
    assert windowed_protocol(own, None) == windowed_protocol(own, own.window) == own
    half = windowed_protocol("year3", 64)
    assert (half.window, half.stride) == (64, 64)
    assert half.name.startswith("year3+")
    with pytest.raises(InputError, match="Give --window 16 or more"):
        windowed_protocol(own, 8)
    request = RunRequest(model="persistence", data=store.path, protocol="year1", window=16)
    config = resolved(request, lambda _: None)[1]
    assert (config.protocol.window, config.protocol.stride) == (16, 16)


@pytest.mark.parametrize(
    ("primary", "says"),
    [
        ("{metric: psnr@1, score: skill, leads: [1]}", "no skill of this metric"),
        ("{metric: rmse.changed@1, score: value, leads: [1]}", "conditioned on the truth"),
    ],
)
def test_a_primary_endpoint_that_cannot_order_is_refused(
    tmp_path: Path, store: Store, primary: str, says: str
) -> None:
    text = TEXT.replace("mse@1]", f"mse@1, psnr@1, rmse.changed@1]\nprimary: {primary}")
    with pytest.raises(InputError, match=says):
        rb.evaluate(rb.create_model("persistence"), store, written(tmp_path, text))


def test_a_path_and_the_value_give_one_table_and_another_content_never_compares(
    tmp_path: Path, store: Store
) -> None:
    path = written(tmp_path)
    model = rb.create_model("persistence")
    by_path = rb.evaluate(model, store, str(path))
    by_value = rb.evaluate(model, store, load_protocol(path))
    pd.testing.assert_frame_equal(by_path.table(), by_value.table())
    assert by_path.run.protocol == load_protocol(path).name
    other = rb.evaluate(model, store, written(tmp_path, TEXT.replace("stride: 32", "stride: 16")))
    for scores, name in ((by_path, "a"), (other, "b")):
        scores.save(tmp_path / name)
    with pytest.raises(Incomparable, match="protocol"):
        compare(tmp_path / "a", tmp_path / "b")


def test_an_exported_task_carries_its_protocol(tmp_path: Path, store: Store) -> None:
    path = written(tmp_path)
    folder = export_task(store, tmp_path / "task", protocol=path)
    note = folder / "predictions" / NOTE
    answer = json.loads(note.read_text(encoding="utf-8"))
    assert answer["protocol"] == load_protocol(path).name
    path.unlink()
    for item in json.loads((folder / "task.json").read_text(encoding="utf-8"))["forecasts"]:
        last = folder / "context" / item["region"] / f"{item['context'][-1]}.npy"
        frame = np.nan_to_num(np.load(last))
        target = folder / "predictions" / item["region"]
        target.mkdir(exist_ok=True)
        np.save(target / f"{item['start']}.npy", np.stack([frame] * len(item["targets"])))
    note.write_text(json.dumps({**answer, "model": "copy"}), encoding="utf-8")
    options = ScoreOptions(keep="none")
    scores = score_answers(folder / "predictions", store, tmp_path / "run", options).scores
    assert scores.run.protocol == answer["protocol"]
    altered = {**answer, "model": "copy"}
    altered["protocol_content"] = {**answer["protocol_content"], "stride": 16}
    note.write_text(json.dumps(altered), encoding="utf-8")
    with pytest.raises(Incomparable, match="its content is that of mine"):
        score_answers(folder / "predictions", store, tmp_path / "again", options)


# ------------------------------------------------------------------------ the primary endpoint


def disagreeing(**changes: Any) -> Scores:
    """Two models: one is better in MSE, the other in MAE and at lead 3."""
    models = {
        "sharp": ("model", "tiny", 0.7),
        "smooth": ("model", "tiny", 0.8),
        "persistence": ("trivial", "fixed", 1.0),
    }
    units = fixtures.make_units(models=models, metrics=("mse@1", "mae@1"), noise=0.0)
    smooth = units["model"] == "smooth"
    units.loc[smooth & (units["metric"] == "mae@1"), "value_sum"] *= 0.5
    units.loc[smooth & (units["metric"] == "mse@1") & (units["lead"] == 3), "value_sum"] *= 0.8
    return Scores(units, fixtures.make_run(best_trivial="persistence", horizon=3, **changes))


def primary(metric: str, score: str, *leads: int) -> dict[str, Any]:
    return {"metric": metric, "score": score, "leads": leads}


@pytest.mark.parametrize(
    ("stated", "first", "title"),
    [
        (primary("mse@1", "skill", 1), "sharp", "MSE skill at lead 1"),
        (primary("mse@1", "value", 1), "sharp", "mse@1 at lead 1"),
        (primary("mse@1", "skill", 3), "smooth", "MSE skill at lead 3"),
        (primary("mae@1", "value", 1, 3), "smooth", "mae@1 at leads 1 and 3"),
    ],
)
def test_the_primary_endpoint_orders_report_and_table(
    tmp_path: Path, stated: dict[str, Any], first: str, title: str
) -> None:
    scores = disagreeing(primary=stated)
    scores.save(tmp_path / "run")
    board = boards([tmp_path / "run"])[0]
    assert rows_of(board)[0]["model"] == first
    metric = ("skill." if stated["score"] == "skill" else "") + stated["metric"]
    assert first_metric(board, []) == metric
    for text in (
        to_markdown(scores.table(), scores=[scores]),
        to_latex(scores.table(), scores=[scores]),
    ):
        assert f"primary endpoint: {title} (stated by the protocol)" in text
        assert text.index(first) < min(text.index(m) for m in ("sharp", "smooth") if m != first)
    plain, ranked = to_markdown(scores.table()), to_markdown(scores.table(), scores=[scores])
    blocks = [[line for line in t.splitlines() if line.startswith("### ")] for t in (plain, ranked)]
    assert blocks[1][0].startswith(f"### {metric} (")
    assert sorted(blocks[0]) == sorted(blocks[1])


def test_without_one_the_default_is_named(tmp_path: Path) -> None:
    scores = disagreeing(primary=None, protocol="year7")
    assert scores.run.endpoint.title == "MSE skill at leads 1 and 3 (the default)"
    old = disagreeing(protocol="year3/w64")
    assert old.run.endpoint.title == "MSE skill at leads 1 and 3 (stated by the protocol)"
    assert endpoint_of(None, "year3", 1).leads == (1,)


def test_a_run_stores_the_primary_endpoint(tmp_path: Path, store: Store) -> None:
    text = TEXT + "primary: {metric: mae@1, score: value, leads: [2]}\n"
    scores = rb.evaluate(rb.create_model("persistence"), store, written(tmp_path, text))
    scores.save(tmp_path / "run")
    assert Scores.load(tmp_path / "run").run.endpoint.label == "mae@1 at lead 2"


def test_a_protocol_value_needs_no_file(store: Store) -> None:
    own = Protocol.model_validate(
        {"name": "own", "description": "-", "context": 1, "horizon": 1, "window": 32,
         "suite": ["mse@1"]}
    )  # fmt: skip
    scores = rb.evaluate(rb.create_model("persistence"), store, own)
    assert scores.run.protocol.startswith("own+")
