"""BibTeX entries of the publications that cards and metrics cite."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources

FIELD = re.compile(r"(\w+) = \{((?:[^{}]|\{[^{}]*\})*)\}")


@dataclass(frozen=True)
class Reference:
    """One publication.

    Args:
        kind: kind of BibTeX entry, e.g. ``article``.
        fields: its fields: author, title, year, and doi or arXiv number where there is one.
        match: texts, divided by `` | ``, by which a citation is known to be of it: a title, DOI or
            arXiv number.
    """

    kind: str
    fields: Mapping[str, str]
    match: str = ""

    @property
    def matches(self) -> list[str]:
        """The texts in lower case."""
        return self.match.casefold().split(" | ")


@cache
def known() -> tuple[Reference, ...]:
    """Return the publications whose fields are known, from ``references.bib``."""
    folder = resources.files("rsbench.evaluation.report") / "templates"
    found = []
    for line in (folder / "references.bib").read_text(encoding="utf-8").splitlines():
        kind = re.match(r"@(\w+)\{", line)
        if kind is not None:
            fields = dict(FIELD.findall(line))
            found.append(Reference(kind[1], fields, fields.pop("match")))
    return tuple(found)


def reference(citation: str) -> Reference | None:
    """Return the publication that a citation is of; None where its fields are not known."""
    folded = " ".join(citation.split()).casefold()
    return next((one for one in known() if any(m in folded for m in one.matches)), None)


def parts(citation: str) -> list[str]:
    """Return the publications that a citation names, which semicolons and a space divide.

    A citation ``None: REASON`` names none.
    """
    if citation.startswith("None:"):
        return []
    return [part for text in re.split(r";\s", citation) if (part := text.strip())]


def joined(sources: Sequence[tuple[str, str]]) -> dict[str, list[str]]:
    """Return {publication: names} of (name, citation), each publication once.

    A citation that is a BibTeX entry of its own is one publication.
    """
    found: dict[str, list[str]] = {}
    seen: dict[str, str] = {}
    for name, citation in sources:
        for part in [citation] if citation.lstrip().startswith("@") else parts(citation):
            one = reference(part)
            first = seen.setdefault(one.match if one else part, part)
            found.setdefault(first, []).append(name)
    return found
