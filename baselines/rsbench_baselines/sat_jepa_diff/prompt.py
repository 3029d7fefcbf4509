"""Embed the one prompt by the text encoders of a snapshot, once.

Usage: python -m rsbench_baselines.sat_jepa_diff.prompt FOLDER

As published: the last hidden state of the T5 encoder (77 tokens), and the pooled projections of
both CLIP encoders side by side. Needs the package transformers and the snapshot's text encoders
(``text_encoder``, ``text_encoder_2``, ``text_encoder_3`` and their tokenizers).
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from rsbench import InputError, RsbenchError
from rsbench_baselines.sat_jepa_diff.pretrained import PROMPT
from rsbench_baselines.sat_jepa_diff.sizes import TEXT_TOKENS

TEXT = "A high-resolution natural-colour satellite image of the land surface, by Sentinel-2"


def embed(folder: Path) -> tuple[Tensor, Tensor]:
    """Return ``(77, D)`` token embeddings and the pooled vector ``(P,)``, float32."""
    try:
        import transformers
    except ModuleNotFoundError as error:
        raise InputError(
            "embedding the prompt",
            "the package transformers is not installed",
            "Type: pip install 'rsbench[generative]'",
        ) from error
    kinds = ((transformers.CLIPTextModelWithProjection, ""),
             (transformers.CLIPTextModelWithProjection, "_2"),
             (transformers.T5EncoderModel, "_3"))  # fmt: skip
    found = [_run(transformers, kind, folder, suffix) for kind, suffix in kinds]
    pooled = torch.cat([answer.text_embeds[0] for answer in found[:2]])
    return found[2].last_hidden_state[0].float(), pooled.float()


@torch.inference_mode()
def _run(library: Any, kind: Any, folder: Path, suffix: str) -> Any:
    try:
        tokenizer = library.AutoTokenizer.from_pretrained(
            folder / f"tokenizer{suffix}", local_files_only=True
        )
        model = kind.from_pretrained(
            folder / f"text_encoder{suffix}", local_files_only=True, use_safetensors=True
        )
    except (OSError, ValueError) as error:
        raise InputError(
            "embedding the prompt",
            f"text encoder {suffix.strip('_') or '1'} of {folder} cannot be loaded",
            "Give the folder of a whole snapshot",
        ) from error
    ids = tokenizer(
        TEXT, padding="max_length", max_length=TEXT_TOKENS, truncation=True, return_tensors="pt"
    ).input_ids
    return model.eval()(ids)


def main(arguments: list[str]) -> int:
    """Write the embeddings into the folder of the snapshot's weights."""
    from safetensors.torch import save_file

    try:
        if len(arguments) != 1:
            raise InputError(
                "embedding the prompt", f"{len(arguments)} folders are named", "Name one"
            )
        folder = Path(arguments[0])
        tokens, pooled = embed(folder)
        save_file({"tokens": tokens.contiguous(), "pooled": pooled.contiguous()}, folder / PROMPT)
    except RsbenchError as error:
        sys.stderr.write(f"rsbench: {error}\n")
        return error.exit_code
    sys.stdout.write(f"{folder / PROMPT}\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
