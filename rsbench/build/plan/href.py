"""Asset links: reduced to what identifies a file, and refused where they are not safe.

A link is kept without query, fragment or credentials. Inside its catalogue (same origin, or below
the same folder) it is kept as a relative path, so that a lock holds on any host and port.
"""

from __future__ import annotations

import ipaddress
import posixpath
import re
import socket
from functools import cache, lru_cache
from pathlib import Path
from urllib.parse import SplitResult, quote, unquote, urljoin, urlsplit, urlunsplit

from rsbench.core.errors import InputError

SERVED = "files/"
"""Where older versions of rsbench served the files of a folder."""


def is_web(text: str) -> bool:
    """Return whether a catalogue or link is an http(s) address."""
    return text.startswith(("http://", "https://"))


def is_static(address: str) -> bool:
    """Return whether an http(s) address is that of a static document, and not of an API."""
    return is_web(address) and urlsplit(address).path.endswith(".json")


def local(text: str) -> str:
    """Return the path of a ``file://`` address; any other text as it is."""
    return unquote(_split(text).path) if text.startswith("file://") else text


def folder_of(catalogue: str) -> Path:
    """Return the folder of a local catalogue: itself, or that of its first document."""
    root = Path(catalogue).resolve()
    return root.parent if root.is_file() else root


def _base(catalogue: str) -> str:
    """Return the path below which links of a web catalogue are relative: ``/`` for an API."""
    path = urlsplit(catalogue).path
    return path.rpartition("/")[0] + "/" if is_static(catalogue) else "/"


def shown(address: str) -> str:
    """Return an address for messages: one short line without query, fragment or credentials."""
    plain = re.sub(r"//[^/@]*@", "//", re.split("[?#]", address, maxsplit=1)[0])
    return repr(plain if len(plain) <= 200 else f"{plain[:199]}…")[1:-1]


def reduce_href(href: str, item_url: str, catalogue: str) -> str:
    """Return the form of an asset link that a lock keeps.

    Args:
        href: link as the item states it, absolute or relative to the item.
        item_url: address or file of the item.
        catalogue: API address, or folder of a static catalogue.

    Raises:
        InputError: if the link is broken, leads elsewhere or is of another kind.
    """
    full = href if "://" in href else _join(item_url, href)
    scheme = _split(full).scheme if "://" in full else "file"
    if scheme in ("http", "https"):
        return _reduce_web(full, catalogue)
    if scheme == "file" and not is_web(catalogue):
        return _inside(local(full), folder_of(catalogue), href)
    raise _refused(href, f"links of the kind {scheme}:// are not read from this catalogue")


def resolve_href(kept: str, catalogue: str) -> str:
    """Return the address or file behind a link that a lock keeps.

    Raises:
        InputError: if the link leads out of its catalogue; a lock may come from anywhere.
    """
    require_kept(kept)
    if is_web(kept):
        return _clean_web(kept, catalogue)
    if is_web(catalogue):
        parts = urlsplit(catalogue)
        below = _base(catalogue) + (quote(kept) if is_static(catalogue) else kept)
        return urlunsplit((parts.scheme, parts.netloc, below, "", ""))
    root = folder_of(catalogue)
    path = (root / _from_folder(kept, root)).resolve()
    if not path.is_relative_to(root):
        raise _refused(kept, "it leads out of its catalogue")
    return str(path)


def _from_folder(kept: str, root: Path) -> str:
    """Return a kept link as a path in a folder.

    Locks that were searched at a server of this folder name its files below ``files/``.
    """
    served = kept.startswith(SERVED) and not (root / SERVED).is_dir()
    return kept.removeprefix(SERVED) if served else kept


def require_kept(kept: str) -> None:
    """Refuse a kept link that is neither an address nor a path inside its catalogue."""
    inside = "://" not in kept and not kept.startswith(("/", "\\")) and ".." not in kept.split("/")
    if not (is_web(kept) or inside):
        raise _refused(kept, "it leads out of its catalogue")


def identity(kept: str) -> str:
    """Return what of a kept link enters a digest: its path, without scheme, host and port."""
    return urlsplit(kept).path.lstrip("/") if is_web(kept) else kept


def _join(item_url: str, href: str) -> str:
    if is_web(item_url):
        try:
            return urljoin(item_url, href)
        except ValueError as error:
            raise _refused(href, "it is no address") from error
    folder, bare = Path(item_url).parent, href.partition("?")[0]
    for name in (href, unquote(href), bare):
        try:
            if (folder / name).exists():
                return str(folder / name)
        except OSError as error:
            raise _refused(href, f"it is no name of a file ({error.strerror})") from error
    return str(folder / unquote(bare))


