"""Tasks are plug-ins: by name with did-you-mean, and no code elsewhere asks which task it is."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import toys

import rsbench as rb
from rsbench.catalog import Protocol
from rsbench.core.errors import InputError, UnknownName
from rsbench.evaluation.report import write_report
from rsbench.models.registry import create_model
from rsbench.tasks.registry import TASKS, fitting, names, task

PACKAGE = Path(__file__).parents[2] / "rsbench"


def test_the_tasks_that_are_installed() -> None:
    assert set(names()) >= {"forecast", "fusion"}
    with pytest.raises(UnknownName, match="Did you mean fusion"):
        task("fussion")


# ------------------------------------------------------------------ no branches on the task


def branches(source: str) -> Iterator[int]:
    """Yield the lines that compare with, or look up by, the name of an installed task."""
    known = set(names())

    def named(node: ast.AST) -> bool:
        if isinstance(node, ast.Constant):
            return node.value in known
        if isinstance(node, ast.Tuple | ast.List | ast.Set):
            return any(named(item) for item in node.elts)
        return False

    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Compare) and any(map(named, [node.left, *node.comparators])):
            yield node.lineno
        if isinstance(node, ast.Subscript) and named(node.slice):
            yield node.lineno
        if isinstance(node, ast.MatchValue) and named(node.value):
            yield node.lineno
        if isinstance(node, ast.Dict) and any(named(key) for key in node.keys if key):
            yield node.lineno
        if (
            isinstance(node, ast.Attribute)
            and node.attr in known
            and isinstance(node.value, ast.Name)
            and node.value.id in {"config", "run", "words", "self", "protocol", "board"}
        ):
            yield node.lineno


@pytest.mark.parametrize(
    "line",
    [
        'if protocol.task == "fusion": pass', 'if task in ("forecast", "x"): pass',
        'TRIVIAL["fusion"]', "if config.fusion is None: pass", 'ROWS = {"forecast": 1}',
        'match task:\n    case "fusion": pass', "words.fusion", 'if "fusion" != card.task: pass',
    ],
)  # fmt: skip
def test_a_branch_on_the_task_is_found(line: str) -> None:
    assert list(branches(line))


def test_only_the_folder_of_a_task_asks_which_task_it_is() -> None:
    folders = [PACKAGE / "tasks" / name for name in names()]
    # Recipes have an entry and metrics a suite of the same name, which are no tasks.
    others = [PACKAGE / "catalog" / "models.py", PACKAGE / "metrics" / "suites.py"]
    others += (PACKAGE / "build").rglob("*.py")
    wrong = [
        f"{path.relative_to(PACKAGE)}:{line}"
        for path in sorted(PACKAGE.rglob("*.py"))
        if not any(folder in path.parents for folder in folders) and path not in others
        for line in branches(path.read_text(encoding="utf-8"))
    ]
    assert wrong == []
    for template in PACKAGE.rglob("*.j2"):
        text = template.read_text(encoding="utf-8")
        assert not [name for name in names() if re.search(rf"\b{name}\b", text)], template


# -------------------------------------------------------------------- a package of its own

MODELS = """
from rsbench import Card, Prediction, PresetInfo


class First:
    def predict(self, given, want):
        frames = given.frames[want.sensor].values
        return Prediction(frames[:, :, :1].expand(-1, want.members, -1, -1, -1, -1))


def build(preset):
    return First()


CARD = Card("first_of_both", "interpolate", "-", {"default": PresetInfo(0, 0)},
            "interpolation_models:build", "-", "MIT")
"""
POINTS = "first_of_both = interpolation_models:CARD\n"  # goes on with the group of the page


def documented() -> tuple[str, str]:
    """Return module and entry points of the example in docs/tasks.md."""
    text = (PACKAGE.parent / "docs" / "tasks.md").read_text(encoding="utf-8")
    code, points = (
        text.partition(f"```{kind}\n")[2].partition("```")[0] for kind in ("python", "toml")
    )
    return code, points.replace("project.entry-points.", "").replace('"', "")


@pytest.fixture
def stranger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lay out an installed package as an installer does: a module and its metadata."""
    folder = tmp_path / "site"
    info = folder / "interpolation-1.0.dist-info"
    info.mkdir(parents=True)
    code, points = documented()
    (folder / "interpolation.py").write_text(code, encoding="utf-8")
    (folder / "interpolation_models.py").write_text(MODELS, encoding="utf-8")
    head = "Metadata-Version: 2.1\nName: interpolation\nVersion: 1.0\n"
    (info / "METADATA").write_text(head)
    (info / "entry_points.txt").write_text(points + POINTS)
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.setenv("RSBENCH_CACHE", str(tmp_path / "cache"))


RULES = Protocol.model_validate(
    {
        "name": "gaps", "task": "interpolate", "description": "A frame from its neighbours.",
        "context": 2, "horizon": 1, "suite": ["mse@1", "mae@1"],
    }
)  # fmt: skip


def test_the_example_has_at_most_thirty_lines_of_code() -> None:
    assert len([line for line in documented()[0].splitlines() if line.strip()]) <= 30


def test_a_package_adds_a_task_with_a_reference_model(stranger: None, tmp_path: Path) -> None:
    assert "interpolate" in names()
    store = toys.write_store(
        tmp_path / "s", size=32, years=5, simulated=False, simulation=None, floor=False
    )
    scores = rb.evaluate(create_model("first_of_both"), store, RULES)
    assert scores.run.task == "interpolate"
    assert scores.run.best_trivial == "mean_of_both"
    table = scores.table()
    rows = table[(table["metric"] == "mse@1") & (table["stratum"] == "all")]
    rows = rows[rows["band"] == "all"].set_index("model")["value"]
    assert set(rows.index) == {"mean_of_both", "first_of_both"}
    assert rows["mean_of_both"] < rows["first_of_both"]
    skill = table[(table["metric"] == "skill.mse@1") & (table["stratum"] == "all")]
    skill = skill[(skill["model"] == "first_of_both") & (skill["band"] == "all")]
    assert skill["value"].item() < 0
    scores.save(tmp_path / "run")
    write_report([tmp_path / "run"], tmp_path / "report.html")
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "target date" in text


def test_what_a_task_does_not_offer_is_told(stranger: None, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="task interpolate: it has no example for the model"):
        task("interpolate").example()


def test_a_task_that_fails_to_load_does_not_stop_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    info = tmp_path / "site" / "broken_task-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: broken_task\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[rsbench.tasks]\nodd = no_such_module:TASK\n")
    monkeypatch.syspath_prepend(str(info.parent))
    assert "forecast" in {found.name for found in fitting("series")}
    (fault,) = TASKS.broken()
    assert fault.distribution == "broken_task"
    with pytest.raises(InputError, match="Repair or uninstall broken_task"):
        task("odd")
    store = toys.write_store(tmp_path / "s", size=32, years=5, simulated=False, simulation=None)
    assert rb.evaluate(create_model("persistence"), store, horizon=1).run.task == "forecast"
