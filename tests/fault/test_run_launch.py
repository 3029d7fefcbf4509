"""A run under torchrun: the bits of one process, and what a killed process costs."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path

import pytest
import toys
from support.programs import Program, start
from support.shell import rsbench

RUN = ("run", "--model", "persistence", "--data", "toy", "--horizon", "2", "--window", "16",
       "--suite", "mae@1", "--device", "cpu", "--out")  # fmt: skip
PROGRAM = """
import os, signal, sys
import rsbench.cli.main
from rsbench.cli.exit_codes import run_app
from rsbench.evaluation import parts

collect = parts.collect

def told(*args, **named):
    if os.environ.get("DIES") == os.environ["RANK"]:
        os.kill(os.getpid(), signal.SIGKILL)
    print("a block is scored", flush=True)
    return collect(*args, **named)

parts.collect = told
sys.argv = ["rsbench", *{words!r}]
sys.exit(run_app())
"""


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("RSBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    plain = {"regions": 12, "size": 32, "years": 4, "simulated": False, "simulation": None}
    toys.write_store(tmp_path / "toy", **plain)
    return tmp_path


def files(folder: Path) -> dict[str, bytes]:
    found = folder.rglob("*.*")
    return {p.name: p.read_bytes() for p in found if p.name not in ("report.html", "run.json")}


def ranks(desk: Path, out: str, dies: str = "") -> list[Program]:
    """Start two ranks as torchrun does, without the process that watches and stops both."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    launched = {"TORCHELASTIC_RUN_ID": "none", "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2",
                "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "DIES": dies}  # fmt: skip
    code = PROGRAM.format(words=[*RUN, out])
    return [start(code, desk, RANK=rank, LOCAL_RANK=rank, **launched) for rank in "01"]


def test_torchrun_gives_the_bits_of_one_process(desk: Path) -> None:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--local-addr",
               "127.0.0.1", "--nproc-per-node", "2", "-m", "rsbench.cli"]  # fmt: skip
    done = subprocess.run(
        [*command, *RUN, "several"], cwd=desk, capture_output=True, text=True, timeout=240,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("report: several/report.html") == 1
    assert rsbench(desk, *RUN, "one", "--fresh-references").returncode == 0
    assert files(desk / "several") == files(desk / "one")
    assert not (desk / "several" / "parts").exists()


def test_a_killed_process_costs_its_own_blocks(desk: Path) -> None:
    first, second = ranks(desk, "out", dies="1")
    out, errors = first.communicate()
    assert (first.returncode, second.wait()) == (1, -9), errors
    last = errors.splitlines()[-1]
    assert last.startswith("rsbench: waiting for the other processes of torchrun: one of them")
    assert "Type the same command to go on; what was scored is kept" in last
    assert out.count("a block is scored") == 2
    assert not (desk / "out" / "run.json").exists()
    said = [program.communicate() for program in ranks(desk, "out")]
    assert [text.count("a block is scored") for text, _ in said] == [0, 1], said
    assert (desk / "out" / "run.json").is_file()
