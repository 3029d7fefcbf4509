"""Inputs that were faults once: a file each, named NUMBER-PATH with ``+`` between folders."""

from __future__ import annotations

from pathlib import Path

import pytest

from fuzz.driver import FAULT, fingerprint, judge, scratch_folder
from fuzz.formats import FORMATS

CASES = Path(__file__).with_name("cases")
BY_NAME = {chosen.name.replace(" ", "-"): chosen for chosen in FORMATS}


@pytest.mark.parametrize("name", sorted(path.name for path in CASES.iterdir()))
def test_an_earlier_fault_is_none(name: str) -> None:
    with scratch_folder() as folder:
        subject = BY_NAME[name].prepare(folder)
        whole = fingerprint(subject.read())
        for case in sorted((CASES / name).iterdir()):
            path = folder / case.name.partition("-")[2].replace("+", "/")
            before = path.read_bytes()
            path.write_bytes(case.read_bytes())
            kind, what = judge(subject, whole)
            path.write_bytes(before)
            assert kind != FAULT, f"{case.name}: {what}"
