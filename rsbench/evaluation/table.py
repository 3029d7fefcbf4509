"""Read and write the tidy table; set it as Markdown and LaTeX."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import pandas as pd

from rsbench.core.errors import Incomparable, InputError, first_line, other_schema
from rsbench.evaluation import intervals as inference
from rsbench.evaluation import strata
from rsbench.evaluation.clipped import clipped_note
from rsbench.evaluation.collapse import collapse_notes
from rsbench.evaluation.endpoint import PrimaryEndpoint, endpoint_of
from rsbench.evaluation.equal_answers import equal_notes
from rsbench.evaluation.intervals import WAYS, loss
from rsbench.evaluation.run_files import SCHEMA, TABLE_AGAIN, read_parquet, write_parquet
from rsbench.evaluation.run_info import EARLIEST_TASK, protocol_task
from rsbench.evaluation.scores import COLUMNS, HALVES, Scores
from rsbench.evaluation.unit_table import RANKED_ROLES, stack
from rsbench.metrics.queries import SKILL, direction
from rsbench.tasks.registry import task
from rsbench.tasks.words import Words

_COUNTED = ("lead", "n_regions", "n_samples", "n_missing")
ALPHA = 1.0 - inference.LEVEL
Cell = tuple[str, str, str, str, int, str]
"""(model, preset, metric, band, lead, stratum)."""

# ------------------------------------------------------------------------------------ files


def to_parquet(table: pd.DataFrame, path: Path) -> None:
    """Write the tidy table as parquet, with the schema in its metadata."""
    write_parquet(table[COLUMNS], path)


def to_csv(table: pd.DataFrame) -> str:
    """Return the tidy table as CSV; an absent value is an empty field."""
    return str(table[COLUMNS].to_csv(index=False))


def records(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Return the rows by column, for JSON; an absent value is None."""
    rows = table.astype(object).where(table.notna(), None)
    return [dict(zip(map(str, rows.columns), row, strict=True)) for row in rows.to_numpy().tolist()]


def read_table(path: Path) -> pd.DataFrame:
    """Read a tidy table from a run folder, a parquet file or a CSV file."""
    asked = f"reading the table {path}"
    if path.is_dir():
        return Scores.load(path).table()
    if not path.is_file():
        raise InputError(
            asked, "there is no such file or folder", "Name a run folder or its table.parquet"
        )
    if path.suffix == ".csv":
        try:
            table = pd.read_csv(path, keep_default_na=True)
        except (ValueError, OverflowError) as error:
            raise InputError(
                asked, f"it is no CSV ({first_line(error)})", "Write it again"
            ) from error
        for name in ("preset", "inputs"):
            if name in table:
                table[name] = table[name].fillna("").astype(str)
    else:
        table = read_parquet(path)
    lacking = [name for name in COLUMNS if name not in table.columns]
    if lacking:
        raise InputError(
            asked,
            f"it lacks the columns {', '.join(lacking[:6])}{' …' if len(lacking) > 6 else ''}",
            "Name a table written by `rsbench run` or `rsbench table --csv`",
        )
    odd = [value for value in table["schema"].unique().tolist() if str(value) != str(SCHEMA)]
    if odd:
        raise other_schema(asked, odd[0], SCHEMA, TABLE_AGAIN)
    _require_numbers(table, asked)
    return table[COLUMNS]


def _require_numbers(table: pd.DataFrame, asked: str) -> None:
    """Refuse text, and fractions of what is counted, in the columns of numbers."""
    for name in ("value", "lo", "hi", *_COUNTED):
        numbers = pd.to_numeric(table[name], errors="coerce")
        odd = table[name].notna() & numbers.isna()
        if name in _COUNTED:
            odd |= numbers % 1 != 0  # also where the row is cut short
        if odd.any():
            row = int(odd.to_numpy().argmax())
            found = f"{name} is {str(table[name].iloc[row])[:40]!r} in row {row + 1}"
            raise InputError(asked, found, "Write it again")


def load_tables(paths: Sequence[Path]) -> pd.DataFrame:
    """Read tables of one or more runs into one, without repeated rows."""
    tables = [read_table(path) for path in paths]
    heads = [_head(table, path) for table, path in zip(tables, paths, strict=True)]
    for path, head in zip(paths[1:], heads[1:], strict=True):
        differ = [f"{n} {heads[0][n]} / {head[n]}" for n in head if head[n] != heads[0][n]]
        if differ:
            raise Incomparable(
                f"one table of {paths[0]} and {path}",
                f"they differ in {', '.join(differ)}",
                "Print them one by one",
            )
    if len(tables) == 1:
        return tables[0]
    return pd.concat(tables, ignore_index=True).drop_duplicates(ignore_index=True)


