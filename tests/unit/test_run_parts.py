"""A run in parts: each scores its regions, and added up they are the run in one process."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import segment_toys
import torch
import toys
from support.kept_stores import kept

from rsbench.catalog import windowed_protocol
from rsbench.core.digest import SEAL, sealed
from rsbench.core.errors import InputError, LimitReached, TrainingError
from rsbench.evaluation import devices, parts, report, score_table
from rsbench.evaluation.costs import COSTS
from rsbench.evaluation.parts import NOTE, Part, finalise_run, run_part
from rsbench.evaluation.run import RunRequest, run_model
from rsbench.evaluation.run_info import PHASES, REUSED
from rsbench.models.api import Card, Given, Prediction, PresetInfo, Want
from rsbench.models.registry import extra
from rsbench.store.read import open_store
from rsbench.tasks.blocks import Blocks
from rsbench.tasks.config import EvaluationOptions
from rsbench.tasks.settings import evaluation_config

kept_store = kept(toys.write_store)


class Jitter:
    """The last frame, made rough by noise of its own per member and by the batch's own size."""

    def predict(self, given: Given, want: Want) -> Prediction:
        last = given.frames[want.sensor].values[:, :1, -1]
        noise = want.noise.normal("jitter", want, channels=len(want.bands))
        values = (last + 0.003 * noise + 1e-6 * len(want.samples))[:, :, None]
        shape = (-1, -1, want.times.shape[1], -1, -1, -1)
        return Prediction(values.expand(shape).float().contiguous())


def build(preset: str) -> Jitter:
    return Jitter()


CARD = Card(
    "jitter", "forecast", "Jitter", {"default": PresetInfo(0, 0)}, f"{__name__}:build", "none",
    "none", rollout="step",
)  # fmt: skip


