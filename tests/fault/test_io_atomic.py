"""Atomic writes: interrupted at every disk step, full and closed devices, leftovers."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rsbench.core import io
from rsbench.core.errors import DiskFull, InputError, StoreError

STEPS = ("mkdir", "open", "write", "fsync", "rename", "replace", "rmdir", "unlink")


class Steps:
    """Records calls that change the disk; raises ``error`` before or after one of them, once."""

    def __init__(self, stop: int = 0, *, after: bool = False, error: BaseException | None = None):
        self.stop, self.after, self.error = stop, after, error or KeyboardInterrupt()
        self.names: list[str] = []

    @contextmanager
    def watched(self, monkeypatch: pytest.MonkeyPatch) -> Iterator[Steps]:
        with monkeypatch.context() as patch:
            for name in STEPS:
                patch.setattr(os, name, self._step(name, getattr(os, name)))
            yield self

    def _step(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def step(path: Any, *rest: Any, **named: Any) -> Any:
            where = Path(f"/proc/self/fd/{path}").readlink() if isinstance(path, int) else path
            self.names.append(f"{name} {Path(where).name.split('-')[0]}")
            here = len(self.names) == self.stop
            if here and not self.after:
                raise self.error
            done = call(path, *rest, **named)
            if here:
                raise self.error
            return done

        return step


def write_file(folder: Path) -> None:
    io.write_atomic(folder / "note.txt", "new")


def write_folder(folder: Path) -> None:
    with io.atomic_directory(folder / "made") as staged:
        (staged / "note.txt").write_text("new")


def swap_folder(folder: Path) -> None:
    with io.temporary_directory(folder / "made") as staged:
        (staged / "note.txt").write_text("new")
        io.replace_directory(staged, folder / "made")


def seed(folder: Path, name: str) -> None:
    folder.mkdir(parents=True)
    if name == "file":
        (folder / "note.txt").write_text("old")
    if name == "swap":
        (folder / "made").mkdir()
        (folder / "made/note.txt").write_text("old")


def held(folder: Path) -> dict[str, str]:
    return {
        p.relative_to(folder).as_posix(): p.read_text() for p in folder.rglob("*") if p.is_file()
    }


WRITERS = {"file": write_file, "folder": write_folder, "swap": swap_folder}


@pytest.mark.parametrize("name", WRITERS)
@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize(
    "error",
    [KeyboardInterrupt(), OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))],
    ids=["ctrl-c", "full"],
)
def test_an_error_at_any_step_leaves_old_or_new_and_no_temporary(
    name: str, after: bool, error: BaseException, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = WRITERS[name]
    path = "note.txt" if name == "file" else "made/note.txt"
    seed(tmp_path / "whole", name)
    old = held(tmp_path / "whole")
    with Steps().watched(monkeypatch) as steps:
        write(tmp_path / "whole")
    assert held(tmp_path / "whole") == {path: "new"}
    assert len(steps.names) >= 4
    for stop in range(1, len(steps.names) + 1):
        folder = tmp_path / str(stop)
        seed(folder, name)
        with (
            Steps(stop, after=after, error=error).watched(monkeypatch),
            suppress(type(error)),
        ):
            write(folder)
        assert held(folder) in (old, {path: "new"}), steps.names[stop - 1]
        assert not list(folder.rglob(".*")), steps.names[stop - 1]


def test_a_file_is_flushed_before_it_is_renamed_and_its_folder_after(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Steps().watched(monkeypatch) as steps:
        write_file(tmp_path)
    wanted = ["fsync .tmp", "replace .tmp", f"fsync {tmp_path.name.split('-')[0]}"]
    assert [n for n in steps.names if n.split()[0] in ("fsync", "replace")] == wanted


def test_a_folder_and_its_files_are_flushed_before_it_is_renamed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Steps().watched(monkeypatch) as steps:
        write_folder(tmp_path)
    begin = ["fsync note.txt", "fsync .tmp", "rename .tmp"]
    names = [n for n in steps.names if n.split()[0] in ("fsync", "rename")]
    assert names == [*begin, f"fsync {tmp_path.name.split('-')[0]}"]


def test_a_folder_that_is_not_durable_is_renamed_without_flushing_its_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with (
        Steps().watched(monkeypatch) as steps,
        io.atomic_directory(tmp_path / "made", durable=False) as staged,
    ):
        (staged / "note.txt").write_text("new")
    assert "fsync note.txt" not in steps.names
    assert held(tmp_path) == {"made/note.txt": "new"}


def test_a_folder_takes_the_place_of_an_empty_one_and_of_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "made").mkdir()
    write_folder(tmp_path)
    assert held(tmp_path) == {"made/note.txt": "new"}
    with pytest.raises(OSError, match="not empty"):
        write_folder(tmp_path)
    assert held(tmp_path) == {"made/note.txt": "new"}
    assert not list(tmp_path.glob(".*"))


def fail_half_way(context: AbstractContextManager[Path]) -> None:
    with context as path:
        (path / "c" if path.is_dir() else path).write_text("half")
        raise ZeroDivisionError


def test_an_exception_in_the_block_keeps_the_old_content(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("old")
    for context in (io.atomic_file(tmp_path / "a"), io.atomic_directory(tmp_path / "b")):
        with pytest.raises(ZeroDivisionError):
            fail_half_way(context)
    assert held(tmp_path) == {"a": "old"}
    assert not list(tmp_path.glob(".*"))


KILLED = """
import os, signal, sys
from pathlib import Path
from rsbench.core import io
folder = Path(sys.argv[1])
with io.temporary_directory(folder / "made") as made, io.temporary_file(folder / "a.txt") as text:
    (made / "b").write_text("half")
    text.write_text("half")
    (folder / "other").write_text("kept")
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_leftovers_of_a_killed_process_go_with_the_next_success(tmp_path: Path) -> None:
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    subprocess.run([sys.executable, "-c", KILLED, str(tmp_path)], env=env, check=False, timeout=60)
    left = list(tmp_path.glob(".tmp-*"))
    assert len(left) == 2
    other = tmp_path / left[0].name.replace(io._host(), "0" * 8)  # of another host
    other.touch()
    with io.temporary_file(tmp_path / "a.txt") as mine:  # of a process that is alive
        mine.touch()
        io.write_atomic(tmp_path / "a.txt", "new")
        assert {p.name for p in tmp_path.glob(".tmp-a*")} - {other.name} == {mine.name}
        assert len(list(tmp_path.glob(".tmp-made-*"))) >= 1
        with io.atomic_directory(tmp_path / "made"):
            pass
    assert list(tmp_path.glob(".tmp-*")) == [other]
    assert held(tmp_path) == {"a.txt": "new", "other": "kept", other.name: ""}