def load_scores(paths: Sequence[Path]) -> tuple[Scores, ...]:
    """Read the scores of those paths that are run folders."""
    return tuple(Scores.load(path) for path in paths if path.is_dir())


def _head(table: pd.DataFrame, path: Path) -> dict[str, str]:
    names = ("dataset_digest", "split", "protocol")
    several = [name for name in names if table[name].nunique() > 1]
    if several:
        raise InputError(
            f"reading the table {path}",
            f"it mixes several values of {', '.join(several)}",
            "Split it into one table per dataset, split and protocol",
        )
    return {name: str(table[name].iloc[0]) for name in names} if len(table) else {}


# ---------------------------------------------------------------------------- best entries


def supported_best(scores: Scores) -> frozenset[Cell]:
    """Return the cells whose model is better than all others by more than the paired interval.

    Oracle, floor and controls are not compared. With too few regions there is no such cell.
    """
    means = scores.region_means()
    rows = means[means["role"].isin(RANKED_ROLES) & means["value"].notna()]
    ranked = [name for name in rows["metric"].unique() if inference.is_ranked(str(name))]
    rows = rows[rows["metric"].isin(ranked)]
    names = ["metric", "band", "lead", "stratum", "model", "preset"]
    losses: dict[tuple[str, str, int, str], dict[tuple[str, str], dict[str, float]]] = {}
    for key, own in rows.groupby(names, sort=False):
        metric, band, lead, stratum, model, preset = cast(
            "tuple[str, str, int, str, str, str]", key
        )
        cell = losses.setdefault((metric, band, int(lead), stratum), {})
        values = [loss(metric, value) for value in own["value"].tolist()]
        cell[model, preset] = dict(zip(own["region"], values, strict=True))
    found = []
    for (metric, band, lead, stratum), contenders in losses.items():
        winner = _winner(contenders)
        if winner is not None:
            found.append((*winner, metric, band, lead, stratum))
    return frozenset(found)


def _winner(losses: dict[tuple[str, str], dict[str, float]]) -> tuple[str, str] | None:
    if len(losses) < 2:
        return None
    best = min(losses, key=lambda name: math.fsum(losses[name].values()) / len(losses[name]))
    for name, other in losses.items():
        if name == best:
            continue
        result = inference.paired(losses[best], other)
        if result is None or result.interval is None or result.interval.hi >= 0.0:
            return None
    return best


# ------------------------------------------------------------------------- Markdown, LaTeX


def number(value: float | None, digits: int = 4) -> str:
    """Return a number with so many significant digits; an absent one as a dash."""
    if value is None or not math.isfinite(value):
        return "–"
    if value == 0:
        return "0"
    places = max(digits - 1 - math.floor(math.log10(abs(value))), 0)
    return f"{value:.{places}f}" if places <= 7 else f"{value:.{digits - 1}e}"


def to_markdown(
    table: pd.DataFrame, *, best: frozenset[Cell] = frozenset(), scores: Sequence[Scores] = ()
) -> str:
    """Return the headline table as Markdown: a block per metric, models down, leads across.

    ``scores`` of the table's runs tell why a value is absent, and d of a set metric.
    """
    if table.empty:
        return "No values.\n"
    endpoint = primary_in(table, scores)
    words = words_of(table, scores)
    lines = [*preface(table, endpoint, words, scores), ""]
    compared = 0
    for metric, leads, rows in _blocks(table, endpoint):
        compared += len(leads) if inference.is_ranked(metric) else 0
        about = WAYS[direction(metric)] + size_of(metric, rows, scores) + unranked(metric)
        lines += [f"### {metric} ({about})", ""]
        heads = [words.lead(lead) for lead in leads]
        lines.append("| model | preset | " + " | ".join(heads) + " |")
        lines.append("|---|---|" + "---:|" * len(leads))
        for model, preset, cells in rows:
            key = (model, preset, metric)
            texts = [f"**{t}**" if marked else t for t, marked in _cells(key, cells, leads, best)]
            lines.append(f"| {model} | {preset} | " + " | ".join(texts) + " |")
        lines.append("")
        if note := clipped_in(metric, scores):
            lines += [f"{note[0].upper()}{note[1:]}.", ""]
    if best:
        lines += [
            "Bold: better than every other entry by more than the paired interval. Of "
            f"{compared} cells compared, up to {number(ALPHA * compared, 2)} are bold by chance; "
            "the report has the primary endpoint with a correction for that.", "",
        ]  # fmt: skip
    absent = dict.fromkeys(a for one in scores for a in one.absences())
    named = ((a, "every entry" if a.model == "*" else a.model) for a in absent)
    lines += [f"- {name}: {_what(a.metric, a.lead)}{a.reason}" for a, name in named]
    return "\n".join(lines).rstrip() + "\n"


