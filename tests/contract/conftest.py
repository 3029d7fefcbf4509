"""Toy models run fastest on one thread, far fastest on a busy machine."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True, scope="module")
def _one_thread(one_thread: None) -> None:
    """Use one thread in every test of this folder."""
