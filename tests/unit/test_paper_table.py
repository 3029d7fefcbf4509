from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pandas as pd
import pytest
from scores_fixtures import MODELS, make_run, make_units, save_run
from typer.testing import CliRunner

from rsbench.cli.main import app
from rsbench.core.errors import Incomparable, InputError
from rsbench.evaluation import table as tables
from rsbench.evaluation.report.board import boards
from rsbench.evaluation.report.choice import Choice, read
from rsbench.evaluation.report.paper import bibtex
from rsbench.evaluation.report.paper_table import Style, to_paper
from rsbench.evaluation.scores import Scores
from rsbench.models.registry import cards


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_run(tmp_path_factory.mktemp("paper") / "run")


@pytest.fixture(scope="module")
def scores(run_folder: Path) -> Scores:
    return Scores.load(run_folder)


def paper(scores: Scores, choice: Choice, style: Style = Style(), *, latex: bool = False) -> str:  # noqa: B008
    return to_paper(scores.table(), [scores], choice, style, latex=latex)


def test_metrics_stand_side_by_side_in_a_column(scores: Scores) -> None:
    choice = Choice(("ssim", "mse@1"), (1, 3), ("simvp", "persistence"))
    style = Style(interval=False, caption="Scores of the test split.", label="tab:scores")
    text = paper(scores, choice, style, latex=True)
    assert text.count(r"\begin{tabular}{lrrrr}") == text.count(r"\begin{table}") == 1
    assert r"\cmidrule(lr){2-3}\cmidrule(lr){4-5}" in text
    assert text.index("ssim@1") < text.index("mse@1 ")
    assert r"\caption{Scores of the test split.}" in text
    assert r"\label{tab:scores}" in text
    assert r"\columnwidth" in text
    body = text.split(r"\midrule")[1].split(r"\bottomrule")[0].strip().splitlines()
    assert [line.split(" & ")[0] for line in body] == ["simvp", "persistence"]
    assert "[" not in "".join(body)
    assert {line.count("&") for line in body} == {4}
    values = scores.table().set_index(["model", "metric", "lead", "band", "stratum"])["value"]
    assert tables.number(values["simvp", "ssim@1", 3, "all", "all"]) in body[0]


def test_without_metrics_there_is_a_table_per_metric(scores: Scores) -> None:
    text = paper(scores, Choice(leads=(1,)))
    heads = re.findall(r"^\| (\S+@1) [↑↓] \| year \+1 \|$", text, re.M)
    assert sorted(heads) == sorted(scores.table()["metric"].unique())


def test_best_is_bold_and_second_underlined_without_bounds(scores: Scores) -> None:
    text = paper(scores, Choice(("mse",), (1,)), Style(interval=False, best="bold"))
    marks = dict(re.findall(r"^\| (\w+) \| (?:\*\*|<u>)?[\d.]+(\*\*|</u>)? \|$", text, re.M))
    assert marks == {
        "oracle": "", "floor": "", "simvp": "**", "damped_persistence": "</u>", "persistence": "",
    }  # fmt: skip
    assert "neither is a test" in text
    assert "**" not in paper(scores, Choice(("mse",)), Style(best="none"))
    assert "paired interval" in paper(scores, Choice(("mse",)))


def test_an_equal_best_value_is_bold_twice() -> None:
    equal = {**MODELS, "simvp": ("model", "tiny", 1.0)}
    units = make_units(models=equal, noise=0.0, metrics=("mse@1",))
    text = paper(Scores(units[units["model"] != "damped_persistence"], make_run(best_trivial=None)),
                 Choice(("mse",), (1,)), Style(best="bold"))  # fmt: skip
    assert len(re.findall(r"\*\*[^*]+\*\*", text)) == 2


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--lead", "9"], "lead 9: these runs have lead 1 to 3"),
        (["--lead", "one"], "no whole number"),
        (["--metric", "ssmi"], "Did you mean ssim@1"),
        (["--rows", "simpv"], "Did you mean simvp"),
        (["--best", "fat"], "choice of --best"),
        (["--caption", "x"], "Add --latex"),
        (["--latex", "--label", "x"], "Add --caption"),
        (["--latex", "--caption", "x"], "Add --metric skill.mse@1"),
        (["--csv", "--best", "bold"], "this format does not have"),
        (["--bibtex", "--metric", "ssim"], "this format does not have"),
    ],
)
def test_what_is_not_there_is_refused_in_one_sentence(
    run_folder: Path, options: list[str], said: str
) -> None:
    found = CliRunner().invoke(app, ["table", str(run_folder), *options])
    assert isinstance(found.exception, InputError)
    assert said in str(found.exception)


