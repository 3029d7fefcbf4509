"""Units and ranges in a run: tables hold what the API gives, and no value of images outside."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pandas as pd
import pytest
import torch
import toys
from weight_fixtures import random_alex, random_inception

import rsbench as rb
from rsbench.evaluation.clipped import clipped_note
from rsbench.evaluation.entries import ModelEntry
from rsbench.evaluation.loop import ScoringHooks, Tally, score
from rsbench.evaluation.reference_models import reference_entries
from rsbench.metrics import Metric
from rsbench.metrics.registry import extra
from rsbench.tasks.base import Case
from rsbench.tasks.config import EvaluationConfig, EvaluationOptions
from rsbench.tasks.settings import cases, evaluation_config

KID = Metric(
    "kid.inception64@1", "lower", (None, None), "1", "a test", "MMD² of 64 features",
    "rsbench.metrics.frechet:polynomial_mmd", perfect=0.0, kind="set", per_band=False, min_bands=3,
    needs=("inception",), rgb=True, clips="display", features="inception64",
)  # fmt: skip
SETS = ("fid.inception64@1", KID.id)
LPIPS = ("lpips.alex@1", "lpips.alex-raw@1")


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EvaluationConfig]:
    root = tmp_path_factory.mktemp("range")
    with pytest.MonkeyPatch.context() as patch, extra(KID):
        patch.setenv("RSBENCH_CACHE", str(root / "cache"))
        random_alex(patch, root)
        random_inception(patch, root)
        store = toys.write_store(root / "toy", regions=4, size=64, years=4, simulation=None)
        suite = ",".join([*LPIPS, *SETS, "ssim@1", "fd.texture@1"])
        yield evaluation_config(store, "year7", EvaluationOptions(horizon=1, suite=suite))


def scored(config: EvaluationConfig, entry: ModelEntry, hooks: ScoringHooks | None = None) -> Tally:
    return score(
        [entry], cases(config), config.metrics, bands=config.bands,
        value_range=config.meta.value_range, rgb=config.rgb, hooks=hooks,
    )  # fmt: skip


def in_dn(entry: ModelEntry, regions: tuple[str, ...]) -> ModelEntry:
    """The entry with answers of another scale in some regions."""

    def answer(case: Case) -> Iterator[tuple[int, torch.Tensor]]:
        for lead, values in entry.answer(case):
            changed = values.clone()
            changed[[sample.region in regions for sample in case.samples]] *= 1e4
            yield lead, changed

    return replace(entry, answer=answer)


def test_the_api_gives_what_the_table_holds(config: EvaluationConfig) -> None:
    persistence = reference_entries(config).entries[0]
    parts: list[tuple[torch.Tensor, ...]] = []
    keep = ScoringHooks(
        on_answer=lambda entry, case, lead, values: parts.append(
            (values, case.truth[:, lead - 1], case.valid[:, lead - 1])
        )
    )
    tally = scored(config, persistence, keep)
    p, t, valid = (torch.cat(part) for part in zip(*parts, strict=True))
    bands = list(config.bands)
    display = rb.metrics.RgbMapping(tuple(bands.index(b) for b in ("B04", "B03", "B02")))
    same = {"valid": valid, "data_range": 1.0, "unit": "reflectance", "display": display}
    found = rb.metrics.compute(LPIPS, p, t, **same)
    for metric in LPIPS:
        sums = [unit for key, unit in tally.sums.items() if metric in key and "all" in key]
        table = sum(unit[0] for unit in sums) / sum(unit[1] for unit in sums)
        assert float(found[metric].mean()) == pytest.approx(table, rel=1e-6)
    assert float(found[LPIPS[0]].mean()) > 1.2 * float(found[LPIPS[1]].mean())
    assert tally.sets is not None
    rows, absent = tally.sets.frame()
    assert absent == ()
    sets = rb.metrics.compute_sets(SETS, p, t, **same)
    for metric in SETS:
        row = rows[(rows["metric"] == metric) & (rows["role"] != "floor")].iloc[0]
        assert sets[metric].value == pytest.approx(row["value"], rel=1e-4)
        assert sets[metric].notes["clipped_truth"] == 0.0
        assert '"clipped_truth": 0.0' in row["notes"]


@pytest.mark.parametrize("number", [1, 4])
def test_a_prediction_outside_the_range_has_no_value_of_sets(
    config: EvaluationConfig, number: int
) -> None:
    persistence = reference_entries(config).entries[0]
    tally = scored(config, in_dn(persistence, config.store.split("test")[:number]))
    assert tally.sets is not None
    rows, absent = tally.sets.frame()
    assert set(rows["metric"]) == {"fd.texture@1"}
    assert {one.metric for one in absent} == set(SETS)
    assert all("predictions lie mostly outside the range" in one.reason for one in absent)
    ssim = [unit for key, unit in tally.sums.items() if "ssim@1" in key and "all" in key]
    assert (
        sum(unit[3] for unit in ssim) == tally.counts[persistence.model, "ssim@1", "outside_range"]
    )
    assert sum(unit[3] for unit in ssim) > 0


def test_the_note_has_the_shares_of_images_and_of_sets() -> None:
    def row(model: str, what: str, count: int) -> dict[str, object]:
        return {"model": model, "metric": "ssim@1", "what": what, "count": count}

    counts = [row(model, "elements", 400) for model in "ab"]
    counts += [row("a", "clipped_prediction", 6), row("b", "clipped_truth", 1)]
    notes = ['{"clipped_prediction": 0.125, "clipped_truth": 0.0}', '{"sigma": 2.0}']
    sets = pd.DataFrame({"model": ["a", "b"], "metric": "fid.inception64@1", "notes": notes})
    assert clipped_note("ssim@1", counts, sets) == "values clipped: truth 0.25 %, a 1.5 %"
    assert clipped_note("fid.inception64@1", counts, sets) == "values clipped: a 12 %"
    assert clipped_note("mae@1", counts, sets) == ""
