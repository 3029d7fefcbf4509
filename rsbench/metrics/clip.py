"""Similarity of images and texts under a CLIP network, whose folder the user brings.

A. Radford et al., "Learning transferable visual models from natural language supervision", ICML
2021. The folder ``clip`` lies where weight files are searched (see `rsbench.metrics.weights`) and
holds a model of transformers: ``config.json``, ``model.safetensors``, ``preprocessor_config.json``
and the files of the tokenizer. Values of different networks do not compare, so that runs record
the SHA-256 of its weights.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rsbench.core.digest import sha256_file
from rsbench.core.errors import MetricUnavailable
from rsbench.metrics.weights import SETTING, folders

if TYPE_CHECKING:
    from torch import Tensor

FEATURES = "text-image"
"""Name of the similarity among the features of sets of images."""
FOLDER, NETWORK = "clip", "model.safetensors"
FILES = (NETWORK, "config.json", "preprocessor_config.json")


def folder() -> Path | None:
    """Return the folder of the network; None where there is none."""
    found = (place / FOLDER for place in folders())
    return next((place for place in found if (place / NETWORK).is_file()), None)


def absence() -> str | None:
    """Return why no similarity can be computed here; None where it can."""
    if importlib.util.find_spec("transformers") is None:
        return "transformers is not installed: type `pip install 'rsbench[generative]'`"
    place = folder()
    if place is None:
        return (
            f"there is no CLIP network: put a folder {FOLDER} with {NETWORK}, configuration and "
            f"tokenizer into a folder that {SETTING} names"
        )
    absent = [name for name in FILES if not (place / name).is_file()]
    return f"{place} lacks {', '.join(absent)}" if absent else None


def weights() -> dict[str, str]:
    """Return file and SHA-256 of the network, as runs record them."""
    place = _required()
    return {"file": f"{FOLDER}/{NETWORK}", "sha256": sha256_file(place / NETWORK)}


def similarity(images: Tensor, texts: Sequence[str]) -> Tensor:
    """Return ``(n,)`` cosines of the normalised embeddings of image and text.

    Args:
        images: ``(n, 3, H, W)`` in [0, 1], as display@1 shows them.
        texts: one per image; longer ones are cut to what the network takes.

    Raises:
        MetricUnavailable: if there is no network.
    """
    import torch

    model, processor = _loaded(str(_required()))
    inputs = processor(
        text=list(texts), images=list(images.float()), return_tensors="pt", padding=True,
        truncation=True, do_rescale=False,
    )  # fmt: skip
    with torch.inference_mode():
        found = model(**inputs)
    return torch.nn.functional.cosine_similarity(found.image_embeds, found.text_embeds).cpu()


def _required() -> Path:
    place, reason = folder(), absence()
    if place is None or reason is not None:
        raise MetricUnavailable("metric 'text.image@1'", str(reason), "Leave it out")
    return place


@cache
def _loaded(place: str) -> tuple[Any, Any]:
    """Return network and processor.

    Raises:
        MetricUnavailable: if a file cannot be read, or the network in it is not CLIP.
    """
    from safetensors import SafetensorError

    transformers: Any = importlib.import_module("transformers")
    asked, remedy = "metric 'text.image@1'", "Give a folder that save_pretrained of CLIPModel wrote"
    transformers.logging.disable_progress_bar()
    try:
        model, told = transformers.CLIPModel.from_pretrained(
            place, local_files_only=True, use_safetensors=True, output_loading_info=True
        )
        processor = transformers.CLIPProcessor.from_pretrained(place, local_files_only=True)
    except (OSError, ValueError, RuntimeError, KeyError, TypeError, SafetensorError) as error:
        found = f"the network in {place} cannot be loaded ({type(error).__name__})"
        raise MetricUnavailable(asked, found, remedy) from error
    absent = sorted(map(str, [*told["missing_keys"], *told["mismatched_keys"]]))
    if absent:
        raise MetricUnavailable(asked, f"the network in {place} lacks {absent[0]}", remedy)
    return model.eval(), processor
