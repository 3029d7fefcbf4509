"""Damage to bytes, text, JSON and YAML, drawn from a seeded generator."""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Callable
from random import Random
from typing import Any

Damage = Callable[[bytes, Random], bytes]

RAW = "\ue000"
"""Marks a text that is written into JSON as it is."""
ODD: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 2, 1.5, -0.0, 10**9, 10**30, 1e308, "", " ", "0", "-1", "nan",
    "infinity", "x" * 300, "../../etc/passwd", "/dev/null", "\ud800", "\x00", "é–𝔘", "2021-13-45",
    "0001-01-01T00:00:00Z", "9999-12-31T23:59:59+23:59", "file:///etc/passwd", "http://[::1", "*",
    "%s%n{0}", [], {}, [[]], [None], {"": None}, [1, 2, 3], "NaN", f"{RAW}NaN", f"{RAW}Infinity",
    f"{RAW}-Infinity", f"{RAW}1e999", f"{RAW}{'9' * 5000}", f"{RAW}{'[' * 2000}{']' * 2000}",
)  # fmt: skip
TOKENS = (
    "", "null", "true", "~", "-1", "0", "1.5", "1e999", ".inf", "nan", "inf", "9" * 5000, "''",
    '""', "'", '"', "[", "]",
    "{", "}", "[[", ":", "- ", "? ", "&a", "*a", "!!int x", "!!python/object:x",
    "%", "#", "@", "`", "|", ">", "---", "...", "\t", "\x00", "\x07", "\ufeff", "é", "𝔘", "\u2028",
    "2021-02-30", "1:30", "0x10", "0o9", "1_000", "yes", "../x", "x" * 2000, "= ", ",", ";", "\n",
)  # fmt: skip


def of_bytes(data: bytes, draw: Random) -> bytes:
    """Cut, flip, zero, repeat, insert or append bytes."""
    size = len(data)
    at = draw.randrange(size + 1)
    if draw.random() < 0.3:
        at = min(at, draw.randrange(1, 600))  # headers are at the beginning
    end = min(size, at + draw.choice((1, 1, 2, 4, 16, 256, 4096)))
    noise = draw.randbytes(max(1, end - at))
    kind = draw.randrange(9)
    if kind <= 2 and size:
        place = min(at, size - 1)
        return data[:place] + bytes([data[place] ^ 1 << draw.randrange(8)]) + data[place + 1 :]
    return {
        3: data[:at],
        4: data[:at] + noise + data[end:],
        5: data[:at] + bytes(end - at) + data[end:],
        6: data[:at] + data[end:],
        7: data[:at] + noise + data[at:],
    }.get(kind, data + noise)


def of_text(data: bytes, draw: Random) -> bytes:
    """Replace, repeat, drop or move words and lines, or damage bytes."""
    if draw.random() < 0.15:
        return of_bytes(data, draw)
    text = data.decode()
    words = list(re.finditer(r"[^\s,:\[\]{}\"'=]+", text))
    if words and draw.random() < 0.6:
        word = draw.choice(words)
        other = draw.choice(TOKENS) if draw.random() < 0.7 else draw.choice(words)[0]
        text = text[: word.start()] + other + text[word.end() :]
        return text.encode("utf-8", "surrogatepass")
    lines = text.splitlines(keepends=True)
    at, to = (draw.randrange(len(lines)) for _ in "ab") if lines else (0, 0)
    kind = draw.randrange(5)
    if kind == 0:
        lines[at:at] = [draw.choice(TOKENS) + "\n"]
    elif kind == 1:
        lines[at : at + 1] = []
    elif kind == 2:
        lines[at:at] = lines[to : to + 1]
    elif kind == 3:
        lines[at : at + 1] = [draw.choice(("  ", "\t", " ")) + lines[at]] if lines else []
    else:
        lines = lines[:at] + lines[at:][::-1]
    return "".join(lines).encode("utf-8", "surrogatepass")


def of_json(data: bytes, draw: Random) -> bytes:
    """Replace, drop, rename or repeat a value anywhere in a JSON document, or damage its text."""
    if draw.random() < 0.2:
        return of_text(data, draw) if draw.random() < 0.5 else of_bytes(data, draw)
    value = json.loads(data)
    for _ in range(draw.choice((1, 1, 1, 2, 3))):
        value = _changed(value, draw)
    return dumped(value)


def dumped(value: Any) -> bytes:
    """Return JSON in which texts behind the mark stand as they are."""
    text = json.dumps(value).replace("\\ue000", RAW)
    return re.sub(f'"{RAW}([^"]*)"', r"\1", text).encode()


def _changed(value: Any, draw: Random) -> Any:
    places = list(_places(value))
    if not places:
        return draw.choice(ODD)
    holder, key = draw.choice(places)
    kind = draw.random()
    if kind < 0.65:
        holder[key] = _odd(holder[key], draw)
    elif kind < 0.8:
        del holder[key]
    elif isinstance(holder, list):
        holder.insert(key, holder[key])
    else:
        holder[draw.choice((f"{key}x", "", "type", "id"))] = holder.pop(key)
    return value


def _odd(old: Any, draw: Random) -> Any:
    near: list[Any] = []
    if isinstance(old, int | float):
        near = [old + 1, -old, old * 10, float(old), str(old)]
    elif isinstance(old, str):
        near = [old + "x", old[:-1], old.upper(), [old], {"": old}]
    elif isinstance(old, list):
        near = [old * 2, old[:1], old[::-1], {str(i): v for i, v in enumerate(old)}]
    elif isinstance(old, dict):
        near = [list(old), list(old.values())]
    return draw.choice(near) if near and draw.random() < 0.35 else draw.choice(ODD)


def _places(value: Any) -> Any:
    if not isinstance(value, dict | list):
        return
    for key, inner in list(value.items() if isinstance(value, dict) else enumerate(value)):
        yield value, key
        yield from _places(inner)


def of_gzip(inner: Damage) -> Damage:
    """Damage the compressed bytes, or the content and compress it again."""

    def damage(data: bytes, draw: Random) -> bytes:
        if draw.random() < 0.5:
            return of_bytes(data, draw)
        return gzip.compress(inner(gzip.decompress(data), draw), mtime=0)

    return damage
