"""Draw the packages of rsbench and their imports as SVG.

Usage: python tools/architecture.py docs/images/architecture.svg
"""

from __future__ import annotations

import argparse
import ast
from html import escape
from pathlib import Path

PACKAGE = Path(__file__).parents[1] / "rsbench"

# From the lowest layer to the highest: a package imports only packages before it.
LAYERS = {
    "core": "errors, digests, grids, paths, progress",
    "catalog": "sensors, regions, recipes, protocols",
    "store": "the Zarr dataset: write, read, verify",
    "metrics": "registry, definitions, weights",
    "models": "predict(given, want), rollout, contract",
    "simulate": "simulated Earth, its STAC catalogue",
    "build": "search, lock, read, compose, import",
    "tasks": "store → given, want, truth",
    "training": "stages, loop, checkpoints",
    "evaluation": "scores, table, intervals, gate, report",
    "cli": "one module per group of commands",
}
COLOURS = (
    *("#4e79a7", "#b07aa1", "#f28e2b", "#59a14f", "#e15759"),
    *("#2f8f8b", "#9c755f", "#d37295", "#7f7f7f", "#b6992d"),
)
WIDTH, HEIGHT, GAP, LANE, MARGIN = 400, 38, 14, 26, 20

Edges = dict[str, list[str]]


def imported(path: Path) -> set[str]:
    """Return the packages of rsbench that one module imports, lazy imports included."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module == "rsbench":
            found.update(f"rsbench.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
    return {name.split(".")[1] for name in found if name.startswith("rsbench.")} & set(LAYERS)


def edges(package: Path = PACKAGE) -> Edges:
    """Return package → the other packages it imports, both in the order of the layers."""
    found = {}
    for name in LAYERS:
        modules = (package / name).rglob("*.py")
        targets = set().union(*map(imported, modules)) - {name}
        found[name] = [layer for layer in LAYERS if layer in targets]
    return found


def row(name: str) -> int:
    """Return the top of a package's box in pixels; the highest layer stands first."""
    return MARGIN + (len(LAYERS) - 1 - list(LAYERS).index(name)) * (HEIGHT + GAP)


def box(name: str) -> str:
    """Return the box of one package: its name and its purpose."""
    top = row(name)
    return (
        f'<rect x="{MARGIN}" y="{top}" width="{WIDTH}" height="{HEIGHT}" rx="6" '
        f'fill="#f4f6f8" stroke="#8a96a3"/>\n'
        f'<text x="{MARGIN + 12}" y="{top + 24}" font-weight="600">{name}</text>\n'
        f'<text x="{MARGIN + 104}" y="{top + 24}" fill="#46515c">{escape(LAYERS[name])}</text>'
    )


def lane(target: str, number: int, importers: list[str]) -> str:
    """Return the arrow into one package, with a dot on the line of every importer."""
    colour = COLOURS[number % len(COLOURS)]
    right, x = MARGIN + WIDTH, lane_x(number)
    into = row(target) + 10
    starts = [row(name) + HEIGHT - 10 for name in importers]
    dots = "".join(f'\n<circle cx="{x}" cy="{y}" r="4"/>' for y in starts)
    return (
        f'<g fill="{colour}"><title>{", ".join(importers)} → {target}</title>\n'
        f'<path d="M{x} {min(starts)}V{into}H{right + 8}" stroke="{colour}" fill="none"/>\n'
        f'<path d="M{right + 1} {into}l9 -4.5v9z"/>{dots}</g>'
    )


def lane_x(number: int) -> int:
    """Return where a vertical line stands, in pixels."""
    return MARGIN + WIDTH + LANE * (number + 1)


def stub(name: str, last: int) -> str:
    """Return the line from an importer's box to its last dot."""
    y = row(name) + HEIGHT - 10
    return f'<path d="M{MARGIN + WIDTH} {y}H{lane_x(last)}" stroke="#c3cad1"/>'


def draw(found: Edges) -> str:
    """Return the picture as SVG text."""
    importers = {t: [name for name in reversed(LAYERS) if t in found[name]] for t in LAYERS}
    targets = [name for name in reversed(LAYERS) if importers[name]]
    width = MARGIN * 2 + WIDTH + LANE * (len(targets) + 1)
    height = row("core") + HEIGHT + MARGIN
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
        f'width="{width}" height="{height}" role="img" '
        'font-family="system-ui, sans-serif" font-size="14">',
        "<title>Packages of rsbench. An arrow points to the package that is imported.</title>",
        f'<rect width="{width}" height="{height}" fill="#ffffff"/>',
        '<g stroke-width="1.6">',
        *(stub(n, max(map(targets.index, found[n]))) for n in reversed(LAYERS) if found[n]),
        *(lane(target, number, importers[target]) for number, target in enumerate(targets)),
        "</g>",
        *(box(name) for name in reversed(LAYERS)),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Draw the packages and their imports.")
    parser.add_argument("out", type=Path, help="SVG file to write")
    parser.parse_args().out.write_text(draw(edges()), encoding="utf-8")
