"""Pages of the project: links, list of pages, commands and options, shown files, versions."""

from __future__ import annotations

import itertools
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

from rsbench.catalog import Protocol, load_protocol, load_recipe, recipe_regions
from rsbench.cli.main import app
from rsbench.core.version import __version__

ROOT = Path(__file__).parents[2]
PAGES = [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")]
PLACEHOLDER = re.compile(r"\.\.\.|…|[<\[{]|-- ?[A-Z]")
"""What a command has that stands for other words, and is no option's value."""
pytestmark = pytest.mark.skipif(not (ROOT / "docs").is_dir(), reason="not run from a checkout")


def anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings, as GitHub makes them."""
    heads = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), flags=re.M)
    kept = (re.sub(r"[^\w\- ]", "", head.lower()) for head in heads)
    return {head.replace(" ", "-") for head in kept}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_leads_somewhere(page: Path) -> None:
    for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
        if link.startswith(("http://", "https://")):
            continue
        name, _, anchor = link.partition("#")
        target = (page.parent / name).resolve() if name else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


def test_the_index_lists_every_page() -> None:
    index = (ROOT / "docs" / "README.md").read_text(encoding="utf-8")
    pages = {page.name for page in (ROOT / "docs").glob("*.md")} - {"README.md"}
    assert {page for page in pages if f"]({page})" not in index} == set()


def test_the_citation_file_names_this_version() -> None:
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert {"cff-version", "message", "title", "authors"} <= set(cited)
    assert (cited["version"], cited["license"]) == (__version__, "Apache-2.0")


def test_the_changelog_has_an_unreleased_section() -> None:
    heads = re.findall(r"^## (.+)$", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.M)
    assert heads[0] == "[Unreleased]"
    assert any(head.startswith(__version__) for head in heads[1:])


def command_options() -> dict[str, set[str]]:
    """Return the options of every command by its words, e.g. ``lock diff``."""

    def below(command: Any, words: tuple[str, ...]) -> Iterator[tuple[str, set[str]]]:
        for name, part in getattr(command, "commands", {}).items():
            yield from below(part, (*words, name))
        if not hasattr(command, "commands"):
            yield " ".join(words), {word for p in command.params for word in p.opts}

    return dict(below(typer.main.get_command(app), ()))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_and_options_exist(page: Path) -> None:
    known = command_options()
    text = page.read_text(encoding="utf-8").replace("\\\n", " ")
    blocks = re.findall(r"^```(?:sh|console|text)?\n(.*?)^```", text, flags=re.M | re.S)
    typed = re.findall(r"`rsbench [a-z][^`]*`", text) + re.findall(
        r"^rsbench .*$", "\n".join(blocks), flags=re.M
    )
    for line in typed:
        words = line.strip("`").split()[1:]
        names = [name for name in (" ".join(words[:2]), words[0]) if name in known]
        assert names, line
        options = set(re.findall(r"(?<= )--[a-z0-9-]+", line)) - {"--help"}
        assert options <= known[names[0]], line


def typed_lines(page: Path) -> list[str]:
    """Return the commands that a page shows on lines of their own, continuation lines joined."""
    text = re.sub(r" *\\\n\s*", " ", page.read_text(encoding="utf-8"))
    lines = (re.sub(r"\s+#.*$", "", line).strip() for line in text.splitlines())
    return [line for line in lines if line.startswith(("rsbench ", "$ rsbench "))]


def parsed(line: str) -> None:
    """Parse a command as the command line does, without running it."""
    command, words = typer.main.get_command(app), shlex.split(line.removeprefix("$ "))[1:]
    words = list(itertools.takewhile(lambda word: word not in (">", "|", "&&", ";"), words))
    while hasattr(command, "commands") and words[0] in command.commands:
        command, words = command.commands[words[0]], words[1:]
    command.make_context("rsbench", list(words))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_command_on_a_line_of_its_own_can_be_typed(page: Path) -> None:
    for line in typed_lines(page):
        if not PLACEHOLDER.search(line):
            try:
                parsed(line)
            except Exception as error:
                raise AssertionError(f"{page.name}: {line}: {error}") from error


@pytest.mark.parametrize(
    "line", ["rsbench run --model x --horizon many", "rsbench run --data x", "rsbench compare a"]
)
def test_a_command_that_cannot_be_typed_is_found(line: str) -> None:
    with pytest.raises(Exception, match=r"integer|horizon|Missing|missing|run_b|model"):
        parsed(line)


def test_most_commands_are_parsed() -> None:
    lines = [line for page in PAGES for line in typed_lines(page)]
    assert sum(PLACEHOLDER.search(line) is None for line in lines) > 0.8 * len(lines) > 40


def test_the_protocol_of_the_page_has_the_name_it_states() -> None:
    text = (ROOT / "docs" / "protocols.md").read_text(encoding="utf-8")
    shown = yaml.safe_load(text.partition("```yaml\n")[2].partition("```")[0])
    assert f"`{load_protocol(Protocol.model_validate(shown)).name}`" in text


def test_the_recipe_of_the_page_loads(tmp_path: Path) -> None:
    text = (ROOT / "docs" / "building.md").read_text(encoding="utf-8")
    path = tmp_path / "kempen.yaml"
    path.write_text(text.partition("```yaml\n")[2].partition("```")[0], encoding="utf-8")
    assert [region.name for region in recipe_regions(load_recipe(str(path)))] == [
        "kempen-west", "kempen-east",
    ]  # fmt: skip
