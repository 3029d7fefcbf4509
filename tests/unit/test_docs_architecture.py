"""docs/architecture.md: its picture is current, and the code it names exists."""

from __future__ import annotations

import ast
import re
import runpy
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "architecture.md"
pytestmark = pytest.mark.skipif(not PAGE.is_file(), reason="not run from a checkout")


@pytest.fixture(scope="module")
def tool() -> dict[str, Any]:
    return runpy.run_path(str(ROOT / "tools" / "architecture.py"))


def test_the_picture_is_the_one_its_tool_draws(tool: dict[str, Any]) -> None:
    picture = (PAGE.parent / "images" / "architecture.svg").read_text(encoding="utf-8")
    assert tool["draw"](tool["edges"]()) == picture, "type: make architecture"


def test_the_tool_has_the_layers_of_the_layer_test(tool: dict[str, Any]) -> None:
    order = runpy.run_path(str(Path(__file__).parent / "test_layers.py"))["ORDER"]
    assert list(tool["LAYERS"]) == order
    assert all(order.index(t) < order.index(n) for n, ts in tool["edges"]().items() for t in ts)


def test_an_import_becomes_an_arrow(tool: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "store").mkdir()
    lazy = "def f():\n    from rsbench.core.errors import InputError\n"
    (tmp_path / "store" / "read.py").write_text(lazy + "import rsbench.catalog.tiles\n")
    assert tool["edges"](tmp_path)["store"] == ["core", "catalog"]


def defined(module: Path) -> set[str]:
    found = {path.stem for path in module.parent.iterdir()} if module.stem == "__init__" else set()
    for node in ast.parse(module.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            found.add(node.name)
        elif isinstance(node, ast.ImportFrom):
            found.update(alias.name for alias in node.names)
    return found


def test_every_name_and_path_on_the_page_exists() -> None:
    text = PAGE.read_text(encoding="utf-8")
    for name in re.findall(r"`(rsbench(?:\.\w+){2,})`", text):
        folder, last = ROOT.joinpath(*name.split(".")[:-1]), name.rpartition(".")[2]
        module = folder.with_suffix(".py")
        module = module if module.is_file() else folder / "__init__.py"
        assert module.is_file(), name
        assert last in defined(module), name
    for path in re.findall(r"`((?:rsbench|catalogs|tests|results|baselines)/[\w./-]+)`", text):
        assert (ROOT / path).exists(), path
