"""Weights that another program saved, written as a checkpoint after they were loaded by name."""

from __future__ import annotations

import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from rsbench.core.digest import sha256_file
from rsbench.core.errors import InputError, first_line
from rsbench.core.provenance import provenance
from rsbench.models.api import Model
from rsbench.models.checkpoint import (
    IMPORTED,
    NOTE,
    WEIGHTS,
    Checkpoint,
    plain_options,
    trainable,
)
from rsbench.models.checkpoint_files import read_tensors, tensors_digest, write_json, write_tensors
from rsbench.models.registry import card, create_model, identity

if TYPE_CHECKING:
    from torch import Tensor


@runtime_checkable
class Released(Model, Protocol):
    """A model that loads weights under the names of its authors' program."""

    def load_released(self, state: Mapping[str, Tensor]) -> None:
        """Load tensors by name; raise InputError if one is missing, left over or unlike ours."""
        ...


def import_weights(
    file: Path,
    name: str,
    preset: str | None,
    out: Path,
    *,
    bands: int | None = None,
    key: str | None = None,
    options: Mapping[str, Any] | None = None,
) -> Path:
    """Write a checkpoint with weights of another program; return its folder.

    Args:
        file: safetensors, or a file of ``torch.save``; no code in it is executed.
        name: name of the model.
        preset: the card's default where None.
        out: folder of the checkpoint; must not exist or be empty.
        bands: number of bands of every image; that of the preset where None.
        key: entry of the file that holds the tensors, where it holds more.
        options: of the model, as ``hid_T``; `rsbench run` needs the same.

    Raises:
        InputError: if the file is damaged, the tensors do not agree with the network, the model
            has no table of released names, or the folder is in use.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InputError(f"writing a checkpoint to {out}", "it is in use", "Give another --out")
    card(name).of(preset or card(name).default_preset)
    stated = {} if bands is None else {"bands": bands}
    model = create_model(name, preset, **stated, **(options or {}))
    if not isinstance(model, Released):
        raise InputError(
            f"importing weights of {name}",
            "it has no table of the names in released files",
            "Train it with `rsbench train`",
        )
    model.load_released(read_state(file, key))
    tensors = trainable(model).module.state_dict()
    out.mkdir(parents=True, exist_ok=True)
    write_tensors(out / WEIGHTS, tensors)
    write_json(out / NOTE, _note(model, file, tensors_digest(tensors)).to_json())
    return out


def read_state(file: Path, key: str | None = None) -> Mapping[str, Any]:
    """Read a file of weights onto the CPU; no code in it is executed.

    Raises:
        InputError: if it is absent, damaged, holds more than tensors and numbers, or has no entry
            ``key``.
    """
    asked = f"reading {file}"
    if not file.is_file():
        raise InputError(asked, "there is no such file", "Give the file that the authors published")
    if file.suffix == ".safetensors":
        return read_tensors(file)
    try:
        found = _torch_file(file)
    except Exception as error:
        # The reader of torch raises almost any exception for a damaged file.
        raise InputError(
            asked,
            f"it is damaged, or holds more than tensors ({first_line(error)})",
            "Give the file that the authors published",
        ) from error
    if key is not None and isinstance(found, Mapping) and key in found:
        found = found[key]
    elif key is not None:
        raise InputError(asked, f"it has no entry {key}", "Omit --key, or give another")
    if not isinstance(found, Mapping):
        raise InputError(
            asked, f"it holds a {type(found).__name__}, no tensors by name", "Give another file"
        )
    return found


def _torch_file(file: Path) -> Any:
    """Load a file of torch.save; where it is an archive, its checksums must agree."""
    import torch

    if zipfile.is_zipfile(file):
        with zipfile.ZipFile(file) as archive:
            damaged = archive.testzip()
        if damaged is not None:
            raise ValueError(f"the checksum of {damaged} differs")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.load(file, map_location="cpu", weights_only=True)


def _note(model: Model, file: Path, digest: str) -> Checkpoint:
    own = identity(model)
    source = {"file": file.name, "sha256": sha256_file(file)}
    return Checkpoint(
        model=own.name, preset=own.preset, options=plain_options(own.options),
        preset_options=plain_options(own.card.of(own.preset).presets[own.preset].options),
        dataset="", dataset_digest="", scheme="", sensor="", bands=(), context=0, window=0,
        regions=(), selected_on=(), seed=0, steps=0, stages=(), precision="32-true", budget=None,
        selection={}, weights_digest=digest, plan=source["sha256"],
        provenance={**provenance().to_json(), IMPORTED: source},
    )  # fmt: skip
