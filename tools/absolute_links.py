"""Print a page with absolute addresses in place of relative links and images, for a package index.

Usage: python tools/absolute_links.py README.md https://host/owner/rsbench/raw/v1.0

The project has no public address yet, so that its own pages keep relative links, which work in a
checkout and on a hosting site. A release prints its README with the address of its tag.
"""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path
from urllib.parse import urljoin, urlsplit

LINK = re.compile(r"(\]\()([^)\s]+)(\))")


def absolute(text: str, address: str) -> str:
    """Return Markdown whose relative links begin with ``address``; anchors and code stay.

    Args:
        address: of the folder of the page, http or https.

    Raises:
        ValueError: if ``address`` is no address of http or https.
    """
    if urlsplit(address).scheme not in ("http", "https") or not urlsplit(address).netloc:
        raise ValueError(f"{address} is no http or https address; give e.g. https://host/raw/v1")
    base = address.rstrip("/") + "/"

    def joined(match: re.Match[str]) -> str:
        target = match[2]
        relative = not urlsplit(target).scheme and not target.startswith("#")
        return match[1] + (urljoin(base, target) if relative else target) + match[3]

    parts = re.split(r"(^```.*?^```$)", text, flags=re.M | re.S)
    return "".join(p if p.startswith("```") else LINK.sub(joined, p) for p in parts)


def main() -> int:
    """Print the page."""
    parser = argparse.ArgumentParser(description="Print a page with absolute links.")
    parser.add_argument("page", type=Path)
    parser.add_argument("address")
    asked = parser.parse_args()
    try:
        print(absolute(asked.page.read_text(encoding="utf-8"), asked.address), end="")
    except (OSError, ValueError) as error:
        print(f"absolute_links: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
