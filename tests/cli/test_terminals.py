"""Terminals without UTF-8, closed streams, and limits of memory and of open files."""

from __future__ import annotations

import errno
import io
import json
import os
import resource
import subprocess
import sys
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from scores_fixtures import make_scores

from rsbench.cli import app as output
from rsbench.cli.exit_codes import guarded, run_app
from rsbench.cli.main import app as _commands  # noqa: F401 - registers them
from rsbench.core.errors import StoreError
from rsbench.evaluation.gate import write_expected

CALL = (sys.executable, "-m", "rsbench.cli")


def rsbench(*args: str, **options: Any) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [*CALL, *args], env={**os.environ, "OMP_NUM_THREADS": "1"}, check=False, timeout=120,
        **{"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options},
    )  # fmt: skip


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[int, str, str]]:
    """Run a command on a terminal of an encoding; return exit code, output and errors."""

    def run(*args: str, encoding: str = "utf-8") -> tuple[int, str, str]:
        streams = [io.TextIOWrapper(io.BytesIO(), encoding=encoding, errors="strict") for _ in "oe"]
        for name, stream in zip(("stdout", "stderr"), streams, strict=True):
            monkeypatch.setattr(sys, name, stream)
        monkeypatch.setattr(sys, "argv", ["rsbench", *args])
        code = run_app()
        for stream in streams:
            stream.flush()
        return code, *(s.buffer.getvalue().decode(encoding) for s in streams)  # type: ignore[attr-defined]

    return run


Shown = Callable[..., tuple[int, str, str]]


@pytest.mark.parametrize("encoding", ["latin-1", "cp1252", "ascii"])
@pytest.mark.parametrize("command", [("metrics",), ("regions", "--recipe", "Ełk")])
def test_an_encoding_without_a_character_gets_a_replacement(
    encoding: str, command: tuple[str, ...], shown: Shown
) -> None:
    code, out, errors = shown(*command, encoding=encoding)
    assert code == (2 if "--recipe" in command else 0), errors
    assert ("internal error" in errors, "?" in out + errors) == (False, True)


def test_json_loses_no_character_in_a_terminal_without_it(shown: Shown) -> None:
    plain, odd = (
        json.loads(shown("recipes", "--json", encoding=name)[1]) for name in ("utf-8", "ascii")
    )
    assert plain == odd
    assert any(not row["title"].isascii() for row in plain)


def closing(*streams: int) -> Callable[[], None]:
    return lambda: [os.close(stream) for stream in streams] and None


def test_closed_streams_do_not_change_the_exit_code() -> None:
    for args, closed, code in ((("recipes",), 1, 0), (("recipse",), 2, 2)):
        done = rsbench(*args, preexec_fn=closing(closed))
        assert (done.returncode, done.stderr) == (code, b"")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_output_is_one_sentence() -> None:
    with Path("/dev/full").open("wb") as full:
        done = rsbench("recipes", stdout=full)
        assert (done.returncode, done.stderr.count(b"\n")) == (1, 1)
        assert b"no room left" in done.stderr
        assert rsbench("recipse", stderr=full).returncode == 2


def limited(kind: int, most: int) -> Callable[[], None]:
    return lambda: resource.setrlimit(kind, (most, most))


def test_a_limit_of_address_space_is_one_sentence() -> None:
    """Below some limit a library stops the process itself; above it the command says why.

    The process then ends at once: finalisers without memory write a line each, or never return.
    """
    for limit in range(100, 220, 5):
        done = rsbench("recipes", preexec_fn=limited(resource.RLIMIT_AS, limit << 20))
        if b"there is too little memory" in done.stderr:
            break
    assert (done.returncode, done.stderr.count(b"\n")) == (1, 1), done.stderr
    assert b"there is too little memory" in done.stderr


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (MemoryError("Unable to allocate 7 GiB"), "too little memory (Unable to allocate 7 GiB)"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), "too little memory"),
        (RuntimeError("can't start new thread"), "too little memory"),
        (ImportError("libx.so: failed to map segment from shared object"), "too little memory"),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), "too little memory"),
        (OSError(errno.EMFILE, "Too many open files", "a.tif"), "ulimit -n"),
    ],
)
@pytest.mark.parametrize("wrapped", [False, True])
def test_exhausted_resources_are_named_even_if_a_reader_hides_them(
    error: Exception, says: str, wrapped: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    def fails() -> None:
        if not wrapped:
            raise error
        raise StoreError("reading a", "its bytes are damaged", "Build it again") from error

    assert guarded(fails) == 1
    told = capsys.readouterr().err
    assert (says in told, told.count("\n")) == (True, 1), told


def test_a_name_of_two_lines_makes_no_message_of_two_lines(shown: Shown) -> None:
    code, _, errors = shown("table", "a\nb")
    assert (code, errors.count("\n")) == (2, 1)
    assert "a b: there is no such file" in errors


def test_the_end_of_a_file_is_no_interrupt(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import typer

    app = typer.Typer()

    @app.command()
    def main() -> None:
        raise EOFError("Compressed file ended before the end-of-stream marker was reached")

    monkeypatch.delenv("RSBENCH_DEBUG", raising=False)
    assert guarded(lambda: app(args=[], standalone_mode=False)) == 70
    assert "EOFError: Compressed file ended" in capsys.readouterr().err


@pytest.mark.parametrize(("typed", "answer"), [("y\n", True), ("no\n", False), ("", False)])
def test_only_yes_confirms(typed: str, answer: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO(typed))
    assert output.confirmed("Go on?") is answer


# Expectations that would be overwritten ----------------------------------------------------


@pytest.fixture
def run(tmp_path: Path) -> Path:
    make_scores().save(tmp_path / "run")
    return tmp_path / "run"


def test_expectations_of_the_same_run_are_replaced(run: Path, shown: Shown) -> None:
    target = run.parent / "expected.toml"
    for _ in range(2):
        assert shown("check", str(run), "--against", str(target), "--write")[0] == 0


def other_run(path: Path) -> None:
    write_expected(make_scores({"split": "val"}), path)


def with_waiver(path: Path) -> None:
    write_expected(make_scores(), path)
    waiver = f'[[waiver]]\nmetric = "mse@1"\nreason = "x"\nuntil = {date.today()}\n'
    path.write_text(path.read_text() + waiver)


def notes(path: Path) -> None:
    path.write_text("notes on the runs\n")


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (other_run, "differ in split"),
        (with_waiver, "[[waiver]] written by hand"),
        (notes, "something else than expectations"),
    ],
)
def test_another_file_is_not_overwritten_without_a_word(
    make: Callable[[Path], None],
    says: str,
    run: Path,
    shown: Shown,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    target = run.parent / "expected.toml"
    make(target)
    before = target.read_bytes()
    command = ("check", str(run), "--against", str(target), "--write")
    code, _, errors = shown(*command)
    assert (code, says in errors, "--overwrite" in errors) == (2, True, True)
    monkeypatch.setattr(sys, "stdin", Terminal("n\n"))
    assert shown(*command)[0] == 2
    assert target.read_bytes() == before
    monkeypatch.setattr(sys, "stdin", Terminal("y\n"))
    answered = () if make is notes else ("--overwrite",)
    assert shown(*command, *answered)[0] == 0
    assert target.read_bytes() != before


class Terminal(io.StringIO):
    """What is typed in a terminal."""

    def isatty(self) -> bool:
        return True
