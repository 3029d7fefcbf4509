from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from scores_fixtures import MODELS, make_run, make_scores, make_units, save_run

from rsbench.core.errors import Incomparable, InputError, SchemaError
from rsbench.evaluation import gate, table
from rsbench.evaluation.scores import Scores


def worse(factor: float, **changes: object) -> Scores:
    """The fixture run with simvp's errors multiplied."""
    models = {**MODELS, "simvp": ("model", "tiny", 0.7 * factor)}
    return make_scores(changes, models=models)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_run(tmp_path_factory.mktemp("check") / "base")


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("expected") / "expected.toml"
    gate.write_expected(make_scores(), path)
    return path


def test_a_run_passes_against_itself(base: Path, expected: Path) -> None:
    for result in (base, base / "table.parquet"):
        for against in (base, base / "table.parquet", expected):
            found = gate.check(result, against)
            assert (found.exit_code, found.ok, found.regressed) == (0, True, ())


def test_regression_under_equal_provenance_is_tight(base: Path, tmp_path: Path) -> None:
    found = gate.check(save_run(tmp_path / "run", worse(1.001)), base)
    assert found.exit_code == 1
    assert found.lines[0].startswith("regressed: ")
    line = next(x for x in found.lines if "simvp/tiny mse@1 lead 1:" in x)
    assert "worse by" in line
    assert "as provenance is equal" in line
    assert {key[0] for key in found.regressed} == {"simvp"}


def test_other_provenance_allows_the_practical_threshold(base: Path, tmp_path: Path) -> None:
    small = gate.check(save_run(tmp_path / "small", worse(1.001, seed=1)), base)
    assert small.exit_code == 0
    large = gate.check(save_run(tmp_path / "large", worse(1.2, seed=1)), base)
    assert large.exit_code == 1
    line = next(x for x in large.lines if "simvp/tiny mse@1 lead 2:" in x)
    assert "paired over 12 regions" in line
    assert "most in sim-" in line
    assert "%" in line


def test_worse_but_within_the_paired_interval_is_a_note(tmp_path: Path) -> None:
    noisy = {"models": {"m": ("model", "p", 1.0)}, "metrics": ("mse@1",), "bands": ("all",)}
    a = make_scores({"simulated": False, "best_trivial": None}, noise=1.5, seed=1, **noisy)
    b = make_scores({"simulated": False, "best_trivial": None, "seed": 9}, **noisy)
    drift = b.units["value_sum"] * 0 + a.units["value_sum"]
    shuffled = a.units.assign(value_sum=drift.sample(frac=1, random_state=3).to_numpy() * 1.04)
    found = gate.check(
        save_run(tmp_path / "b", Scores(shuffled, b.run)), save_run(tmp_path / "a", a)
    )
    assert any("within the paired interval" in line for line in found.lines)


def test_better_is_never_a_failure(base: Path, tmp_path: Path) -> None:
    found = gate.check(save_run(tmp_path / "run", worse(0.9)), base)
    assert found.exit_code == 0
    assert any("better, though provenance is equal" in line for line in found.lines)


def test_improving_and_regressing_metrics_are_told_apart(tmp_path: Path, base: Path) -> None:
    units = make_units()
    higher = units["metric"].isin(["psnr@1", "ssim@1"]) & (units["model"] == "simvp")
    units.loc[higher, "value_sum"] *= 0.9
    found = gate.check(save_run(tmp_path / "run", Scores(units, make_run())), base)
    assert {key[3] for key in found.regressed} == {"psnr@1", "ssim@1", "skill.ssim@1"}


@pytest.mark.parametrize(
    ("field", "value"), [("dataset_digest", "00" * 32), ("split", "val"), ("protocol", "year7")]
)
def test_other_identity_is_incomparable(
    base: Path, expected: Path, tmp_path: Path, field: str, value: str
) -> None:
    scores = make_scores(regions=2)
    other = save_run(tmp_path / "o", replace(scores, run=replace(scores.run, **{field: value})))  # type: ignore[arg-type]
    for against in (base, expected):
        with pytest.raises(Incomparable, match=field) as caught:
            gate.check(other, against)
        assert caught.value.exit_code == 3


def test_a_missing_row_is_incomparable_and_named(base: Path, tmp_path: Path) -> None:
    models = {**MODELS, "simvp": ("model", "paper", 0.7)}
    found = gate.check(save_run(tmp_path / "run", make_scores(models=models)), base)
    assert found.exit_code == 3
    assert found.lines[0].startswith("incomparable: ")
    assert any("preset 'tiny' asked, 'paper' there" in line for line in found.lines)


def test_other_inputs_are_incomparable(base: Path, tmp_path: Path) -> None:
    found = gate.check(save_run(tmp_path / "r", make_scores({"inputs": {"simvp": "s1+s2"}})), base)
    assert found.exit_code == 3


def test_a_regression_outranks_a_missing_row(base: Path, tmp_path: Path) -> None:
    scores = worse(1.5)
    units = scores.units[scores.units["metric"] != "mae@1"]
    found = gate.check(save_run(tmp_path / "run", Scores(units, scores.run)), base)
    assert found.exit_code == 1
    assert found.incomparable


def test_a_number_that_became_absent_is_a_regression(base: Path, tmp_path: Path) -> None:
    units = make_units()
    gone = (units["model"] == "simvp") & (units["metric"] == "ssim@1") & (units["lead"] == 3)
    from rsbench.evaluation.run_info import Absent

    run = make_run(absent=(Absent("simvp", "weights lost", "ssim@1", 3),))
    found = gate.check(save_run(tmp_path / "run", Scores(units[~gone], run)), base)
    assert found.exit_code == 1
    assert any("ssim@1 lead 3: was" in line and "absent now" in line for line in found.lines)