@lru_cache(256)
def _split(address: str) -> SplitResult:
    """Return the parts of an address whose host and port can be read.

    The addresses of the catalogue and of the file under way are asked for several times.
    """
    try:
        parts = urlsplit(address)
        parts.port, parts.hostname  # noqa: B018 - both raise ValueError where they are malformed
    except ValueError as error:
        raise _refused(address, "it is no address") from error
    return parts


def _reduce_web(full: str, catalogue: str) -> str:
    clean = _clean_web(full, catalogue)
    parts, home = _split(clean), _split(catalogue)
    if (parts.scheme, parts.netloc) != (home.scheme, home.netloc):
        return clean
    base = _base(catalogue)
    if not parts.path.startswith(base):
        return clean
    path = parts.path.removeprefix(base).lstrip("/")
    kept = unquote(path) if is_static(catalogue) else path
    require_kept(kept)
    return kept


def _clean_web(full: str, catalogue: str) -> str:
    parts = _split(full)
    if parts.username or parts.password or not parts.hostname:
        raise _refused(f"{parts.scheme}://…{parts.path}", "it carries credentials or has no host")
    home = _split(catalogue).hostname if is_web(catalogue) else None
    if is_private(parts.hostname) and parts.hostname != home:
        raise _refused(
            f"{parts.scheme}://{parts.netloc}{parts.path}",
            "it points into a private network that the catalogue is not part of",
        )
    path = posixpath.normpath(parts.path) if ".." in parts.path.split("/") else parts.path
    return urlunsplit((parts.scheme, parts.netloc, path, "", ""))


@lru_cache(256)
def is_private(host: str) -> bool:
    """Return whether a host's name or number belongs to a private or local network."""
    host = host.rstrip(".").lower()
    if host == "localhost" or host.endswith((".localhost", ".local", ".internal")):
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        try:
            # System resolvers also accept 127.1, 2130706433 and 0x7f.1 as addresses.
            address = ipaddress.IPv4Address(socket.inet_aton(host))
        except (OSError, ValueError):
            return False
    if isinstance(address, ipaddress.IPv6Address):
        address = address.ipv4_mapped or address.sixtofour or address
    return not address.is_global or address.is_multicast


def require_public(url: str, catalogue: str) -> None:
    """Refuse an address in a private network, by number or by name, before a request is made.

    If the catalogue's own host is private, its links may be private too.

    Raises:
        InputError: if so.
    """
    _clean_web(url, catalogue)
    host = urlsplit(url).hostname or ""
    home = (urlsplit(catalogue).hostname or "") if is_web(catalogue) else ""
    if host != home and _leads_inside(host) and not (home and _leads_inside(home)):
        raise _refused(
            url, "its name leads into a private network that the catalogue is not part of"
        )


def redirected(url: str, location: str, catalogue: str) -> str:
    """Return where a redirect leads, before it is followed.

    Args:
        url: address that was asked for.
        location: where it redirects to, absolute or relative.
        catalogue: address whose private network the target may be in.

    Raises:
        InputError: if it leads to another scheme, from https to http, or into a private network.
    """
    try:
        target = urljoin(url, location) if location else ""
        scheme = urlsplit(target).scheme
    except ValueError:
        target = scheme = ""
    problem = "redirects to http(s) only are followed, and none from https to http"
    if scheme == "https" or (scheme == "http" and not url.startswith("https")):
        try:
            require_public(target, catalogue)
        except InputError as error:
            problem = error.found
        else:
            return target
    raise InputError(
        f"reading {shown(url)}",
        f"it redirects to {shown(location) or 'no address'}: {problem}",
        "Use another address, or tell its provider",
    )


@cache
def _leads_inside(host: str) -> bool:
    if is_private(host):
        return True
    try:
        found = socket.getaddrinfo(host, None)
    except (OSError, UnicodeError):
        return False  # not resolved here; a proxy may resolve it, or the request fails
    return any(is_private(str(entry[4][0]).partition("%")[0]) for entry in found)


def _inside(path: str, root: Path, href: str) -> str:
    try:
        whole, base = Path(path).resolve(), root.resolve()
    except (OSError, ValueError, RuntimeError) as error:
        raise _refused(href, "it is no name of a file") from error
    if not whole.is_relative_to(base):
        raise _refused(href, f"it leads out of the catalogue's folder {root}")
    return whole.relative_to(base).as_posix()


def _refused(href: str, problem: str) -> InputError:
    return InputError(
        f"asset link {shown(href)}",
        problem,
        "Only http, https and files inside the catalogue are read",
    )
