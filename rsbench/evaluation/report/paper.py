"""Methods paragraph and BibTeX for a paper, generated from the provenance of the runs."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

from rsbench.evaluation import intervals as inference
from rsbench.evaluation import strata
from rsbench.evaluation.report.board import Board, of_row
from rsbench.evaluation.report.references import joined, reference
from rsbench.evaluation.run_info import RunInfo
from rsbench.evaluation.scores import HALVES
from rsbench.evaluation.table import tex
from rsbench.metrics.registry import MetricInfo, metric_info
from rsbench.tasks.registry import task

OWN = ("arithmetic", "this project")
"""Sources that are not publications."""
OURS = {
    "author": "{rsbench developers}",
    "title": "{rsbench}: dataset builder and benchmark harness for satellite-image forecasting and "
    "fusion",
}
LONGEST = 12
"""Characters of a digest in prose; run.json holds the whole digest."""


def methods(board: Board) -> str:
    """Return a paragraph on data, scoring, models and limits of a board."""
    parts = [*_data(board), *_scoring(board), *_models(board), *_limits(board)]
    return " ".join(parts)


def _data(board: Board) -> list[str]:
    run = board.run
    low, high = run.value_range
    version = run.versions.get("rsbench", "")
    return [
        f"Predictions were scored with rsbench {version}".rstrip()
        + f" on the {run.split} split of {run.label} (dataset digest "
        f"{run.dataset_digest[:LONGEST]}), sensor {run.sensor}, bands {_list(run.bands)}, in "
        f"{run.unit or 'its own unit'} with a value range of {low:g} to {high:g}.",
        f"Under protocol {run.protocol}, {task(run.task).methods(run)}. The primary endpoint is "
        f"{run.endpoint.label}.",
    ]


def _scoring(board: Board) -> list[str]:
    run, table = board.run, board.scores.table()
    regions = int(table["n_regions"].max()) if len(table) else 0
    dropped = max((m.dropped for m in board.scores.matchings(strata.HEADLINE)), default=0)
    gone = f"; {dropped} pairs of region and start, undefined in at least one row and metric, "
    gone += "were left out"
    said = [
        f"Each value is the mean over {regions} regions of the region's mean over images, on "
        f"starts that all rows and leads share{gone if dropped else ''}."
    ]
    if run.pooled:
        said.append(
            f"{', '.join(run.pooled)} are pooled over all pixels of the regions instead, with "
            "jackknife intervals over regions."
        )
    if regions < inference.MIN_REGIONS:
        said.append(f"There are no intervals: fewer than {inference.MIN_REGIONS} regions.")
    else:
        level = f"{inference.LEVEL * 100:.10g} %"
        kind = (
            "Student's t on the variance of windows of neighbouring blocks (moving-block bootstrap)"
            if run.one_scene
            else "Student's t corrected for skewness"
        )
        said.append(
            f"Intervals are {level} intervals over regions, held inside the metric's range: {kind}."
        )
    if run.one_scene:
        said.append("The regions are blocks of one scene, so intervals hold for that scene only.")
    if run.best_trivial:
        said.append(
            "Skill is (score − reference) / (perfect − reference), pooled within a region, against "
            f"{run.reference}."
        )
    sizes = sorted({int(n) for n in board.scores.sets.loc[_own(board), "n"]})
    if sizes:
        said.append(f"Set metrics compare n = {_list(map(str, sizes))} images.")
    told = [_metric(info) for info in _metrics(_scored(board))]
    said.append(f"Metrics: {'; '.join(told)}.")
    return said


def _own(board: Board) -> list[bool]:
    return [role != "floor" and model != HALVES
            for role, model in zip(board.scores.sets["role"], board.scores.sets["model"],
                                   strict=True)]  # fmt: skip


def _scored(board: Board) -> list[str]:
    """Return the metrics that have a value."""
    table = board.scores.table()
    return [str(name) for name in table.loc[table["value"].notna(), "metric"].unique()]


def _metrics(names: Iterable[str]) -> list[MetricInfo]:
    known = {info.id: info for info in metric_info(probe=False)}
    return [known[name] for name in sorted(names) if name in known]


def _metric(info: MetricInfo) -> str:
    source = "" if info.source in OWN else f" ({info.source})"
    return f"{info.id}, {info.title}{source}"


def _models(board: Board) -> list[str]:
    rows = board.scores.units[["model", "preset", "role"]].drop_duplicates()
    trained, standing = [], []
    for model, preset, role in rows.itertuples(index=False, name=None):
        run = _run_of(board, str(model))
        digest = of_row(board.run.weights, str(model), str(preset))
        name = f"{model} ({preset})" if preset else str(model)
        if role in ("model", "control") and digest:
            trained.append(
                f"{name}, weights {digest[:LONGEST]}, seed {run.seed}, {run.precision} on "
                f"{run.device}"
            )
        elif role in ("model", "control"):
            trained.append(name)
        else:
            standing.append(str(model))
    said = [f"Models: {'; '.join(trained)}."] if trained else []
    if standing:
        said.append(f"Reference entries: {_list(sorted(standing))}.")
    return said


def _run_of(board: Board, model: str) -> RunInfo:
    for run, called in zip(board.runs, board.names, strict=True):
        if model in called.values() and any(called.get(name) == model for name in run.weights):
            return run
    return board.run


def _limits(board: Board) -> list[str]:
    run = board.run
    said = []
    absent = {item.model: item.reason for item in board.scores.absences()
              if item.metric is None and item.lead is None}  # fmt: skip
    if absent:
        said.append(f"Absent: {'; '.join(f'{m} ({r})' for m, r in sorted(absent.items()))}.")
    if not run.complete:
        said.append(
            f"The store is incomplete: {len(run.missing) or 'some'} units could not be read "
            "and are missing from every number."
        )
    versions = [f"{name} {version}" for name, version in sorted(run.versions.items())
                if name != "rsbench"]  # fmt: skip
    if versions:
        said.append(f"Versions: {_list(versions)}.")
    if run.simulated:
        said.append("The data are simulated; the numbers are no result about real imagery.")
    return said


def _list(words: Iterable[str]) -> str:
    found = list(words)
    return found[0] if len(found) == 1 else ", ".join(found[:-1]) + f" and {found[-1]}"


# -------------------------------------------------------------------------------- BibTeX


def bibtex(board: Board) -> str:
    """Return BibTeX entries of software, models, data and metrics of a board, one per publication.

    Author, title, year and DOI or arXiv number come from ``references.bib``. Of other publications
    the field ``note`` holds the citation as the card states it, and year, DOI and arXiv number are
    also separate fields. A citation that is a BibTeX entry is printed as it is. Nothing is guessed
    from names and titles.
    """
    run = board.run
    entries = [_set("misc", "rsbench", {**OURS, **_version(run)})]
    models = joined([(m, c) for m, c in sorted(run.citations.items()) if c])
    entries += _numbered("model", models)
    for sensor, licence in sorted(run.licences.items()):
        if licence.get("citation"):
            entries.append(_entry(f"data-{sensor}", licence["citation"]))
    infos = [info for info in _metrics(_scored(board)) if info.source not in OWN]
    entries += _numbered("metric", joined([(info.id, info.source) for info in infos]))
    return "\n\n".join(dict.fromkeys(entries)) + "\n"


def _numbered(prefix: str, sources: Mapping[str, Sequence[str]]) -> list[str]:
    """Return an entry per publication, named by what cites it first."""
    entries: list[str] = []
    used: dict[str, int] = {}
    for citation, names in sources.items():
        if citation.lstrip().startswith("@"):
            entries.append(citation.strip())
            continue
        number = used[names[0]] = used.get(names[0], 0) + 1
        key = f"{prefix}-{names[0]}" + (f"-{number}" if number > 1 else "")
        more = {"keywords": ", ".join(names)} if prefix == "metric" or len(names) > 1 else {}
        entries.append(_entry(key, citation, more))
    return entries


def _version(run: RunInfo) -> Mapping[str, str]:
    version = run.versions.get("rsbench")
    return {"version": version} if version else {}


def _entry(key: str, citation: str, more: Mapping[str, str] | None = None) -> str:
    name = re.sub(r"[^A-Za-z0-9.-]+", "-", key).strip("-")
    if (found := reference(citation)) is not None:
        return _set(found.kind, name, {**found.fields, **(more or {})})
    fields: dict[str, str] = {**_code(citation), "note": tex(citation)}
    year = re.search(
        r"\b(?:18|19|20)\d\d\b", re.sub(r"10\.\d{4,}/\S+|\d{4}\.\d{4,5}", "", citation)
    )
    doi = re.search(r"\b10\.\d{4,9}/[^\s,;]+", citation)
    arxiv = re.search(r"arXiv[: ]?\s?(\d{4}\.\d{4,5})", citation, re.I)
    if year:
        fields["year"] = year.group(0)
    if doi:
        fields["doi"] = doi.group(0).rstrip(".")
    if arxiv:
        fields |= {"eprint": arxiv.group(1), "archiveprefix": "arXiv"}
    return _set("misc", name, {**fields, **(more or {})})


def _code(citation: str) -> dict[str, str]:
    """Return title and address of a public repository ``OWNER/NAME @COMMIT``; else nothing."""
    found = re.match(r"([\w-]+/[\w.-]+)(?: @[0-9a-f]{7,40})?,", citation)
    return {"title": tex(found[1]), "url": f"https://github.com/{found[1]}"} if found else {}


def _set(kind: str, name: str, fields: Mapping[str, str]) -> str:
    lines = [f"  {field} = {{{value}}}," for field, value in fields.items()]
    return "\n".join([f"@{kind}{{{name},", *lines, "}"])


def one_board(found: Sequence[Board]) -> Board:
    """Return the only board; refuse runs that form several boards."""
    from rsbench.core.errors import Incomparable

    if len(found) != 1:
        raise Incomparable(
            "one text on several runs", f"they form {len(found)} groups that do not compare",
            "Name runs of equal data, split, protocol, context and horizon",
        )  # fmt: skip
    return found[0]
