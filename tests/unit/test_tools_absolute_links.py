"""The README of a release has absolute links; nothing else of it changes."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from support.tool import load_tool

ROOT = Path(__file__).parents[2]
absolute_links = load_tool("absolute_links")


def test_relative_links_and_images_become_absolute() -> None:
    text = "![a](docs/a.png) [b](docs/b.md#c) [d](#e) [f](https://x.org/g)\n```\n[h](i)\n```\n"
    assert absolute_links.absolute(text, "https://host/raw/v1/") == (
        "![a](https://host/raw/v1/docs/a.png) [b](https://host/raw/v1/docs/b.md#c) [d](#e) "
        "[f](https://x.org/g)\n```\n[h](i)\n```\n"
    )


def test_every_link_of_the_readme_is_absolute() -> None:
    text = absolute_links.absolute((ROOT / "README.md").read_text(), "https://host/raw/v1")
    images = re.findall(r"!\[[^\]]*\]\(([^)]+)\)", text)
    assert images
    assert all(one.startswith("https://host/raw/v1/") for one in images)
    assert all((ROOT / one.removeprefix("https://host/raw/v1/")).is_file() for one in images)


@pytest.mark.parametrize("address", ["host/raw", "file:///x", "https:"])
def test_other_addresses_are_refused(address: str) -> None:
    with pytest.raises(ValueError, match="no http or https address"):
        absolute_links.absolute("", address)
