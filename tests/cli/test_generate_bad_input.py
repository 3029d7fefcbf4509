"""Generation that cannot be, typed as commands: the last line is one sentence, exit code 2."""

from __future__ import annotations

from pathlib import Path

import pytest
import segment_toys as toys
import toys as series
from support.shell import rsbench

ABOUT = {
    "long_name": "toy cover", "comment": "-", "licence": "-", "attribution": "-", "citation": "-",
    "rsbench:years": [2020],
}  # fmt: skip
ONE = {"rsbench:classes": {"1": "water"}, "rsbench:ignore": [2, 5]}
GENERATE = ("--protocol", "generate", "--suite", "mse@1", "--out", "out")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("place")
    for name, changes in (("toy", {}), ("one", ONE)):
        toys.write_store(
            folder / name, regions=5, finer=False, kind="series", **{**ABOUT, **changes}
        )
    series.write_store(
        folder / "rgb", size=32, years=2, bands=("B02", "B03", "B04"), floor=False, simulation=None
    )
    made = rsbench(folder, "synthesize", "--model", "copy", "--data", "toy", "--out", "synth")
    assert made.returncode == 0, made.stderr
    return folder


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("run", "--model", "satsynth", "--data", "one", *GENERATE),
         "have the classes water. Take a label set with two classes or more"),
        (("run", "--model", "class_mean", "--data", "synth", *GENERATE),
         "its images are synthetic: copy drew them from toy-pairs. Give the store of real images"),
        (("run", "--model", "class_mean", "--data", "toy", *GENERATE, "--members", "300000000"),
         "memory ran out"),
        (("run", "--model", "diffusionsat", "--preset", "released", "--data", "rgb",
          "--protocol", "year1", "--out", "out"), "no folder with its weights is named"),
        (("synthesize", "--model", "class_mean", "--data", "toy", "--out", "out"),
         "it draws no labels. Take satsynth, or copy"),
    ],
)  # fmt: skip
def test_one_sentence_and_exit_code_2(words: tuple[str, ...], said: str, place: Path) -> None:
    done = rsbench(place, *words)
    assert done.returncode == 2, done.stderr
    assert said in done.stderr.splitlines()[-1]
    assert not (place / "out").exists()
