"""What docs/models.md shows runs as it stands there."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import torch
import toys
from third_party import install, rsbench
from torch import nn

from rsbench.models.registry import cards

PAGE = Path(__file__).parents[2] / "docs" / "models.md"


@pytest.mark.skipif(not PAGE.is_file(), reason="not run from a checkout")
def test_the_wrapped_network_is_scored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RSBENCH_CACHE", str(tmp_path / "cache"))
    marked = re.search(r"test_docs_models.py -->\n```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert marked is not None
    code = marked.group(1)
    store = toys.write_store(
        tmp_path / "toy", size=32, years=5, simulated=False, simulation=None, floor=False
    )
    net = nn.Conv2d(len(toys.BANDS), len(toys.BANDS), 1, bias=False)
    with torch.no_grad():  # grows every band by a tenth at every step
        net.weight.copy_(1.1 * torch.eye(len(toys.BANDS))[:, :, None, None])
    names: dict[str, Any] = {"net": net, "path": store.path}
    exec(compile(code, str(PAGE), "exec"), names)
    table = names["table"]
    mine = table[(table["model"] == "mine") & (table["stratum"] == "all")]
    bias = mine[(mine["metric"] == "mae@1") & (mine["band"] == "all")].set_index("lead")["value"]
    assert list(bias.index) == [1, 2, 3]
    # Fields grow by 3 % of their first value a year; 1.1ⁿ overshoots more at every lead.
    assert bias[1] < bias[2] < bias[3]
    assert names["model"].predict.__code__.co_argcount == 3
    body = [x for x in code.splitlines() if x.strip() and not x.startswith(("import", "from"))]
    assert len(body) <= 15


@pytest.mark.skipif(not PAGE.is_file(), reason="not run from a checkout")
def test_the_page_says_what_was_compared_as_the_cards_do() -> None:
    rows = PAGE.read_text().split("| model | forward parity |")[1].split("\n\n")[0].splitlines()[2:]
    told = {}
    for row in rows:
        names, text = (part.strip() for part in row.strip("| ").split(" | "))
        told |= dict.fromkeys((name.strip("`") for name in names.split(", ")), text)
    assert told == {name: entry.parity for name, entry in cards().items()}


@pytest.mark.skipif(not PAGE.is_file(), reason="not run from a checkout")
def test_the_package_with_a_model_is_found_and_passes_the_contract(tmp_path: Path) -> None:
    shown = re.findall(r"```(?:python|toml)\n# ([\w./]+)\n(.*?)```", PAGE.read_text(), re.DOTALL)
    files = dict(shown)
    lines = [line for text in files.values() for line in text.splitlines() if line.strip()]
    assert len(lines) <= 30
    packages = tmp_path / "packages"
    ((group, points),) = tomllib.loads(files.pop("pyproject.toml"))["project"][
        "entry-points"
    ].items()
    install(packages, "my_package", group, points, "")
    (packages / "my_package.py").unlink()
    (packages / "my_package").mkdir()
    for name, text in files.items():
        (packages / name).write_text(text, encoding="utf-8")
    done = rsbench(tmp_path, "contract", "my_model", packages=packages)
    assert done.returncode == 0, done.stdout + done.stderr
