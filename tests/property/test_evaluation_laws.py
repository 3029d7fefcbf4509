"""Scores do not depend on the order of cases, on who shares the work, or on a set's order."""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import toys
from hypothesis import given, settings
from hypothesis import strategies as st
from invariance_fixtures import images, units_of
from support.programs import start

import rsbench as rb
from rsbench.evaluation.loop import Tally, score
from rsbench.evaluation.reference_models import reference_entries
from rsbench.metrics import ImageOptions, image_metrics, member_metrics, suite
from rsbench.metrics.suites import CHANGE
from rsbench.store.read import Store
from rsbench.tasks.base import Case
from rsbench.tasks.config import EvaluationConfig, EvaluationOptions
from rsbench.tasks.settings import cases, evaluation_config

seeds = st.integers(0, 2**20)
ENSEMBLE = suite("ensemble")


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RSBENCH_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield toys.write_store(
            tmp_path_factory.mktemp("toy") / "s", regions=10, size=32, years=5, simulated=False,
            simulation=None, invalid=0.1,
        )  # fmt: skip


@pytest.fixture(scope="module")
def config(store: Store) -> EvaluationConfig:
    return evaluation_config(
        store,
        "year7",
        EvaluationOptions(horizon=2, suite="standard", metrics="fd.texture@1,change"),
    )


def tally(config: EvaluationConfig, batches: list[Case]) -> Tally:
    rows = reference_entries(config, note=lambda _: None).entries[:1]
    return score(
        rows, batches, config.metrics, bands=config.bands, value_range=config.meta.value_range
    )


def sorted_units(frame: pd.DataFrame) -> pd.DataFrame:
    key = [c for c in frame.columns if c not in ("value_sum", "weight", "n_images", "n_missing")]
    return frame.sort_values(key).reset_index(drop=True)


def test_neither_the_order_of_cases_nor_their_batches_matter(config: EvaluationConfig) -> None:
    whole = tally(config, list(cases(config, batch_size=4)))
    single = list(cases(config, batch_size=1))
    order = np.random.default_rng(3).permutation(len(single))
    shuffled = tally(config, [single[i] for i in order])
    pd.testing.assert_frame_equal(
        sorted_units(shuffled.frame({})), sorted_units(whole.frame({})), rtol=1e-6
    )
    assert whole.sets is not None
    assert shuffled.sets is not None
    ours, theirs = (found.sets.frame()[0] for found in (whole, shuffled) if found.sets)
    columns = ["model", "metric", "lead", "value", "n", "d"]
    key = ["model", "metric", "lead"]
    pd.testing.assert_frame_equal(
        ours[columns].sort_values(key).reset_index(drop=True),
        theirs[columns].sort_values(key).reset_index(drop=True),
        rtol=1e-6,
    )


def test_scoring_holds_one_batch_at_a_time_however_many_there_are(store: Store) -> None:
    config = evaluation_config(store, "year7", EvaluationOptions(horizon=2, suite="standard"))
    found = {}
    for times in (1, 4, 16):
        alive: list[weakref.ref[torch.Tensor]] = []
        most = 0

        def batches(times: int = times, alive: list[weakref.ref[torch.Tensor]] = alive) -> Any:
            nonlocal most
            for _ in range(times):
                for case in cases(config, batch_size=4):
                    alive.append(weakref.ref(case.truth))
                    most = max(most, sum(ref() is not None for ref in alive))
                    yield case
                    del case

        held = score(
            reference_entries(config, note=lambda _: None).entries[:1], batches(), config.metrics,
            bands=config.bands, value_range=config.meta.value_range,
        )  # fmt: skip
        found[times] = (len(held.sums), most, sum(unit[1] for unit in held.sums.values()))
    # As many sums for 16 times the images, each over 16 times as many, and no batch kept behind.
    assert {units for units, _, _ in found.values()} == {found[1][0]}
    assert {kept for _, kept, _ in found.values()} == {found[1][1]}
    assert found[1][1] <= 2
    assert found[16][2] == 16 * found[1][2]


def members_of(seed: int, truth: torch.Tensor, count: int = 5) -> torch.Tensor:
    g = torch.Generator().manual_seed(seed + 1)
    n, c, h, w = truth.shape
    return truth[:, None] + 0.05 * torch.randn(n, count, c, h, w, generator=g)


