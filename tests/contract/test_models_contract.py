"""Every shipped model passes the contract that any model must pass."""

from __future__ import annotations

import subprocess
import sys
from functools import cache

import pytest

from rsbench.core.errors import UnknownName
from rsbench.models import registry
from rsbench.models.contract import CHECKS, CheckResult, run_contract

# Toy presets run everywhere; large ones have their counts checked in the registry's tests.
SMALL = 2_000_000


def _subjects() -> list[tuple[str, str]]:
    """Return every toy network once: presets of one size differ in how it is trained alone."""
    found: dict[tuple[str, int], str] = {}
    for card in registry.cards().values():
        for preset, info in card.presets.items():
            if info.parameters < SMALL:
                found.setdefault((card.name, info.parameters), preset)
    return [(name, preset) for (name, _), preset in found.items()]


SUBJECTS = _subjects()


@cache
def results(name: str, preset: str) -> dict[str, CheckResult]:
    """Run all checks of one model at once, so that it is trained once."""
    return {result.name: result for result in run_contract(name, preset)}


@pytest.mark.parametrize(("name", "preset"), SUBJECTS, ids=[f"{n}-{p}" for n, p in SUBJECTS])
@pytest.mark.parametrize("check", CHECKS)
def test_contract(name: str, preset: str, check: str) -> None:
    result = results(name, preset)[check]
    assert result.passed, str(result)


def test_every_shipped_model_has_a_preset_small_enough_for_this() -> None:
    assert {name for name, _ in SUBJECTS} == set(registry.cards())


def test_an_unknown_check_is_met_with_the_nearest() -> None:
    with pytest.raises(UnknownName, match="Did you mean masks_are_respected"):
        run_contract("persistence", checks=["mask_are_respected"])


def test_one_command_from_the_shell() -> None:
    command = [sys.executable, "-m", "rsbench.models.contract"]
    done = subprocess.run([*command, "persistence"], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0
    assert len(done.stdout.splitlines()) == len(CHECKS)
    wrong = subprocess.run([*command, "persistance"], capture_output=True, text=True, timeout=120)
    assert wrong.returncode == 2
    assert "Did you mean persistence" in wrong.stderr
