"""Search for finished checkpoints that fit an evaluation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rsbench.models.api import Stage
from rsbench.models.checkpoint import NOTE, Checkpoint, checkpoint_dir, plain_options


@dataclass(frozen=True, kw_only=True)
class CheckpointQuery:
    """Which checkpoints fit.

    Args:
        digest: digest of the dataset.
        split: split scheme, e.g. ``space``.
        sensor, bands, options: compared only if given.
        budget: training budget as requested; None for the preset's own.
        labels: fraction and seed of the labels of training; None for all.
        stages, preset_options: of the current preset, compared only if given. A checkpoint that
            differs in them is listed under :attr:`FittingCheckpoints.others`.
        precision: of training, compared in the same way; that of imported weights is not known.
        training: training options that differ from their defaults, compared in the same way.
    """

    model: str
    preset: str
    digest: str
    split: str
    seed: int
    context: int
    sensor: str | None = None
    bands: Sequence[str] | None = None
    budget: str | None = None
    options: Mapping[str, Any] | None = None
    stages: Sequence[Stage] | None = None
    preset_options: Mapping[str, Any] | None = None
    labels: Mapping[str, Any] | None = None
    precision: str | None = None
    training: Mapping[str, Any] = field(default_factory=dict)

    @property
    def folder(self) -> Path:
        """The folder that is searched."""
        return checkpoint_dir(
            model=self.model, preset=self.preset, digest=self.digest, split=self.split,
            seed=self.seed, context=self.context,
        )  # fmt: skip

    def fits(self, note: Checkpoint) -> bool:
        """Return whether a checkpoint is of this model, dataset, seed and context."""
        return (
            (note.model, note.preset, note.dataset_digest) == (self.model, self.preset, self.digest)
            and (note.scheme, note.seed, note.context) == (self.split, self.seed, self.context)
            and note.labels == self.labels
            and self.sensor in (None, note.sensor)
            and (self.bands is None or tuple(self.bands) == note.bands)
            and (self.options is None or plain_options(self.options) == dict(note.options))
        )

    def trained_alike(self, note: Checkpoint) -> bool:
        """Return whether training now would repeat the training of a checkpoint that fits."""
        return (
            _within(note, self.budget)
            and plain_options(note.training) == plain_options(self.training)
            and (note.imported is not None or self.precision in (None, note.precision))
            and (self.stages is None or note.trained_by(self.stages))
            and (self.preset_options is None or note.built_by(self.preset_options))
        )


@dataclass(frozen=True)
class FittingCheckpoints:
    """The finished checkpoints that fit a query, newest last.

    Args:
        same: trained with the same stages, budget and preset options, and with default training
            options. An evaluation uses the newest of them.
        others: trained differently. An evaluation uses them only if ``--checkpoint`` names them,
            so that no score depends on earlier trainings.
    """

    same: tuple[Path, ...]
    others: tuple[tuple[Path, Checkpoint], ...]


def fitting_checkpoints(query: CheckpointQuery) -> FittingCheckpoints:
    """Return the finished checkpoints that fit a query."""
    found = (note.parent for note in sorted(query.folder.glob(f"*/{NOTE}")))
    notes = [(folder, Checkpoint.load(folder)) for folder in found]
    fits = sorted(
        ((folder, note) for folder, note in notes if query.fits(note)),
        key=lambda entry: (entry[1].finished, entry[0]),
    )
    return FittingCheckpoints(
        tuple(folder for folder, note in fits if query.trained_alike(note)),
        tuple((folder, note) for folder, note in fits if not query.trained_alike(note)),
    )


def _within(note: Checkpoint, budget: str | None) -> bool:
    """Return whether two budgets are equal; the preset's own may also be stated in steps."""
    own = f"{sum(int(stage['steps']) for stage in note.stages)}steps"
    return (note.budget or own).replace(" ", "") == (budget or own).replace(" ", "")
