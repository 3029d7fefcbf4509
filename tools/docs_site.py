"""Build the site of the documentation: pages, executed notebooks, reference from docstrings.

Usage: python tools/docs_site.py [--keep-notebooks]

The pages are copied to ``.site/pages`` in the folders that they have in the repository, so that
their links hold there too; ``mkdocs build --strict`` makes ``.site/html`` of them and fails where
there is a warning. Notebooks are executed, unless ``--keep-notebooks`` is given.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[1]
SITE = ROOT / ".site"
PAGES = SITE / "pages"
TITLES = {
    "rsbench.build": "Datasets", "rsbench.store": "Stores", "rsbench.models": "Models",
    "rsbench.training": "Training", "rsbench.evaluation": "Evaluation and results",
    "rsbench.cli": "This installation and the demo", "rsbench.core": "Cache and errors",
}  # fmt: skip
"""Beginning of a module's name → heading of the reference; in this order."""
ROLE = re.compile(r":(?:class|func|meth|mod|data|attr|exc):<code>~?([\w.]+)</code>")
LINK = re.compile(r"(!?\[[^\]]*\]\()([^)\s#]+)(#[^)]*)?\)")


def main() -> int:
    """Gather the pages, write the reference and the navigation, and build the site."""
    shutil.rmtree(SITE, ignore_errors=True)
    pages = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("results/**/*.md")])
    for page in pages:
        copy_page(page)
    notebooks = sorted(ROOT.glob("examples/*.ipynb"))
    for notebook in notebooks:
        write_notebook(notebook, execute="--keep-notebooks" not in sys.argv[1:])
    write(PAGES / "reference" / "python.md", python_reference())
    write(PAGES / "reference" / "commands.md", command_reference())
    config = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))
    config["nav"] = navigation(config["nav"])
    config |= {name: str(ROOT / config[name]) for name in ("docs_dir", "site_dir")}
    config["plugins"][1]["mkdocstrings"]["handlers"]["python"]["paths"] = [str(ROOT)]
    write(SITE / "mkdocs.yml", yaml.safe_dump(config, sort_keys=False))
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "-f", "mkdocs.yml"]
    env = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}  # a notice of the theme, not of the pages
    done = subprocess.run(command, cwd=SITE, env=env, check=False).returncode
    for page in [*Path(config["site_dir"]).rglob("*.html"), *SITE.glob("html/search/*.json")]:
        write(page, without_roles(page.read_text(encoding="utf-8")))
    return done


def without_roles(page: str) -> str:
    """Return HTML in which a role of a docstring is code, and leads to its entry on the page.

    An entry is found by its full name, or by its last part if one entry alone ends with it.
    """
    ids = re.findall(r'id="(rsbench[\w.]+)"', page)

    def code(found: re.Match[str]) -> str:
        name = found[1]
        ends = [one for one in ids if one.rpartition(".")[2] == name.rpartition(".")[2]]
        target = name if name in ids else ends[0] if len(set(ends)) == 1 else None
        return f'<a href="#{target}"><code>{name}</code></a>' if target else f"<code>{name}</code>"

    return ROLE.sub(code, page)


def write(path: Path, text: str) -> None:
    """Write a page, with its folders."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def copy_page(page: Path) -> None:
    """Copy a page, with what it links to."""
    text = with_links(page.read_text(encoding="utf-8"), page.parent)
    write(PAGES / page.relative_to(ROOT), text)


def with_links(text: str, folder: Path) -> str:
    """Return a text whose links hold on the site, and copy what they lead to that is no page.

    A link to a notebook leads to its page, one to a folder to the folder's README.
    """

    def link(found: re.Match[str]) -> str:
        head, target, anchor = found[1], found[2], found[3] or ""
        place = (folder / target).resolve()
        if "://" in target or target.startswith("mailto:") or not place.is_relative_to(ROOT):
            return found[0]
        if place.suffix == ".ipynb":
            return f"{head}{target.removesuffix('ipynb')}md{anchor})"
        if place.is_dir():
            return f"{head}{target.rstrip('/')}/README.md{anchor})"
        if place.is_file() and place.suffix != ".md":
            copy = PAGES / place.relative_to(ROOT)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(place, copy)
        return found[0]

    return LINK.sub(link, text)


def write_notebook(path: Path, *, execute: bool) -> None:
    """Write a notebook, executed in a folder of its own, as a page with its pictures."""
    import nbformat
    from nbconvert import MarkdownExporter

    notebook = nbformat.read(path, as_version=4)
    if execute:
        from notebooks import run

        run(notebook)
    text, extra = MarkdownExporter().from_notebook_node(
        notebook, resources={"output_files_dir": f"{path.stem}_files"}
    )
    plain = re.sub(r"<style.*?</style>", "", text, flags=re.S)
    write(PAGES / "examples" / f"{path.stem}.md", with_links(plain, path.parent))
    for name, content in extra["outputs"].items():
        place = PAGES / "examples" / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(content)


def python_reference() -> str:
    """Return a page with every public name, from its docstring."""
    import rsbench

    lines = ["# Python", "", "`import rsbench as rb` offers these names.", ""]
    names = dict(rsbench._LAZY)
    for start, title in TITLES.items():
        own = [name for name, module in names.items() if module.startswith(start)]
        lines += [f"## {title}", "", *(f"::: {names[name]}.{name}" for name in own), ""]
    lines += ["## Metrics", "", "These are in `rb.metrics`.", ""]
    for name in rsbench.metrics.__all__:
        value = getattr(rsbench.metrics, name)
        if callable(value):
            lines.append(f"::: {value.__module__}.{name}")
    return "\n\n".join(lines) + "\n"


def command_reference() -> str:
    """Return a page with the help of every command."""
    import typer

    from rsbench.cli.main import app

    lines = ["# Commands", ""]
    for words, command in commands(typer.main.get_command(app)):
        context = command.make_context(f"rsbench {words}", [], resilient_parsing=True)
        lines += [f"## {words}", "", "```text", command.get_help(context), "```", ""]
    return "\n".join(lines) + "\n"


def commands(command: Any, words: str = "") -> Iterator[tuple[str, Any]]:
    """Yield every command with its words."""
    for name, part in getattr(command, "commands", {}).items():
        own = f"{words} {name}".strip()
        if hasattr(part, "commands"):
            yield from commands(part, own)
        else:
            yield own, part


def navigation(stated: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the navigation with every page that ``mkdocs.yml`` does not place."""
    placed = re.findall(r"[\w/.-]+\.md", str(stated))
    rest = [str(p.relative_to(PAGES)) for p in sorted(PAGES.rglob("*.md"))]
    rest = [page for page in rest if page not in placed]
    sections: dict[str, list[str]] = {"Guides": [], "Examples": [], "Results": []}
    for page in rest:
        section = {"examples": "Examples", "results": "Results"}.get(page.partition("/")[0])
        sections[section or "Guides"].append(page)
    return [
        {title: sections.get(title, part)}
        for entry in stated for title, part in entry.items()
    ]  # fmt: skip


if __name__ == "__main__":
    raise SystemExit(main())
