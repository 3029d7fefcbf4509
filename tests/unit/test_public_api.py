"""The public API: complete, documented, and enough for everything the command line does."""

from __future__ import annotations

import inspect
import re
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import typer
from scores_fixtures import make_scores
from toys import grid as toy_grid
from toys import write_store

import rsbench as rb
from rsbench.cli.main import app
from rsbench.core.errors import UnknownName
from rsbench.core.grid import Window
from rsbench.evaluation import gate
from rsbench.store.read import Store

COMMANDS = {
    "build-dataset": "build_dataset",
    "download": "download_dataset",
    "import-dataset": "import_dataset",
    "inspect": "inspect_store",
    "validate": "Store.validate",
    "add-texts": "add_texts",
    "export": "export_geotiff",
    "lock diff": "lock_diff",
    "train": "train",
    "run": "run",
    "demo": "run_demo",
    "synthesize": "synthesize",
    "contract": "run_contract",
    "check": "check",
    "compare": "compare",
    "figure": "plot.save",
    "report": "report",
    "table": "table",
    "export-task": "export_task",
    "score": "score_answers",
    "models": "cards",
    "metrics": "metrics.metric_info",
    "recipes": "catalog.load_recipe",
    "protocols": "catalog.load_protocol",
    "labels": "catalog.load_labels",
    "regions": "catalog.load_regions",
    "weights check": "metrics.weights.status",
    "weights fetch": "metrics.weights.fetch",
    "weights import": "import_weights",
    "doctor": "doctor",
    "cache": "cache_entries",
}
"""Words of a command → the function that does the same."""

PLAIN = {"Store.validate", "cards", "metrics.metric_info", "metrics.weights.status"}
"""Functions that raise nothing of their own."""
KEPT: dict[str, Any] = {"metrics": ("mse@1", "psnr@1"), "bands": ("all",)}
ARRAYS = re.compile(r"Tensor|ndarray|Array|Frames|Given|Images|Batch")
SHAPE = re.compile(r"\((?:[A-Z]+|[Nn]|\.\.\.)(?:, ?[A-Z|1]+)*,?\)|every image|per image")
UNIT = re.compile(r"unit|range|metre|pixel|seconds|bytes|share|days", re.IGNORECASE)


def get(name: str) -> Any:
    """Return a public function; ``check`` is its module too once that has been imported."""
    found: Any = rb
    for part in name.split("."):
        found = getattr(found, part)
    return gate.check if inspect.ismodule(found) and name == "check" else found


def functions() -> Iterator[str]:
    """Yield every public function by its dotted name."""
    parts = {"metrics": rb.metrics, "plot": rb.plot}
    names = [
        *rb.__all__,
        *(f"{part}.{n}" for part, module in parts.items() for n in module.__all__),
    ]
    yield from (name for name in names if inspect.isroutine(get(name)))
    yield from (name for name in COMMANDS.values() if name not in names)


def commands(command: Any = None, words: tuple[str, ...] = ()) -> Iterator[str]:
    command = command or typer.main.get_command(app)
    if not hasattr(command, "commands"):
        yield " ".join(words)
    for name, part in getattr(command, "commands", {}).items():
        yield from commands(part, (*words, name))


def test_dir_has_every_name_and_every_name_is_there() -> None:
    assert set(rb.__all__) <= set(dir(rb))
    assert set(rb.metrics.__all__) <= set(dir(rb.metrics))
    assert all(get(name) is not None for name in rb.__all__)


def test_every_command_has_a_function() -> None:
    assert set(commands()) <= set(COMMANDS), "name its function in COMMANDS"
    assert all(callable(get(name)) for name in COMMANDS.values())


