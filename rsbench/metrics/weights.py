"""Weight files of perceptual metrics: find, check and download them.

Files are searched by name in ``RSBENCH_WEIGHTS``, in the cache of rsbench and in the hub cache of
torch. A file is used only if its SHA-256 is the one listed here. This module reads files only to
hash them and does not import torch.
"""

from __future__ import annotations

import importlib.util
import logging
import os
import urllib.parse
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from rsbench.core.digest import sha256_file
from rsbench.core.errors import InputError, MetricUnavailable, unknown
from rsbench.core.io import disk_errors
from rsbench.core.paths import cache_dir

if TYPE_CHECKING:
    from requests import Response

SETTING = "RSBENCH_WEIGHTS"
SCHEMES = ("https",)
TIMEOUT = 60.0
BLOCK = 1 << 20
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Weights:
    """One set of weights.

    Args:
        name: name by which metrics load them.
        files: (file name, SHA-256); any one of them is enough. The first is the published file,
            the others hold its feature layers only.
        url: address of the published file.
        bytes: approximate size of the published file.
        licence: licence of the weights, and terms of the training data.
        packaged: ``(package, path in it)`` of installed packages that contain the same file.
    """

    name: str
    files: tuple[tuple[str, str], ...]
    url: str
    bytes: int
    licence: str
    packaged: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Status:
    """The state of some weights on this machine: ``ok``, ``altered`` or ``absent``."""

    name: str
    state: str
    path: str | None
    sha256: str | None


_TORCH = "https://download.pytorch.org/models/"
_FIDELITY = "https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/"
_LPIPS = (
    "https://raw.githubusercontent.com/richzhang/PerceptualSimilarity/master/lpips/weights/v0.1/"
)
_TERMS = "trained on ImageNet-1k (non-commercial research terms)"
_IMAGENET = f"BSD-3-Clause; {_TERMS}"


def _heads(net: str, digest: str, size: int) -> Weights:
    """Return the entry of the five to seven 1 × 1 layers of LPIPS 0.1 for one network."""
    packages = (("torchmetrics", "functional/image/lpips_models"), ("lpips", "weights/v0.1"))
    return Weights(
        f"lpips-{net}", ((f"lpips-v0.1-{net}.pth", digest),), f"{_LPIPS}{net}.pth", size,
        "BSD-2-Clause", tuple((package, f"{folder}/{net}.pth") for package, folder in packages),
    )  # fmt: skip


TABLE: tuple[Weights, ...] = (
    Weights("alexnet", (
        ("alexnet-owt-7be5be79.pth",
         "7be5be791159472b1fbf3c69796f7cb30dca7ad8466c2df70058c37116cdee02"),
        ("alexnet_features.pth",
         "1454cf628f565bb39c929b4ab19c33d8c662292055b946c48daaeb6ccaf8811d"),
    ), _TORCH + "alexnet-owt-7be5be79.pth", 244_408_911, _IMAGENET),
    Weights("squeezenet", (
        ("squeezenet1_1-b8a52dc0.pth",
         "b8a52dc049b60e4b6ab68ad0df457362afab8b6304b2febdc1650a5dab4d7e7b"),
        ("squeezenet1_1_features.pth",
         "65848f4c678bba05bcc2fc7c35df775d303ffcbc3e24e770a727cb4296e10e84"),
    ), _TORCH + "squeezenet1_1-b8a52dc0.pth", 4_966_400, _IMAGENET),
    Weights("vgg16", (
        ("vgg16-397923af.pth", "397923af8e79cdbb6a7127f12361acd7a2f83e06b05044ddf496e83de57a5bf0"),
    ), _TORCH + "vgg16-397923af.pth", 553_433_881, _IMAGENET),
    Weights("inception", (
        ("weights-inception-2015-12-05-6726825d.pth",
         "6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2"),
    ), _FIDELITY + "weights-inception-2015-12-05-6726825d.pth", 95_628_359,
       f"Apache-2.0; {_TERMS}"),
    _heads("alex", "df73285e35b22355a2df87cdb6b70b343713b667eddbda73e1977e0c860835c0", 6_009),
    _heads("squeeze", "4a5350f23600cb79923ce65bb07cbf57dca461329894153e05a1346bd531cf76", 10_811),
    _heads("vgg", "a78928a0af1e5f0fcb1f3b9e8f8c3a2a5a3de244d830ad5c1feddc79b8432868", 7_289),
)  # fmt: skip


def folders() -> tuple[Path, ...]:
    """Return the folders in which weight files are searched, in order."""
    named = os.environ.get(SETTING)
    xdg = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    torch_home = Path(os.environ.get("TORCH_HOME") or Path(xdg) / "torch")
    found = [Path(named).expanduser()] if named else []
    return (*found, cache_dir("weights"), torch_home / "hub" / "checkpoints")


def weights(name: str) -> Weights:
    """Return one entry of the table.

    Raises:
        UnknownName: if there is none of this name.
    """
    for entry in TABLE:
        if entry.name == name:
            return entry
    raise unknown("weights", name, (entry.name for entry in TABLE))


