"""Waivers: a reason, a last day, and nothing more than they name."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest
from scores_fixtures import MODELS, make_scores, save_run

from rsbench.core.errors import InputError
from rsbench.evaluation.gate import assert_passes, check, write_expected

TODAY = date(2026, 6, 1)
WAIVER = """
[[waiver]]
model = "simvp"
metric = "mse@1"
reason = "the sampler changed; issue 71"
until = 2026-06-01
"""


@pytest.fixture(scope="module")
def worse(tmp_path_factory: pytest.TempPathFactory) -> Path:
    models = {**MODELS, "simvp": ("model", "tiny", 0.9)}
    made = make_scores(models=models, metrics=("mse@1",), bands=("all",))
    return save_run(tmp_path_factory.mktemp("waivers") / "worse", made)


def expected(folder: Path, waivers: str = "") -> Path:
    path = folder / "expected.toml"
    write_expected(make_scores(metrics=("mse@1",), bands=("all",)), path)
    path.write_text(path.read_text() + waivers)
    return path


def test_a_waived_row_passes_up_to_its_last_day(worse: Path, tmp_path: Path) -> None:
    skill = WAIVER.replace("mse@1", "skill.mse@1")
    path = expected(tmp_path, WAIVER + skill)
    found = check(worse, path, today=TODAY)
    assert found.exit_code == 0
    assert found.lines[0].startswith("pass: ")
    assert "6 waived" in found.lines[0]
    line = next(x for x in found.lines if "simvp/tiny mse@1 lead 1" in x)
    assert line.startswith("  waived")
    assert "until 2026-06-01: the sampler changed; issue 71" in line
    later = check(worse, path, today=date(2026, 6, 2))
    assert later.exit_code == 1
    assert len(later.regressed) == 6
    assert any("the waiver of simvp mse@1 ended on 2026-06-01" in x for x in later.lines)


def test_a_waiver_covers_what_it_names_and_no_more(worse: Path, tmp_path: Path) -> None:
    path = expected(tmp_path, WAIVER.replace("reason", "lead = 2\nreason"))
    found = check(worse, path, today=TODAY)
    assert found.exit_code == 1
    failed = {(key[3], key[5]) for key in found.regressed}
    assert ("mse@1", 2) not in failed
    assert {("mse@1", 1), ("mse@1", 3), ("skill.mse@1", 2)} <= failed


def test_a_waiver_that_nothing_needs_is_noted(tmp_path: Path) -> None:
    path = expected(tmp_path, WAIVER)
    good = save_run(tmp_path / "good", make_scores(metrics=("mse@1",), bands=("all",)))
    found = check(good, path, today=TODAY)
    assert found.exit_code == 0
    assert any("simvp mse@1 is unused" in x for x in found.lines)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('reason = "the sampler changed; issue 71"\n', "", "needs a reason"),
        ('"the sampler changed; issue 71"', '"  "', "needs a reason"),
        ("until = 2026-06-01\n", "", "needs a last day"),
        ("2026-06-01", '"2026-06-01"', "without quotes"),
        ("2026-06-01", "2026-06-01T10:00:00", "needs a last day"),
        ('model = "simvp"\nmetric = "mse@1"\n', "", "at least a model or a metric"),
        ("model =", "modell =", "no key 'modell'"),
        ('metric = "mse@1"', 'lead = "2"', "lead of a waiver"),
    ],
)
def test_a_waiver_without_what_it_needs_is_bad_input(
    tmp_path: Path, worse: Path, old: str, new: str, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        check(worse, expected(tmp_path, WAIVER.replace(old, new)))


def test_the_assertion_says_what_regressed(worse: Path, tmp_path: Path) -> None:
    good = save_run(tmp_path / "good", make_scores(metrics=("mse@1",), bands=("all",)))
    assert_passes(good, str(expected(tmp_path)))
    with pytest.raises(AssertionError, match=r"regressed: .*\n(.*\n)*.*simvp/tiny mse@1 lead 1"):
        assert_passes(worse, tmp_path / "expected.toml")
