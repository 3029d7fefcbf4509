"""Read and write ``expected.toml``: the values that a result must reach."""

from __future__ import annotations

import json
import math
import tomllib
from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from rsbench.core.errors import InputError, first_line, other_schema
from rsbench.core.io import disk_errors, write_atomic
from rsbench.evaluation import strata
from rsbench.evaluation.gate.side import (
    HEAD,
    PRACTICAL,
    SKILL,
    TIGHT,
    Row,
    Side,
    Tolerance,
    provenance,
)
from rsbench.evaluation.gate.waivers import ROW, Key, key_of, read_waivers
from rsbench.evaluation.run_files import SCHEMA
from rsbench.evaluation.scores import Scores
from rsbench.evaluation.student_t import student_t_quantile

_TABLES = ("schema", "identity", "provenance", "tolerance", "tight", "expected", "row", "waiver")
KEPT = ("model", "preset", "inputs", "metric", "lead")
SEEDS = 0.99
"""One-sided level of the prediction limit over repeated runs."""


def read_expected(path: Path) -> Side:
    """Read expectations."""
    asked = f"reading the expectations {path}"
    try:
        with path.open("rb") as file:
            text = tomllib.load(file)
    except FileNotFoundError as error:
        raise InputError(asked, "there is no such file", "Write it from a run first") from error
    except (ValueError, RecursionError, OSError) as error:
        raise InputError(asked, f"it is no TOML ({first_line(error)})", "Write it again") from error
    if text.get("schema") != SCHEMA:
        again = f"rsbench check RUN --against {path} --write --overwrite"
        raise other_schema(asked, text.get("schema"), SCHEMA, again)
    try:
        head = {"schema": SCHEMA, **{name: str(text["identity"][name]) for name in HEAD[1:]}}
        known = text.get("provenance")
        weights = known.get("weights", {}) if known else {}
        _require_known("the file", text, _TABLES)
        rows = dict(_expected_row(row, weights) for row in _rows_of(text))
        practical = _tolerance(text["tolerance"]) if "tolerance" in text else None
        tight = _tolerance(text["tight"]) if "tight" in text else TIGHT
        waivers = read_waivers(text.get("waiver", []))
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        found = f"a field is missing or odd ({first_line(error)})"
        raise InputError(asked, found, "Correct it, or write it again") from error
    return Side(
        str(path), head, rows, provenance=known, practical=practical, tight=tight, waivers=waivers
    )


def lost_by_writing(path: Path, scores: Scores) -> str | None:
    """Return what :func:`write_expected` would destroy at ``path``; None if nothing of value.

    Values of the same dataset, split and protocol are what it replaces.
    """
    if not path.exists():
        return None
    try:
        side = read_expected(path)
        text = tomllib.loads(path.read_text(encoding="utf-8"))
    except (InputError, OSError):
        return "something else than expectations that can be read is there"
    differ = [name for name in HEAD[1:] if side.head[name] != str(getattr(scores.run, name))]
    if differ:
        return f"the expectations there differ in {', '.join(differ)}"
    own = [f"[[{name}]]" for name in ("row", "waiver") if text.get(name)]
    return f"entries {' and '.join(own)} written by hand are there" if own else None


