"""The result of a check for other programs: JSON, JUnit XML, and Markdown for a step summary."""

from __future__ import annotations

from typing import Any
from xml.etree import ElementTree

from rsbench.evaluation.gate import CheckResult, Finding
from rsbench.evaluation.gate.waivers import ROW, Key

_TAGS = {"leak": "failure", "regressed": "failure", "waived": "skipped", "not there": "error"}
"""State of a finding → element of JUnit."""
MOST = 50
"""Most findings in a step summary, whose size is limited."""


def to_json(found: CheckResult) -> dict[str, Any]:
    """Return exit code, title, number of rows, and findings with the identity of their rows."""
    return {
        "exit_code": found.exit_code,
        "title": found.title,
        "rows": len(found.rows),
        "findings": [
            {"state": one.state, "text": one.text}
            | (dict(zip(ROW, one.key, strict=True)) if one.key else {})
            for one in found.findings
        ],
    }


def to_junit(found: CheckResult) -> str:
    """Return JUnit XML: a test case per expected row, and one per leak."""
    of_row = {one.key: one for one in found.findings if one.key}
    cases: list[tuple[str, str, Finding | None]] = [
        (*_names(key), of_row.get(key)) for key in found.rows
    ]
    cases += [("oracle", one.text, one) for one in found.findings if one.state == "leak"]
    suite = ElementTree.Element("testsuite", name="rsbench check", tests=str(len(cases)))
    for tag in ("failure", "error", "skipped"):
        count = sum(_TAGS[one.state] == tag for _, _, one in cases if one)
        suite.set({"failure": "failures", "error": "errors"}.get(tag, tag), str(count))
    for group, name, one in cases:
        case = ElementTree.SubElement(suite, "testcase", classname=group, name=name)
        if one:
            ElementTree.SubElement(case, _TAGS[one.state], message=one.text)
    notes = "\n".join(one.text for one in found.findings if one.state == "note")
    ElementTree.SubElement(suite, "system-out").text = f"{found.title}\n{notes}"
    ElementTree.indent(suite)
    return ElementTree.tostring(suite, encoding="unicode", xml_declaration=True) + "\n"


def to_summary(found: CheckResult) -> str:
    """Return Markdown for the summary of a workflow's step."""
    lines = [f"### rsbench check: {_cell(found.title)}", ""]
    shown = found.findings[:MOST]
    if shown:
        lines += ["| state | finding |", "|---|---|"]
        lines += [f"| {one.state} | {_cell(one.text)} |" for one in shown]
    if len(shown) < len(found.findings):
        lines += ["", f"{len(found.findings) - len(shown)} more are in the log."]
    return "\n".join(lines) + "\n"


def _names(key: Key) -> tuple[str, str]:
    """Return the group and the name of a row's test case."""
    model, preset, inputs, metric, band, lead, stratum = key
    return f"{model}.{preset}", f"{metric} lead {lead}, band {band}, {stratum}, inputs {inputs}"


def _cell(text: str) -> str:
    """Return a text that cannot end a cell of a Markdown table."""
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;")
