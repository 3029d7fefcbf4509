"""Every command: groups of options, two examples that parse, completion, -v and -q."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Iterator
from typing import Any

import pytest
import typer

from rsbench.build.read import engines
from rsbench.cli import app as output
from rsbench.cli import doctor, frame
from rsbench.cli.examples import EXAMPLES
from rsbench.cli.exit_codes import _missing, run_app
from rsbench.cli.main import app
from rsbench.core import progress
from rsbench.core.errors import InputError
from rsbench.core.extras import distribution, extra_of, install_command


def commands(command: Any = None, words: tuple[str, ...] = ()) -> Iterator[tuple[str, Any]]:
    command = command or typer.main.get_command(app)
    if not hasattr(command, "commands"):
        yield " ".join(words), command
    for name, part in getattr(command, "commands", {}).items():
        yield from commands(part, (*words, name))


ALL = dict(commands())


def typed(*words: str, monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(sys, "argv", ["rsbench", *words])
    return run_app()


@pytest.mark.parametrize("words", sorted(ALL))
def test_a_command_has_two_examples_that_parse(words: str) -> None:
    examples = EXAMPLES.get(words, ())
    assert len(examples) == 2, f"add examples of {words} to rsbench/cli/examples.py"
    for example in examples:
        typed_words = shlex.split(example.partition(" > ")[0])[1:]
        assert typed_words[: len(words.split())] == words.split()
        ALL[words].make_context(words, typed_words[len(words.split()) :])


def test_options_are_read_for_the_named_command_only(monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []
    framed = frame._framed

    def noted(function: Any) -> Any:
        read.append(function.__name__)
        return framed(function)

    monkeypatch.setattr(frame, "_framed", noted)
    assert typed("--help", monkeypatch=monkeypatch) == 0
    assert read == []
    assert typed("lock", "diff", "--help", monkeypatch=monkeypatch) == 0
    assert read == ["lock_diff"]


def test_help_has_groups_and_examples(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert typed("run", "--help", monkeypatch=monkeypatch) == 0
    shown = capsys.readouterr().out
    places = [shown.index(f"\n{title}:") for title in ("Data", "Model", "Output", "Examples")]
    assert places == sorted(places)
    assert "\n  rsbench run --model persistence --data demo.zarr --out run\n" in shown
    assert typed("--help", monkeypatch=monkeypatch) == 0
    assert "\nFurther commands:" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "wanted"),
    [("rsbench run --model persi", "persistence"), ("rsbench run --model simvp --sp", "--split"),
     ("rsbench build-dataset --recipe demo-f", "demo-fusion"), ("rsbench com", "compare")],
)  # fmt: skip
def test_names_are_completed(
    words: str, wanted: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("_RSBENCH_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", words)
    monkeypatch.setenv("COMP_CWORD", str(len(words.split()) - 1))
    with pytest.raises(SystemExit):
        typed(monkeypatch=monkeypatch)
    assert wanted in capsys.readouterr().out.split()


def test_quiet_and_verbose_set_what_is_printed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    seen = []

    def lines() -> Iterator[str]:
        output.note("told")
        seen.append(progress.detail())
        yield "shown"

    monkeypatch.setattr(doctor, "doctor_lines", lines)
    for words, told in ((), "told\n"), (("-q",), ""), (("-v",), "s] told\n"):
        assert typed("doctor", *words, monkeypatch=monkeypatch) == 0
        assert capsys.readouterr().err.endswith(told)
    assert typed("-q", "doctor", monkeypatch=monkeypatch) == 0
    assert capsys.readouterr().err == ""
    names = ["NORMAL", "QUIET", "VERBOSE", "QUIET"]
    assert [one.name for one in seen] == names


def test_errors_are_printed_although_it_is_quiet(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert typed("inspect", "nowhere", "-q", monkeypatch=monkeypatch) == 2
    assert "nothing is there" in capsys.readouterr().err


def test_quiet_shows_no_progress(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(progress, "_detail", progress.Detail.QUIET)
    monkeypatch.setattr(progress, "EVERY", 0.0)
    with progress.progress() as advance:
        advance("building", 1, 2)
    assert capsys.readouterr().err == ""


def test_doctor_states_devices_disk_packages_and_settings(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("RSBENCH_DATA", "/data/x.zarr")
    monkeypatch.setattr(doctor, "installed", lambda name: None if name == "numba" else "1.0")
    assert typed("doctor", "--json", monkeypatch=monkeypatch) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["environment"]["RSBENCH_DATA"] == "/data/x.zarr"
    assert found["extras"]["compiled"] == {"numba": None}
    assert all(free > 0 for free in found["disk"].values())
    assert found["devices"] or "torch" in found["torch"]
    lines = list(doctor.doctor_lines())
    assert "[compiled] numba absent; pip install 'rsbench[compiled]'" in lines


@pytest.mark.parametrize(
    ("module", "extra"),
    [("rasterio.windows", "build"), ("torch", "models"), ("lightning_fabric", "models"),
     ("transformers", "generative"), ("huggingface_hub.utils", "generative"),
     ("numba", "compiled"), ("distributed", "distributed"), ("icechunk", "icechunk"),
     ("zlib_ng", "build"), ("wandb", "wandb"), ("stackstac", "stackstac")],
)  # fmt: skip
def test_what_is_not_installed_is_named_with_its_extra(module: str, extra: str) -> None:
    assert extra_of(module) == extra
    assert _missing(module).remedy == f"Type: pip install 'rsbench[{extra}]'"


def test_an_absent_second_engine_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engines, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"pip install 'rsbench\[stackstac\]'"):
        engines.make_engine("stackstac", "folder", "none")


def test_what_no_extra_has_is_named_by_its_package() -> None:
    assert (extra_of("skimage"), distribution("skimage.metrics")) == (None, "scikit-image")
    assert install_command("some_package.part") == "pip install some-package"
