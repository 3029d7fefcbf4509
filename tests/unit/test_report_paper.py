"""What a paper takes from a run: methods from its provenance, BibTeX that parses, two planes."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from scores_fixtures import make_run, make_scores, make_units, save_run
from typer.testing import CliRunner

from rsbench.cli.main import app
from rsbench.evaluation.report import references, write_report
from rsbench.evaluation.report.board import Board, boards
from rsbench.evaluation.report.page import gather
from rsbench.evaluation.report.paper import bibtex, methods
from rsbench.evaluation.report.planes import BINS, LARGEST, _middle, plane, radial, spectra
from rsbench.evaluation.report.ranks import histograms
from rsbench.evaluation.report.references import known, parts, reference
from rsbench.evaluation.scores import Scores
from rsbench.metrics.registry import metric_info
from rsbench.models.registry import cards

SOURCE = Path(references.__file__).parent / "templates" / "references.bib"
LOOKS = {
    "simvp/tiny": {"style": "c0", "dash": ""},
    "persistence/fixed": {"style": "quiet", "dash": "7 4"},
}


def board(folder: Path, *, viewer: bool = False, **run: object) -> Board:
    made = make_scores(run, metrics=("mse@1", "rmse@1", "ssim@1"), bands=("all",))
    return boards([save_run(folder / "run", made, viewer=viewer)])[0]


def with_ratio(folder: Path, sign: float = -1.0) -> Board:
    """A board with a spectrum ratio made of PSNR."""
    units = make_units(metrics=("rmse@1", "psnr@1"), bands=("all",))
    ratio = units["metric"] == "psnr@1"
    units.loc[ratio, "value_sum"] *= sign * 0.01
    units["metric"] = units["metric"].replace({"psnr@1": "spectrum.ratio@1"})
    return boards([save_run(folder / "run", Scores(units, make_run()))])[0]


def test_the_paragraph_says_what_the_run_says(tmp_path: Path) -> None:
    text = methods(board(tmp_path))
    for part in (
        "rsbench 0.1 on the test split of demo (simulated)", "digest abababababab",
        "bands red and nir", "value range of 0 to 1", "protocol year3", "k = 1 context frame were",
        "leads 1 to 3 of P1Y", "from starts 2017-07-01 to 2021-07-01", "12 regions",
        "corrected for skewness", "against damped_persistence",
        "ssim@1, structural similarity", "10.1109/TIP.2003.819861",
        "simvp (tiny), weights cdcdcdcdcdcd, seed 0, 32-true on cpu",
        "linear_trend (needs k ≥ 3", "torch 2.12", "no result about real imagery",
    ):  # fmt: skip
        assert part in text, part
    assert "(arithmetic)" not in text


def test_the_paragraph_changes_with_the_run(tmp_path: Path) -> None:
    units = make_units(metrics=("mse@1",), bands=("all",), regions=5)
    keep = ~((units["region"] == "sim-02") & (units["lead"] == 2) & (units["model"] == "simvp"))
    units.loc[~keep, ["value_sum", "weight"]] = 0.0
    units.loc[~keep, "n_missing"] = 4
    run = make_run(
        simulated=False, one_scene=True, complete=False, missing=({"region": "x"},),
        best_trivial=None, dataset="lowland",
    )  # fmt: skip
    text = methods(boards([save_run(tmp_path / "run", Scores(units, run))])[0])
    assert "on the test split of lowland (one scene, incomplete)" in text
    assert "fewer than 8 regions" in text
    assert "pairs of region and start, undefined in at least one row and metric, " in text
    assert "blocks of one scene" in text
    assert "1 units could not be read" in text
    for word in ("real imagery", "Skill is", "skewness"):
        assert word not in text


def test_the_paragraph_of_a_fusion_speaks_of_dates(tmp_path: Path) -> None:
    text = methods(board(tmp_path, protocol="fusion2/w64", context=2))
    assert "coarse images of 2 reference dates and the coarse image of the target date" in text
    assert "context frame" not in text


def test_blocks_of_one_scene_have_an_interval_of_their_own(tmp_path: Path) -> None:
    text = methods(board(tmp_path, one_scene=True))
    assert "windows of neighbouring blocks" in text
    assert "skewness" not in text


def entries(text: str) -> dict[str, dict[str, str]]:
    """A small reader of BibTeX; braces must balance."""
    found = {}
    for kind, key, body in re.findall(r"@(\w+)\{([^,\s]+),\n(.*?)\n\}", text, re.S):
        assert kind in ("misc", "article", "inproceedings", "book", "manual")
        assert key not in found
        fields = dict(re.findall(r"^  (\w+) = \{(.*)\},$", body, re.M))
        for value in fields.values():
            plain = re.sub(r"\\.", "", value)
            assert plain.count("{") == plain.count("}")
        found[key] = fields
    return found


def test_bibtex_has_one_entry_per_source(tmp_path: Path) -> None:
    citations = {
        "simvp": "Gao et al. CVPR 2022, arXiv 2206.05099",
        "odd": "A & B, 50 % of {everything}, 1999",
    }
    licences = {"s2": {"licence": "CC0-1.0", "citation": "ESA, doi 10.5270/S2_-742ikth."}}
    found = entries(bibtex(board(tmp_path, citations=citations, licences=licences)))
    assert set(found) == {"rsbench", "model-simvp", "model-odd", "data-s2", "metric-ssim-1"}
    assert found["rsbench"]["version"] == "0.1"
    assert found["model-simvp"] == {
        "note": "Gao et al. CVPR 2022, arXiv 2206.05099", "year": "2022", "eprint": "2206.05099",
        "archiveprefix": "arXiv",
    }  # fmt: skip
    assert found["model-odd"]["note"] == r"A \& B, 50 \% of \{everything\}, 1999"
    assert found["data-s2"]["doi"] == "10.5270/S2_-742ikth"
    assert "year" not in found["data-s2"]
    assert found["metric-ssim-1"]["keywords"] == "ssim@1"


def test_known_publications_have_author_title_year_and_doi(tmp_path: Path) -> None:
    citations = {name: card.citation for name, card in cards().items()}
    found = entries(bibtex(board(tmp_path, citations=citations)))
    assert found["metric-ssim-1"]["author"].startswith("Wang, Zhou and Bovik, Alan C.")
    assert found["metric-ssim-1"]["doi"] == "10.1109/TIP.2003.819861"
    assert found["model-simvp"]["title"].startswith("{SimVP}: Simpler yet better")
    assert found["model-simvp-2"]["eprint"] == "2211.12509"
    assert found["model-climatology"]["keywords"] == "climatology, damped_persistence"
    assert found["model-starfm"]["journal"].startswith("IEEE Transactions on Geoscience")
    assert all("author" in one or "note" in one for one in found.values())


def test_every_known_publication_is_whole_and_cited() -> None:
    cited = [card.citation for card in cards().values()]
    cited += [info.source for info in metric_info(probe=False)]
    for one in known():
        assert {"author", "title", *REQUIRED[one.kind]} <= set(one.fields), one.match
        assert re.fullmatch(r"10\.\d{4,9}/\S+", one.fields.get("doi", "10.1234/none")), one.match
        if "eprint" in one.fields:
            assert one.fields["archiveprefix"] == "arXiv"
            assert re.fullmatch(r"\d{4}\.\d{4,5}", one.fields["eprint"]), one.match
        assert any(reference(part) is one for text in cited for part in parts(text)), one.match
    matches = [one.match for one in known()]
    assert len(matches) == len(set(matches))


REQUIRED = {
    "article": ("journal", "year"), "inproceedings": ("booktitle", "year"), "misc": ("year",),
    "book": ("publisher", "year"), "manual": (),
}  # fmt: skip
NOT_FOUND = {"J. Zhang, J. Qu and others. SA-STF. CVPR 2026"}
"""Publications whose title is not known to us."""


def test_every_publication_of_a_model_or_metric_is_known() -> None:
    cited = [card.citation for card in cards().values()]
    metrics = [info.source for info in metric_info(probe=False)]
    published = [text for text in metrics if re.search(r"doi |arXiv ", text)]
    lacking = {
        part for text in (*cited, *published) for part in parts(text) if reference(part) is None
    }
    assert lacking == NOT_FOUND
    keys = re.findall(r"^@\w+\{(\w+),", SOURCE.read_text(encoding="utf-8"), re.M)
    assert len(keys) == len(set(keys)) == len(known())


def test_reasons_for_no_publication_and_semicolons_in_a_doi_make_no_entry(tmp_path: Path) -> None:
    doi = "10.1175/1520-0493(1950)078<0001:VOFEIT>2.0.CO;2"
    assert parts(f"Brier 1950, doi {doi}; Guo 2017") == [f"Brier 1950, doi {doi}", "Guo 2017"]
    found = entries(bibtex(board(tmp_path, citations={"majority": "None: a count"})))
    assert "model-majority" not in found


def test_public_code_has_a_title_and_an_address(tmp_path: Path) -> None:
    cited = {"theirs": "an-owner/Some_Code @0d74406, path/of_it.py"}
    assert entries(bibtex(board(tmp_path, citations=cited)))["model-theirs"] == {
        "title": r"an-owner/Some\_Code", "url": "https://github.com/an-owner/Some_Code",
        "note": r"an-owner/Some\_Code @0d74406, path/of\_it.py",
    }  # fmt: skip


def test_a_card_may_cite_in_bibtex(tmp_path: Path) -> None:
    own = "@article{me2026,\n  title = {Mine; all of it},\n}"
    assert own in bibtex(board(tmp_path, citations={"odd": own}))


def test_the_command_prints_both_and_refuses_two_groups(tmp_path: Path) -> None:
    folder = save_run(tmp_path / "a", make_scores(regions=8))
    run = CliRunner()
    assert (
        "Predictions were scored with"
        in run.invoke(app, ["table", str(folder), "--methods"]).output
    )
    assert "@misc{rsbench," in run.invoke(app, ["table", str(folder), "--bibtex"]).output
    other = save_run(tmp_path / "b", make_scores({"dataset_digest": "12" * 32}, regions=8))
    assert run.invoke(app, ["table", str(folder), str(other), "--bibtex"]).exit_code != 0
    assert run.invoke(app, ["table", str(folder), "--bibtex", "--csv"]).exit_code != 0


def test_the_plane_holds_every_lead_of_every_row(tmp_path: Path) -> None:
    found = plane(with_ratio(tmp_path), LOOKS)
    assert found is not None
    assert (found["x"], found["y"]) == ("rmse@1", "|spectrum.ratio@1|")
    assert found["chart"].count("<circle") == 6
    # A signed ratio stands by its distance from zero.
    turned = plane(with_ratio(tmp_path / "b", sign=1.0), LOOKS)
    assert turned is not None
    assert re.findall(r'cy="([\d.]+)"', turned["chart"]) == re.findall(
        r'cy="([\d.]+)"', found["chart"]
    )
    assert plane(board(tmp_path / "c"), LOOKS) is None  # nothing stands for perception


def test_a_ring_holds_the_power_of_its_wave() -> None:
    x = np.arange(64)
    image = 0.5 + 0.1 * np.cos(2 * np.pi * 12 * x / 64)[None, :] * np.ones((64, 1))
    power = radial(image, None)
    assert len(power) == BINS
    assert power.argmax() == int(12 / 64 * 2 * BINS)
    assert power[power.argmax() + 3 :].max() < 1e-6 * power.max()
    assert radial(2 * image, None) == pytest.approx(4 * power, rel=1e-9, abs=1e-12)
    noise = np.random.default_rng(0).normal(size=(256, 256))  # white: every ring alike
    flat = radial(noise, None)[1:]
    assert flat.max() / flat.min() < 1.5
    hidden = np.ones((64, 64), bool)
    hidden[:4, :4] = False
    assert radial(np.where(hidden, image, 99.0), hidden) == pytest.approx(
        radial(np.where(hidden, image, -7.0), hidden)
    )


def test_spectra_say_who_lost_detail(tmp_path: Path) -> None:
    found = spectra(board(tmp_path, viewer=True), LOOKS)
    assert [lead for lead, _, _ in found] == [1, 3]
    assert all(count == 2 for _, _, count in found)
    assert all(chart.count("<path") == 2 for _, chart, _ in found)
    assert spectra(board(tmp_path / "none"), LOOKS) == []


def test_a_rank_histogram_is_one_where_ranks_are_alike(tmp_path: Path) -> None:
    def row(what: str, count: int, model: str = "simvp") -> dict[str, object]:
        return {"model": model, "metric": "rank.deviation@1", "what": what, "count": count}

    counts = [
        *(row(f"rank {rank}, lead 1", 50) for rank in range(4)),
        *(row(f"rank {rank}, lead 3", n) for rank, n in {0: 150, 3: 50}.items()),
        row("clipped", 7),
    ]
    made = board(tmp_path, members=3, extra={"counts": counts})
    (first, level), (last, skewed) = histograms(made, LOOKS)
    assert (first, last) == (1, 3)
    shares = [
        [float(value) for value in re.findall(r'aria-label="simvp · rank[^"]*: ([^"]*)"', chart)]
        for chart in (str(level), str(skewed))
    ]
    assert shares == [[1, 1, 1, 1], [3, 0, 0, 1]]
    assert [item["what"] for item in gather(made, 0)["counts"]] == ["clipped"]
    assert histograms(board(tmp_path / "none"), LOOKS) == []


def test_masked_and_large_pictures_count_as_they_should(tmp_path: Path) -> None:
    made = board(tmp_path, viewer=True)
    folder = made.folders[0] / "viewer"
    before = [chart for _, chart, _ in spectra(made, LOOKS)]
    index = json.loads((folder / "index.json").read_text())
    shape = np.load(folder / index["entries"][0]["truth"]).shape[:3]
    clear = np.ones(shape, bool)
    clear[0, : shape[1] // 2] = False  # half of lead 1 of the first region
    np.save(folder / "valid.npy", clear)
    index["entries"][0]["valid"] = "valid.npy"
    (folder / "index.json").write_text(json.dumps(index))
    found = spectra(made, LOOKS)
    assert [count for _, _, count in found] == [1, 2]
    assert found[0][1] != before[0]
    assert found[1][1] == before[1]
    wide = np.arange(600 * 300).reshape(1, 600, 300)
    assert _middle(wide).shape == (1, LARGEST, LARGEST)
    assert _middle(wide)[0, 0, 0] == wide[0, (600 - LARGEST) // 2, (300 - LARGEST) // 2]
    assert _middle(wide[:, :64]).shape == (1, 64, LARGEST)


def test_the_page_holds_texts_for_a_paper(tmp_path: Path) -> None:
    folder = save_run(tmp_path / "run", make_scores(regions=8), viewer=True)
    text = write_report([folder], tmp_path / "r.html").read_text()
    for part in (
        "For a paper",
        "@misc{rsbench,",
        r"\begin{tabular}",
        "Spatial detail and ensembles",
        "Spectrum, year +3",
    ):
        assert part in text, part
