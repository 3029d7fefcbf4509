"""Seeds, the global random state, signals and memory errors of a training."""

from __future__ import annotations

import random
import signal
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import numpy as np
import torch

from rsbench.core.digest import sha256_json
from rsbench.core.errors import TrainingError

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interrupted(TrainingError):
    """Training was stopped by a signal; its state is on disk."""

    exit_code = 130


def derive(seed: int, *parts: int | str) -> int:
    """Return a 63-bit seed of a named purpose."""
    return int(sha256_json([seed, *parts])[:16], 16) >> 1


def seed_all(seed: int) -> None:
    """Seed every global generator that a model may draw from."""
    random.seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002 - a model may draw from the old global generator
    torch.manual_seed(seed)


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seed the global generators for a while and put their states back afterwards."""
    cuda: Any = torch.cuda
    python, numpy, cpu = random.getstate(), np.random.get_state(), torch.get_rng_state()  # noqa: NPY002
    gpus = cuda.get_rng_state_all() if cuda.is_initialized() else None
    seed_all(seed)
    try:
        yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)  # noqa: NPY002
        torch.set_rng_state(cpu)
        if gpus is not None:
            cuda.set_rng_state_all(gpus)


@contextmanager
def deterministic(device: torch.device) -> Iterator[None]:
    """Use deterministic algorithms on the CPU, for a while.

    On a GPU some operations have none, and others are slow: seeds and order are fixed there, the
    last bits are not.
    """
    if device.type != "cpu":
        yield
        return
    before = torch.are_deterministic_algorithms_enabled()
    warn = torch.is_deterministic_algorithms_warn_only_enabled()
    memory: Any = torch.utils.deterministic
    filling = memory.fill_uninitialized_memory
    torch.use_deterministic_algorithms(True, warn_only=True)
    memory.fill_uninitialized_memory = False
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*deterministic.*", category=UserWarning)
            yield
    finally:
        torch.use_deterministic_algorithms(before, warn_only=warn)
        memory.fill_uninitialized_memory = filling


class StopSign:
    """First Ctrl-C or SIGTERM: stop after the current step. Second: stop at once."""

    def __init__(self) -> None:
        self.received: int | None = None

    def _receive(self, number: int, frame: FrameType | None) -> None:
        if self.received is not None:
            raise KeyboardInterrupt
        self.received = number

    @contextmanager
    def watching(self) -> Iterator[StopSign]:
        """Watch for signals; outside the main thread there are none to watch."""
        if threading.current_thread() is not threading.main_thread():
            yield self
            return
        before: dict[int, Any] = {s: signal.signal(s, self._receive) for s in SIGNALS}
        try:
            yield self
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def is_out_of_memory(error: BaseException) -> bool:
    """Say whether an error means that memory ran out."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    text = str(error).lower()
    return isinstance(error, RuntimeError) and (
        "out of memory" in text or "can't allocate memory" in text or "not enough memory" in text
    )
