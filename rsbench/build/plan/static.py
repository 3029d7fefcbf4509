"""Static catalogues that are no folder: at an http(s) address, or one file with all items."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

from rsbench.build.plan.href import is_static, is_web
from rsbench.build.plan.search import TIMEOUT, ApiCatalogue, Catalogue, FolderCatalogue, Item
from rsbench.core.errors import InputError
from rsbench.core.io import parse_json

THREADS = 8
_MOST = 100_000
"""Documents of one catalogue."""


def open_static(address: str) -> Catalogue:
    """Return the catalogue at an address, in a folder, or in a file.

    Args:
        address: a STAC API; the address of a static ``catalog.json``, ``collection.json`` or
            ItemCollection, which ends in ``.json``; a folder of static JSON; or such a file.

    Raises:
        InputError: if a file holds none of these.
    """
    if is_web(address):
        return WebCatalogue(address) if is_static(address) else ApiCatalogue(address)
    path = Path(address)
    return FolderCatalogue(path) if path.is_dir() else FileCatalogue(path)


class WebCatalogue(FolderCatalogue):
    """A static catalogue, or an ItemCollection, at an http(s) address; read once as a whole."""

    what = "the catalogue"

    def __init__(self, url: str) -> None:
        self.url = url
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
                    yield from items_in(document, url)
                    following += [urljoin(url, href) for href in _children(document)]
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

    def __init__(self, path: Path) -> None:
        super().__init__(path.resolve().parent)
        self._path = path.resolve()
        self.url = str(self._path)

    def _walk(self) -> Iterator[Item]:
        document = self._read(self._path)
        if document.get("type") in ("Catalog", "Collection"):
            yield from self._walk_from([self._path])
            return
        yield from items_in(document, self.url)


def items_in(document: Mapping[str, Any], url: str) -> Iterator[Item]:
    """Yield the items of a document: itself, or those of an ItemCollection.

    Raises:
        InputError: if an ItemCollection says that it is one page of several.
    """
    if document.get("type") == "Feature" and "stac_version" in document:
        yield {**document, "_url": url}
    if document.get("type") != "FeatureCollection":
        return
    features = document.get("features") or ()
    matched = document.get("numberMatched")
    if any(link.get("rel") == "next" for link in document.get("links") or ()) or (
        isinstance(matched, int) and matched != len(features)
    ):
        raise InputError(
            f"reading {url}",
            f"it is one page of a search, with {len(features)} items",
            "Save all items of the search in one ItemCollection",
        )
    for item in features:
        yield {**item, "_url": url}


def _children(document: Mapping[str, Any]) -> Iterator[str]:
    for link in document.get("links") or ():
        if link.get("rel") in ("child", "item"):
            yield str(link["href"])


class _Session:
    """Requests of one catalogue, with guarded addresses and retries."""

    def __init__(self, url: str) -> None:
        from requests import Session
        from urllib3 import Retry

        from rsbench.build.plan.http import Guarded

        retry = Retry(total=3, connect=2, backoff_factor=0.5, status_forcelist=[429, 502, 503, 504])
        self._guard = Guarded(url, max_retries=retry)
        self._session = Session()
        for scheme in ("http://", "https://"):
            self._session.mount(scheme, self._guard)

    def __enter__(self) -> _Session:
        return self

    def __exit__(self, *_: object) -> None:
        self._session.close()

    def document(self, url: str) -> dict[str, Any]:
        """Return the JSON object at an address.

        Raises:
            InputError: if the address is private, or no JSON object is there.
            OSError: if the address cannot be reached.
        """
        from requests.exceptions import RequestException

        try:
            reply = self._session.get(url, timeout=TIMEOUT)
        except RequestException as error:
            raise OSError(f"{url} cannot be read: {type(error).__name__}") from None
        if reply.status_code != 200:
            raise OSError(f"{url} cannot be read: status {reply.status_code}")
        return parse_json(reply.content, f"reading {url}", "Give the address of a catalog.json")
