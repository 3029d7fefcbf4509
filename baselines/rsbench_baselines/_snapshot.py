"""Weights of diffusion models from a folder or the hub, checked to the tensor.

A snapshot has one folder per part, e.g. ``unet/`` and ``vae/``, each with ``config.json`` and
safetensors in one file or in shards with an index, as the hub lays it out. Only safetensors are
read. A tensor that is missing, left over or of another shape is refused; none is made up.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from rsbench import InputError

SETTING = "RSBENCH_WEIGHTS"
STEM = "diffusion_pytorch_model"


@dataclass(frozen=True)
class Snapshot:
    """Where the weights of a model come from.

    Args:
        asked: what loads them, for messages.
        repository: on the hub.
        hub: whether it is fetched from the hub where it is in no folder.
    """

    asked: str
    repository: str
    hub: bool = True

    @property
    def folder(self) -> str:
        """Name of the folder in the one that ``$RSBENCH_WEIGHTS`` names."""
        return self.repository.rsplit("/", 1)[-1]

    def place(self, named: str | Path | None, patterns: Sequence[str]) -> Path:
        """Return the folder: the named one, else below ``$RSBENCH_WEIGHTS``, else from the hub."""
        if named is not None:
            return Path(named).expanduser()
        root = os.environ.get(SETTING)
        if root and (Path(root).expanduser() / self.folder).is_dir():
            return Path(root).expanduser() / self.folder
        if not self.hub:
            raise InputError(
                self.asked,
                "no folder with its weights is named, and no hub is known to have them",
                f"Give --option weights=FOLDER, or a folder {self.folder} in the one that "
                f"{SETTING} names; without weights, use the preset tiny",
            )
        return self.fetch(patterns)

    def fetch(
        self, patterns: Sequence[str], endpoint: str | None = None, cache: Path | None = None
    ) -> Path:
        """Return the snapshot in the hub's cache, fetched if it is not there; a token is read by
        the hub's own library from its environment, and never by this one.

        Raises:
            InputError: if the hub cannot be reached or refuses.
        """
        from huggingface_hub import snapshot_download
        from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

        try:
            found = snapshot_download(
                self.repository,
                allow_patterns=list(patterns),
                ignore_patterns=["*.bin", "*fp16*"],
                endpoint=endpoint,
                cache_dir=cache,
            )
        except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
            raise InputError(
                self.asked,
                f"{self.repository} is in no folder here and the hub gave none "
                f"({type(error).__name__})",
                "Accept its licence on the hub and set HF_TOKEN, or copy a snapshot to "
                f"{self.folder} in a folder named by {SETTING}; without it, use the preset tiny",
            ) from None  # the request in the error's chain may hold a token
        return Path(found)

    def require_config(self, folder: Path, config: Mapping[str, Any]) -> None:
        """Reject a part whose ``config.json`` states another value than ``config``."""
        path = folder / "config.json"
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise InputError(
                self.asked,
                f"{path} cannot be read ({type(error).__name__})",
                "Give the folder of a whole snapshot",
            ) from error
        plain = json.loads(json.dumps(dict(config)))  # tuples read back as lists
        differ = [
            f"{name} {found[name]!r}, not {value!r}"
            for name, value in plain.items()
            if name in found and found[name] != value
        ]
        if differ:
            raise InputError(
                self.asked,
                f"{path} is of another network: {', '.join(differ)}",
                f"Give a snapshot of {self.repository}",
            )

    def fill(self, module: nn.Module, folder: Path, *, new: str = "") -> str:
        """Load every tensor by name and shape; return the digest of the files.

        Args:
            new: prefix of tensors that the snapshot may lack and that keep their first values.
        """
        files = self.files(folder)
        state: dict[str, Tensor] = {}
        for file in files:
            state |= self._tensors(file)
        wanted = {n: t for n, t in module.state_dict().items()
                  if n in state or not (new and n.startswith(new))}  # fmt: skip
        self.require_tensors(wanted, state, str(folder))
        module.load_state_dict(state, strict=not new, assign=True)
        return digest_of_all({file.name: digest(file) for file in files}).hex()

    def require_tensors(
        self, wanted: Mapping[str, Tensor], found: Mapping[str, Tensor], where: str
    ) -> None:
        """Reject tensors whose names or shapes are not the wanted ones."""
        absent = sorted(set(wanted) - set(found))
        extra = sorted(set(found) - set(wanted))
        both = set(wanted) & set(found)
        shaped = sorted(n for n in both if tuple(wanted[n].shape) != tuple(found[n].shape))
        if absent or extra or shaped:
            said = [
                f"{len(names)} {what}, e.g. {names[0]}"
                for what, names in (
                    ("absent", absent), ("unknown", extra), ("other shapes", shaped),
                )
                if names
            ]  # fmt: skip
            raise InputError(
                self.asked,
                f"the tensors in {where} are not the network's: {'; '.join(said)}",
                f"Give a snapshot of {self.repository}",
            )

    def _tensors(self, file: Path) -> dict[str, Tensor]:
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(file, framework="pt") as opened:
                return {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
        except (OSError, SafetensorError) as error:
            raise InputError(
                self.asked, f"{file} cannot be read ({type(error).__name__})", "Fetch it again"
            ) from error

    def files(self, folder: Path) -> list[Path]:
        """Return the one file, or the shards that the index names, all of them there."""
        index = folder / f"{STEM}.safetensors.index.json"
        names = [f"{STEM}.safetensors"]
        if index.is_file():
            try:
                listed = json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()
                names = sorted({str(name) for name in listed})
            except (ValueError, KeyError, AttributeError) as error:
                raise InputError(
                    self.asked, f"{index} is no index of shards", "Fetch it again"
                ) from error
        outside = [name for name in names if Path(name).name != name]
        gone = [name for name in names if not (folder / name).is_file()]
        if outside or gone:
            what = f"names {outside[0]}, outside" if outside else f"{gone[0]} is not in"
            raise InputError(self.asked, f"{what} {folder}", "Give the folder of a whole snapshot")
        return [folder / name for name in names]


def patterns_of(parts: Sequence[str]) -> list[str]:
    """Return what of a repository is fetched for some parts."""
    return [f"{part}/{name}" for part in parts for name in ("config.json", f"{STEM}*")]


def digest(file: Path) -> str:
    """Return the SHA-256 of a file."""
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def digest_of_all(digests: Mapping[str, str]) -> bytes:
    """Return one SHA-256 of several by name."""
    lines = "".join(f"{name} {text}\n" for name, text in sorted(digests.items()))
    return hashlib.sha256(lines.encode()).digest()
