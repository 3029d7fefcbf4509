"""Settings of all tests."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True, scope="module")
def _no_flush(request: pytest.FixtureRequest) -> Iterator[None]:
    """Do not wait for the disk, which only a power failure would show; benchmarks do wait."""
    with pytest.MonkeyPatch.context() as patch:
        if "bench" not in request.path.parts:
            patch.setattr(os, "fsync", lambda handle: None)
        yield


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """Compute on one thread: of small networks, several are slower."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(autouse=True)
def _normal_detail() -> None:
    """A command called in this process leaves how much it printed; a process starts anew."""
    from rsbench.core.progress import Detail, set_detail

    set_detail(Detail.NORMAL)
