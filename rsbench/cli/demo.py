"""The demo: build, train, score and report on simulated images, in minutes on two cores."""

from __future__ import annotations

from pathlib import Path

from rsbench.cli.app import say_phases
from rsbench.core.progress import Advance, silent
from rsbench.evaluation.run import RunRequest, run_model
from rsbench.tasks.config import Note, quiet

RECIPE = "demo"
MODEL = "simvp"
HORIZON = 7


def run_demo(out: Path, *, seed: int = 0, note: Note = quiet, advance: Advance = silent) -> Path:
    """Build the demo dataset, train the small model, score it beside the reference models.

    Args:
        out: folder for the store ``demo.zarr`` and the run ``run``.
        seed: random seed for training and sampling; the dataset has a fixed seed.
        note: takes messages.
        advance: called with ``(label, done, total)``.

    Returns:
        The path of the report.

    Raises:
        InputError: if the folder holds something else or is in use.
    """
    from rsbench.build.engine.builder import build
    from rsbench.core.paths import remember_store

    out.mkdir(parents=True, exist_ok=True)
    note("building the simulated dataset: search, lock, read, mask, composite, store")
    store = build(RECIPE, out / "demo.zarr", progress=advance)
    remember_store(store.path, note)
    note(f"{store.path}  digest {store.digest}")
    say_phases(store.phases)
    request = RunRequest(
        model=MODEL, preset="tiny", data=store.path, horizon=HORIZON, seed=seed, out=out / "run",
        command=f"rsbench demo --out {out.name} --seed {seed}",
    )  # fmt: skip
    result = run_model(request, note=note, advance=advance)
    note(result.summary())
    say_phases(result.phases)
    return result.out / "report.html"
