"""The contract of models: checks that every model must pass, run on any installed model.

``rsbench contract MODEL --preset PRESET``, or ``python -m rsbench.models.contract MODEL``, or
from a package's own tests::

    @pytest.mark.parametrize("check", rsbench.models.contract.CHECKS)
    def test_contract(check):
        result = rsbench.models.contract.run_check("my_model", "tiny", check)
        assert result.passed, str(result)
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rsbench.core.errors import RsbenchError, unknown
from rsbench.models.contract_checks import ALL
from rsbench.models.contract_subject import Failed, Skipped, Subject

CHECKS: tuple[str, ...] = tuple(check.__name__ for check in ALL)
"""Names of all checks."""


@dataclass(frozen=True)
class CheckResult:
    """The result of one check; a skipped check counts as passed, with the reason as detail."""

    name: str
    passed: bool
    detail: str
    skipped: bool = False

    def __str__(self) -> str:
        word = "skip" if self.skipped else "pass" if self.passed else "FAIL"
        return f"{word}  {self.name}: {self.detail}"


def run_contract(
    name: str, preset: str | None = None, *, checks: Sequence[str] | None = None
) -> list[CheckResult]:
    """Run checks on one preset of an installed model and return their results.

    Args:
        name: name of the model.
        preset: the card's default where None.
        checks: names of checks; all where None.

    Raises:
        UnknownName: if a model, preset or check is unknown.
    """
    for asked in checks or ():
        if asked not in CHECKS:
            raise unknown("check of the contract", asked, CHECKS)
    subject = Subject(name, preset)
    return [_run(c, subject) for c in ALL if checks is None or c.__name__ in checks]


def run_check(name: str, preset: str | None, check: str) -> CheckResult:
    """Run one check."""
    return run_contract(name, preset, checks=[check])[0]


def _run(check: Callable[[Subject], str], subject: Subject) -> CheckResult:
    try:
        return CheckResult(check.__name__, True, check(subject))
    except Skipped as reason:
        return CheckResult(check.__name__, True, str(reason), skipped=True)
    except Failed as fault:
        return CheckResult(check.__name__, False, str(fault))
    except RsbenchError as error:
        return CheckResult(check.__name__, False, str(error))
    except Exception as error:  # noqa: BLE001 - another package's model may raise anything
        return CheckResult(check.__name__, False, f"it raises {type(error).__name__}: {error}")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the contract from the command line; return 0 if all checks pass, 1 if one fails."""
    parser = argparse.ArgumentParser(prog="python -m rsbench.models.contract", description=__doc__)
    parser.add_argument("model")
    parser.add_argument("--preset")
    arguments = parser.parse_args(argv)
    try:
        results = run_contract(arguments.model, arguments.preset)
    except RsbenchError as error:
        sys.stderr.write(f"rsbench: {error}\n")
        return error.exit_code
    for result in results:
        sys.stdout.write(f"{result}\n")
    return 0 if all(result.passed for result in results) else 1


if __name__ == "__main__":
    sys.exit(main())