@pytest.mark.parametrize("number", [errno.EACCES, errno.EROFS, errno.ENOTDIR])
def test_a_closed_place_is_one_sentence_with_the_path_at_fault(number: int, tmp_path: Path) -> None:
    inside = tmp_path / ".tmp-a-1-2-3" / "b"
    with pytest.raises(InputError) as caught, io.disk_errors("writing A", "give another --out"):
        raise OSError(number, os.strerror(number), str(inside))
    found = f"{tmp_path} cannot be written to ({os.strerror(number)})"
    assert str(caught.value) == f"writing A: {found}. Make it writable, or give another --out"
    with pytest.raises(StoreError), io.disk_errors("writing A", "give another", StoreError):
        raise OSError(number, os.strerror(number), str(inside))


@pytest.mark.parametrize("number", sorted(io.FULL))
def test_a_full_device_is_named_and_other_errors_stay(number: int) -> None:
    with pytest.raises(DiskFull, match="no room left"), io.disk_errors("writing A", "give B"):
        raise OSError(number, os.strerror(number))
    with pytest.raises(DiskFull, match="as it was"), io.disk_errors("writing A", "give B"):
        raise DiskFull("as it was", "", "")
    with pytest.raises(OSError, match="busy"), io.disk_errors("writing A", "give B"):
        raise OSError(errno.EBUSY, "busy")


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (None, "is absent"),
        (b'{"a": 1', "is cut short or not JSON"),
        (b"\xff", "is cut short or not JSON"),
        (b"[" * 100_000, "is cut short or not JSON"),
        (b"[1]", "holds no JSON object"),
    ],
)
def test_json_that_cannot_be_read_is_one_sentence(
    content: bytes | None, found: str, tmp_path: Path
) -> None:
    path = tmp_path / "a.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError) as caught:
        io.read_json(path, "opening A", "Make A again")
    assert str(caught.value).startswith(f"opening A: a.json {found}")
    assert str(caught.value).endswith(". Make A again")
    with pytest.raises(InputError, match=f"reading {path}: it {found}"):
        io.read_json(path)


def test_a_folder_in_place_of_json_and_too_much_json_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(InputError, match="cannot be read"):
        io.read_json(tmp_path)
    (tmp_path / "a.json").write_text('{"a": 1}')
    monkeypatch.setattr(io, "MAX_JSON", 4)
    with pytest.raises(InputError, match="larger than"):
        io.read_json(tmp_path / "a.json")


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.text(st.characters(exclude_categories=["Cs"])), max_size=3),
    st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), st.integers()),
)
def test_what_is_written_is_read_back(texts: list[str], value: dict[str, int]) -> None:
    with tempfile.TemporaryDirectory() as place:
        path = Path(place) / "new" / "a.json"
        for text in texts:
            io.write_atomic(path, text)
            assert path.read_bytes() == text.encode()
        io.write_atomic(path, json.dumps(value).encode())
        assert io.read_json(path) == value
        assert [p.name for p in path.parent.iterdir()] == ["a.json"]


def test_a_pipe_or_device_is_not_replaced(tmp_path: Path) -> None:
    target = tmp_path / "pipe"
    os.mkfifo(target)
    with pytest.raises(InputError, match="it is a device or a pipe"):
        io.write_atomic(target, "x")
    assert target.is_fifo()
    assert list(tmp_path.iterdir()) == [target]