def test_csv_has_the_chosen_rows_and_is_read_again(run_folder: Path, tmp_path: Path) -> None:
    typed = ["table", str(run_folder), "--csv", "--metric", "psnr", "--rows", "simvp/tiny"]
    (tmp_path / "t.csv").write_text(CliRunner().invoke(app, typed).output)
    kept = tables.read_table(tmp_path / "t.csv")
    assert set(kept["metric"]) == {"psnr@1"}
    assert set(kept["model"]) == {"simvp"}
    assert set(kept["lead"]) == {1, 2, 3}


def test_two_seeds_of_a_model_are_two_entries(run_folder: Path, tmp_path: Path) -> None:
    units = make_units(models={**MODELS, "simvp": ("model", "tiny", 0.8)})
    other = save_run(tmp_path / "b", Scores(units, make_run(seed=1)))
    frame, merged = read([run_folder, other])
    text = to_paper(frame, merged, Choice(("mse",), (1,)), Style(), latex=False)
    assert "| simvp |" in text
    assert "| simvp (seed 1) |" in text
    bare = [run_folder / "table.parquet", other / "table.parquet"]
    with pytest.raises(Incomparable, match="has two values in them"):
        read(bare)
    pd.testing.assert_frame_equal(read(bare[:1])[0], read([run_folder])[0])


def test_a_table_without_roles_is_not_ranked(run_folder: Path) -> None:
    frame, none = read([run_folder / "table.parquet"])
    with pytest.raises(InputError, match="Name run folders"):
        to_paper(frame, none, Choice(("mse",)), Style(best="bold"), latex=False)


DOCUMENT = r"""\documentclass[twocolumn]{article}
\usepackage{booktabs,graphicx}
\begin{document}
%s
\nocite{*}
\bibliographystyle{plain}
\bibliography{a}
\end{document}
"""


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="pdflatex is not installed")
def test_tables_and_bibtex_compile_and_fit_a_column(tmp_path: Path) -> None:
    odd = {"my_net 50% <a|b> & #1 ±·→ ≥ ~^": ("model", "tiny_2", 0.6), **MODELS}
    units = make_units(models=odd, metrics=("mse@1", "ssim@1", "psnr@1"), bands=("all",))
    units.loc[units["metric"] == "psnr@1", "value_sum"] *= -1.0
    run = make_run(citations={name: card.citation for name, card in cards().items()})
    made = Scores(units, run)
    styles = (Style(), Style(best="bold", caption="Scores.", label="tab:a"))
    texts = [paper(made, Choice(("mse", "ssim", "psnr")), style, latex=True) for style in styles]
    best = tables.supported_best(made)
    texts.append(tables.to_latex(made.table(), best=best, scores=[made]))
    (tmp_path / "a.tex").write_text(DOCUMENT % "\n\n".join(texts), encoding="utf-8")
    board = boards([save_run(tmp_path / "run", made)])[0]
    (tmp_path / "a.bib").write_text(bibtex(board), encoding="utf-8")
    latex = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "a"]
    for command in (latex, ["bibtex", "a"], latex):
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout[-2000:]
        assert not re.findall(r"Overfull \\hbox|Missing character|error message", done.stdout)
        assert not re.findall(r"^! .*", done.stdout, re.M)
    assert (tmp_path / "a.pdf").stat().st_size > 10_000