def test_expectations_state_their_own_tolerance(tmp_path: Path) -> None:
    path = tmp_path / "e.toml"
    count = gate.write_expected(
        make_scores(), path, metrics=["mse@1"], leads=[1], models=["simvp"],
        practical=gate.Tolerance(rel=0.5),
    )  # fmt: skip
    assert count == 1
    run = save_run(tmp_path / "run", worse(1.3, seed=4))
    assert gate.check(run, path).exit_code == 0
    path.write_text(path.read_text().replace("},\n", ", rel = 0.1},\n"))
    assert gate.check(run, path).exit_code == 1


def test_expected_without_provenance_uses_the_practical_threshold(
    expected: Path, tmp_path: Path
) -> None:
    text = expected.read_text()
    head, rest = text.split("# Where all of this is equal", 1)
    bare = tmp_path / "bare.toml"
    bare.write_text(head + rest[rest.index("# Otherwise") :])
    run = save_run(tmp_path / "run", worse(1.001))
    assert gate.check(run, expected).exit_code == 1
    assert gate.check(run, bare).exit_code == 0


@pytest.mark.parametrize(
    ("text", "message"),
    [("schema = ", "no TOML"), ("schema = 5\n", "schema 5"), ("schema = 1\n", "missing or odd"),
     ("schema = 1\n[identity]\ndataset_digest='a'\nsplit='t'\nprotocol='p'\n[tolerance]\nrel=-1",
      "tolerance")],
)  # fmt: skip
def test_bad_expectations(base: Path, tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "e.toml").write_text(text)
    with pytest.raises((InputError, SchemaError), match=message):
        gate.check(base, tmp_path / "e.toml")


def test_bad_inputs(base: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        gate.check(base, tmp_path / "none.toml")
    with pytest.raises(InputError, match="no such file or folder"):
        gate.check(tmp_path / "nothing", base)
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="it is empty"):
        gate.check(tmp_path / "empty", base)
    tidy = make_scores(regions=2).table()
    mixed = tidy.copy()
    mixed.loc[0, "split"] = "val"
    table.to_parquet(mixed, tmp_path / "mixed.parquet")
    with pytest.raises(InputError, match="2 values of split"):
        gate.check(tmp_path / "mixed.parquet", base)


def test_beating_the_oracle_is_a_leak(tmp_path: Path) -> None:
    scores = worse(0.5)  # 0.35 of the reference, the oracle has 0.4
    run = save_run(tmp_path / "run", scores)
    found = gate.check(run, run)
    assert found.exit_code == 1
    leak = [line for line in found.lines if "has seen the truth" in line]
    assert leak
    assert "simvp/tiny beats the oracle at lead 1" in leak[0]


def test_near_the_oracle_or_with_real_data_there_is_no_leak(tmp_path: Path) -> None:
    near = {**MODELS, "simvp": ("model", "tiny", 0.4)}
    assert gate.oracle_leaks(make_scores(models=near)) == ()
    assert gate.oracle_leaks(worse(0.5, simulated=False)) == ()


def test_the_floor_is_no_leak() -> None:
    assert gate.oracle_leaks(make_scores()) == ()


def test_compare_names_the_changes(base: Path, tmp_path: Path) -> None:
    other = save_run(tmp_path / "run", worse(1.2, seed=1))
    lines = gate.compare(base, other)
    assert any("worse by" in line and "paired over 12 regions" in line for line in lines)
    assert gate.compare(base, base)[-1].endswith("all equal")


def test_repeats_give_a_trained_row_the_room_its_seeds_take(tmp_path: Path) -> None:
    factors = {1: 1.06, 2: 0.96, 3: 1.02}
    repeats = [worse(factor, seed=seed) for seed, factor in factors.items()]
    path = tmp_path / "e.toml"
    gate.write_expected(make_scores(), path, repeats=repeats)
    read = gate.load(path)
    base = {key: row.value for key, row in read.rows.items()}
    limits = {key: row.tolerance for key, row in read.rows.items() if row.tolerance is not None}
    key = next(k for k in base if k[0] == "simvp" and k[3] == "mse@1" and k[5] == 1)
    spread = [base[key] or 0.0] + [
        float(run.table().query("model == 'simvp' and metric == 'mse@1' and lead == 1")
              .query("band == 'all' and stratum == 'all'")["value"].iloc[0])
        for run in repeats
    ]  # fmt: skip
    # Student's t, one-sided 0.99, 3 degrees of freedom: 4.540703 (tables).
    mean, n = sum(spread) / 4, 4
    deviation = (sum((x - mean) ** 2 for x in spread) / (n - 1)) ** 0.5
    by_hand = abs(spread[0] - mean) + 4.540703 * deviation * (1 + 1 / n) ** 0.5
    assert limits[key].abs == pytest.approx(by_hand, rel=0.05)  # two digits are written
    untrained = [k for k in limits if k[0] != "simvp" and not k[3].startswith("skill.")]
    assert not untrained
    assert gate.check(save_run(tmp_path / "ok", worse(1.1, seed=4)), path).exit_code == 0
    assert gate.check(save_run(tmp_path / "bad", worse(1.6, seed=4)), path).exit_code == 1


def test_repeats_must_be_the_same_run_with_other_seeds(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="one seed"):
        gate.write_expected(make_scores(), tmp_path / "e.toml", repeats=[make_scores()])
    other = make_scores({"seed": 1, "split": "val"})
    with pytest.raises(InputError, match="split"):
        gate.write_expected(make_scores(), tmp_path / "e.toml", repeats=[other])
