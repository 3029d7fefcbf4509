"""A package of another author adds metrics: listed, computed, in a suite and in a table."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import toys
from support.programs import start

from rsbench.core.errors import InputError
from rsbench.metrics import Metric, info, metric_info
from rsbench.metrics.registry import extra

DOCS = Path(__file__).parents[2] / "docs"

DEFINITIONS = """
from rsbench.metrics import Metric, Placement

METRICS = (
    Metric("bias.abs@1", "lower", (0.0, None), "data", "a test", "absolute value of the mean error",
           "added_functions:bias", perfect=0.0, skill=True, pixelwise=True),
    Metric("error.cubed@1", "lower", (0.0, None), "data³", "a test", "mean cubed absolute error",
           "added_functions:cubed", perfect=0.0, pixel_error="added_functions:cubed_error"),
    Metric("fd.mean@1", "lower", (0.0, None), "1", "a test", "distance of band means",
           "rsbench.metrics.frechet:frechet", perfect=0.0, kind="set", per_band=False,
           features="added_functions:band_means"),
)
"""

FUNCTIONS = """
from rsbench.metrics import PerImage
from rsbench.metrics.images import total


def bias(images):
    sums = total(images.prediction - images.truth).sum(1)
    count = images.count.sum(1)
    return PerImage.of((sums / count).abs(), count > 0)


def cubed_error(prediction, truth):
    return (prediction - truth).abs() ** 3


def cubed(images):
    sums = total(cubed_error(images.prediction, images.truth)).sum(1)
    count = images.count.sum(1)
    return PerImage.of(sums / count, count > 0)


def band_means(images, side):
    return images.prediction_mean if side == "prediction" else images.truth_mean
"""

PROTOCOL = """
name: biases
description: One year ahead, scored by the metrics of another package.
context: 1
horizon: 1
window: 32
stride: 32
suite: [mse@1, bias.abs@1, error.cubed@1, fd.mean@1]
primary: {metric: bias.abs@1, score: value, leads: [1]}
"""

SCRIPT = """
import json, sys
import torch, rsbench as rb
truth = torch.rand(2, 3, 32, 32)
value = rb.metrics.compute(["bias.abs@1"], truth + 0.25, truth, data_range=1.0)["bias.abs@1"]
sets = rb.metrics.compute_sets(["fd.mean@1"], truth.repeat(9, 1, 1, 1), torch.rand(18, 3, 32, 32),
                               data_range=1.0)
