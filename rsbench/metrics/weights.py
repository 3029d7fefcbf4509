"""Weight files of perceptual metrics: where they are, whether they are whole, how to get them.

Files are found by name in ``RSBENCH_WEIGHTS``, in rsbench's own cache and in torch's hub cache,
and used only if their SHA-256 is the one listed here. Nothing in this module opens a file other
than to hash it, and it imports no torch.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from http.client import HTTPException, HTTPMessage
from pathlib import Path
from typing import IO, Any

from rsbench.core.digest import sha256_file
from rsbench.core.errors import InputError, MetricUnavailable, unknown
from rsbench.core.io import atomic_file, disk_errors
from rsbench.core.paths import cache_dir

SETTING = "RSBENCH_WEIGHTS"
SCHEMES = ("https",)
TIMEOUT = 60.0
BLOCK = 1 << 20
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Weights:
    """One set of weights.

    Args:
        name: what metrics ask for.
        files: file name → SHA-256; any one of them serves. The first is the published file,
            the others hold its feature layers only.
        url: where the published file is fetched from.
        bytes: size of the published file, about.
        metrics: ids that need it.
        licence: of the weights; what they were trained on has terms of its own.
        packaged: ``(package, path in it)`` of installed packages that bring the same file.
    """

    name: str
    files: tuple[tuple[str, str], ...]
    url: str
    bytes: int
    metrics: tuple[str, ...]
    licence: str
    packaged: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Status:
    """One line of `weights check`; ``state`` is ``ok``, ``altered`` or ``absent``."""

    name: str
    state: str
    path: str | None
    sha256: str | None
    metrics: str


_TORCH = "https://download.pytorch.org/models/"
_IMAGENET = "BSD-3-Clause; trained on ImageNet-1k (non-commercial research terms)"
_LPIPS = (
    "https://raw.githubusercontent.com/richzhang/PerceptualSimilarity/master/lpips/weights/v0.1/"
)


def _heads(net: str, digest: str, size: int) -> Weights:
    """The five to seven 1 × 1 layers of LPIPS 0.1 for one network."""
    return Weights(
        f"lpips-{net}",
        ((f"lpips-v0.1-{net}.pth", digest),),
        f"{_LPIPS}{net}.pth",
        size,
        (f"lpips.{net}@1",),
        "BSD-2-Clause",
        (
            ("torchmetrics", f"functional/image/lpips_models/{net}.pth"),
            ("lpips", f"weights/v0.1/{net}.pth"),
        ),
    )


TABLE: tuple[Weights, ...] = (
    Weights(
        "alexnet",
        (
            (
                "alexnet-owt-7be5be79.pth",
                "7be5be791159472b1fbf3c69796f7cb30dca7ad8466c2df70058c37116cdee02",
            ),
            (
                "alexnet_features.pth",
                "1454cf628f565bb39c929b4ab19c33d8c662292055b946c48daaeb6ccaf8811d",
            ),
        ),
        _TORCH + "alexnet-owt-7be5be79.pth",
        244_408_911,
        ("lpips.alex@1",),
        _IMAGENET,
    ),
    Weights(
        "squeezenet",
        (
            (
                "squeezenet1_1-b8a52dc0.pth",
                "b8a52dc049b60e4b6ab68ad0df457362afab8b6304b2febdc1650a5dab4d7e7b",
            ),
            (
                "squeezenet1_1_features.pth",
                "65848f4c678bba05bcc2fc7c35df775d303ffcbc3e24e770a727cb4296e10e84",
            ),
        ),
        _TORCH + "squeezenet1_1-b8a52dc0.pth",
        4_966_400,
        ("lpips.squeeze@1",),
        _IMAGENET,
    ),
    Weights(
        "vgg16",
        (
            (
                "vgg16-397923af.pth",
                "397923af8e79cdbb6a7127f12361acd7a2f83e06b05044ddf496e83de57a5bf0",
            ),
        ),
        _TORCH + "vgg16-397923af.pth",
        553_433_881,
        ("lpips.vgg@1",),
        _IMAGENET,
    ),
    Weights(
        "inception",
        (
            (
                "weights-inception-2015-12-05-6726825d.pth",
                "6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2",
            ),
        ),
        "https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/"
        "weights-inception-2015-12-05-6726825d.pth",
        95_628_359,
        (*(f"fid.inception{d}@1" for d in (64, 192, 768, 2048)), "kid.inception2048@1"),
        "Apache-2.0; trained on ImageNet-1k (non-commercial research terms)",
    ),
    _heads("alex", "df73285e35b22355a2df87cdb6b70b343713b667eddbda73e1977e0c860835c0", 6_009),
    _heads("squeeze", "4a5350f23600cb79923ce65bb07cbf57dca461329894153e05a1346bd531cf76", 10_811),
    _heads("vgg", "a78928a0af1e5f0fcb1f3b9e8f8c3a2a5a3de244d830ad5c1feddc79b8432868", 7_289),
)


def folders() -> tuple[Path, ...]:
    """Return where weight files are looked for, in order."""
    named = os.environ.get(SETTING)
    xdg = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    torch_home = Path(os.environ.get("TORCH_HOME") or Path(xdg) / "torch")
    found = [Path(named).expanduser()] if named else []
    return (*found, cache_dir("weights"), torch_home / "hub" / "checkpoints")


def weights(name: str) -> Weights:
    """Return one entry of the table; an unknown name is an error with the nearest names."""
    for entry in TABLE:
        if entry.name == name:
            return entry
    raise unknown("weights", name, (entry.name for entry in TABLE))


def find(name: str) -> tuple[Path, str]:
    """Return a whole file of some weights and its SHA-256.

    Raises:
        MetricUnavailable: if none is here, or those here are not as published.
    """
    entry = weights(name)
    state = _status(entry)
    if state.state == "ok" and state.path is not None and state.sha256 is not None:
        return Path(state.path), state.sha256
    names = " or ".join(file for file, _ in entry.files)
    looked = ", ".join(str(folder) for folder in folders())
    found = (
        f"{names} is in none of {looked}"
        if state.path is None
        else f"{state.path} is not the published file: its SHA-256 begins with "
        f"{(state.sha256 or '')[:12]}"
    )
    raise MetricUnavailable(
        f"the weights {name}",
        found,
        f"Type: rsbench weights fetch, or copy the file into a folder and set {SETTING} to it",
    )


def absence(name: str) -> str | None:
    """Say in one sentence why some weights cannot be used here; None where they can."""
    state = _status(weights(name))
    if state.state == "ok":
        return None
    if state.path is not None:
        return (
            f"{Path(state.path).name} is not the published file of the weights {name} "
            f"(its SHA-256 begins with {(state.sha256 or '')[:12]})"
        )
    return (
        f"the weights {name} are not here: type `rsbench weights fetch`, "
        f"or name a folder that holds them in {SETTING}"
    )


def status() -> tuple[Status, ...]:
    """Say of all weights whether they are here and as published."""
    return tuple(_status(entry) for entry in TABLE)


def _status(entry: Weights) -> Status:
    metrics = " ".join(entry.metrics)
    altered: Status | None = None
    for path, listed in _places(entry):
        if not path.is_file():
            continue
        digest = _digest(path)
        if digest == listed:
            return Status(entry.name, "ok", str(path), digest, metrics)
        altered = altered or Status(entry.name, "altered", str(path), digest, metrics)
    return altered or Status(entry.name, "absent", None, None, metrics)


def _places(entry: Weights) -> Iterator[tuple[Path, str]]:
    """Where a file of some weights may lie, and the digest it must have there."""
    for folder in folders():
        for file, listed in entry.files:
            yield folder / file, listed
    for package, inside in entry.packaged:
        spec = importlib.util.find_spec(package)
        if spec is not None and spec.origin is not None:
            yield Path(spec.origin).parent / inside, entry.files[0][1]


_DIGESTS: dict[tuple[str, int, int], str] = {}


def _digest(path: Path) -> str:
    """Hash a file once per process, again if it was touched since."""
    there = path.stat()
    key = (str(path), there.st_size, there.st_mtime_ns)
    if key not in _DIGESTS:
        _DIGESTS[key] = sha256_file(path)
    return _DIGESTS[key]


def fetch(
    to: Path | None = None,
    *,
    names: Sequence[str] | None = None,
    table: Sequence[Weights] = TABLE,
    schemes: tuple[str, ...] = SCHEMES,
    progress: Progress | None = None,
) -> list[Path]:
    """Bring weight files into a folder; files that are there and whole are kept.

    Args:
        to: the folder; ``RSBENCH_WEIGHTS``, or rsbench's cache, where None.
        names: which weights; all where None.
        schemes: of addresses that may be opened, also after a redirect.

    Raises:
        InputError: if an address cannot be reached, or what came is not the published file.
        DiskFull: if there is no room.
    """
    known = {entry.name: entry for entry in table}
    for name in names or ():
        if name not in known:
            raise unknown("weights", name, known)
    named = os.environ.get(SETTING)
    folder = to or (Path(named).expanduser() if named else cache_dir("weights"))
    folder.mkdir(parents=True, exist_ok=True)
    chosen = [entry for entry in table if names is None or entry.name in names]
    return [_fetched(entry, folder, schemes, progress) for entry in chosen]


def _fetched(
    entry: Weights, folder: Path, schemes: tuple[str, ...], progress: Progress | None
) -> Path:
    file, listed = entry.files[0]
    target = folder / file
    if target.is_file() and sha256_file(target) == listed:
        return target
    elsewhere = f"give --to with {entry.bytes / 1e6:.0f} MB of room"
    with (
        disk_errors(f"fetching {entry.url} into {folder}", elsewhere),
        atomic_file(target) as part,
    ):
        digest = _download(entry, part, schemes, progress)
        if digest != listed:
            raise InputError(
                f"fetching {entry.url}",
                f"what came has SHA-256 {digest[:12]}…, the published file {listed[:12]}…",
                "Try again later; if it stays so, copy the file from another place",
            )
    return target


class _SameSchemes(urllib.request.HTTPRedirectHandler):
    """Follow redirects to allowed schemes only."""

    def __init__(self, schemes: tuple[str, ...]) -> None:
        self.schemes = schemes

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str,
        headers: HTTPMessage, newurl: str,
    ) -> Any:  # fmt: skip
        """Refuse a redirect to another scheme."""
        _require_scheme(newurl, self.schemes)
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _require_scheme(url: str, schemes: tuple[str, ...]) -> None:
    scheme = urllib.parse.urlsplit(url).scheme
    if scheme not in schemes:
        raise InputError(
            f"opening {url}",
            f"its scheme is {scheme or 'absent'!r}",
            f"Only {', '.join(schemes)} addresses are opened",
        )


def _download(
    entry: Weights, part: Path, schemes: tuple[str, ...], progress: Progress | None
) -> str:
    _require_scheme(entry.url, schemes)
    opener = urllib.request.build_opener(_SameSchemes(schemes))
    hasher, done = hashlib.sha256(), 0
    try:
        with opener.open(entry.url, timeout=TIMEOUT) as answer, part.open("wb") as out:
            while block := answer.read(BLOCK):
                done += len(block)
                if done > entry.bytes * 2:
                    break  # far longer than the published file: the digest will say no
                out.write(block)
                hasher.update(block)
                if progress is not None:
                    progress(f"fetching {entry.name}", done, max(entry.bytes, done))
    except (urllib.error.URLError, HTTPException, TimeoutError, ConnectionError) as error:
        reason = getattr(error, "reason", None) or str(error) or type(error).__name__
        raise InputError(
            f"fetching {entry.url}",
            f"it cannot be reached ({reason})",
            f"Fetch it elsewhere and copy {entry.files[0][0]} into a folder named by {SETTING}",
        ) from error
    return hasher.hexdigest()
