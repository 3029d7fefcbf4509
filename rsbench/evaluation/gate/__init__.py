"""Check a result against another result or against expected values; compare two runs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from rsbench.core.errors import Incomparable, InputError
from rsbench.evaluation import intervals as inference
from rsbench.evaluation import strata
from rsbench.evaluation.gate.expected import read_expected, write_expected
from rsbench.evaluation.gate.side import (
    HEAD,
    PRACTICAL,
    PROVENANCE,
    SKILL,
    TIGHT,
    Row,
    Side,
    Tolerance,
    by_kind,
    of_scores,
    of_table,
    read_side,
)
from rsbench.evaluation.gate.waivers import ROW, Key, Waiver, waive
from rsbench.evaluation.intervals import loss
from rsbench.evaluation.scores import Scores
from rsbench.evaluation.table import number
from rsbench.evaluation.unit_table import RANKED_ROLES
from rsbench.metrics.queries import SELECTION

__all__ = [
    "PRACTICAL",
    "SKILL",
    "TIGHT",
    "CheckResult",
    "Finding",
    "Side",
    "Tolerance",
    "Waiver",
    "assert_passes",
    "check",
    "compare",
    "load",
    "of_scores",
    "of_table",
    "oracle_leaks",
    "write_expected",
]

PASS, REGRESSED, BAD_INPUT, INCOMPARABLE, INTERNAL = 0, 1, 2, 3, 70


@dataclass(frozen=True)
class Finding:
    """One finding: ``leak``, ``regressed``, ``waived``, ``not there`` or ``note``, in words.

    ``key`` is the row; None where the finding is about none.
    """

    state: str
    text: str
    key: Key | None = None


@dataclass(frozen=True)
class CheckResult:
    """Result of a check; ``lines`` describe it, ``rows`` are the expected rows."""

    exit_code: int
    title: str
    findings: tuple[Finding, ...] = ()
    rows: tuple[Key, ...] = ()

    @property
    def lines(self) -> tuple[str, ...]:
        """The lines that the command prints."""
        return (self.title, *(f"  {one.state:10} {one.text}" for one in self.findings))

    @property
    def regressed(self) -> tuple[Key, ...]:
        """Keys of the rows that regressed."""
        return self._keys("regressed")

    @property
    def incomparable(self) -> tuple[Key, ...]:
        """Keys of the rows that cannot be compared."""
        return self._keys("not there")

    def _keys(self, state: str) -> tuple[Key, ...]:
        return tuple(one.key for one in self.findings if one.key and one.state == state)

    @property
    def ok(self) -> bool:
        """True if nothing regressed and every value could be compared."""
        return self.exit_code == PASS


def check(result: str | Path, against: str | Path, *, today: date | None = None) -> CheckResult:
    """Compare a run or table with a run, a table or an ``expected.toml``.

    Every value of ``against`` must be present and not be worse. With equal provenance the tight
    tolerance applies. Otherwise a value regressed if it is worse by more than the practical
    threshold and, with ≥ 8 shared regions on both sides, by more than the paired interval. The exit
    code of a regression takes precedence over that of a value that cannot be compared. A better
    value never fails. A value that matches a waiver of ``expected.toml`` may be worse until the
    waiver's last day.

    Args:
        result: run folder or table; values are in the unit of each metric.
        against: run folder, table or ``expected.toml``.
        today: given in tests only.

    Returns:
        The exit code of ``rsbench check``, and lines that describe every finding.

    Raises:
        InputError: one side cannot be read (exit code 2).
        Incomparable: the two sides differ in identity (exit code 3).
    """
    new, old = load(Path(result)), load(Path(against))
    same_identity(new, old)
    found = _Findings()
    for key, row in old.rows.items():
        if row.value is not None:
            _compare_row(key, row, new, old, found)
    leaks = oracle_leaks(new.scores) if new.scores is not None else ()
    kept, waived, notes = waive(found.regressed, old.waivers, today or date.today())
    found = replace(found, regressed=kept, notes=[*found.notes, *notes])
    return _verdict(old, found, leaks, waived)


@dataclass(frozen=True)
class _Findings:
    """Keys and texts of regressed and of missing values, and notes on others."""

    regressed: list[tuple[Key, str]] = field(default_factory=list)
    missing: list[tuple[Key, str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def _compare_row(key: Key, row: Row, new: Side, old: Side, found: _Findings) -> None:
    """Add what a comparison of one expected value finds."""
    own = new.rows.get(key)
    if own is None:
        if not strata.is_derived(key[3], key[6]):  # older tables have none
            found.missing.append((key, f"{_label(key)}: {_nearest(key, new)}"))
    elif _sizes_differ(own, row):
        text = f"n = {own.n} images against {row.n}: its value depends on n"
        found.missing.append((key, f"{_label(key)}: {text}"))
    else:
        failed, text = _judge(key, own, row, new, old)
        if failed:
            found.regressed.append((key, text))
        elif text:
            found.notes.append(text)


def _verdict(
    old: Side, found: _Findings, leaks: Sequence[str], waived: Sequence[tuple[Key, str]]
) -> CheckResult:
    regressed, missing = found.regressed, found.missing
    rows = tuple(key for key, row in old.rows.items() if row.value is not None)
    code = REGRESSED if regressed or leaks else INCOMPARABLE if missing else PASS
    if not rows:
        raise InputError(f"checking against {old.name}", "it has no rows", "Write it again")
    word = {PASS: "pass", REGRESSED: "regressed", INCOMPARABLE: "incomparable"}[code]
    counts = [f"{len(rows)} rows compared with {old.name}"]
    counts += [f"{len(regressed)} regressed"] if regressed else []
    counts += [f"{len(waived)} waived"] if waived else []
    counts += [f"{len(missing)} not there"] if missing else []
    counts += [f"{len(leaks)} leaks"] if leaks else []
    findings = [Finding("leak", text) for text in leaks]
    for state, some in (("regressed", regressed), ("waived", waived), ("not there", missing)):
        findings += [Finding(state, text, key) for key, text in some]
    findings += [Finding("note", text) for text in found.notes]
    return CheckResult(code, f"{word}: {', '.join(counts)}", tuple(findings), rows)


def assert_passes(result: Path | str, against: Path | str) -> None:
    """Raise AssertionError with the regressed values, for use in tests.

    ``assert_passes("run", "expected.toml")`` fails if ``rsbench check`` would not exit with 0.
    """
    found = check(Path(result), Path(against))
    if not found.ok:
        raise AssertionError("\n".join(found.lines))


def _sizes_differ(new: Row, old: Row) -> bool:
    return new.n is not None and old.n is not None and new.n != old.n


# ----------------------------------------------------------------------------- one value


def _judge(key: Key, new: Row, old: Row, ours: Side, theirs: Side) -> tuple[bool, str]:
    """Return whether a value regressed, and a line about it, empty if there is nothing to say."""
    assert old.value is not None
    metric = key[3]
    if new.value is None:
        return True, f"{_label(key)}: was {number(old.value)}, is absent now"
    worse = loss(metric, new.value) - loss(metric, old.value)
    same = same_provenance(new, old, ours.provenance, theirs.provenance)
    allowed = _allowed(key, old, theirs, same=same)
    pair = _paired(metric, new, old)
    if worse <= allowed:
        if same and -worse > theirs.tight.allows(old.value):
            change = f"{number(old.value)} → {number(new.value)}"
            return False, f"{_label(key)}: {change}, better, though provenance is equal"
        return False, ""
    if not same and pair is not None and pair.interval is not None and pair.interval.lo <= 0:
        text = f"worse by {number(worse, 3)}, within the paired interval {_span(pair.interval)}"
        return False, f"{_label(key)}: {text}"
    return True, _describe(key, new.value, old.value, worse, allowed, pair, same=same)


def _allowed(key: Key, old: Row, theirs: Side, *, same: bool) -> float:
    assert old.value is not None
    if same:
        return theirs.tight.allows(old.value)
    if old.tolerance is None and key[3].startswith("share."):
        return by_kind(key[3]).allows(old.value)
    return (old.tolerance or theirs.practical or by_kind(key[3])).allows(old.value)


def _paired(metric: str, new: Row, old: Row) -> inference.Paired | None:
    turned = [
        {region: loss(metric, value) for region, value in row.regions.items()} for row in (new, old)
    ]
    return inference.paired(turned[0], turned[1], bounds=inference.difference_bounds(metric))


def _describe(
    key: Key,
    new: float,
    old: float,
    worse: float,
    allowed: float,
    pair: inference.Paired | None,
    *,
    same: bool,
) -> str:
    share = f" ({100 * worse / abs(old):.3g} %)" if old else ""
    text = (
        f"{_label(key)}: {number(old)} → {number(new)}, worse by {number(worse, 3)}{share}, "
        f"allowed {number(allowed, 3)}" + (" as provenance is equal" if same else "")
    )
    if pair is None:
        return text
    if pair.interval is not None:
        text += (
            f"; paired over {pair.n_regions} regions {number(pair.mean, 3)} {_span(pair.interval)}"
        )
    most = sorted(pair.differences, key=lambda name: -pair.differences[name])[:3]
    return text + f"; most in {', '.join(most)}"


def _span(found: inference.Interval) -> str:
    return f"[{number(found.lo, 3)}, {number(found.hi, 3)}]"


def _label(key: Key) -> str:
    model, preset, _, metric, band, lead, stratum = key
    where = f"lead {lead}" + (f", band {band}" if band != "all" else "")
    return f"{model}/{preset} {metric} {where}" + (f", {stratum}" if stratum != "all" else "")


def _nearest(key: Key, new: Side) -> str:
    """Return which part of the identity no row of the result has."""
    if not new.rows:
        return "the result has no rows"
    best = new.keys[(new.keys == np.array(key, dtype=object)).sum(axis=1).argmax()]
    differ = [
        f"{name} {theirs!r} asked, {ours!r} there"
        for name, theirs, ours in zip(ROW, key, best, strict=True)
        if theirs != ours
    ]
    return f"no such row; the nearest differs in {', '.join(differ)}"


# ----------------------------------------------------------------- identity and provenance


def same_identity(new: Side, old: Side) -> None:
    """Raise Incomparable for results of other schema, dataset digest, split or protocol."""
    differ = [
        f"{name} {new.head.get(name)!r} against {old.head[name]!r}"
        for name in old.head
        if name in HEAD and new.head.get(name) != old.head[name]
    ]
    if differ:
        raise Incomparable(
            f"comparing {new.name} with {old.name}",
            f"they differ in {', '.join(differ)}",
            "Score both on one dataset, split and protocol",
        )


def same_provenance(
    new: Row, old: Row, ours: Mapping[str, Any] | None, theirs: Mapping[str, Any] | None
) -> bool:
    """Return whether weights, seed, precision, device and versions are known and equal."""
    if not ours or not theirs or new.weights != old.weights:
        return False
    return all(name in theirs and ours.get(name) == theirs[name] for name in PROVENANCE)


def oracle_leaks(scores: Scores) -> tuple[str, ...]:
    """Return a sentence for every entry that is better than the oracle of simulated data.

    No forecast is better than the conditional mean in expected squared error. An entry that is, by
    more than the paired interval over regions, has seen the truth. The level is divided by the
    number of comparisons (Bonferroni).
    """
    if not scores.run.simulated:
        return ()
    means = scores.region_means()
    rows = strata.headline(means, SELECTION)
    rows = rows[rows["value"].notna()]
    oracle = rows[rows["role"] == "oracle"]
    others = rows[rows["role"].isin(RANKED_ROLES)]
    cells = list(others.groupby(["model", "preset", "lead"], sort=True))
    level = 1.0 - (1.0 - inference.LEVEL) / max(len(cells), 1)
    return tuple(_leaks(cells, oracle, level))


def _leaks(cells: list[Any], oracle: pd.DataFrame, level: float) -> Iterator[str]:
    for (model, preset, lead), group in cells:
        best = _by_region(oracle[oracle["lead"] == lead])
        pair = inference.paired(best, _by_region(group), level=level)
        if pair is not None and pair.interval is not None and pair.interval.lo > 0:
            yield (
                f"{model}/{preset} beats the oracle at lead {lead} by {number(pair.mean, 3)} MSE "
                f"{_span(pair.interval)} over "
                f"{pair.n_regions} regions: it has seen the truth"
            )


def _by_region(frame: pd.DataFrame) -> dict[str, float]:
    pairs = zip(frame["region"], frame["value"], strict=True)
    return {str(region): float(value) for region, value in pairs}


def load(path: Path) -> Side:
    """Read a run folder, a table, or an ``expected.toml``."""
    return read_expected(path) if path.suffix == ".toml" else read_side(path)


def compare(run_a: Path, run_b: Path) -> tuple[str, ...]:
    """Return a line per value that differs, a → b, with paired intervals over shared regions."""
    a, b = load(run_a), load(run_b)
    same_identity(b, a)
    lines = [f"{a.name} → {b.name}"]
    shared = [key for key in a.rows if key in b.rows]
    for key in shared:
        lines += _change(key, a.rows[key], b.rows[key])
    lines += [f"only in {a.name}: {_label(key)}" for key in a.rows if key not in b.rows]
    lines += [f"only in {b.name}: {_label(key)}" for key in b.rows if key not in a.rows]
    if len(lines) == 1:
        lines.append(f"{len(shared)} rows, all equal")
    return tuple(lines)


def _change(key: Key, a: Row, b: Row) -> list[str]:
    if a.value == b.value:
        return []
    if a.value is None or b.value is None:
        return [f"{_label(key)}: {number(a.value)} → {number(b.value)}"]
    text = f"{_label(key)}: {number(a.value)} → {number(b.value)}"
    if _sizes_differ(b, a):
        return [f"{text}, which do not compare: n = {a.n} images against {b.n}"]
    worse = loss(key[3], b.value) - loss(key[3], a.value)
    text += f", {'worse' if worse > 0 else 'better'} by {number(abs(worse), 3)}"
    pair = inference.paired(b.regions, a.regions, bounds=inference.difference_bounds(key[3]))
    if pair is not None and pair.interval is not None:
        text += f"; paired over {pair.n_regions} regions {_span(pair.interval)}"
        text += "" if pair.interval.lo > 0 or pair.interval.hi < 0 else ", which holds 0"
    return [text]
