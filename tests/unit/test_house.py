"""The house: data flows one way, and light commands stay light."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "rsbench"

# A module imports only what stands before it here.
ORDER = [
    *("errors", "digest", "spec", "home", "console", "catalog", "provenance"),
    *("store.layout", "store.write", "store.read", "store.validate", "store.export"),
    *("build.server", "build.simulate", "build.harmonise", "build.plan", "build.source"),
    *("build.mask", "build.compose", "build.journal", "build.builder", "build.importers"),
    *("samples", "cache", "model", "noise", "precision", "loader", "task"),
    *("registry", "tile", "rollout", "predictions", "weights"),
    *("metrics.base", "metrics.windows", "metrics.display", "metrics.images", "metrics.pixel"),
    *("metrics.spectral",),
    *(
        "metrics.structure",
        "metrics.gradient",
        "metrics.published",
        "metrics.perceptual",
        "metrics.frechet",
    ),
    *("metrics.texture", "metrics.inception", "metrics.spectrum", "metrics.ensemble"),
    *("metrics.change",),
    *("metrics.engine", "metrics.sets", "metrics.suites", "metrics"),
    *("strata", "inference", "scores", "decay", "table", "check", "report"),
    *(
        "checkpoint",
        "train",
        "contract",
        "evaluation",
        "setting",
        "rows",
        "viewer",
        "run",
        "outside",
        "demo",
    ),
    *("commands", "cli", "__main__"),
]
# Rooms may be split; a helper module stands where its room stands.
LIGHT = {"errors", "digest", "spec", "home", "console", "catalog", "model", "registry", "weights",
         "metrics.base", "metrics.suites", "strata", "inference", "scores", "decay", "table",
         "check", "report", "cli"}  # fmt: skip
HEAVY = {"torch", "rasterio", "xarray", "pystac", "pystac_client", "stackstac"}


def modules() -> dict[str, Path]:
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        name = ".".join(path.relative_to(PACKAGE).with_suffix("").parts)
        found[name.removesuffix(".__init__") if name != "__init__" else ""] = path
    return found


def rank(name: str) -> int:
    """Place of a module in the order; a split room `a_b` stands where its room `a` stands."""
    candidates = [name]
    while "_" in candidates[-1]:
        candidates.append(candidates[-1].rpartition("_")[0])
    candidates.append(name.partition(".")[0])
    for candidate in candidates:
        if candidate in ORDER:
            return ORDER.index(candidate)
    raise AssertionError(f"module rsbench.{name} has no place in the house")


def imports(path: Path, *, runtime_top_level: bool = False) -> set[str]:
    """Names a module imports; TYPE_CHECKING blocks never count."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    found: set[str] = set()

    def visit(node: ast.AST, depth: int) -> None:
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            return
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            depth += 1
        if not (runtime_top_level and depth):
            if isinstance(node, ast.Import):
                found.update(alias.name for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and node.module:
                found.add(node.module)
                found.update(f"{node.module}.{alias.name}" for alias in node.names)
        for child in ast.iter_child_nodes(node):
            visit(child, depth)

    visit(tree, 0)
    return found


def test_a_module_imports_only_what_stands_before_it() -> None:
    known = modules()
    wrong = []
    for name, path in known.items():
        if name in {"", "store", "build", "metrics"}:
            continue
        for target in imports(path):
            short = target.removeprefix("rsbench.")
            if not target.startswith("rsbench.") or short not in known or short == name:
                continue
            if short in {"store", "build"}:
                continue
            if rank(short) > rank(name):
                wrong.append(f"{name} imports {short}")
    assert wrong == []


def test_light_modules_import_nothing_heavy_at_the_top() -> None:
    known = modules()
    for name in LIGHT & set(known):
        top = {t.partition(".")[0] for t in imports(known[name], runtime_top_level=True)}
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


@pytest.mark.parametrize(
    "argv", [["--help"], ["models"], ["metrics", "--json"], ["recipes"], ["check", "--help"]]
)
def test_light_commands_load_neither_torch_nor_rasterio(argv: list[str]) -> None:
    script = (
        "import json, sys\n"
        "from rsbench.cli import main\n"
        f"sys.argv = ['rsbench', *{argv!r}]\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        f"sys.stderr.write(json.dumps(sorted({HEAVY!r} & set(sys.modules))))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60
    )
    assert json.loads(done.stderr.splitlines()[-1]) == []
