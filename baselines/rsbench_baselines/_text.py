"""Texts as tokens that a network attends to: CLIP from files, or word vectors of toy networks."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol, cast
from zlib import crc32

import torch
from torch import Tensor, nn

from rsbench import InputError
from rsbench_baselines._snapshot import Snapshot

ENCODER, TOKENIZER = "text_encoder", "tokenizer"
PATTERNS = (f"{ENCODER}/config.json", f"{ENCODER}/model*.safetensors*", f"{TOKENIZER}/*")
"""Files of a snapshot that hold the text encoder."""


class TextEncoder(Protocol):
    """Texts to tokens."""

    def __call__(self, texts: Sequence[str]) -> Tensor:
        """Return tokens ``(N, n, D)`` of N texts."""
        ...


class Words(nn.Module):
    """A vector for each word and one for each place, trained with the network.

    Words are told apart by a checksum, so two of them may share a vector. Row 0 fills the end.
    """

    def __init__(self, width: int, rows: int = 128, length: int = 16) -> None:
        super().__init__()
        self.length = length
        self.table = nn.Embedding(rows, width)
        self.places = nn.Parameter(torch.randn(length, width))

    def forward(self, texts: Sequence[str]) -> Tensor:
        """Return ``(N, length, width)``; words beyond the length are left out."""
        rows = self.table.num_embeddings - 1
        found = torch.zeros(len(texts), self.length, dtype=torch.long)
        for row, text in zip(found, texts, strict=True):
            for i, word in enumerate(text.lower().split()[: self.length]):
                row[i] = 1 + crc32(word.encode()) % rows
        return cast(Tensor, self.table(found.to(self.places.device)) + self.places)


class Clip:
    """The frozen text encoder of a snapshot, through the package transformers."""

    def __init__(self, source: Snapshot, folder: Path, width: int) -> None:
        """Load tokenizer and encoder.

        Args:
            width: of the tokens that the network takes.

        Raises:
            InputError: if a file or tensor is missing, or the width is another one.
        """
        transformers = _library(source)
        kind = transformers.CLIPTextModel
        try:
            self._tokenizer = transformers.CLIPTokenizer.from_pretrained(
                folder / TOKENIZER, local_files_only=True
            )
            model, told = kind.from_pretrained(
                folder / ENCODER, local_files_only=True, use_safetensors=True,
                output_loading_info=True,
            )  # fmt: skip
        except (OSError, ValueError, RuntimeError) as error:
            raise InputError(
                source.asked,
                f"the text encoder in {folder} cannot be loaded ({type(error).__name__})",
                f"Give a snapshot with {ENCODER}/ and {TOKENIZER}/",
            ) from error
        self._model = model.eval().requires_grad_(False)
        self._check(source, folder, told, width)

    def _check(self, source: Snapshot, folder: Path, told: Any, width: int) -> None:
        absent = sorted(told["missing_keys"]) + sorted(str(k) for k in told["mismatched_keys"])
        found = int(self._model.config.hidden_size)
        if absent or found != width:
            raise InputError(
                source.asked,
                f"the text encoder in {folder} lacks {absent[0]}" if absent
                else f"the text encoder in {folder} has width {found}, the network takes {width}",
                f"Give a snapshot of {source.repository}",
            )  # fmt: skip

    @torch.inference_mode()
    def __call__(self, texts: Sequence[str]) -> Tensor:
        """Return the last hidden states ``(N, length, width)``."""
        length = int(self._model.config.max_position_embeddings)
        ids = self._tokenizer(
            list(texts), padding="max_length", max_length=length, truncation=True,
            return_tensors="pt",
        ).input_ids  # fmt: skip
        return cast(Tensor, self._model(ids.to(self._model.device))[0].float().clone())


def _library(source: Snapshot) -> Any:
    try:
        import transformers
    except ModuleNotFoundError as error:
        raise InputError(
            source.asked,
            "its text encoder needs the package transformers, which is not installed",
            "Type: pip install 'rsbench[generative]'",
        ) from error
    return transformers