def unranked(metric: str) -> str:
    """Return why entries are not ordered by a metric; empty where they are."""
    if inference.is_published(metric):
        return "; a published convention, for comparison with old tables only"
    return "" if inference.is_ranked(metric) else "; conditioned on the truth, not ranked"


def clipped_in(metric: str, scores: Sequence[Scores]) -> str:
    """Return which share of the values a metric clipped, by entry; empty where none."""
    rows = [row for one in scores for row in one.run.extra.get("counts") or []]
    return clipped_note(metric, rows, stack(*(one.sets for one in scores))) if scores else ""


def size_of(
    metric: str, rows: Sequence[tuple[str, str, dict[int, pd.Series]]], scores: Sequence[Scores]
) -> str:
    """Return the number of images and features of a set metric, whose value depends on them."""
    if not inference.is_set(metric):
        return ""
    cells = [cell for model, _, own in rows if model != HALVES for cell in own.values()]
    sizes = sorted({int(cell["n_samples"]) for cell in cells if math.isfinite(cell["value"])})
    if not sizes:
        return ""
    text = ", ".join(str(n) for n in sizes)
    sets = [one.sets for one in scores]
    features = sorted({int(d) for f in sets for d in f.loc[f["metric"] == metric, "d"]})
    d = f", d = {', '.join(map(str, features))} features" if features else ""
    return f"; n = {text} images{d}, {HALVES}: two halves of the truth, n = {sizes[-1] // 2}"


def to_latex(
    table: pd.DataFrame, *, best: frozenset[Cell] = frozenset(), scores: Sequence[Scores] = ()
) -> str:
    """Return the headline table for a paper: one block per metric, shrunk to a column.

    It needs ``booktabs`` and ``graphicx``. Notes for the caption are in a comment above the block
    of a metric.
    """
    endpoint = primary_in(table, scores)
    words = words_of(table, scores)
    parts = ["% needs the packages booktabs and graphicx"]
    parts += [f"% {line}" for line in preface(table, endpoint, words, scores)]
    for metric, leads, rows in _blocks(table, endpoint):
        note = clipped_in(metric, scores)
        about = size_of(metric, rows, scores) + unranked(metric) + (f"; {note}" if note else "")
        parts.append(f"% {metric}{about}")
        parts += [FIT, r"\begin{tabular}{ll" + "r" * len(leads) + "}"]
        parts.append(r"\toprule")
        head = " & ".join(tex(words.lead(lead)) for lead in leads)
        parts += [rf"{tex(metric)} & preset & {head} \\", r"\midrule"]
        for model, preset, cells in rows:
            shown = _cells((model, preset, metric), cells, leads, best)
            plain = [(text.replace("-", "$-$").replace("–", "--"), m) for text, m in shown]
            texts = [rf"\textbf{{{text}}}" if marked else text for text, marked in plain]
            parts.append(rf"{tex(model)} & {tex(preset)} & " + " & ".join(texts) + r" \\")
        parts += [r"\bottomrule", r"\end{tabular}}", ""]
    return "\n".join(parts) + "\n"


FIT = r"\noindent\resizebox{\ifdim\width>\columnwidth\columnwidth\else\width\fi}{!}{%"
"""Shrinks a table that is wider than a column; needs the package graphicx."""
SPECIAL = {
    **{c: "\\" + c for c in "&%$#_{}"},
    "\\": r"\textbackslash{}", "~": r"\~{}", "^": r"\^{}", "<": r"\textless{}",
    ">": r"\textgreater{}", "|": r"\textbar{}", '"': "''", "–": "--", "−": "$-$", "·": r"$\cdot$",
    "×": r"$\times$", "±": r"$\pm$", "≤": r"$\leq$", "≥": r"$\geq$", "≈": r"$\approx$",
    "→": r"$\rightarrow$", "←": r"$\leftarrow$", "↑": r"$\uparrow$", "↓": r"$\downarrow$",
}  # fmt: skip
"""Characters that TeX reads as commands, or that its usual fonts lack → what prints them."""


def tex(text: str) -> str:
    """Escape the characters that are special in TeX, braces included."""
    return "".join(SPECIAL.get(c, c) for c in text)


def _what(metric: str | None, lead: int | None) -> str:
    parts = [p for p in (metric, f"lead {lead}" if lead is not None else None) if p]
    return f"{', '.join(parts)}: " if parts else ""


def words_of(table: pd.DataFrame, scores: Sequence[Scores]) -> Words:
    """Return the words of the task of the runs, or of the table's protocol if it is catalogued."""
    if scores:
        return scores[0].run.words
    protocols = [str(name) for name in table["protocol"].unique()]
    known = [found for name in protocols if (found := protocol_task(name))]
    return task(known[0] if known else EARLIEST_TASK).words


