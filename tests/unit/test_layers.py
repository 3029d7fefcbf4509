"""Packages import one way, no modules import each other, and light commands stay light."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "rsbench"

# A package imports only packages that stand before it here (and itself).
ORDER = [
    *("core", "catalog", "store", "metrics", "models", "simulate"),
    *("build", "tasks", "training", "evaluation", "cli"),
]
ENTRIES = 12
"""Most entries of the package's folder besides ``__init__.py`` and ``py.typed``."""
LIGHT = {
    *("core", "catalog", "models.api", "models.registry", "metrics.weights", "metrics.definitions"),
    *("metrics.registry", "metrics.suites", "evaluation.strata", "evaluation.intervals"),
    *("evaluation.scores", "evaluation.decay", "evaluation.table", "evaluation.gate"),
    *("evaluation.report", "cli.main", "cli.app", "cli.lists", "tasks.base"),
}
"""Modules, or packages with all their modules, that load nothing heavy when imported."""
HEAVY = {"torch", "rasterio", "xarray", "pystac", "pystac_client", "stackstac"}


@cache
def modules() -> dict[str, Path]:
    """Return name → path; the root is the empty name."""
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        name = ".".join(path.relative_to(PACKAGE).with_suffix("").parts)
        found[name.removesuffix(".__init__") if name != "__init__" else ""] = path
    return found


@cache
def imports(path: Path, *, runtime_top_level: bool = False) -> frozenset[str]:
    """Names a module imports: in functions and TYPE_CHECKING blocks too, unless told otherwise."""
    found: set[str] = set()
    ahead: list[ast.AST] = [ast.parse(path.read_text(encoding="utf-8"))]
    while ahead:
        node = ahead.pop()
        if runtime_top_level and _is_later(node):
            continue
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            assert node.module is not None
            found.add(node.module)
            found.update(f"{node.module}.{alias.name}" for alias in node.names)
        # An import is a statement, and no expression holds a statement.
        ahead += (n for n in ast.iter_child_nodes(node) if not isinstance(n, ast.expr))
    return frozenset(found)


def _is_later(node: ast.AST) -> bool:
    """Return whether a node is of functions or type checking, not run by an import."""
    if isinstance(node, ast.If):
        return "TYPE_CHECKING" in ast.dump(node.test)
    return isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)


@cache
def graph() -> dict[str, set[str]]:
    """Return which modules of ours each module imports."""
    known = modules()
    arrows: dict[str, set[str]] = {}
    for name, path in known.items():
        named = {t.removeprefix("rsbench.") for t in imports(path) if t.startswith("rsbench.")}
        own = named & set(known)
        deepest = {t for t in own if not any(o.startswith(f"{t}.") for o in own)}
        arrows[name] = deepest - {name}
    return arrows


def circles(arrows: Mapping[str, set[str]]) -> Iterator[list[str]]:
    """Yield a path from a module back to itself for every module that has one."""
    for start in arrows:
        came: dict[str, str] = {}
        ahead = [start]
        while ahead:
            name = ahead.pop()
            for target in arrows[name]:
                if target == start:
                    path = [start, name]
                    while path[-1] != start:
                        path.append(came[path[-1]])
                    yield path[::-1]
                    ahead = []
                    break
                if target not in came:
                    came[target] = name
                    ahead.append(target)


def test_a_package_imports_only_packages_before_it() -> None:
    wrong = []
    for name, targets in graph().items():
        package = name.partition(".")[0]
        if package in {"", "_aliases"}:
            continue
        assert package in ORDER, f"rsbench.{name} is in no package of the layout"
        for target in targets:
            other = target.partition(".")[0]
            if other not in ORDER or ORDER.index(other) > ORDER.index(package):
                wrong.append(f"{name} imports {target}")
    assert wrong == []


def test_no_two_modules_import_each_other() -> None:
    assert [" -> ".join(path) for path in circles(graph())] == []


def test_the_circle_search_finds_a_circle() -> None:
    arrows: dict[str, set[str]] = {"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}, "e": set()}
    assert {path[0] for path in circles(arrows)} == {"a", "b", "c"}


def test_nothing_but_the_command_line_imports_the_root() -> None:
    """The root offers the public names lazily, so it stands above every package."""
    wrong = [
        name
        for name, path in modules().items()
        if name.partition(".")[0] not in {"", "_aliases", "cli"} and "rsbench" in imports(path)
    ]
    assert wrong == []


def test_the_package_has_few_entries() -> None:
    there = {p.name for p in PACKAGE.iterdir()} - {"__init__.py", "py.typed", "__pycache__"}
    assert len(there) <= ENTRIES, sorted(there)


def test_light_modules_import_nothing_heavy_at_the_top() -> None:
    for name, path in modules().items():
        if any(name == light or name.startswith(f"{light}.") for light in LIGHT):
            top = {t.partition(".")[0] for t in imports(path, runtime_top_level=True)}
            assert not top & HEAVY, f"rsbench.{name} imports {top & HEAVY}"


def test_baselines_use_only_the_public_face() -> None:
    for path in (ROOT / "baselines").rglob("*.py"):
        for target in imports(path):
            if target.startswith("rsbench."):
                public = target.split(".")[1]
                assert public in {"InputError", "RsbenchError",
                                  "Card", "Frames", "Given", "Model", "Noise", "Prediction",
                                  "PresetInfo", "SampleRef", "Stage", "Stateful", "Trainable",
                                  "Want", "Fitted", "State"}, f"{path}: {target}"  # fmt: skip


COMMANDS = (
    *(["--help"], ["models"], ["metrics", "--json"], ["recipes"], ["check", "--help"]),
    *(["run", "--model", "x"], ["train", "--model", "x"]),
)
"""The last two are refused."""
SCRIPT = f"""
import json, sys
from rsbench.cli.main import main
for argv in {COMMANDS!r}:
    sys.argv = ["rsbench", *argv]
    try:
        main()
    except SystemExit:
        pass
    heavy = {HEAVY!r} | ({{"numpy"}} if argv == ["--help"] else set())
    sys.stderr.write(json.dumps([argv, sorted(heavy & set(sys.modules))]) + "\\n")
"""


def test_light_commands_load_neither_torch_nor_rasterio() -> None:
    """One process runs all commands; the first that loads something heavy is the first named."""
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True, timeout=60
    )
    loaded = [json.loads(line) for line in done.stderr.splitlines() if line.startswith("[[")]
    assert loaded == [[argv, []] for argv in COMMANDS]
