"""The frozen prior: Stable Diffusion 3.5 Medium from a folder or its hub, checked to the tensor.

Beside ``transformer/`` and ``vae/`` a snapshot has the embeddings of the one prompt in
``prompt.safetensors``, made once by ``python -m rsbench_baselines.sat_jepa_diff.prompt FOLDER``,
so that no text encoder is needed to train or to predict.
"""

from __future__ import annotations

from pathlib import Path

import torch

from rsbench import InputError
from rsbench_baselines._snapshot import Snapshot, digest, digest_of_all, patterns_of
from rsbench_baselines.sat_jepa_diff.network import Autoencoder, Generator
from rsbench_baselines.sat_jepa_diff.sizes import TEXT_TOKENS, Sizes

REPOSITORY = "stabilityai/stable-diffusion-3.5-medium"
PROMPT = "prompt.safetensors"
PARTS = ("transformer", "vae")
ASKED = "loading the frozen prior of sat_jepa_diff"
SNAPSHOT = Snapshot(ASKED, REPOSITORY)
PATTERNS = (*patterns_of(PARTS), PROMPT)


def load(network: Autoencoder, folder: Path | None, sizes: Sizes) -> None:
    """Fill transformer, VAE and prompt of a network from a snapshot.

    Args:
        network: with what is to be filled on the meta device or anywhere.
        folder: the snapshot; ``$RSBENCH_WEIGHTS/stable-diffusion-3.5-medium``, else the hub,
            where None.

    Raises:
        InputError: if the snapshot is absent, or another network's, or lacks a file.
    """
    place = SNAPSHOT.place(folder, PATTERNS)
    configs = {"transformer": sizes.transformer, "vae": sizes.vae}
    digests = {}
    for part in network.frozen:
        SNAPSHOT.require_config(place / part, configs[part])
        digests[part] = SNAPSHOT.fill(network.get_submodule(part), place / part)
    network.freeze()
    if isinstance(network, Generator):
        digests["prompt"] = _prompt(network, place)
    network.vae.float()  # its activations leave the range of half precision
    network.base.copy_(torch.tensor(list(digest_of_all(digests)), dtype=torch.uint8))


def fetch(endpoint: str | None = None, cache: Path | None = None) -> Path:
    """Return the snapshot in the hub's cache; see :meth:`Snapshot.fetch`."""
    return SNAPSHOT.fetch(PATTERNS, endpoint, cache)


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
    return digest(path)
