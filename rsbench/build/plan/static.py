"""Open catalogues; static ones also at an http(s) address, or as one file with all items."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

from rsbench.build.plan.href import is_static, is_web, shown
from rsbench.build.plan.items import Item, links_of, read_json_text, read_page
from rsbench.build.plan.omissions import NOTHING, LeavingOut
from rsbench.build.plan.patience import SEARCH
from rsbench.build.plan.search import ApiCatalogue, Catalogue, FolderCatalogue, read_or_leave
from rsbench.core.errors import InputError

THREADS = 8
_MOST = 100_000
"""Documents of one catalogue."""


def open_catalogue_at(address: str, leaving: LeavingOut = NOTHING) -> Catalogue:
    """Return the catalogue at an address, in a folder, or in a file.

    Args:
        address: a STAC API; the address of a static ``catalog.json``, ``collection.json`` or
            ItemCollection, which ends in ``.json``; a folder of static JSON; or such a file.
        leaving: which of its items may be left out.
    """
    if is_web(address):
        return (
            WebCatalogue(address, leaving) if is_static(address) else ApiCatalogue(address, leaving)
        )
    path = Path(address)
    return FolderCatalogue(path, leaving) if path.is_dir() else FileCatalogue(path, leaving)


class WebCatalogue(FolderCatalogue):
    """A static catalogue, or an ItemCollection, at an http(s) address; read once as a whole."""

    what = "the catalogue"

    def __init__(self, url: str, leaving: LeavingOut = NOTHING) -> None:
        self.url = url
        self._leaving = leaving
        self._items: list[Item] | None = None
        self._reading = threading.Lock()

    def _all(self) -> list[Item]:
        with self._reading:
            return super()._all()

    def _walk(self) -> Iterator[Item]:
        level, seen = [self.url], {self.url}
        with _Session(self.url) as session, ThreadPoolExecutor(THREADS) as pool:
            while level:
                documents = list(pool.map(session.document, level))
                following = []
                for url, document in zip(level, documents, strict=True):
                    yield from items_in(document, url, self._leaving)
                    following += [urljoin(url, href) for href in _children(document, url)]
                level = [url for url in dict.fromkeys(following) if url not in seen]
                seen.update(level)
                if len(seen) > _MOST:
                    raise InputError(
                        f"reading the catalogue {self.url}",
                        f"it holds more than {_MOST} documents",
                        "Give the address of one of its collections",
                    )


class FileCatalogue(FolderCatalogue):
    """One file: an ItemCollection, or the first document of a static catalogue in its folder."""

    what = "the file"

    def __init__(self, path: Path, leaving: LeavingOut = NOTHING) -> None:
        super().__init__(path.resolve().parent, leaving)
        self._path = path.resolve()
        self.url = str(self._path)

    def _walk(self) -> Iterator[Item]:
        document = self._read(self._path)
        if document.get("type") in ("Catalog", "Collection"):
            yield from self._walk_from([self._path])
            return
        yield from items_in(document, self.url, self._leaving)


def items_in(document: Mapping[str, Any], url: str, leaving: LeavingOut) -> Iterator[Item]:
    """Yield the items of a document: itself, or those of an ItemCollection.

    Raises:
        InputError: if an ItemCollection says that it is one page of several, or an item is
            malformed.
    """
    if document.get("type") == "Feature" and "stac_version" in document:
        yield {**read_or_leave(document, url, leaving), "_url": url}
    if document.get("type") != "FeatureCollection":
        return
    features, matched, follows = read_page(document, url)
    if follows or matched not in (None, len(features)):
        raise InputError(
            f"reading {shown(url)}",
            f"it is one page of a search, with {len(features)} items",
            "Save all items of the search in one ItemCollection",
        )
    for item in features:
        yield {**read_or_leave(item, url, leaving), "_url": url}


def _children(document: Mapping[str, Any], url: str) -> Iterator[str]:
    if document.get("type") != "FeatureCollection":
        links = links_of(document, f"reading {shown(url)}")
        yield from (href for rel, href in links if rel in ("child", "item"))


class _Session:
    """Requests of one catalogue, with checked addresses, retries and limits of size and time."""

    def __init__(self, url: str) -> None:
        from requests import Session

        from rsbench.build.plan.http import Guarded, SearchState

        self._session = Session()
        self._url, self._end = url, time.monotonic() + SEARCH.seconds
        for scheme in ("http://", "https://"):
            self._session.mount(scheme, Guarded(url, SearchState()))

    def __enter__(self) -> _Session:
        return self

    def __exit__(self, *_: object) -> None:
        self._session.close()

    def document(self, url: str) -> dict[str, Any]:
        """Return the JSON object at an address.

        Raises:
            InputError: if the address is private, no JSON object is there, or the whole catalogue
                takes longer than a search may.
            OSError: if the address cannot be reached.
        """
        from requests.exceptions import RequestException

        from rsbench.build.plan.http import SOCKET_TIMEOUT

        if time.monotonic() > self._end:
            raise SEARCH.passed(f"reading the catalogue {shown(self._url)}")
        try:
            reply = self._session.get(url, timeout=SOCKET_TIMEOUT)
        except RequestException as error:
            raise OSError(f"{shown(url)} cannot be read: {type(error).__name__}") from None
        if reply.status_code != 200:
            raise OSError(f"{shown(url)} cannot be read: status {reply.status_code}")
        value = read_json_text(reply.content, f"reading {shown(url)}")
        return value if isinstance(value, dict) else {}
