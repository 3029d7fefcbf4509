"""How long is waited for others: a limit in seconds each, with the variable that changes it."""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Callable
from concurrent.futures import Future, wait
from dataclasses import dataclass
from threading import Thread
from typing import Generic, TypeVar

from rsbench.core.errors import InputError

T = TypeVar("T")

NOTICE = 15.0
"""Seconds after which the terminal says what is waited for."""
LONGEST = 7 * 24 * 3600.0


@dataclass(frozen=True, slots=True)
class Limit:
    """Seconds to wait, by default and at most; ``setting``: the variable that changes them."""

    setting: str
    default: float

    @property
    def seconds(self) -> float:
        """Seconds, as the environment states them, else the default.

        Raises:
            InputError: if the environment states no positive number.
        """
        text = os.environ.get(self.setting, "").strip()
        try:
            value = float(text) if text else self.default
        except ValueError:
            value = math.nan
        if not 0 < value <= LONGEST:
            raise InputError(
                f"the variable {self.setting}",
                f"{text!r} is no number of seconds",
                f"Give a number above 0 and up to {LONGEST:.0f}, or unset it",
            )
        return value

    def passed(self, what: str) -> InputError:
        """Return the error for something that took longer."""
        limit = self.seconds
        return InputError(
            what,
            f"no complete answer came within {limit:g} s",
            f"Try again later, or wait longer: {self.setting}={2 * limit:g}",
        )

    def say(self, what: str) -> None:
        """Say on the terminal what is waited for, how long, and how to change it."""
        logging.getLogger(__name__).warning(
            "waiting for %s: given up after %g s; %s=SECONDS changes this",
            what,
            self.seconds,
            self.setting,
        )


REQUEST = Limit("RSBENCH_REQUEST_SECONDS", 120.0)
"""One request to a catalogue, with its retries."""
SEARCH = Limit("RSBENCH_SEARCH_SECONDS", 900.0)
"""One search of a region: all its pages and repetitions."""
FILE = Limit("RSBENCH_FILE_SECONDS", 300.0)
"""The pixels of one file, with retries."""


class Waiting(Generic[T]):
    """Something that runs in the background, and for which is waited up to a limit.

    Args:
        limit: seconds to wait at most.
        what: what is waited for, for the terminal and the error.
        run: must leave nothing behind that others use; it goes on if it takes too long.
    """

    def __init__(self, limit: Limit, what: str, run: Callable[[], T]) -> None:
        self._limit, self._what, self._run = limit, what, run
        self._done: Future[T] = Future()
        # A daemon: a program that ends does not wait for a server that never answers.
        Thread(target=self._work, name="rsbench-wait", daemon=True).start()

    def _work(self) -> None:
        try:
            self._done.set_result(self._run())
        except BaseException as error:  # noqa: BLE001 - raised again in the thread that waits
            self._done.set_exception(error)

    def result(self, left: float = math.inf) -> T:
        """Return the result.

        Args:
            left: seconds to wait, where they are fewer because a part of the limit is over.

        Raises:
            InputError: if the limit passed.
        """
        seconds = min(self._limit.seconds, left)
        if not wait([self._done], min(NOTICE, seconds)).done:
            if seconds > NOTICE:
                self._limit.say(self._what)
            if seconds <= NOTICE or not wait([self._done], seconds - NOTICE).done:
                raise self._limit.passed(self._what)
        return self._done.result()
