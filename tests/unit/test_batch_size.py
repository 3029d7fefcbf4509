"""The number of samples at once: as asked for, or by a probe of memory that all parts share."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import toys
from support.kept_stores import kept

from rsbench.core.digest import sealed
from rsbench.core.errors import InputError
from rsbench.evaluation import batch_size, report
from rsbench.evaluation.batch_size import asked_batch, chosen_batch, free_memory
from rsbench.evaluation.entries import Answer, ModelEntry
from rsbench.evaluation.parts import Part, finalise_run, run_part
from rsbench.evaluation.run import RunRequest, job_of, run_model
from rsbench.tasks.base import Case

kept_store = kept(toys.write_store)
CPU = torch.device("cpu")
GB = 10**9


@pytest.fixture
def request_(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunRequest:
    monkeypatch.setenv("RSBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(report, "write_report", lambda runs, out, **_: out.write_text(""))
    kept_store(tmp_path / "toy", regions=12, size=32, years=4, simulated=False, simulation=None)
    return RunRequest(
        model="persistence", data=tmp_path / "toy", horizon=2, window=16, suite="mae@1",
        out=tmp_path / "run", device="cpu", fresh_references=True,
    )  # fmt: skip


def told(folder: Path) -> Any:
    return json.loads((folder / "run.json").read_text())


def tables(folder: Path) -> list[bytes]:
    return [path.read_bytes() for path in sorted(folder.glob("*.parquet"))]


def test_what_is_typed() -> None:
    assert [asked_batch(text) for text in ("auto", "1", "16")] == ["auto", 1, 16]
    for text in ("0", "-2", "many", "1.5", ""):
        with pytest.raises(InputError, match="Give 1 or more, or auto"):
            asked_batch(text)


def test_the_largest_power_of_two_that_fits() -> None:
    found = [chosen_batch(100, 50, room) for room in (1, 149, 150, 249, 250, 449, 450, 10**6)]
    assert found == [1, 1, 2, 2, 4, 4, 8, batch_size.MOST]


def test_free_memory_is_within_the_limit_of_the_control_group(tmp_path: Path) -> None:
    assert free_memory(CPU, tmp_path) is None
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/meminfo").write_text("MemTotal: 9 kB\nMemAvailable:    4000 kB\n")
    group = tmp_path / "sys/fs/cgroup"
    (group / "memory").mkdir(parents=True)
    (group / "memory.current").write_text("1000\n")
    for limit, free in (("max", 4_096_000), ("3000", 2000), ("500", 0)):
        (group / "memory.max").write_text(f"{limit}\n")
        assert free_memory(CPU, tmp_path) == free
    assert (free_memory(CPU) or 0) > 0


def test_a_probe_compares_one_sample_and_two(
    request_: RunRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, said = job_of(request_, lambda _: None).config, []
    peaks = {1: 300_000_000, 2: 500_000_000}
    monkeypatch.setattr(batch_size, "free_memory", lambda device: 4 * GB)
    monkeypatch.setattr(batch_size, "_peak", lambda *args: peaks[args[-1]])
    assert batch_size.fitting_batch(config, [], said.append) == 8  # 0.3 + 7 · 0.2 of 2 GB
    assert said == ["--batch-samples 8: a sample takes 200.0 MB, 4.0 GB are free"]
    assert batch_size.fitting_batch(config, [], said.append, processes=4) == 2
    peaks.update({1: 0, 2: 0})  # as small as the samples are
    assert batch_size.fitting_batch(config, [], said.append) == batch_size.MOST
    monkeypatch.setattr(batch_size, "_peak", lambda *args: None)
    with pytest.raises(InputError, match=r"does not state the memory of cpu\. Give a number"):
        batch_size.fitting_batch(config, [], said.append)


def test_the_probe_sees_what_a_sample_takes_though_memory_was_freed(request_: RunRequest) -> None:
    def hungry(case: Case) -> Answer:
        held = [torch.ones(4096) for _ in range(4096 * len(case.samples))]  # 64 MiB per sample
        for index in range(case.truth.shape[1]):
            yield index + 1, case.truth[:, index] + 0 * held[-1][0]

    config = job_of(request_, lambda _: None).config
    said: list[str] = []
    entry = ModelEntry("hungry", "", "model", hungry)
    batch_size.fitting_batch(config, [entry], said.append)
    taken = float(said[0].split("a sample takes ")[1].split()[0])
    assert 50 < taken < 90


def test_the_number_is_written_and_is_part_of_what_was_asked_for(request_: RunRequest) -> None:
    assert request_.out is not None
    said: list[str] = []
    auto = run_model(replace(request_, batch_samples="auto"), note=said.append)
    number = told(auto.out)[batch_size.ENTRY]
    assert number in [2**n for n in range(7)]
    assert any(line.startswith(f"--batch-samples {number}: a sample takes") for line in said)
    with pytest.raises(InputError, match="it holds another run"):
        run_model(request_)
    usual = run_model(replace(request_, out=request_.out.with_name("usual")))
    assert told(usual.out)[batch_size.ENTRY] == 8
    both = [made.scores.table()["value"].to_numpy() for made in (auto, usual)]
    assert both[0] == pytest.approx(both[1], abs=1e-5, nan_ok=True)


def test_all_parts_have_the_number_of_the_first(
    request_: RunRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert request_.out is not None
    four = run_model(replace(request_, batch_samples=4, out=request_.out.with_name("four"))).out
    found = iter((4, 16))
    monkeypatch.setattr(batch_size, "fitting_batch", lambda *a, **n: next(found))
    asked = replace(request_, batch_samples="auto")
    for number in (2, 1):
        run_part(asked, Part(number, 2))
    assert next(found) == 16  # the second part did not probe
    path = request_.out / "parts" / "1-of-2" / "part.json"
    whole = path.read_text()
    value = json.loads(whole)
    value["run"][batch_size.ENTRY] = 16
    path.write_text(json.dumps(sealed(value)))
    with pytest.raises(InputError, match=r"part 2 of 2 differs .* samples at once \(4 / 16\)"):
        finalise_run(asked)
    path.write_text(whole)
    out = finalise_run(asked).out
    assert told(out)[batch_size.ENTRY] == 4
    assert tables(out) == tables(four)
    assert len(run_part(asked, Part(1, 2)).regions) > 0  # nothing is left to do


def test_kept_reference_scores_of_another_number_are_not_taken(request_: RunRequest) -> None:
    from rsbench.evaluation.reference_cache import ReferenceCache
    from rsbench.evaluation.reference_models import ReferenceEntries

    config = job_of(request_, lambda _: None).config
    nothing = ReferenceEntries((), (), {}, {})
    found = [
        ReferenceCache.of(replace(config, batch_samples=number), nothing, {}) for number in (8, 16)
    ]
    assert found[0] != found[1]