def _inputs(table: pd.DataFrame) -> str:
    """Return the inputs of the entries, the most common first, then those that differ from it."""
    seen = table.drop_duplicates("model").groupby("inputs")["model"].agg(list)
    usual = max(seen.index, key=lambda text: len(seen[text]))
    others = [f"{', '.join(sorted(seen[t]))}: {t}" for t in sorted(seen.index) if t != usual]
    return "; ".join([f"inputs: {usual}", *others])


def primary_in(table: pd.DataFrame, scores: Sequence[Scores]) -> PrimaryEndpoint:
    """Return the primary endpoint of the runs, or of the table's protocol."""
    stated = scores[0].run.primary if scores else None
    return endpoint_of(stated, str(table["protocol"].iloc[0]), int(table["lead"].max()))


def _references(table: pd.DataFrame, scores: Sequence[Scores]) -> list[str]:
    """Return the references of skill of the runs and how they were selected."""
    if not table["metric"].str.startswith(SKILL).any():
        return []
    return list(dict.fromkeys(one.run.reference for one in scores if one.run.best_trivial))


def preface(
    table: pd.DataFrame, endpoint: PrimaryEndpoint, words: Words, scores: Sequence[Scores]
) -> list[str]:
    """Return what a reader of the table must know: data, endpoint, references, warnings."""
    first = table.iloc[0]
    regions = int(table["n_regions"].max())
    lines = [
        f"dataset {first['dataset']} · digest {str(first['dataset_digest'])[:12]} · "
        f"split {first['split']} · protocol {first['protocol']} · step {first['step']}",
        f"value [interval]: {words.value}; {regions} regions at most",
        f"primary endpoint: {endpoint.title}; it comes first and orders the entries",
    ]
    if not words.curves:
        lines.append(_inputs(table))
    lines += [f"skill is relative to {text}" for text in _references(table, scores)]
    lines += list(dict.fromkeys(one.run.implausible for one in scores if one.run.implausible))
    lines += list(dict.fromkeys(one.run.labelled for one in scores if one.run.labelled))
    lines += equal_notes(one.run for one in scores)
    lines += collapse_notes(scores)
    if "simulated" in str(first["dataset"]):
        lines.append("simulated data: no result about real imagery")
    if table["interval"].str.endswith(inference.ONE_SCENE).any():
        lines.append("regions are blocks of one scene: intervals hold for this scene only")
    if regions < inference.MIN_REGIONS:
        lines.append(f"no intervals: fewer than {inference.MIN_REGIONS} regions")
    return lines


def _blocks(
    table: pd.DataFrame, endpoint: PrimaryEndpoint
) -> Iterator[tuple[str, list[int], list[tuple[str, str, dict[int, pd.Series]]]]]:
    """Yield (metric, leads, rows) with the primary endpoint first.

    Rows are ordered by the primary endpoint; those without a value of it come last, ordered by the
    metric at its first lead.
    """
    losses = endpoint.losses(table)
    groups = sorted(
        strata.headline(table).groupby("metric"), key=lambda g: (g[0] != endpoint.metric, g[0])
    )
    for metric, group in groups:
        leads = sorted(int(lead) for lead in group["lead"].unique())
        rows = []
        for (model, preset), part in group.groupby(["model", "preset"], sort=True):
            cells = {int(row["lead"]): row for _, row in part.iterrows()}
            rows.append((str(model), str(preset), cells))
        own = {(r[0], r[1]): _rank(str(metric), r[2].get(leads[0])) for r in rows}
        rows.sort(key=lambda r: (losses.get((r[0], r[1]), math.inf), own[r[0], r[1]]))
        yield str(metric), leads, rows


def _rank(metric: str, cell: pd.Series | None) -> float:
    if cell is None or not math.isfinite(float(cell["value"])):
        return math.inf
    if not inference.is_ranked(metric):
        return 0.0
    return loss(metric, float(cell["value"]))


def _cells(
    key: tuple[str, str, str], cells: Mapping[int, pd.Series], leads: Sequence[int],
    best: frozenset[Cell],
) -> Iterator[tuple[str, bool]]:  # fmt: skip
    """Yield the text of each cell of (model, preset, metric), and whether it is best."""
    for lead in leads:
        yield _cell(cells.get(lead)), (*key, "all", lead, strata.HEADLINE) in best


def _cell(cell: pd.Series | None) -> str:
    if cell is None:
        return "–"
    text = number(float(cell["value"]))
    if cell["interval"] == inference.NONE:
        return text
    return f"{text} [{number(float(cell['lo']), 3)}, {number(float(cell['hi']), 3)}]"
