"""Random damage of files."""

from __future__ import annotations

import random


def spoiled(content: bytes, draw: random.Random) -> bytes:
    """Return content with a flipped bit, a zeroed or removed stretch, or a byte changed.

    It always differs from ``content``.
    """
    while True:
        at, length, kind = draw.randrange(len(content)), draw.randrange(1, 40), draw.randrange(5)
        if kind == 0:
            made = (
                content[:at] + bytes([content[at] ^ (1 << draw.randrange(8))]) + content[at + 1 :]
            )
        elif kind == 1:
            made = content[:at] + b"\0" * min(length, len(content) - at) + content[at + length :]
        elif kind == 2:
            made = content[:at] + content[at + length :]
        elif kind == 3:
            made = content[:at]
        else:
            made = content[:at] + bytes([draw.choice(b"0123456789-.e,")]) + content[at + 1 :]
        if made != content:
            return made
