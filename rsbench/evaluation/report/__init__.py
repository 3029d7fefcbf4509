"""The HTML report: one self-contained file that needs no server and no network."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Sequence
from functools import cache
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from rsbench.catalog.published import PublishedTable, load_published
from rsbench.core.errors import InputError
from rsbench.core.io import atomic_file, disk_errors, write_atomic
from rsbench.evaluation.report import page, pictures
from rsbench.evaluation.report.band_views import NDVI_ERROR, NDVI_RANGE
from rsbench.evaluation.report.board import Board, boards
from rsbench.evaluation.report.published import beside
from rsbench.metrics.rgb import GAMMA, WHITE

if TYPE_CHECKING:
    from jinja2 import Template

SCRIPTS = ("report", "bands", "viewer", "regions")
"""Scripts of the page, in order; each uses names of those before it."""

__all__ = ["Board", "boards", "render", "write_report"]


def write_report(
    runs: Sequence[Path], out: Path, *, force: bool = False, published: Sequence[str] = (),
    linked: bool = False,
) -> Path:  # fmt: skip
    """Write one HTML page about one or more run folders.

    Args:
        runs: folders written by ``rsbench run --out``.
        out: the HTML file.
        force: overwrite what is there.
        published: names of published tables to show beside the runs.
        linked: write the pictures as files into a folder beside the page, for hosting; otherwise
            the page holds everything.

    Returns:
        The path of the file.

    Raises:
        InputError: no run was named, a run is damaged, or the target exists.
        UnknownName: no published table has this name.
    """
    if not runs:
        raise InputError("a report", "no run was named", "Name at least one run folder")
    target = out / "report.html" if out.is_dir() else out
    if target.exists() and not force:
        raise InputError(
            f"writing the report {target}", "a file of this name exists", "Give --force or --out"
        )
    tables = [load_published(name) for name in dict.fromkeys(published)]
    text = render(boards(list(dict.fromkeys(runs))), tables)
    with disk_errors(f"writing the report {target}", "give another --out"):
        write_atomic(target, _linked(text, target) if linked else text)
    return target


PICTURE = re.compile(r"data:image/webp;base64,([A-Za-z0-9+/=]+)")


def _linked(text: str, target: Path) -> str:
    """Write the pictures of a page into the folder beside it; return the page that links them."""
    folder = target.with_name(f"{target.stem}-files")
    folder.mkdir(exist_ok=True)

    def written(found: re.Match[str]) -> str:
        data = base64.b64decode(found[1])
        name = f"{hashlib.sha256(data).hexdigest()[:20]}.webp"
        with atomic_file(folder / name) as temporary:
            temporary.write_bytes(data)
        return f"{quote(folder.name)}/{name}"

    return PICTURE.sub(written, text).replace("img-src data:", "img-src 'self' file: data:", 1)


def render(found: Sequence[Board], published: Sequence[PublishedTable] = ()) -> str:
    """Return the HTML of the report, with the published tables beside each board."""
    from markupsafe import Markup

    gathered = [page.gather(board, index, len(found)) for index, board in enumerate(found)]
    return _template().render(
        boards=gathered,
        legends=[page.legend(item) for item in gathered],
        papers=[beside(board, published) for board in found],
        simulated=any(board.run.simulated for board in found),
        complete=all(board.run.complete for board in found),
        css=Markup(_text("report.css")),  # part of this package: needs no escaping
        js=Markup(_script()),
        ramp=pictures.ramp_link(),
        ndvi={
            "range": list(NDVI_RANGE),
            "error": NDVI_ERROR,
            "ramp": pictures.ramp_link("YlGn"),
        },
        white=WHITE,
        gamma=GAMMA,
        role_names={"trivial": "reference model"},  # stored role → shown
    )


@cache
def _template() -> Template:
    """Compile the template once per process."""
    from jinja2 import Environment, StrictUndefined
    from markupsafe import Markup, escape

    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    # Long names break at underscores only.
    environment.filters["breakable"] = lambda name: escape(name).replace("_", Markup("_<wbr>"))
    return environment.from_string(_text("report.html.j2"))


def _script() -> str:
    """Return the scripts of the page as one function, which runs after the page is parsed."""
    parts = "".join(_text(f"{name}.js") for name in SCRIPTS)
    return f'"use strict";\n(() => {{\n{parts}}})();'


def _text(name: str) -> str:
    folder = resources.files("rsbench.evaluation.report") / "templates"
    return (folder / name).read_text(encoding="utf-8")
