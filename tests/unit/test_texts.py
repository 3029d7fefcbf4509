"""Texts of images: in a store, in samples of forecasts and of generation, on the command line."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping
from pathlib import Path

import pytest
import segment_toys
import torch
import toys
from support.shell import rsbench

from rsbench.catalog import load_protocol
from rsbench.core.errors import InputError
from rsbench.store.add_texts import add_texts, read_texts
from rsbench.store.export.summary import store_identity
from rsbench.store.read import Store, open_store
from rsbench.tasks.base import Case
from rsbench.tasks.config import EvaluationConfig, EvaluationOptions
from rsbench.tasks.settings import cases, evaluation_config

RULES = load_protocol("year1").model_copy(update={"window": 32, "stride": 32})
SPLIT = ("train", "val", "test", "test")
DAMAGE = {f"toy-0{n}": {"2018-07-01": f"after flood, number {n}"} for n in range(1, 5)}

ABOUT = {
    "long_name": "toy cover", "comment": "-", "licence": "-", "attribution": "-", "citation": "-",
    "rsbench:years": [2020],
}  # fmt: skip


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Store:
    root = tmp_path_factory.mktemp("plain") / "store"
    return toys.write_store(root, size=32, years=2, floor=False, split=SPLIT)


@pytest.fixture(scope="module")
def told(plain: Store, tmp_path_factory: pytest.TempPathFactory) -> Store:
    return add_texts(plain, DAMAGE, tmp_path_factory.mktemp("told") / "store")


def only(config: EvaluationConfig) -> Case:
    (case,) = cases(config)
    return case


def table(path: Path, rows: list[tuple[str, ...]]) -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(rows)
    return path


def test_a_copy_has_the_pixels_and_another_digest(plain: Store, told: Store) -> None:
    assert told.validate() == []
    assert told.digest != plain.digest
    for name in ("values", "valid", "n_valid"):
        assert (
            told.read("toy-01", "s2", array=name) == plain.read("toy-01", "s2", array=name)
        ).all()
    assert told.attributes("toy-01", "s2") == plain.attributes("toy-01", "s2")
    assert store_identity(told)["texts"] == "4 texts, 8 dates of the regions"
    assert "| texts | 4 texts" in (told.path / "README.md").read_text(encoding="utf-8")
    assert "texts" not in json.loads((plain.path / "index.json").read_text(encoding="utf-8"))


def test_a_changed_text_does_not_fit_the_digest(told: Store, tmp_path: Path) -> None:
    again = add_texts(open_store(told.path), {"toy-01": {"2017-07-01": "before"}}, tmp_path / "a")
    assert again.manifest("toy-01").record.texts.keys() == {"2017-07-01", "2018-07-01"}
    manifest = again.path / "toy-01" / "manifest.json"
    manifest.write_text(manifest.read_text(encoding="utf-8").replace("flood", "fire"))
    found = [str(finding) for finding in open_store(again.path).validate()]
    assert any("toy-01" in line for line in found)


def test_a_forecast_of_one_date_has_the_text_of_the_wanted_image(told: Store) -> None:
    config = evaluation_config(told, RULES)
    case = only(config)
    expected = [DAMAGE[ref.region]["2018-07-01"] for ref in case.samples]
    assert list(case.given.texts) == expected
    assert case.permuted is not None
    assert sorted(case.permuted.texts) == sorted(expected)
    assert all(a != b for a, b in zip(case.permuted.texts, expected, strict=True))
    assert torch.equal(case.permuted.frames["s2"].values, case.given.frames["s2"].values)


def test_other_forecasts_have_no_text(plain: Store, told: Store) -> None:
    case = only(evaluation_config(plain, RULES))
    assert case.given.texts == ()
    assert case.permuted is None
    past = RULES.model_copy(update={"direction": "past"})
    assert only(evaluation_config(told, past)).given.texts == ("", "")
    from rsbench.tasks.registry import task_of

    several = load_protocol("year3").model_copy(update={"context": 1, "horizon": 3})
    config = evaluation_config(
        told, several.model_copy(update={"window": 32, "stride": 32}), EvaluationOptions(horizon=1)
    )
    assert "asks for several leads" in "".join(task_of(config).notes(config))
    assert only(config).given.texts == ()


def test_a_longer_horizon_than_one_text_is_refused(tmp_path: Path) -> None:
    store = toys.write_store(tmp_path / "a", size=32, years=3, floor=False, split=SPLIT)
    told = add_texts(store, DAMAGE, tmp_path / "b")
    with pytest.raises(InputError, match="a sample has the text of one image"):
        evaluation_config(told, RULES, EvaluationOptions(horizon=2))


def test_generation_takes_the_texts_of_the_store(tmp_path: Path) -> None:
    store = segment_toys.write_store(tmp_path / "a", regions=5, finer=False, kind="series", **ABOUT)
    days = {name: store.region(name).times[segment_toys.MR] for name in store.regions}
    every = {name: {day.isoformat(): f"field {name}" for day in own} for name, own in days.items()}
    told = add_texts(store, every, tmp_path / "b")
    assert told.attributes("place-00", segment_toys.MR, "labels") == store.attributes(
        "place-00", segment_toys.MR, "labels"
    )
    for case in cases(evaluation_config(told, "generate")):
        assert list(case.given.texts) == [f"field {ref.region}" for ref in case.samples]
    del every["place-01"]
    part = add_texts(store, every, tmp_path / "c")
    with pytest.raises(InputError, match=r"the image of place-01 of .* has none"):
        evaluation_config(part, "generate")


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([("region", "date", "words")], "its columns are region, date, words"),
        ([("region", "date", "text")], "it has no row"),
        ([("region", "date", "text"), ("toy-01", "2018-07-01", " ")], "2 of them not empty"),
        ([("region", "date", "text"), ("toy-01", "2018-07-01", "a", "b")], "it has 4 values"),
        ([("date", "region", "text"), *[("2018-07-01", "toy-01", "a")] * 2],
         "of toy-01 of 2018-07-01 has a text already: 'a'. Keep one"),
    ],
)  # fmt: skip
def test_a_table_of_texts_that_cannot_be(
    rows: list[tuple[str, ...]], said: str, tmp_path: Path
) -> None:
    with pytest.raises(InputError) as refused:
        read_texts(table(tmp_path / "texts.csv", rows))
    assert said in str(refused.value)


@pytest.mark.parametrize(
    ("texts", "said"),
    [
        ({"toy-09": {"2018-07-01": "a"}}, "'toy-09'"),
        ({"toy-01": {"2018-07-02": "a"}}, "its images are of 2017-07-01, 2018-07-01"),
        ({"toy-01": {"2018-07-01": "a"}}, "has one already: 'after flood, number 1'"),
    ],
)
def test_texts_of_no_image_or_a_second_one(
    texts: Mapping[str, Mapping[str, str]], said: str, told: Store, tmp_path: Path
) -> None:
    with pytest.raises(InputError) as refused:
        add_texts(told, texts, tmp_path / "out")
    assert said in str(refused.value)
    assert not (tmp_path / "out").exists()


def test_words_reach_a_task_from_the_command_line(plain: Store, tmp_path: Path) -> None:
    rows = [(region, day, text) for region, own in DAMAGE.items() for day, text in own.items()]
    table(tmp_path / "texts.csv", [("region", "date", "text"), *rows])
    add = ("add-texts", str(plain.path), "texts.csv", "--out", "told.zarr")
    done = rsbench(tmp_path, *add)
    assert "4 texts, 8 dates of the regions" in done.stdout, done.stderr
    again = rsbench(tmp_path, *add)
    assert (again.returncode, again.stderr.count("\n")) == (2, 1)
    rules = "name: after\ndescription: One date ahead.\ncontext: 1\nhorizon: 1\nwindow: 32\n"
    (tmp_path / "after.yaml").write_text(rules + "stride: 32\nsuite: [mse@1]\n")
    done = rsbench(tmp_path, "export-task", "told.zarr", "task", "--protocol", "after.yaml")
    assert done.returncode == 0, done.stderr
    stated = json.loads((tmp_path / "task" / "task.json").read_text(encoding="utf-8"))
    found = {item["region"]: item["text"] for item in stated["forecasts"]}
    assert found == {name: DAMAGE[name]["2018-07-01"] for name in ("toy-03", "toy-04")}
