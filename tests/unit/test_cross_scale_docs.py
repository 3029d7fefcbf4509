"""The encoder of the page on cross-scale pretraining is scored as it stands there."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType

import pytest
import segment_toys as toys

import rsbench as rb
from rsbench.models.contract import run_contract
from rsbench.models.registry import create_model, extra

PAGE = Path(__file__).parents[2] / "docs" / "cross_scale.md"


@pytest.mark.skipif(not PAGE.is_file(), reason="not run from a checkout")
def test_a_card_of_an_encoder_is_enough(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RSBENCH_CACHE", str(tmp_path / "cache"))
    code = PAGE.read_text().split("test_cross_scale_docs.py -->\n```python\n")[1].split("```")[0]
    assert len([line for line in code.splitlines() if line.strip()]) <= 30
    package = ModuleType("my_package")
    exec(compile(code, str(PAGE), "exec"), package.__dict__)
    monkeypatch.setitem(sys.modules, "my_package", package)
    store = toys.write_store(tmp_path / "store", regions=20)
    with extra(package.card) as card:
        assert all(result.passed for result in run_contract(card.name))
        scores = rb.evaluate(create_model(card.name, bands=4, classes=3), store, "segment")
    table = scores.table().set_index(["model", "metric", "band"])
    assert float(table.loc[("my_encoder", "miou@1", "all"), "value"]) > 0.5