@pytest.fixture(autouse=True)
def _short_report(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Write no report, which takes most of the time, but in one test."""
    if request.node.name != "test_parts_add_up_to_the_bits_of_one_process":
        monkeypatch.setattr(report, "write_report", lambda runs, out, **_: out.write_text(""))


@pytest.fixture
def request_(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[RunRequest]:
    monkeypatch.setenv("RSBENCH_CACHE", str(tmp_path / "cache"))
    kept_store(tmp_path / "toy", regions=12, size=32, years=4, simulated=False, simulation=None)
    with extra(CARD):
        yield RunRequest(
            model="jitter", data=tmp_path / "toy", horizon=2, members=3, window=16, suite="pixel",
            metrics="ensemble,change,fd.texture@1", out=tmp_path / "whole", device="cpu",
        )  # fmt: skip


def in_parts(request: RunRequest, count: int, order: Callable[[range], Any] = reversed) -> Path:
    assert request.out is not None
    asked = replace(request, out=request.out.with_name(f"{count}-parts"))
    for number in order(range(1, count + 1)):
        run_part(asked, Part(number, count))
    return finalise_run(asked).out


def files(folder: Path) -> dict[str, bytes]:
    """Return the files of a run but the report, with what is not of one command in run.json."""
    found = {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*.*")}
    return {name: data for name, data in found.items() if name not in ("report.html", "run.json")}


def told(folder: Path) -> dict[str, Any]:
    """Return run.json without what is measured, and without its digest."""
    value: dict[str, Any] = json.loads((folder / "run.json").read_text())
    return {name: item for name, item in value.items() if name not in (PHASES, COSTS, SEAL)}


def test_parts_add_up_to_the_bits_of_one_process(request_: RunRequest) -> None:
    whole = run_model(request_).out
    out = in_parts(replace(request_, fresh_references=True), 3)
    assert files(out) == files(whole)
    assert told(out) == told(whole)
    assert not (out / "parts").exists()
    assert (out / "report.html").is_file()


def test_parts_take_and_keep_scores_of_reference_models(
    request_: RunRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert request_.out is not None
    request_ = replace(request_, suite="mae@1,fd.texture@1", metrics=None, members=1)
    whole = files(run_model(replace(request_, fresh_references=True)).out)
    homes = [request_.out.with_name(name) for name in ("computed", "alone", "shared")]
    first, alone, shared = (replace(request_, out=home) for home in homes)
    assert files(in_parts(first, 2)) == whole  # they keep what they compute
    reused = told(run_model(alone).out)[REUSED]
    assert reused["models"] == ["persistence", "damped_persistence", "floor"]
    scored: list[list[str]] = []
    real = score_table.collect

    def counted(scoring: Any, *args: Any, **named: Any) -> Any:
        scored.append([e.model for e in scoring.entries.own if scoring.entries.kept])
        return real(scoring, *args, **named)

    monkeypatch.setattr(parts, "collect", counted)
    said: list[str] = []
    run_part(shared, Part(1, 2), note=said.append)
    shutil.rmtree(tmp_path / "cache" / "references")  # the parts have a copy
    run_part(shared, Part(2, 2))
    assert any("are reused from" in line for line in said)
    assert scored == [["jitter"]] * 3
    out = finalise_run(shared).out
    assert files(out) == files(alone.out) == whole
    assert told(out) == told(alone.out)


def test_parts_reuse_scores_all_alike_or_refuse(request_: RunRequest) -> None:
    assert request_.out is not None
    asked = replace(request_, suite="mae@1", metrics=None, members=1)
    run_part(asked, Part(1, 2))
    run_model(replace(asked, out=request_.out.with_name("other")))
    run_part(asked, Part(2, 2))  # scores that are kept later are left: part 1 computed its own
    assert REUSED not in told(finalise_run(asked).out)
    again = replace(asked, out=request_.out.with_name("again"))
    run_part(again, Part(1, 2))
    with pytest.raises(InputError, match="--fresh-references computes them") as error:
        run_part(replace(again, fresh_references=True), Part(2, 2))
    folder = again.out / "parts" / "references"  # type: ignore[operator]
    assert str(folder.parent) in error.value.remedy
    run_part(again, Part(2, 2))
    (folder / "scores.parquet").write_bytes(b"PAR1")
    with pytest.raises(InputError, match="they are damaged"):
        finalise_run(again)
    (folder / "decision.json").unlink()
    with pytest.raises(InputError, match="parts/references, are damaged"):
        finalise_run(again)
    shutil.rmtree(folder.parent)  # the remedy
    for number in (1, 2):
        run_part(again, Part(number, 2))
    finalise_run(again)


def test_blocks_fill_a_batch_and_no_batch_has_two_of_them(request_: RunRequest) -> None:
    assert request_.data is not None
    asked = EvaluationOptions(horizon=2, device="cpu")
    rules = windowed_protocol("year7", 16)
    blocks = Blocks.of(evaluation_config(open_store(request_.data), rules, asked))
    found = [{s.region for s in case.samples} for case in blocks.cases(blocks.numbers)]
    assert len(blocks.regions) > 1
    assert all(any(names <= {*block} for block in blocks.regions) for names in found)
    assert {name for block in blocks.regions for name in block} == set().union(*found)


def test_maps_and_counts_of_segmentation_add_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RSBENCH_CACHE", str(tmp_path / "cache"))
    segment_toys.write_store(tmp_path / "pairs", regions=20)
    request = RunRequest(
        model="window_lda", data=tmp_path / "pairs", keep="all", out=tmp_path / "whole", window=16,
        device="cpu",
    )  # fmt: skip
    whole = run_model(request).out
    out = in_parts(request, 2)
    assert files(out) == files(whole)
    assert (out / "counts.parquet").is_file()
    assert any((out / "maps").rglob("*.tif"))
    assert json.loads((out / "run.json").read_text())["answers"]


def test_a_killed_part_costs_its_block_and_goes_on(
    request_: RunRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert request_.out is not None
    request_ = replace(request_, suite="mae@1", metrics=None)
    real, scored = parts.collect, []

    def counted(*args: Any, **named: Any) -> Any:
        if len(scored) == 1:
            raise KeyboardInterrupt
        scored.append(1)
        return real(*args, **named)

    monkeypatch.setattr(parts, "collect", counted)
    with pytest.raises(KeyboardInterrupt):
        run_part(request_, Part(1, 1))
    with pytest.raises(InputError, match="part 1 of 1 is missing or not finished"):
        finalise_run(request_)
    monkeypatch.setattr(parts, "collect", lambda *a, **n: scored.append(1) or real(*a, **n))
    run_part(request_, Part(1, 1))
    blocks = [p for p in (request_.out / "parts" / "1-of-1").iterdir() if p.is_dir()]
    assert len(scored) == len(blocks) == 3
    said: list[str] = []
    run_part(request_, Part(1, 1), note=said.append)
    assert len(scored) == 3
    assert any("nothing was left to do" in line for line in said)
    (blocks[0] / "units.parquet").write_bytes(b"PAR1")
    with pytest.raises(InputError, match="Type the same command with --part"):
        finalise_run(request_)
    run_part(request_, Part(1, 1))
    assert len(scored) == 4


def test_missing_and_foreign_parts_are_refused(request_: RunRequest) -> None:
    assert request_.out is not None
    request_ = replace(request_, suite="mae@1", metrics=None)
    with pytest.raises(InputError, match="no part is there"):
        finalise_run(request_)
    for number in (1, 3):
        run_part(request_, Part(number, 3))
    with pytest.raises(InputError, match="part 2 of 3 is missing") as error:
        finalise_run(request_)
    assert "--parts 2/3" in error.value.remedy
    run_part(request_, Part(2, 3))
    with pytest.raises(InputError, match=r"part 1 of 3 is of another run.*members \(3 / 2\)"):
        finalise_run(replace(request_, members=2))
    with pytest.raises(InputError, match=r"holds a part of another run.*seed \(0 / 1\)"):
        run_part(replace(request_, seed=1), Part(2, 3))


ODD = {
    ("run", "versions", "torch"): r"part 2 of 2 differs from part 1 of 2 in torch",
    ("run", "device"): r"differs from part 1 of 2 in device",
    ("run", "weights", "jitter"): r"in weights of jitter",
    ("stated", "version"): r"part 2 of 2 is of another run.*version \(other",
    ("stated", "dataset"): r"dataset \(other",
}


def test_parts_of_other_versions_devices_and_weights_are_refused(request_: RunRequest) -> None:
    assert request_.out is not None
    asked = replace(request_, suite="mae@1", metrics=None, members=1)
    for number in (1, 2):
        run_part(asked, Part(number, 2))
    path = request_.out / "parts" / "2-of-2" / NOTE
    whole = path.read_text()
    for place, said in ODD.items():
        note = inner = json.loads(whole)
        for name in place[:-1]:
            inner = inner[name]
        inner[place[-1]] = "other"
        path.write_text(json.dumps(sealed(note)))
        with pytest.raises(InputError, match=said) as error:
            finalise_run(asked)
        assert "--parts 2/2" in error.value.remedy
    first = path.parents[1] / "1-of-2" / NOTE
    first.rename(first.with_suffix(".kept"))
    path.write_text("{")
    with pytest.raises(InputError, match=r"part\.json of every part is damaged"):
        finalise_run(asked)
    first.with_suffix(".kept").rename(first)
    shutil.rmtree(path.parent)
    run_part(asked, Part(2, 2))  # the remedy
    finalise_run(asked)


def test_only_the_first_part_trains(request_: RunRequest) -> None:
    assert request_.out is not None
    asked = replace(
        request_, model="simvp", preset="tiny", budget="1steps", members=1, suite="mae@1",
        metrics=None, window=None,
    )  # fmt: skip
    with pytest.raises(TrainingError, match="no checkpoint fits") as error:
        run_part(asked, Part(2, 2))
    assert "--parts 1/2" in error.value.remedy
    for number in (1, 2):
        run_part(asked, Part(number, 2))
    notes = [request_.out / "parts" / f"{number}-of-2" / NOTE for number in (1, 2)]
    weights = {json.loads(note.read_text())["run"]["weights"]["simvp"] for note in notes}
    assert len(weights) == 1


def test_contradicting_options_and_too_many_devices_are_refused(
    request_: RunRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(InputError, match=r"--devices: it came with --finalise"):
        devices.run_as_asked(request_, devices=2, finalise=True)
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {0, 1})
    with pytest.raises(InputError, match=r"--devices 3: this machine has 2 processors\. Give"):
        devices.run_as_asked(request_, devices=3)
    with pytest.raises(InputError, match="cuda:1 names one device"):
        devices._require_devices(1, "cuda", 2)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(InputError, match="this machine has 1 GPU"):
        devices._require_devices(None, "cuda", 2)


def test_processes_score_the_bits_of_one(request_: RunRequest) -> None:
    asked = replace(request_, model="persistence", members=1, suite="mae@1", metrics=None)
    whole = run_model(asked).out
    seen: list[tuple[int, int]] = []
    out = whole.with_name("devices")
    devices.run_as_asked(
        replace(asked, out=out), devices=2, advance=lambda _, *at: seen.append((at[0], at[1]))
    )
    assert files(out) == files(whole)
    assert seen[-1][0] == seen[-1][1] == max(total for _, total in seen)


def test_a_dead_process_is_told_and_what_it_scored_is_kept(request_: RunRequest) -> None:
    with pytest.raises(LimitReached, match="its process ended with exit") as error:
        devices._join([_dead(request_)], lambda *_: None)
    assert "what was scored is kept" in error.value.remedy


def _dead(request: RunRequest) -> devices._Worker:
    worker = devices._Worker.start(request, Part(1, 2))
    worker.process.kill()
    return worker