scores = rb.evaluate(rb.create_model("persistence"), rb.open_store("toy"), "biases.yaml")
table = scores.table()
own = table[(table.model == "persistence") & (table.stratum == "all") & (table.band == "all")]
print(json.dumps({
    "value": [round(float(v), 4) for v in value],
    "set": sets["fd.mean@1"].value,
    "table": {m: v for m, v in zip(own.metric, own.value)},
    "classes": sorted(scores.pixels.metric.unique()) if len(scores.pixels) else [],
}))
"""


def install(folder: Path, name: str, target: str, code: dict[str, str]) -> None:
    """Lay out an installed package as an installer does: modules and metadata."""
    for module, text in code.items():
        (folder / f"{module}.py").write_text(text, encoding="utf-8")
    meta = folder / f"{name}-1.0.dist-info"
    meta.mkdir()
    (meta / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (meta / "entry_points.txt").write_text(f"[rsbench.metrics]\nadded = {target}\n")


def python(folder: Path, *args: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(folder), "RSBENCH_CACHE": str(folder / "cache")}
    return subprocess.run(
        [sys.executable, *args], cwd=folder, env=environment, capture_output=True, text=True,
        check=False, timeout=240,
    )  # fmt: skip


def forked(folder: Path, script: str) -> tuple[str, str, int | None]:
    """Run Python code where the package is installed; return output, errors and exit code."""
    code = f"import sys\nsys.path.insert(0, {str(folder)!r})\n{script}"
    program = start(code, folder, RSBENCH_CACHE=str(folder / "cache"))
    return *program.communicate(), program.returncode


@pytest.fixture(scope="module")
def added(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("added")
    code = {"added_metrics": DEFINITIONS, "added_functions": FUNCTIONS}
    install(folder, "added", "added_metrics:METRICS", code)
    (folder / "biases.yaml").write_text(PROTOCOL, encoding="utf-8")
    toys.write_store(folder / "toy", regions=5, size=32, years=3, simulation=None)
    return folder


def test_it_is_listed_without_torch(added: Path) -> None:
    script = (
        "import json, sys\nfrom rsbench.cli.main import main\n"
        "sys.argv = ['rsbench', 'metrics', '--json']\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        "sys.stderr.write(str('torch' in sys.modules or 'added_functions' in sys.modules))\n"
    )
    done = python(added, "-c", script)
    rows = {row["id"]: row for row in json.loads(done.stdout)}
    assert rows["bias.abs@1"]["direction"] == "lower"
    assert rows["bias.abs@1"]["skill"] is True
    assert rows["mse@1"]["available"] is True
    assert done.stderr.splitlines()[-1] == "False"


def test_it_is_computed_and_stands_in_a_suite_and_a_table(added: Path) -> None:
    out, errors, code = forked(added, SCRIPT)
    assert code == 0, errors
    found = json.loads(out.splitlines()[-1])
    assert found["value"] == [0.25, 0.25]
    assert found["set"] > 0
    assert {"bias.abs@1", "skill.bias.abs@1", "error.cubed@1", "fd.mean@1"} <= set(found["table"])
    assert found["table"]["bias.abs@1"] > 0
    assert "error.cubed@1" in found["classes"]


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("raise RuntimeError('no licence')", "raises RuntimeError: no licence"),
        ("METRICS = 7", "sequence of them"),
        (
            'from rsbench.metrics import Metric\nMETRICS = Metric("mse@1", "lower", (0, 1), "1", '
            '"-", "-", "a:b", perfect=0.0)',
            "another package defines mse@1",
        ),
        (
            'from rsbench.metrics import Metric\nMETRICS = Metric("Mse", "lower", (0, 1), "1", '
            '"-", "-", "a:b", perfect=0.0)',
            "its id is no name@version",
        ),
    ],
)
def test_a_package_that_cannot_be_read_is_reported_and_left_out(
    tmp_path: Path, code: str, reason: str
) -> None:
    install(tmp_path, "broken_one", "broken_metrics:METRICS", {"broken_metrics": code})
    script = (
        "from rsbench.metrics.registry import broken, info\n"
        "print(info('mse@1').title)\nprint(*broken())\n"
        "try:\n    info('absent@1')\nexcept Exception as error:\n    print(error)\n"
        "import sys\nfrom rsbench.cli.main import main\nsys.argv = ['rsbench', 'doctor']\nmain()\n"
    )
    out, _, _ = forked(tmp_path, script)
    title, left_out, error, *doctor = out.splitlines()
    assert title == "mean squared error"
    assert left_out.startswith("'added' of broken_one is left out: ")
    assert reason in left_out
    assert reason in error
    assert reason in "\n".join(doctor)


def test_a_metric_can_be_added_without_a_package() -> None:
    metric = Metric(
        "added@1", "zero", (None, None), "1", "-", "-", "rsbench.metrics.pixel:mae", perfect=None
    )
    with extra(metric):
        assert info("added@1").available
        with pytest.raises(InputError, match="taken"), extra(metric):
            pass
    assert "added@1" not in {m.id for m in metric_info()}


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"direction": "up"}, "'up' is not allowed"),
        ({"function": "pixel"}, "names no function"),
        ({"perfect": None, "skill": True}, "no perfect value"),
        ({"kind": "set"}, "features None"),
    ],
)
def test_a_definition_that_contradicts_itself_is_refused(
    changes: dict[str, object], says: str
) -> None:
    stated: dict[str, object] = {
        "id": "added@1", "direction": "lower", "range": (0.0, None), "unit": "1", "source": "-",
        "title": "-", "function": "package.module:function", "perfect": 0.0,
    }  # fmt: skip
    with pytest.raises(InputError, match=says):
        Metric(**{**stated, **changes})  # type: ignore[arg-type]


@pytest.mark.skipif(not (DOCS / "protocols.md").is_file(), reason="not run from a checkout")
def test_the_documented_examples_work(tmp_path: Path) -> None:
    page = (DOCS / "custom-metrics.md").read_text(encoding="utf-8")
    code, entry = block(page, "python"), block(page, "toml")
    assert len(code.splitlines()) <= 30
    install(tmp_path, "bias", entry.split('"')[-2], {"bias_metric": code})
    protocol = block((DOCS / "protocols.md").read_text(encoding="utf-8"), "yaml")
    (tmp_path / "next.yaml").write_text(protocol.replace("mae@1,", "mae@1, bias@1,", 1))
    toys.write_store(tmp_path / "toy", regions=4, size=64, years=3, simulation=None, floor=False)
    script = (
        "import rsbench as rb\n"
        "scores = rb.evaluate(rb.create_model('persistence'), rb.open_store('toy'), 'next.yaml')\n"
        "print(scores.run.endpoint.label, sorted(set(scores.table().metric)))\n"
    )
    out, errors, code = forked(tmp_path, script)
    assert code == 0, errors
    assert out.startswith("mae@1 ['bias@1', 'mae@1', 'mse@1'")


def block(page: str, language: str) -> str:
    """Return the first code block of a language."""
    return page.split(f"```{language}\n", 1)[1].split("```", 1)[0]