def find(name: str) -> tuple[Path, str]:
    """Return the path of a file of some weights and its SHA-256.

    Raises:
        MetricUnavailable: if no file is found, or none has the listed SHA-256.
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
    """Return the reason why some weights cannot be used here; None where they can."""
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
    """Return the state of all weights."""
    return tuple(_status(entry) for entry in TABLE)


def _status(entry: Weights) -> Status:
    altered: Status | None = None
    for path, listed in _places(entry):
        if not path.is_file():
            continue
        digest = _digest(path)
        if digest == listed:
            return Status(entry.name, "ok", str(path), digest)
        altered = altered or Status(entry.name, "altered", str(path), digest)
    return altered or Status(entry.name, "absent", None, None)


def _places(entry: Weights) -> Iterator[tuple[Path, str]]:
    """Yield the paths where a file of some weights may be, each with the digest it must have."""
    for folder in folders():
        for file, listed in entry.files:
            yield folder / file, listed
    for package, inside in entry.packaged:
        spec = importlib.util.find_spec(package)
        if spec is not None and spec.origin is not None:
            yield Path(spec.origin).parent / inside, entry.files[0][1]


_DIGESTS: dict[tuple[str, int, int], str] = {}


def _digest(path: Path) -> str:
    """Hash a file once per process, and again if its size or time of change differs."""
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
    """Download weight files into a folder and return their paths; whole files there are kept.

    Args:
        to: the folder; where None, ``RSBENCH_WEIGHTS`` or else the cache of rsbench.
        names: names of the weights; all where None.
        table: the known weights.
        schemes: allowed schemes of addresses, also of redirects.
        progress: called with ``(label, bytes done, bytes in all)``.

    Raises:
        InputError: if an address cannot be reached, or the file there is not the published one.
        DiskFull: if the device has no room left.
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
    """Return the path of one published file; it is downloaded unless it is in the folder."""
    pooch = _pooch()
    from requests.exceptions import RequestException

    file, listed = entry.files[0]
    download = partial(_download, entry, schemes, progress)
    elsewhere = f"give --to with {entry.bytes / 1e6:.0f} MB of room"
    try:
        with disk_errors(f"fetching {entry.url} into {folder}", elsewhere):
            return Path(pooch.retrieve(entry.url, f"sha256:{listed}", file, folder, None, download))
    except InputError:
        raise
    except RequestException as error:
        # The text of the error may hold a signed address, so only its kind is given.
        status = getattr(error.response, "status_code", type(error).__name__)
        raise InputError(
            f"fetching {entry.url}",
            f"it cannot be reached ({status})",
            f"Fetch it elsewhere and copy {file} into a folder named by {SETTING}",
        ) from None
    except ValueError:
        raise InputError(
            f"fetching {entry.url}",
            f"its SHA-256 is not that of the published file ({listed[:12]}…)",
            "Try again later; if the error stays, copy the file from another place",
        ) from None


def _pooch() -> Any:
    try:
        import pooch
    except ImportError as error:
        raise InputError(
            "fetching weights", "pooch is not installed", "Type: pip install 'rsbench[models]'"
        ) from error
    pooch.get_logger().setLevel(logging.WARNING)  # the caller reports the progress
    return pooch


def _download(
    entry: Weights, schemes: tuple[str, ...], progress: Progress | None, url: str, output: str,
    _: Any,
) -> None:  # fmt: skip
    """Download to the temporary file ``output``; pooch checks its digest and renames it."""
    import pooch

    def grown(_: int) -> None:
        # pooch counts a short block as a full one, so the size of the file is taken.
        done = Path(output).stat().st_size
        if done > 2 * entry.bytes:
            raise InputError(
                f"fetching {entry.url}",
                f"it has more than {2 * entry.bytes} bytes, twice the size of the published file",
                "Copy the published file from another place",
            )
        if progress is not None:
            progress(f"fetching {entry.name}", done, max(entry.bytes, done))

    def checked(response: Response, **_: Any) -> None:
        if response.is_redirect:
            target = urllib.parse.urljoin(response.url, response.headers["location"])
            _require_scheme(target, schemes)

    _require_scheme(url, schemes)
    bar = SimpleNamespace(total=0, update=grown, reset=lambda: None, close=lambda: None)
    pooch.HTTPDownloader(
        progressbar=bar, chunk_size=BLOCK, timeout=TIMEOUT,
        headers={"Accept-Encoding": "identity"}, hooks={"response": checked},
    )(url, output, None)  # fmt: skip
    Path(output).chmod(0o644)  # temporary files are closed to other users


def _require_scheme(url: str, schemes: tuple[str, ...]) -> None:
    parts = urllib.parse.urlsplit(url)
    if parts.scheme not in schemes:
        raise InputError(
            f"opening {parts.scheme}://{parts.hostname}{parts.path}",
            f"its scheme is {parts.scheme or 'absent'!r}",
            f"Only {', '.join(schemes)} addresses are opened",
        )
