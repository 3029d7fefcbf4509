"""What is written to stderr when a library fails after the command has failed."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

STRAY = """
import asyncio, errno, sys
from rsbench.cli import exit_codes

def fails(**_):
    loop = asyncio.new_event_loop()
    loop.create_future().set_exception(FileExistsError("a stray write"))
    loop.close()
    raise OSError(errno.ENOSPC, "no room", "somewhere")

exit_codes.app = fails
sys.exit(exit_codes.run_app())
"""


@pytest.mark.parametrize("debug", [False, True])
def test_what_a_library_leaves_behind_is_told_on_request_only(debug: bool) -> None:
    environment = {**os.environ, "RSBENCH_DEBUG": "1" if debug else ""}
    done = subprocess.run(
        [sys.executable, "-c", STRAY], capture_output=True, text=True, env=environment, check=False
    )
    assert done.returncode == 1
    assert "no room left" in done.stderr
    assert ("a stray write" in done.stderr) is debug
    assert len(done.stderr.splitlines()) == 1 or debug


CAUGHT_IN_A_FINALISER = """
import os, signal, sys, time, weakref
from rsbench.cli import exit_codes

# Started in the background, a process may have been told to ignore it.
signal.signal(signal.SIGINT, signal.default_int_handler)

class Connection:
    pass

def works(**_):
    connection = Connection()
    weakref.finalize(connection, os.kill, os.getpid(), signal.SIGINT)
    del connection  # Python drops the KeyboardInterrupt that is raised here
    time.sleep(20)

exit_codes.app = works
sys.exit(exit_codes.run_app())
"""


def test_ctrl_c_in_a_finaliser_is_not_lost() -> None:
    done = subprocess.run(
        [sys.executable, "-c", CAUGHT_IN_A_FINALISER], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr.count("\n")) == (130, 1), done.stderr
    assert "Type the same command to go on" in done.stderr
