"""Arguments of every command, in a folder with a store, runs and other files."""

from __future__ import annotations

import json
import os
import shutil
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random
from typing import Any
from unittest import mock

import toys
import typer.main
from scores_fixtures import make_scores

from fuzz.driver import Format, Subject
from fuzz.locks import lock
from rsbench.cli.main import app

WORDS = """- -- 0 1 -1 2 3 1.5 1e3 1e999 nan inf 0x10 ٣ ² a toy run note.txt nowhere . full full/x
    note.txt/x é 𝔘 a,b persistence climatology test val train all none viewer space cpu cuda auto
    32-true bf16-mixed 16-mixed year7 year1 fusion2 tiny demo default pixel mse@1 mse@2 mse@1,mse@1
    table.csv lock.json places.geojson 2017-2024 2020-2019 0-0 1/1 0/0 2/1 npy zarr geotiff icechunk
    toy-01 toy-99 flips flips,flips 2steps 0steps 1min -1min nansteps a=b = sampler=x
    http://127.0.0.1:9/ http://[::1 https://user:pw@h/ file:///x ftp://h/x planetary-computer
    s2-yearly@00000000 toy@ @ reflectance kelvin display (?P<year>x (?P<year>\\d{4}) EPSG:32631
    EPSG:0 0.0001 r.yaml p.yaml"""
VALUES = (*WORDS.split(), "", " ", "9" * 30, "9" * 5000, "x" * 300, "a\nb", "\udcff")
STOP = {
    "build-dataset": ["--dry-run", "--provider", "full"],
    "demo": ["--out", "note.txt"], "weights fetch": ["nothing"],
    "contract": ["--preset", "nothing"],
}  # fmt: skip


def _commands() -> dict[str, Any]:
    root = typer.main.get_command(app)
    found: dict[str, Any] = {}
    for name, command in root.commands.items():  # type: ignore[attr-defined]
        inner = getattr(command, "commands", None)
        found |= {f"{name} {n}": c for n, c in inner.items()} if inner else {name: command}
    return found


def _draw(commands: dict[str, Any], draw: Random) -> list[str]:
    """Return a command line: often the needed arguments, then random options with values."""
    name = draw.choice(sorted(commands))
    command = commands[name]
    words = name.split()
    options = [p for p in command.params if p.param_type_name == "option"]
    for parameter in command.params:
        wanted = parameter.required or parameter.nargs == -1
        if parameter.param_type_name == "argument" and wanted and draw.random() < 0.95:
            words += [_value(parameter, draw) for _ in range(draw.choice((1, 1, 1, 2)))]
        elif wanted and draw.random() < 0.95:
            words += [parameter.opts[0], _value(parameter, draw)]
    for option in draw.sample(options, min(len(options), draw.choice((0, 1, 1, 2, 3)))):
        words.append(draw.choice(option.opts))
        if not option.is_flag:
            words += [_value(option, draw) for _ in range(max(1, option.nargs))]
    if draw.random() < 0.1:
        words.insert(draw.randrange(len(words) + 1), draw.choice(VALUES))
    return words + STOP.get(name, [])


def _value(parameter: Any, draw: Random) -> str:
    likely = {
        "model": ("persistence", "climatology", "linear_trend"), "data": ("toy",),
        "store": ("toy",),
        "result": ("run",), "against": ("run", "expected.toml"), "runs": ("run",),
        "run_a": ("run",), "run_b": ("run",), "a": ("lock.json",), "b": ("lock.json",),
        "predictions": ("task",),
        "recipe": ("demo", "r.yaml"), "importer": ("geotiff-series", "geotiff-triplets", "cia"),
        "source": ("rasters", "toy"), "protocol": ("year7", "p.yaml"),
    }  # fmt: skip
    if parameter.name in ("out", "to") and draw.random() < 0.5:
        return "fresh"
    if parameter.name in likely and draw.random() < 0.6:
        return draw.choice(likely[parameter.name])
    return draw.choice(VALUES)


@contextmanager
def _no_network() -> Iterator[None]:
    def refuse(*_: object) -> None:
        raise OSError(101, "Network is unreachable")

    with (
        mock.patch.object(socket.socket, "connect", refuse),
        mock.patch("socket.getaddrinfo", side_effect=socket.gaierror(-2, "no names")),
        mock.patch("time.sleep"),
    ):
        yield


def _prepare(folder: Path) -> Subject:
    """The command line is a file, so that it is damaged and kept like any other input."""
    os.chdir(folder)
    toys.write_store(folder / "toy", regions=4, size=32, years=4)
    make_scores(metrics=("mse@1",), bands=("all",), regions=3).save(folder / "run")
    lock().save(folder / "lock.json")
    (folder / "note.txt").write_text("a note\n")
    (folder / "rasters").mkdir()
    (folder / "full").mkdir()
    (folder / "full" / "other.txt").write_text("another\n")
    line, commands = folder / "line.json", _commands()
    line.write_text(json.dumps(["--version"]))

    def damage(_: bytes, draw: Random) -> bytes:
        return json.dumps(_draw(commands, draw)).encode()

    def read() -> object:
        words = json.loads(line.read_text())
        try:
            with _no_network():
                code = app(args=words, prog_name="rsbench", standalone_mode=False)
        finally:
            shutil.rmtree(folder / "fresh", ignore_errors=True)
            for name in ("fresh", "report.html"):
                (folder / name).unlink(missing_ok=True)
        if code:
            raise typer.Exit(code)
        return words

    return Subject([line], read, damage)


FORMATS = (Format("arguments", _prepare, 600),)