def same(a: torch.Tensor, b: torch.Tensor, metric: str) -> None:
    torch.testing.assert_close(
        a, b, rtol=1e-6, atol=1e-7, equal_nan=True, msg=lambda m: f"{metric}: {m}"
    )


@settings(max_examples=8, deadline=None, derandomize=True)
@given(seeds, st.permutations(range(6)), st.integers(1, 6))
def test_change_depends_on_no_neighbour(seed: int, order: list[int], chunk: int) -> None:
    t, before, p = images(seed)
    whole = image_metrics(CHANGE, p, t, data_range=1.0, options=ImageOptions(before=before))
    shuffled = image_metrics(
        CHANGE,
        p[order],
        t[order],
        data_range=1.0,
        options=ImageOptions(before=before[order], chunk=chunk),
    )
    for metric in CHANGE:
        same(whole[metric].value[order], shuffled[metric].value, metric)


@settings(max_examples=8, deadline=None, derandomize=True)
@given(seeds, st.permutations(range(6)), st.permutations(range(5)))
def test_an_ensemble_depends_on_neither_order(
    seed: int, order: list[int], members: list[int]
) -> None:
    t, _, _ = images(seed)
    x = members_of(seed, t)
    whole = member_metrics(ENSEMBLE, x, t, data_range=1.0)
    shuffled = member_metrics(ENSEMBLE, x[order][:, members], t[order], data_range=1.0)
    alone = [member_metrics(ENSEMBLE, x[i : i + 1], t[i : i + 1], data_range=1.0) for i in order]
    for metric in ENSEMBLE:
        same(whole[metric].value[order], shuffled[metric].value, metric)
        same(whole[metric].value[order], torch.cat([a[metric].value for a in alone]), metric)


@settings(max_examples=6, deadline=None, derandomize=True)
@given(seeds, st.permutations(range(12)))
def test_a_distance_of_sets_depends_on_no_order(seed: int, order: list[int]) -> None:
    t, _, p = images(seed, n=12)
    ids = ["fd.texture@1", "mmd.rbf@1"]
    whole = rb.metrics.compute_sets(ids, p, t, data_range=1.0)
    # Pairs are no pairs here: either side may be shuffled by itself.
    shuffled = rb.metrics.compute_sets(ids, p[order], t, data_range=1.0)
    for metric in ids:
        assert shuffled[metric].value == pytest.approx(whole[metric].value, rel=1e-6, abs=1e-9)


WORK = """
import sys
from pathlib import Path
import torch, torch.distributed as dist
from invariance_fixtures import images, units_of
rank, meeting, out = int(sys.argv[1]), sys.argv[2], Path(sys.argv[3])
dist.init_process_group("gloo", init_method="file://" + meeting, rank=rank, world_size=2)
t, _, p = images(11, n=9)
own = units_of(p[rank::2], t[rank::2], list(range(9))[rank::2])
sums = torch.tensor(own[["value_sum", "weight"]].groupby(own["metric"]).sum().to_numpy())
dist.all_reduce(sums)
torch.save(sums, out / f"sums{rank}.pt")
own.to_parquet(out / f"units{rank}.parquet")
dist.barrier()
dist.destroy_process_group()
"""


@pytest.mark.slow
def test_two_processes_give_the_scores_of_one(tmp_path: Path) -> None:
    meeting = tmp_path / "meeting"
    tests = str(Path(__file__).parents[1])
    jobs = [
        start(
            f"import sys\nsys.path.insert(0, {tests!r})\n"
            f"sys.argv[1:] = {[str(rank), str(meeting), str(tmp_path)]!r}\n{WORK}"
        )
        for rank in range(2)
    ]  # fmt: skip
    said = [job.communicate() for job in jobs]
    assert [job.returncode for job in jobs] == [0, 0], said
    t, _, p = images(11, n=9)
    whole = units_of(p, t, list(range(9)))
    parts = pd.concat([pd.read_parquet(tmp_path / f"units{rank}.parquet") for rank in range(2)])
    key = ["metric", "region"]
    pd.testing.assert_frame_equal(
        parts.sort_values(key).reset_index(drop=True),
        whole.sort_values(key).reset_index(drop=True),
        rtol=1e-6,
    )
    sums = [torch.load(tmp_path / f"sums{rank}.pt", weights_only=True) for rank in range(2)]
    expected = whole[["value_sum", "weight"]].groupby(whole["metric"]).sum().to_numpy()
    for found in sums:
        np.testing.assert_allclose(found.numpy(), expected, rtol=1e-6)
