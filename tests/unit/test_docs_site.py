"""tools/docs_site.py: links, navigation and reference of the site, and the notebooks it shows."""

from __future__ import annotations

import ast
import json
import runpy
from pathlib import Path
from typing import Any

import pytest

import rsbench as rb

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.skipif(not (ROOT / "mkdocs.yml").is_file(), reason="not from a checkout")
NOTEBOOKS = sorted((ROOT / "examples").glob("*.ipynb"))


@pytest.fixture
def tool(tmp_path: Path) -> dict[str, Any]:
    found = runpy.run_path(str(ROOT / "tools" / "docs_site.py"))
    found["with_links"].__globals__["PAGES"] = tmp_path
    return found


def test_links_hold_on_the_site(tool: dict[str, Any], tmp_path: Path) -> None:
    text = (
        "[a](../examples/first-run.ipynb#x) [b](../catalogs/recipes/demo.yaml) ![c](images/x.png)"
    )
    shown = tool["with_links"](f"{text} [d](https://example.org/a.ipynb)", ROOT / "docs")
    assert "[a](../examples/first-run.md#x)" in shown
    assert "[d](https://example.org/a.ipynb)" in shown
    assert (tmp_path / "catalogs" / "recipes" / "demo.yaml").is_file()


def test_every_page_has_a_place(tool: dict[str, Any], tmp_path: Path) -> None:
    for name in ("docs/a.md", "examples/b.md", "results/c/d.md", "docs/placed.md"):
        tool["write"](tmp_path / name, "# x\n")
    made = tool["navigation"]([{"Home": "docs/placed.md"}, {"Guides": {}}, {"Examples": {}},
                               {"Results": {}}])  # fmt: skip
    assert made == [{"Home": "docs/placed.md"}, {"Guides": ["docs/a.md"]},
                    {"Examples": ["examples/b.md"]}, {"Results": ["results/c/d.md"]}]  # fmt: skip


def test_the_reference_has_every_public_name_and_command(tool: dict[str, Any]) -> None:
    python, commands = tool["python_reference"](), tool["command_reference"]()
    for name in (*rb._LAZY, "compute", "compute_sets"):
        assert f".{name}\n" in python, f"add its package to TITLES: {name}"
    assert "## build-dataset\n" in commands
    assert "## lock diff\n" in commands


def test_roles_of_docstrings_are_links_or_code(tool: dict[str, Any]) -> None:
    page = (
        '<h3 id="rsbench.a.train"></h3> see :func:<code>rsbench.train</code> and '
        ":class:<code>~rsbench.a.Other</code>; <code>:func:`x`</code>"
    )
    assert tool["without_roles"](page) == (
        '<h3 id="rsbench.a.train"></h3> see <a href="#rsbench.a.train"><code>rsbench.train</code>'
        "</a> and <code>rsbench.a.Other</code>; <code>:func:`x`</code>"
    )
    two = page.replace("<h3", '<h3 id="rsbench.b.train"></h3> <h3', 1)
    assert "<code>rsbench.train</code> and" in tool["without_roles"](two)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_has_no_outputs_and_uses_public_names(path: Path) -> None:
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    code = [cell for cell in cells if cell["cell_type"] == "code"]
    assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in code)
    text = "\n".join("".join(cell["source"]) for cell in code).replace("%matplotlib inline", "")
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.ImportFrom | ast.Import):
            names = [getattr(node, "module", None) or alias.name for alias in node.names]
            assert not any(name.startswith("rsbench.") for name in names)
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            assert node.value.id != "rb" or hasattr(rb, node.attr), node.attr