@pytest.mark.parametrize("name", sorted(set(functions())))
def test_a_function_states_types_arguments_shapes_units_and_errors(name: str) -> None:
    function = get(name)
    text = inspect.getdoc(function) or ""
    hints = str(inspect.signature(function))
    parameters = {n: p for n, p in inspect.signature(function).parameters.items() if n != "self"}
    assert all(p.annotation is not p.empty for p in parameters.values())
    assert inspect.signature(function).return_annotation is not inspect.Signature.empty
    missing = [n for n in parameters if not re.search(rf"\b{n}\b", text)]
    assert not missing, f"{name} does not explain {missing}"
    stated = re.search(r"^[^\n]*(?:[Rr]eturn|\{id)|Returns:", text)
    assert stated or hints.endswith("-> 'None'"), f"{name} states no result"
    assert "Raises:" in text or name in PLAIN, f"{name} names no errors"
    if ARRAYS.search(hints):
        assert SHAPE.search(text), f"{name} states no shape"
        assert UNIT.search(text), f"{name} states no unit or range"


def test_the_test_of_docstrings_finds_what_lacks() -> None:
    def lacking(values: torch.Tensor) -> torch.Tensor:
        """Return something of the values."""
        return values

    assert not SHAPE.search(inspect.getdoc(lacking) or "")
    assert not UNIT.search(inspect.getdoc(lacking) or "")
    assert typing.get_type_hints(lacking)


def test_the_gate_can_be_called_after_its_module_is_imported(tmp_path: Path) -> None:
    import rsbench.check as module
    from scores_fixtures import save_run

    save_run(tmp_path / "run", make_scores(**KEPT))
    assert module is rb.check
    assert rb.check(tmp_path / "run", str(tmp_path / "run")).ok
    module.assert_passes(tmp_path / "run", tmp_path / "run")


def test_a_field_that_does_not_exist_is_named(tmp_path: Path) -> None:
    with pytest.raises(UnknownName, match="Did you mean workers"):
        rb.build_dataset("demo", tmp_path / "demo.zarr", worker=1)
    with pytest.raises(UnknownName, match="Did you mean unit"):
        rb.import_dataset("geotiff-series", tmp_path, tmp_path / "out", units="kelvin")
    with pytest.raises(UnknownName, match="Did you mean horizon"):
        rb.run("persistence", horizons=3)


def test_reports_and_tables_take_one_path_or_several(tmp_path: Path) -> None:
    from scores_fixtures import save_run

    scores = make_scores(**KEPT)
    save_run(tmp_path / "run", scores)
    assert len(rb.table(str(tmp_path / "run"))) == len(rb.table([tmp_path / "run"])) > 0
    page = rb.report(tmp_path / "run", str(tmp_path / "report.html"))
    assert page.read_text(encoding="utf-8").startswith("<!")


def test_reprs_are_short_and_html_is_escaped(tmp_path: Path) -> None:
    scores = make_scores({"dataset": "a <b> & c"}, **KEPT)
    assert len(repr(scores)) < 200
    html = scores._repr_html_()
    assert "a &lt;b&gt; &amp; c" in html
    assert "persistence" in html
    assert "<b>" not in html
    frames = rb.Frames(
        torch.zeros(2, 1, 3, 4, 64, 64), torch.ones(2, 1, 3, 1, 64, 64, dtype=torch.bool),
        torch.zeros(2, 3, dtype=torch.int64), ("b", "g", "r", "n"), "reflectance", (False,) * 3,
        (0.0, 1.0),
    )  # fmt: skip
    sample = rb.SampleRef("here", "k", Window(0, 0, 64, 64))
    grid = toy_grid()
    given = rb.Given({"s2": frames}, {"s2": (grid, grid)}, (sample, sample))
    noise = typing.cast("rb.Noise", None)
    want = rb.Want("s2", frames.bands, frames.times, (grid, grid), (sample,) * 2, 1, noise)
    for value in (frames, given, want, rb.Prediction(frames.values), rb.cards()["simvp"]):
        assert len(repr(value)) < 200


def test_a_store_shows_its_identity_without_reading_pixels(tmp_path: Path) -> None:
    store: Store = write_store(tmp_path / "toy.zarr", regions=3, years=1, size=8)
    html = store._repr_html_()
    assert store.digest in html
    assert "train" in html
    assert len(repr(store)) < 300
