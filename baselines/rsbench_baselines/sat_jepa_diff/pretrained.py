"""The frozen prior: Stable Diffusion 3.5 Medium from a folder or its hub, checked to the tensor.

A snapshot holds ``transformer/`` and ``vae/``, each with ``config.json`` and safetensors in one
file or in shards with an index, as the hub lays it out; and the embeddings of the one prompt in
``prompt.safetensors``, made once by ``python -m rsbench_baselines.sat_jepa_diff.prompt FOLDER``,
so that no text encoder is needed to train or to predict. Only safetensors are read.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from rsbench import InputError
from rsbench_baselines.sat_jepa_diff.network import Autoencoder, Generator
from rsbench_baselines.sat_jepa_diff.sizes import TEXT_TOKENS, Sizes

REPOSITORY = "stabilityai/stable-diffusion-3.5-medium"
SETTING = "RSBENCH_WEIGHTS"
FOLDER = REPOSITORY.rsplit("/", 1)[1]
STEM = "diffusion_pytorch_model"
PROMPT = "prompt.safetensors"
PARTS = ("transformer", "vae")
ASKED = "loading the frozen prior of sat_jepa_diff"


def load(network: Autoencoder, folder: Path | None, sizes: Sizes) -> None:
    """Fill transformer, VAE and prompt of a network from a snapshot.

    Args:
        network: with what is to be filled on the meta device or anywhere.
        folder: the snapshot; ``$RSBENCH_WEIGHTS/stable-diffusion-3.5-medium``, else the hub,
            where None.

    Raises:
        InputError: if the snapshot is absent, or another network's, or lacks a file.
    """
    place = folder or _anywhere()
    configs = {"transformer": sizes.transformer, "vae": sizes.vae}
    digests = {}
    for part in network.parts:
        _require_config(place / part, configs[part])
        module = network.get_submodule(part)
        digests[part] = _fill(module, place / part)
        module.requires_grad_(False).eval()
    if isinstance(network, Generator):
        digests["prompt"] = _prompt(network, place)
    network.vae.float()  # its activations leave the range of half precision
    network.base.copy_(torch.tensor(list(_digest_of_all(digests)), dtype=torch.uint8))


def _anywhere() -> Path:
    named = os.environ.get(SETTING)
    if named and (Path(named).expanduser() / FOLDER).is_dir():
        return Path(named).expanduser() / FOLDER
    return fetch()


def fetch(endpoint: str | None = None, cache: Path | None = None) -> Path:
    """Return the snapshot in the hub's cache, fetched if it is not there; a token is read by the
    hub's own library from its environment, and never by this one.

    Raises:
        InputError: if the hub cannot be reached or refuses.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    wanted = [f"{part}/{name}" for part in PARTS for name in ("config.json", f"{STEM}*")]
    try:
        found = snapshot_download(
            REPOSITORY,
            allow_patterns=[*wanted, PROMPT],
            ignore_patterns=["*.bin", "*fp16*"],
            endpoint=endpoint,
            cache_dir=cache,
        )
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        raise InputError(
            ASKED,
            f"{REPOSITORY} is in no folder here and the hub gave none ({type(error).__name__})",
            f"Accept its licence on the hub and set HF_TOKEN, or copy a snapshot to {FOLDER} in a "
            f"folder named by {SETTING}; without it, use the preset tiny",
        ) from None  # the request in the error's chain may hold a token
    return Path(found)


def _require_config(folder: Path, config: Mapping[str, Any]) -> None:
    path = folder / "config.json"
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(
            ASKED,
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
            ASKED,
            f"{path} is of another network: {', '.join(differ)}",
            f"Give a snapshot of {REPOSITORY}",
        )


def _fill(module: nn.Module, folder: Path) -> str:
    """Load every tensor by name and shape; return the digest of the files."""
    from safetensors import SafetensorError, safe_open

    wanted = {name: tuple(tensor.shape) for name, tensor in module.state_dict().items()}
    files = _files(folder)
    state: dict[str, Tensor] = {}
    for file in files:
        try:
            with safe_open(file, framework="pt") as opened:
                state |= {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
        except (OSError, SafetensorError) as error:
            raise InputError(
                ASKED, f"{file} cannot be read ({type(error).__name__})", "Fetch it again"
            ) from error
    found = {name: tuple(tensor.shape) for name, tensor in state.items()}
    absent = sorted(set(wanted) - set(found))
    extra = sorted(set(found) - set(wanted))
    shaped = sorted(n for n in set(wanted) & set(found) if wanted[n] != found[n])
    if absent or extra or shaped:
        said = [
            f"{len(names)} {what}, e.g. {names[0]}"
            for what, names in (("absent", absent), ("unknown", extra), ("other shapes", shaped))
            if names
        ]
        raise InputError(
            ASKED,
            f"the tensors in {folder} are not the network's: {'; '.join(said)}",
            f"Give a snapshot of {REPOSITORY}",
        )
    module.load_state_dict(state, strict=True, assign=True)
    return _digest_of_all({file.name: _digest(file) for file in files}).hex()


def _files(folder: Path) -> list[Path]:
    """Return the one file, or the shards that the index names, all of them there."""
    index = folder / f"{STEM}.safetensors.index.json"
    names = [f"{STEM}.safetensors"]
    if index.is_file():
        try:
            listed = json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()
            names = sorted({str(name) for name in listed})
        except (ValueError, KeyError, AttributeError) as error:
            raise InputError(ASKED, f"{index} is no index of shards", "Fetch it again") from error
    outside = [name for name in names if Path(name).name != name]
    gone = [name for name in names if not (folder / name).is_file()]
    if outside or gone:
        what = f"names {outside[0]}, outside" if outside else f"{gone[0]} is not in"
        raise InputError(ASKED, f"{what} {folder}", "Give the folder of a whole snapshot")
    return [folder / name for name in names]


def _prompt(network: Generator, place: Path) -> str:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    path = place / PROMPT
    width, pooled = network.prompt.tokens.shape[1], network.prompt.pooled.shape[0]
    try:
        found = load_file(path)
        tokens, vector = found["tokens"].float(), found["pooled"].float()
    except (OSError, SafetensorError, KeyError) as error:
        raise InputError(
            ASKED,
            f"the embeddings of its prompt cannot be read from {path} ({type(error).__name__})",
            f"Type: python -m rsbench_baselines.sat_jepa_diff.prompt {place}",
        ) from error
    if tuple(tokens.shape) != (TEXT_TOKENS, width) or tuple(vector.shape) != (pooled,):
        raise InputError(
            ASKED,
            f"{path} holds {tuple(tokens.shape)} and {tuple(vector.shape)}",
            f"It takes ({TEXT_TOKENS}, {width}) and ({pooled},): make it again",
        )
    network.prompt.tokens, network.prompt.pooled = tokens, vector
    return _digest(path)


def _digest(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def _digest_of_all(digests: Mapping[str, str]) -> bytes:
    lines = "".join(f"{name} {digest}\n" for name, digest in sorted(digests.items()))
    return hashlib.sha256(lines.encode()).digest()
