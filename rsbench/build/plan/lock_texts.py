"""The regions of a lock as JSON texts, each read when it is asked for.

A lock of 10 000 regions names a million scenes. As objects they take ten times the room of their
text, and most uses of a lock need few of its regions.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any

from rsbench.build.plan.lock_items import Found, found_json, found_of
from rsbench.core.digest import canonical_json
from rsbench.core.errors import InputError, first_line

MALFORMED = (LookupError, TypeError, ValueError, AttributeError, ArithmeticError, RecursionError)
"""What reading a value of a wrong kind raises."""
KEPT = 16
"""Regions that are kept after they were read."""
_START, _END = b',"regions":{', b'},"schema":'


class RegionTexts(Mapping[str, Found]):
    """The scenes of regions.

    Args:
        texts: region → JSON text, as ``found_json`` makes it.
        asked: the operation, for the message about a text that cannot be read.
        packed: whether the texts are compressed, as :func:`packed` makes them.
    """

    def __init__(
        self, texts: Mapping[str, bytes | memoryview], asked: str = "", *, packed: bool = False
    ) -> None:
        self._texts, self._asked, self._packed = texts, asked, packed
        self._read = lru_cache(KEPT)(self._parsed)

    def __getitem__(self, name: str) -> Found:
        """Return the scenes of a region.

        Raises:
            InputError: if its text cannot be read.
        """
        self._texts[name]
        return self._read(name)

    def __iter__(self) -> Iterator[str]:
        return iter(self._texts)

    def __len__(self) -> int:
        return len(self._texts)

    def text(self, name: str) -> bytes:
        """Return the JSON text of a region."""
        held = self._texts[name]
        return zlib.decompress(held) if self._packed else bytes(held)

    def _parsed(self, name: str) -> Found:
        try:
            return found_of(json.loads(self.text(name)))
        except InputError as error:
            raise InputError(self._asked, error.found, error.remedy) from error
        except MALFORMED as error:
            raise unreadable(self._asked, error) from error


def packed(found: Found) -> bytes:
    """Return the compressed JSON text of the scenes of one region."""
    return zlib.compress(canonical_json(found_json(found)).encode(), 1)


def text_in(regions: Mapping[str, Found], name: str) -> bytes:
    """Return the JSON text of one of some regions."""
    if isinstance(regions, RegionTexts):
        return regions.text(name)
    return canonical_json(found_json(regions[name])).encode()


def unreadable(asked: str, error: BaseException) -> InputError:
    """Return the error for a lock whose content is malformed."""
    found = f"its content cannot be read ({type(error).__name__}: {first_line(error)[:80]})"
    return InputError(asked, found, "Search again without --lock")


def split(data: bytes, asked: str) -> tuple[dict[str, Any], RegionTexts] | None:
    """Return a lock without its regions, and these as texts; None if it is laid out otherwise.

    Only the places of the regions are looked for. What stands between them is read later.

    Args:
        data: canonical JSON, as :meth:`rsbench.build.plan.lock.Lock.save` writes it.
        asked: the operation, for the message about a text that cannot be read.
    """
    start, end = data.find(_START), data.rfind(_END)
    if not 0 <= start < end:
        return None
    try:
        value = json.loads(data[:start] + b"}") | json.loads(b"{" + data[end + 2 :])
        names = sorted(value["places"])
    except MALFORMED:
        return None
    texts = _texts(data, start + len(_START), end, names)
    return None if texts is None else (value, RegionTexts(texts, asked))


def _texts(data: bytes, at: int, end: int, names: list[str]) -> dict[str, memoryview] | None:
    """Return region → text; None if the texts are not one after the other, in order."""
    view, found = memoryview(data), dict[str, memoryview]()
    marks = [canonical_json(name).encode() + b":" for name in names]
    for name, mark, after in zip(names, marks, [*marks[1:], b""], strict=True):
        if not data.startswith(mark, at):
            return None
        begin = at + len(mark)
        stop = data.find(b"," + after, begin, end) if after else end
        if stop < 0 or data.count(b"{", begin, stop) != data.count(b"}", begin, stop):
            return None
        found[name], at = view[begin:stop], stop + 1
    return found
