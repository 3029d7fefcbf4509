"""The STAC documents of a folder, made ready to be served."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from urllib.parse import quote

CONFORMANCE = (
    "https://api.stacspec.org/v1.0.0/core",
    "https://api.stacspec.org/v1.0.0/collections",
    "https://api.stacspec.org/v1.0.0/ogcapi-features",
    "https://api.stacspec.org/v1.0.0/item-search",
    "https://api.stacspec.org/v1.0.0/item-search#query",
    "https://api.stacspec.org/v1.0.0/item-search#sort",
    "http://www.opengis.net/spec/ogcapi-features-1/1.0/conf/core",
    "http://www.opengis.net/spec/ogcapi-features-1/1.0/conf/geojson",
)


class Catalogue:
    """The STAC documents below a folder, asset links made absolute."""

    def __init__(self, root: Path, base: str) -> None:
        self.base = base
        self.collections: dict[str, dict[str, Any]] = {}
        self.items: list[dict[str, Any]] = []
        for path in sorted(root.rglob("*.json")):
            if any(part.startswith(".") for part in path.relative_to(root).parts):
                continue
            document = json.loads(path.read_text(encoding="utf-8"))
            if not isinstance(document, dict):
                continue
            folder = path.parent.relative_to(root).as_posix()
            if document.get("type") == "Collection":
                self._add_collection(document)
            elif document.get("type") == "Feature" and "stac_version" in document:
                self._add_item(document, folder)
        self.by_id = {(item["collection"], item["id"]): item for item in self.items}

    def _add_collection(self, document: dict[str, Any]) -> None:
        here = f"{self.base}/collections/{quote(document['id'])}"
        links = [
            link_to("self", here),
            link_to("root", f"{self.base}/"),
            link_to("parent", f"{self.base}/"),
            link_to("items", f"{here}/items", kind="application/geo+json"),
        ]
        self.collections[document["id"]] = {**document, "links": links}

    def _add_item(self, document: dict[str, Any], folder: str) -> None:
        collection = document.get("collection", "")
        here = f"{self.base}/collections/{quote(collection)}"
        links = [
            link_to("self", f"{here}/items/{quote(document['id'])}", kind="application/geo+json"),
            link_to("collection", here),
            link_to("parent", here),
            link_to("root", f"{self.base}/"),
        ]
        assets = {
            key: {**asset, "href": self._absolute(asset["href"], folder)}
            for key, asset in document.get("assets", {}).items()
        }
        self.items.append({**document, "collection": collection, "links": links, "assets": assets})

    def _absolute(self, href: str, folder: str) -> str:
        if "://" in href or href.startswith("/"):
            return href
        parts: list[str] = []
        for part in f"{folder}/{href}".split("/"):
            if part == "..":
                parts = parts[:-1]
            elif part not in ("", "."):
                parts.append(part)
        return f"{self.base}/{quote('/'.join(parts))}"

    def landing(self) -> dict[str, Any]:
        """Return the landing page."""
        base = self.base
        links = [
            link_to("self", f"{base}/"),
            link_to("root", f"{base}/"),
            link_to("conformance", f"{base}/conformance"),
            link_to("data", f"{base}/collections"),
            {**link_to("search", f"{base}/search", kind="application/geo+json"), "method": "GET"},
            {**link_to("search", f"{base}/search", kind="application/geo+json"), "method": "POST"},
            *(link_to("child", f"{base}/collections/{quote(name)}") for name in self.collections),
        ]
        return {
            "type": "Catalog",
            "id": "rsbench-local",
            "title": "Local catalogue",
            "description": "STAC items and rasters of one folder, served on this machine.",
            "stac_version": "1.0.0",
            "conformsTo": list(CONFORMANCE),
            "links": links,
        }


def link_to(rel: str, href: str, *, kind: str = "application/json") -> dict[str, Any]:
    """Return a STAC link."""
    return {"rel": rel, "type": kind, "href": href}
