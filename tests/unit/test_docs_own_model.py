"""docs/own-model.md: the script and the package run as they stand there."""

from __future__ import annotations

import importlib
import re
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import toys
from third_party import install

import rsbench as rb
from rsbench.cli import lists
from rsbench.core.errors import InputError
from rsbench.evaluation.run import RunRequest, run_model, train_model
from rsbench.models.contract import CHECKS, run_contract
from rsbench.models.registry import adopt, identity
from rsbench.store.read import Store
from rsbench.training.options import Options

PAGE = Path(__file__).parents[2] / "docs" / "own-model.md"
pytestmark = pytest.mark.skipif(not PAGE.is_file(), reason="not run from a checkout")


def block(mark: str) -> str:
    found = re.search(rf"<!-- {re.escape(mark)} -->\n```\w+\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert found is not None, mark
    return found.group(1)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return toys.write_store(
        tmp_path_factory.mktemp("toy") / "store", size=32, years=5, simulation=None, floor=False
    )


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RSBENCH_CACHE", str(tmp_path / "cache"))


def script(store: Store, *, scored: bool = True) -> dict[str, Any]:
    code = block("the model") + block("the script")
    code = code.replace('"STORE"', repr(str(store.path))).replace("400steps", "4steps")
    code = code if scored else code.partition("table =")[0]
    names: dict[str, Any] = {}
    exec(compile(code, str(PAGE), "exec"), names)
    return names


def test_the_script_trains_and_scores_in_twenty_lines(
    store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    code = block("the model") + block("the script")
    own = [x for x in code.splitlines() if x.strip() and not x.startswith(("import", "from"))]
    steps = [x for x in own if not x.startswith(("torch.manual_seed", "net ="))]
    assert len(steps) <= 20
    first = script(store)
    table = first["table"]
    mine = table[(table["model"] == "my_net") & (table["metric"] == "mse@1")]
    assert set(mine["lead"]) == {1, 2, 3}
    result = first["result"]
    assert (result.checkpoint / "history.csv").read_text().startswith("stage,step,seconds,loss")
    info = identity(first["model"]).card.presets["default"]
    count = 4 * 16 * 9 + 16 + 16 * 4 * 9 + 4
    assert (info.parameters, info.trainable, info.frozen) == (count, count, 0)
    again = script(store, scored=False)["result"]
    assert (again.steps_now, again.checkpoint) == (0, result.checkpoint)


def test_a_model_whose_card_does_not_say_trainable_is_refused(store: Store) -> None:
    names: dict[str, Any] = {}
    exec(block("the model"), names)
    model = names["MyModel"](None)
    adopt(model, rb.Card("other", "forecast", "Another", rollout="step"))
    with pytest.raises(InputError, match="State trainable=True"):
        rb.train(model, store)


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    packages = tmp_path / "packages"
    project = tomllib.loads(block("the package: pyproject.toml"))["project"]
    ((group, points),) = project["entry-points"].items()
    install(packages, "my_package", group, points, "")
    (packages / "my_package.py").unlink()
    (packages / "my_package").mkdir()
    for name in ("__init__", "model"):
        text = block(f"the package: my_package/{name}.py")
        whole = text if name == "__init__" else block("the model") + text
        (packages / "my_package" / f"{name}.py").write_text(whole, encoding="utf-8")
    monkeypatch.syspath_prepend(packages)
    importlib.invalidate_caches()
    for name in [name for name in sys.modules if name.partition(".")[0] == "my_package"]:
        monkeypatch.delitem(sys.modules, name)


@pytest.mark.usefixtures("package")
def test_the_package_trains_and_runs(
    store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lists.models("my_net")
    assert re.search(r"^  width +int +16$", capsys.readouterr().out, re.M)
    lists.models()
    assert re.search(r"^my_net +forecast +default$", capsys.readouterr().out, re.M)
    asked: dict[str, Any] = {
        "model": "my_net", "data": store.path, "options": {"width": 4}, "budget": "4steps",
        "window": 32,
    }  # fmt: skip
    folder = train_model(RunRequest(**asked))
    notes: list[str] = []
    request = RunRequest(**asked, horizon=1, suite="pixel", out=tmp_path / "run", keep="none")
    table = run_model(request, note=notes.append).scores.table()
    assert {"my_net", "persistence"} <= set(table["model"])
    assert not any("is trained first" in note for note in notes), "the checkpoint is found"
    steeper = train_model(RunRequest(**asked), options=Options(learning_rate=2e-3))
    assert steeper != folder


@pytest.mark.usefixtures("package")
def test_the_package_passes_the_contract() -> None:
    """All but the check that trains a model until it has learned eight samples by heart."""
    checks = [check for check in CHECKS if check != "overfits_eight_samples"]
    assert [str(r) for r in run_contract("my_net", checks=checks) if not r.passed] == []


def test_scoring_shows_how_far_it_is(store: Store) -> None:
    seen: list[tuple[str, int, int]] = []
    rb.evaluate(
        rb.create_model("persistence"), store, "year1", suite="mse@1",
        progress=lambda *told: seen.append(told),
    )  # fmt: skip
    scored = [told for told in seen if told[0].startswith("scoring")]
    assert scored
    assert scored[-1][1] == scored[-1][2]
