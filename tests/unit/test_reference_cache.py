"""Scores of reference models are computed once, and reused where everything is equal."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import segment_toys
import torch
import toys
from support.damage import spoiled

from rsbench.core.digest import sealed
from rsbench.core.io import disk_errors
from rsbench.core.source import source_digest
from rsbench.evaluation import reference_cache
from rsbench.evaluation.costs import COSTS
from rsbench.evaluation.entries import Answer, ModelEntry
from rsbench.evaluation.own_entry import OwnEntry
from rsbench.evaluation.pictures import Viewer
from rsbench.evaluation.run_info import PHASES, REUSED
from rsbench.evaluation.score_table import Working, score_table
from rsbench.evaluation.scores import Scores
from rsbench.metrics import engine
from rsbench.store.read import Store
from rsbench.tasks.base import Case
from rsbench.tasks.config import EvaluationConfig, EvaluationOptions
from rsbench.tasks.settings import evaluation_config

FORECAST = EvaluationOptions(horizon=2, suite="rmse@1,ssim@1,fd.texture@1", device="cpu")
SEGMENT = EvaluationOptions(suite="miou@1", device="cpu")


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Store]:
    folder = tmp_path_factory.mktemp("stores")
    plain: dict[str, Any] = {"size": 32, "years": 4, "simulated": False, "simulation": None}
    return {
        "year7": toys.write_store(folder / "series", **plain),
        "changed": toys.write_store(folder / "changed", invalid=0.021, **plain),
        "segment": segment_toys.write_store(folder / "pairs", regions=5),
    }


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RSBENCH_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield Path(tmp_path_factory.getbasetemp())


def flat(case: Case) -> Answer:
    for index in range(case.truth.shape[1]):
        values = torch.full_like(case.truth[:, index], 0.25)
        values[:, 0] = 0.5
        yield index + 1, values


@dataclass
class Made:
    """Scores of one run, what was said, and which answers were heard."""

    scores: Scores
    said: list[str] = field(default_factory=list)
    heard: list[tuple[str, int, float]] = field(default_factory=list)

    @property
    def reused(self) -> bool:
        return REUSED in self.scores.run.extra


def made(config: EvaluationConfig, *, reuse: bool = True) -> Made:
    """Score one flat entry beside the reference models."""
    own = OwnEntry("flat", ModelEntry("flat", "", "model", flat), None, "")
    said: list[str] = []
    heard: list[tuple[str, int, float]] = []

    def hear(entry: ModelEntry, case: Case, lead: int, values: torch.Tensor) -> None:
        heard.append((entry.model, lead, float(values.sum())))

    scores = score_table(
        config, own, note=said.append, on_answer=hear, working=Working(reuse=reuse)
    )
    return Made(scores, said, heard)


@pytest.fixture(scope="module", params=["year7", "segment"])
def first(
    request: pytest.FixtureRequest, stores: dict[str, Store], cache: Path
) -> tuple[EvaluationConfig, Made]:
    options = FORECAST if request.param == "year7" else SEGMENT
    config = evaluation_config(stores[request.param], request.param, options)
    return config, made(config)


def test_reused_scores_are_equal_bit_for_bit(
    first: tuple[EvaluationConfig, Made], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, fresh = first
    asked: list[int] = []
    compute = engine.image_metrics
    monkeypatch.setattr(
        "rsbench.evaluation.loop.image_metrics", lambda *a, **o: asked.append(1) or compute(*a, **o)
    )
    again = made(config)
    entries = set(fresh.scores.units["model"]) | set(fresh.scores.counts["model"])
    assert len(asked) == len([name for name, *_ in fresh.heard if name == "flat"])
    assert not fresh.reused
    assert again.reused
    assert set(again.scores.run.extra[REUSED]["models"]) == entries - {"flat"}
    for number, one in enumerate((fresh, again)):
        one.scores.save(tmp_path / str(number))
    for path in (tmp_path / "0").glob("*.parquet"):
        assert path.read_bytes() == (tmp_path / "1" / path.name).read_bytes()
    pd.testing.assert_frame_equal(fresh.scores.table(), again.scores.table(), check_exact=True)
    assert again.scores.absences() == fresh.scores.absences()
    bare = [  # costs are measured, and those of reused entries are not known
        replace(run, extra={n: v for n, v in run.extra.items() if n not in (REUSED, COSTS)})
        for run in (again.scores.run, fresh.scores.run)
    ]
    assert bare[0] == bare[1]
    # Pictures and digests of answers need the answers themselves.
    assert sorted(again.heard) == sorted(fresh.heard)


class Counted(Viewer):
    """Pictures of the report, and how many answers they were made of."""

    def __call__(self, entry: ModelEntry, *answer: Any) -> None:
        self.heard = [*getattr(self, "heard", ()), entry.model]
        self.add(entry, *answer)


def test_pictures_are_equal_and_made_of_few_answers(
    first: tuple[EvaluationConfig, Made], tmp_path: Path
) -> None:
    config = first[0]
    own = OwnEntry("flat", ModelEntry("flat", "", "model", flat), None, "")
    heard: list[list[str]] = []
    for reuse in (False, True):
        viewer = Counted(
            tmp_path / str(reuse), config.meta, config.bands, keep="viewer",
            sensors=config.store.meta.sensors, regions=1,
        )  # fmt: skip
        scores = score_table(config, own, on_answer=viewer, working=Working(reuse=reuse))
        assert (REUSED in scores.run.extra) is reuse
        viewer.close()
        heard.append(viewer.heard)
    assert set(heard[0]) == set(heard[1])
    if config.protocol.task == "forecast":  # elsewhere digests are made of all answers
        assert len(heard[1]) < len(heard[0])
    files = sorted(path.name for path in (tmp_path / "False").iterdir())
    assert files == sorted(path.name for path in (tmp_path / "True").iterdir())
    for name in files:
        assert (tmp_path / "False" / name).read_bytes() == (tmp_path / "True" / name).read_bytes()


def test_a_table_of_reference_models_is_never_reused(
    first: tuple[EvaluationConfig, Made],
) -> None:
    config, fresh = first
    name = next(name for name, *_ in fresh.heard if name != "flat")
    alone = score_table(config, OwnEntry(name, None, None, ""), working=Working(reuse=True))
    assert REUSED not in alone.run.extra


def test_without_reuse_nothing_is_read_or_written(
    first: tuple[EvaluationConfig, Made], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, _ = first
    assert not made(config, reuse=False).reused
    monkeypatch.setenv("RSBENCH_CACHE", str(tmp_path))
    made(config, reuse=False)
    assert not (tmp_path / "references").exists()


CHANGES: dict[str, Callable[[EvaluationConfig], EvaluationConfig]] = {
    "metrics": lambda config: replace(config, metrics=(*config.metrics, "mae@1")),
    "protocol": lambda config: replace(
        config, protocol=config.protocol.model_copy(update={"window": 16, "stride": 16})
    ),
    "seed": lambda config: replace(config, seed=1),
    "split": lambda config: replace(config, split="train"),
    "horizon": lambda config: replace(config, horizon=1),
    "bands": lambda config: replace(config, bands=config.bands[::-1]),
    "precision": lambda config: replace(config, precision="bf16-mixed"),
}


def cache_of(config: EvaluationConfig) -> reference_cache.ReferenceCache:
    from rsbench.evaluation.reference_models import reference_entries
    from rsbench.evaluation.score_table import _networks

    networks = _networks(config.metrics)
    found = reference_cache.ReferenceCache.of(config, reference_entries(config), networks)
    assert found is not None
    return found


def folder_of(config: EvaluationConfig) -> Path:
    return cache_of(config).folder


@pytest.fixture
def config(stores: dict[str, Store], cache: Path) -> EvaluationConfig:
    return evaluation_config(stores["year7"], "year7", replace(FORECAST, suite="rmse@1"))


@pytest.mark.parametrize("name", CHANGES)
def test_another_configuration_is_another_entry(name: str, config: EvaluationConfig) -> None:
    assert folder_of(CHANGES[name](config)) != folder_of(config)


def test_other_pixels_code_libraries_or_weights_are_another_entry(
    config: EvaluationConfig, stores: dict[str, Store], monkeypatch: pytest.MonkeyPatch
) -> None:
    known = folder_of(config)
    assert folder_of(replace(config, store=stores["changed"])) != known
    changes: dict[str, Any] = {
        "source_digest": lambda objects: "0" * 64,
        "provenance": lambda **named: toys_provenance(),
    }
    for name, change in changes.items():
        with monkeypatch.context() as patch:
            patch.setattr(reference_cache, name, change)
            assert folder_of(config) != known
    assert folder_of(config) == known


def toys_provenance() -> Any:
    from rsbench.core.provenance import Provenance

    return Provenance(versions={"torch": "0"}, system={})


def test_a_class_without_a_file_is_not_reused(
    config: EvaluationConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert source_digest([type("Typed", (), {"__module__": "__main__x"})]) is None
    monkeypatch.setattr(reference_cache, "source_digest", lambda objects: None)
    assert not made(config).reused


@pytest.mark.parametrize("damage", ["cut", "other", "sealed", "lacking", "note"])
def test_a_damaged_entry_is_computed_again(
    damage: str, config: EvaluationConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fresh = made(config)
    folder = folder_of(config)
    monkeypatch.setenv("RSBENCH_CACHE", str(tmp_path))
    mine = folder_of(config)
    shutil.copytree(folder, mine)
    scores, note = mine / "scores.parquet", mine / "run.json"
    value = json.loads(note.read_text())
    if damage == "cut":
        scores.write_bytes(scores.read_bytes()[:-9])
    elif damage == "other":
        note.write_text(json.dumps(sealed({**value, "about": {**value["about"], "horizon": 1}})))
    elif damage == "sealed":
        note.write_text(json.dumps({**value, "counts": [["persistence", "mse@1", "clipped", 3]]}))
    elif damage == "lacking":
        note.write_text(json.dumps(sealed({k: v for k, v in value.items() if k != "selection"})))
    else:
        note.write_text("{")
    again = made(config)
    assert not again.reused
    assert len([line for line in again.said if "computed again" in line]) == 1
    assert again.scores.units.equals(fresh.scores.units)
    assert made(config).reused  # it was written whole again


def test_no_damage_of_an_entry_is_read(
    config: EvaluationConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made(config)
    folder = folder_of(config)
    monkeypatch.setenv("RSBENCH_CACHE", str(tmp_path))
    entry, draw = cache_of(config), random.Random(0)
    shutil.copytree(folder, entry.folder)
    whole = entry.read(pytest.fail)
    assert whole is not None
    for path in sorted(entry.folder.iterdir()):
        content = path.read_bytes()
        for _ in range(15):
            path.write_bytes(spoiled(content, draw))
            said: list[str] = []
            found = entry.read(said.append)
            if found is None:
                assert len(said) == 1
                continue
            assert path.suffix == ".json"  # a space between two values
            assert (found.counts, found.selection) == (whole.counts, whole.selection)
        path.write_bytes(content)
    assert entry.read(pytest.fail) is not None


def test_a_folder_that_was_not_finished_is_not_read(
    config: EvaluationConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that is killed while it writes leaves a temporary folder, and no entry."""
    monkeypatch.setenv("RSBENCH_CACHE", str(tmp_path))

    def killed(folder: Path, target: Path) -> None:
        assert {path.name for path in folder.iterdir()} >= {"run.json", "scores.parquet"}
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(reference_cache, "replace_directory", killed)
        with pytest.raises(KeyboardInterrupt):
            made(config)
    assert not folder_of(config).exists()
    assert not made(config).reused


def test_a_full_disk_keeps_the_scores_of_the_run(
    config: EvaluationConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RSBENCH_CACHE", str(tmp_path))

    def full(*_: object) -> None:
        with disk_errors("writing", "give another folder"):
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(reference_cache, "write_run", full)
    said = f"the reference entries are not kept in {folder_of(config)}: the device has no room left"
    assert said in made(config).said


def test_a_run_writes_where_its_time_went(config: EvaluationConfig, tmp_path: Path) -> None:
    made(config).scores.save(tmp_path, {PHASES: {"read": 1.0}})
    assert Scores.load(tmp_path).run.extra[PHASES] == {"read": 1.0}