def _rows_of(text: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return the rows under ``[expected]`` and those written by hand as ``[[row]]``."""
    return [*text.get("expected", {}).get("rows", []), *text.get("row", [])]


def _expected_row(row: Mapping[str, Any], weights: Mapping[str, str]) -> tuple[Key, Row]:
    _require_known("a row", row, (*ROW, "value", "rel", "abs"))
    if type(row["lead"]) is not int or type(row["value"]) not in (int, float):
        raise ValueError(f"lead {row['lead']!r} and value {row['value']!r} of a row")
    key = key_of(row)
    own = _tolerance(row) if "rel" in row or "abs" in row else None
    return key, Row(float(row["value"]), weights=weights.get(key[0]), tolerance=own)


def _require_known(where: str, given: Mapping[str, Any], known: Sequence[str]) -> None:
    odd = sorted(set(given) - set(known))
    if odd:
        raise ValueError(f"{where} has no key {odd[0]!r}; it has {', '.join(known)}")


def _tolerance(value: Mapping[str, Any]) -> Tolerance:
    result = Tolerance(rel=float(value.get("rel", 0.0)), abs=float(value.get("abs", 0.0)))
    if not (0 <= result.rel < math.inf and 0 <= result.abs < math.inf):
        raise ValueError("a tolerance is a finite number ≥ 0")
    return result


def write_expected(
    scores: Scores,
    path: Path,
    *,
    metrics: Sequence[str] | None = None,
    leads: Sequence[int] | None = None,
    models: Sequence[str] | None = None,
    repeats: Sequence[Scores] = (),
    practical: Tolerance = PRACTICAL,
) -> int:
    """Write the headline values of a run as expectations; return how many.

    Training on another machine changes a trained model about as much as another seed does. With
    ``repeats`` a value may therefore be worse by the ``SEEDS`` prediction limit of Student's t
    over all runs, where that is more than the practical threshold.

    Args:
        scores: the run whose values are expected from now on.
        path: the file, replaced whole.
        metrics: metric ids; default all.
        leads: leads; default all.
        models: models; default all.
        repeats: the same run with other seeds.
        practical: how much worse a value may be under another provenance; skill has ``SKILL``.
    """
    rows = strata.headline(scores.table())
    rows = rows[rows["value"].notna()]
    if metrics is None:
        rows = rows[~rows["metric"].str.startswith("share.")]  # it follows from skill
    for column, chosen in (("metric", metrics), ("lead", leads), ("model", models)):
        rows = rows if chosen is None else rows[rows[column].isin(chosen)]
    if rows.empty:
        raise InputError(f"writing {path}", "no row is left", "Choose other metrics or leads")
    seeds = _seed_limits(scores, repeats, path)
    lines = _expected_head(scores, practical)
    if repeats:
        names = ", ".join(str(run.run.seed) for run in (scores, *repeats))
        lines += [f"# abs of a row: prediction limit over seeds {names}, where that is more."]
    lines += ["", "[expected]", "rows = ["]
    lines += [_expected_line(row, practical, seeds) for row in rows.to_dict("records")]
    with disk_errors(f"writing {path}", "name another file"):
        write_atomic(path, "\n".join([*lines, "]", ""]))
    return len(rows)


def _expected_line(
    row: Mapping[Hashable, Any], practical: Tolerance, seeds: Mapping[tuple[Any, ...], float]
) -> str:
    """Return one inline table: one value per line, so that a diff shows it as one line."""
    cells = {name: row[name] for name in KEPT}
    cells["value"] = float(row["value"])
    own = str(row["metric"]).startswith("skill.")
    allowed = (SKILL if own else practical).allows(cells["value"])
    limit = seeds.get(tuple(row[name] for name in KEPT), 0.0)
    if limit > allowed:
        cells["abs"] = float(f"{limit:.2g}")
    elif own:
        cells["abs"] = SKILL.abs
    return "  {" + ", ".join(f"{name} = {_toml(cell)}" for name, cell in cells.items()) + "},"


def _seed_limits(
    scores: Scores, repeats: Sequence[Scores], path: Path
) -> Mapping[tuple[Any, ...], float]:
    """Return per row how far one more run may lie from this one, from the spread over seeds."""
    if not repeats:
        return {}
    runs = (scores, *repeats)
    for run in repeats:
        differ = [n for n in HEAD[1:] if getattr(run.run, n) != getattr(scores.run, n)]
        if differ:
            found = f"a repeat differs in {', '.join(differ)}"
            raise InputError(f"writing {path}", found, "Repeat the same run with other seeds")
    if len({run.run.seed for run in runs}) < len(runs):
        raise InputError(f"writing {path}", "two runs have one seed", "Give another --seed each")
    values: dict[tuple[Any, ...], list[float]] = {}
    for run in runs:
        own = strata.headline(run.table())
        for *key, value in own[[*KEPT, "value"]].dropna().itertuples(index=False, name=None):
            values.setdefault(tuple(key), []).append(float(value))
    return {key: _limit(found) for key, found in values.items() if len(found) == len(runs)}


def _limit(values: Sequence[float]) -> float:
    """Return the prediction limit around the first value, which may differ from the mean."""
    n = len(values)
    t = student_t_quantile(SEEDS, n - 1)
    return abs(values[0] - mean(values)) + t * stdev(values) * math.sqrt(1.0 + 1.0 / n)


def _expected_head(scores: Scores, practical: Tolerance) -> list[str]:
    run, known = scores.run, provenance(scores.run)
    lines = [f"# Expected of {run.label}; checked by `rsbench check RUN --against` this file."]
    lines += [f"schema = {SCHEMA}", "", "[identity]"]
    lines += [f"{name} = {_toml(getattr(run, name))}" for name in HEAD[1:]]
    lines += ["", "# Where all of this is equal, values must agree to [tight]."]
    lines += ["[provenance]"]
    lines += [f"{name} = {_toml(known[name])}" for name in ("seed", "precision", "device")]
    lines += ["", "[provenance.versions]"]
    lines += [f"{_toml(k)} = {_toml(v)}" for k, v in sorted(run.versions.items())]
    lines += ["", "[provenance.weights]"]
    lines += [f"{_toml(k)} = {_toml(v)}" for k, v in sorted(run.weights.items()) if v is not None]
    lines += ["", "# Otherwise a value may be worse by the larger of abs and rel × |value|."]
    lines += ["[tolerance]", f"rel = {_toml(practical.rel)}", f"abs = {_toml(practical.abs)}"]
    lines += ["", "[tight]", f"rel = {_toml(TIGHT.rel)}", f"abs = {_toml(TIGHT.abs)}"]
    return lines


def _toml(value: object) -> str:
    """Return a TOML scalar; a JSON string is a TOML basic string."""
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, float):
        return repr(value) if math.isfinite(value) else "nan"
    return str(value)
