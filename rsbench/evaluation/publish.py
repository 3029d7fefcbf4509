"""The files that a run leaves: tables, scores, images of the report, and the report."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from rsbench.core.phases import Phases
from rsbench.evaluation.run_folder import whole
from rsbench.evaluation.run_info import PHASES
from rsbench.tasks.registry import task_of

if TYPE_CHECKING:
    import torch

    from rsbench.evaluation.entries import ModelEntry
    from rsbench.evaluation.score_table import OnAnswer
    from rsbench.evaluation.scores import Scores
    from rsbench.tasks.base import Case
    from rsbench.tasks.config import EvaluationConfig

MOST_REGIONS = 6
"""Most regions whose images a report shows."""


def publish(out: Path, make: Callable[[Path], Scores], phases: Phases) -> Scores:
    """Write table, scores and report of what ``make`` scores; all of it or nothing.

    Args:
        out: held with :func:`rsbench.evaluation.run_folder.reserved`.
        make: takes the folder to which it writes images.
        phases: to which the time of ``make`` is added already, and that of writing is added.
    """
    from rsbench.evaluation.report import write_report
    from rsbench.evaluation.table import supported_best, to_markdown, to_parquet

    with whole(out) as folder:
        scores = make(folder)
        with phases.time("intervals"):
            table = scores.table()
            best = supported_best(scores)
        with phases.time("write"):
            to_parquet(table, folder / "table.parquet")
            text = to_markdown(table, best=best, scores=[scores])
            (folder / "table.md").write_text(text, encoding="utf-8")
        scores.save(folder, {PHASES: phases.seconds()})
        with phases.time("report"):
            write_report([folder], folder / "report.html", force=True)
    return scores


@contextmanager
def kept_answers(
    config: EvaluationConfig, keep: str, folder: Path, regions: int = MOST_REGIONS,
    phases: Phases | None = None,
) -> Iterator[OnAnswer]:  # fmt: skip
    """Yield what keeps answers as images of a report, written at the end of the block.

    Args:
        regions: most regions of which images are kept.
        phases: to which the time of writing is added.
    """
    from rsbench.evaluation.pictures import Viewer

    viewer = Viewer(
        folder / "viewer", config.meta, config.bands, keep=keep,
        sensors=config.store.meta.sensors, regions=regions,
    )  # fmt: skip
    yield _keeping(config, keep, folder, viewer)
    with (phases or Phases()).time("write"):
        viewer.close()


def _keeping(config: EvaluationConfig, keep: str, folder: Path, shown: OnAnswer) -> OnAnswer:
    """Return what keeps answers for the report, and with ``all`` predicted class maps as files."""
    if keep != "all" or not task_of(config).predicts_labels:
        return shown
    from rsbench.evaluation.class_map_files import MAPS, ClassMapFiles

    files = ClassMapFiles(config, folder / MAPS)

    def heard(entry: ModelEntry, case: Case, lead: int, values: torch.Tensor) -> None:
        shown(entry, case, lead, values)
        files.add(entry, case, lead, values)

    return heard
