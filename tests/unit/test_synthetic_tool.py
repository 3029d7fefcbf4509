"""The tool that compares probes trained on real, synthetic and copied images."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path
from types import ModuleType

import pandas as pd
import pytest
from support.tool import load_tool

from rsbench.core.errors import InputError


@pytest.fixture(scope="module")
def tool() -> ModuleType:
    return load_tool("synthetic")


def test_every_control_is_an_entry(tool: ModuleType, tmp_path: Path) -> None:
    asked = Namespace(generator="satsynth", per_image=[1, 3], runs=tmp_path, store=tmp_path)
    for name in ("satsynth-1", "satsynth-3", "copy-1", "copy-3"):
        (tmp_path / f"{name}.zarr").mkdir()
    found = {entry.name: entry.words for entry in tool.plan(asked)}
    assert list(found) == [
        "real", "real + cutmix", "real + cutout", "synthetic R=1", "real + synthetic R=1",
        "synthetic R=3", "real + synthetic R=3", "real + copy R=1", "real + copy R=3",
    ]  # fmt: skip
    assert found["real"] == ()
    assert found["real + cutmix"] == ("--augment", "cutmix")
    synth = str(tmp_path / "satsynth-1.zarr")
    assert found["synthetic R=1"] == ("--also", synth, "--also-share", "1")
    assert found["real + synthetic R=1"] == ("--also", synth)


def test_unequal_steps_are_refused(tool: ModuleType) -> None:
    assert tool.require_equal({"real s0": 300, "copy s0": 300}) == 300
    with pytest.raises(InputError, match="real s0 300, copy s0 240"):
        tool.require_equal({"real s0": 300, "copy s0": 240})


def test_differences_are_paired_by_region_and_seed(tool: ModuleType) -> None:
    rows = [
        {"entry": entry, "seed": seed, "metric": metric, "band": band, "region": f"r{place}",
         "value": level + 0.01 * place + 0.02 * seed}
        for entry, level in (("real", 0.4), ("real + copy R=1", 0.45), ("majority", 0.1))
        for seed in ((0, 1, 2) if entry != "majority" else (0,))
        for metric, band in (("miou@1", "all"), ("iou@1", "grass"))
        for place in range(8)
    ]  # fmt: skip
    table = pd.DataFrame(rows)
    lines = list(tool.differences(table, ["real", "real + copy R=1"], "real"))
    assert lines[0] == "| minus real | mIoU | IoU grass |"
    assert lines[2].startswith("| real + copy R=1 | +0.050 [+0.050, +0.050]")
    found = list(tool.entries(table))
    assert found[2].startswith("| real + copy R=1 | 3 | ")
    assert found[4].startswith("| majority | 1 | ")
