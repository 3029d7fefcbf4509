"""The tool that makes the table of all variants: means over seeds, and paired differences."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pandas as pd
import pytest
from support.tool import load_tool

from rsbench.models.registry import card

TOOL = Path(__file__).parents[2] / "tools" / "cross_scale.py"
HEADS = [("miou@1", "all"), ("iou@1", "grass")]


@pytest.fixture(scope="module")
def tool() -> ModuleType:
    return load_tool("cross_scale")


def rows(
    entry: str, seed: int, level: float, *, collapsed: bool = False
) -> list[dict[str, object]]:
    """Values of eight regions, in both columns."""
    return [
        {"entry": entry, "seed": seed, "metric": metric, "band": band, "region": f"r{place}",
         "value": level + 0.01 * place, "collapsed": collapsed,
         "role": "trivial" if entry == "majority" else "model"}
        for metric, band in HEADS for place in range(8)
    ]  # fmt: skip


@pytest.fixture(scope="module")
def table() -> pd.DataFrame:
    found = rows("majority", 0, 0.1)
    for seed in range(3):
        found += rows("tiny_ijepa_sa", seed, 0.5 + 0.01 * seed, collapsed=seed == 1)
        found += rows("tiny_ijepa_mr", seed, 0.4 + 0.02 * seed)
        found += rows("tiny_random", seed, 0.45)
    return pd.DataFrame(found)


def test_every_variant_is_a_preset(tool: ModuleType) -> None:
    known = card("cross_scale").presets
    assert set(tool.presets(["ijepa", "latentmim"])) == {n for n in known if n.startswith("tiny_")}


def test_entries_are_means_over_seeds_and_say_what_collapsed(
    tool: ModuleType, table: pd.DataFrame
) -> None:
    assert tool.columns(table) == HEADS
    lines = list(tool.entries(table, HEADS))
    assert lines[0] == "| entry | seeds | mIoU | IoU grass | collapsed |"
    assert lines[2] == (
        "| tiny_ijepa_sa | 3 | 0.545 (0.535 … 0.555) | 0.545 (0.535 … 0.555) | 1 of 3 |"
    )
    assert lines[-1] == "| majority | 1 | 0.135 | 0.135 | – |"


def test_differences_are_paired_by_region_and_seed(tool: ModuleType, table: pd.DataFrame) -> None:
    """Regions cancel; what is left is the mean and the span of three seeds."""
    lines = list(tool.differences(table, HEADS, "ijepa"))
    assert lines[0] == "| ijepa | mIoU | IoU grass |"
    cell = lines[2].split("|")[2].strip()
    assert cell.startswith("+0.090 [")
    low, high = (float(part) for part in cell.split("[")[1].rstrip("]").split(","))
    assert low < 0.09 < high
    assert high - low == pytest.approx(2 * (0.09 - low), abs=2e-3)
    assert lines[3] == "| sa − sa_interp | – | – |"  # not run
    assert lines[-1].startswith("| sa − random | +0.060 [")
    assert not any("random" in line for line in tool.differences(table, HEADS, "latentmim"))


def test_the_page_states_a_command_without_the_runs(
    tool: ModuleType, table: pd.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In whatever order the words were typed, and whatever the process itself was given."""
    monkeypatch.setattr(sys, "argv", ["tool", "--out", "/elsewhere"])
    words = ["--seeds", "0", "1", "--out", "results/demo-pairs", "--runs", "/runs", "--jobs", "1"]
    asked = tool.arguments().parse_args([*words, "store.zarr", "--bases", "ijepa"])
    store = SimpleNamespace(recipe="demo-pairs", digest="d", simulated=True)
    text = tool.page({"all training regions": table}, store, asked)
    command = "STORE --bases ijepa --seeds 0 1 --fractions 1 --out results/demo-pairs`"
    assert f"python tools/cross_scale.py {command}" in text
    assert "/runs" not in text


def test_the_recorded_table_is_made_of_the_recorded_runs(tool: ModuleType) -> None:
    out = TOOL.parents[1] / "results" / "demo-pairs"
    values = pd.read_csv(out / "table.csv", dtype={"region": str})
    words = ["--seeds", *map(str, range(5))]
    asked = tool.arguments().parse_args(["STORE", *words, "--out", str(out)])
    asked.out = out.relative_to(TOOL.parents[1])
    text = (out / "table.md").read_text(encoding="utf-8")
    store = SimpleNamespace(recipe="demo-pairs", digest=text.split("`")[1], simulated=True)
    tables = dict(iter(values.groupby("labels", sort=False)))
    assert tool.page(tables, store, asked) == text
