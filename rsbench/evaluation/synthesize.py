"""Write a store of synthetic images and labels that a generator drew."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np
import torch

from rsbench.core.errors import InputError
from rsbench.core.file_lock import new_directory
from rsbench.core.progress import Advance, silent
from rsbench.evaluation.run import RunRequest, resolved, weighted_model
from rsbench.models.api import Card, Given, Model, Prediction, Want
from rsbench.models.checkpoint import loaded_digest, require_unseen
from rsbench.models.noise import Noise
from rsbench.models.registry import card, create_model
from rsbench.models.tiling import Stitcher, parts
from rsbench.store.export.card import write_card
from rsbench.store.layout import RegionRecord, SensorArrays, StoreMeta
from rsbench.store.lineage import Lineage
from rsbench.store.write import finalise, write_region
from rsbench.tasks.base import Reading
from rsbench.tasks.classes import classes_of
from rsbench.tasks.config import EvaluationConfig, Note, quiet
from rsbench.tasks.labels import labelled_regions
from rsbench.tasks.pairs import Image
from rsbench.tasks.registry import task_of
from rsbench.tasks.split import Question, split
from rsbench.tasks.windows import whole_window

if TYPE_CHECKING:
    from torch import Tensor

    from rsbench.models.api import Frames
    from rsbench.models.checkpoint import Checkpoint
    from rsbench.store.layout import SensorMeta
    from rsbench.tasks.classes import Classes

COPY = "copy"
"""In place of a model: mirrored copies of the training images, a control."""
LABELS = "labels"


@runtime_checkable
class Synthesiser(Model, Protocol):
    """A model that draws images together with their label maps."""

    def synthesise(self, given: Given, want: Want) -> tuple[Prediction, Tensor, Tensor]:
        """Return images ``(B, M, 1, C, H, W)``, class indices and illegal codes ``(B, M, H, W)``.

        ``given`` has the map of classes of a training image, which need not be used. Values of
        pixels that are not valid are NaN, the index of a pixel without a class is −1.
        """
        ...


@dataclass(frozen=True)
class Mirrored:
    """Copies of the training images and their labels, mirrored or turned by half."""

    truth: Frames

    def synthesise(self, given: Given, want: Want) -> tuple[Prediction, Tensor, Tensor]:
        """Return the copies: each member is flipped along other axes."""
        axes = ((-1,), (-2,), (-1, -2))
        labels = given.frames[LABELS]
        image = torch.where(self.truth.valid, self.truth.values, torch.nan)[:, 0]
        codes = torch.where(labels.valid[:, 0, 0, 0], labels.values[:, 0, 0].argmax(1), -1)
        images = [image.flip(axes[m % len(axes)]) for m in range(want.members)]
        maps = [codes.flip(axes[m % len(axes)]) for m in range(want.members)]
        found = torch.stack(maps, dim=1)
        return Prediction(torch.stack(images, dim=1)), found, torch.zeros_like(found).bool()


def synthesize(
    request: RunRequest, per_image: int, out: Path, *, note: Note = quiet, advance: Advance = silent
) -> Path:
    """Draw synthetic images of the labelled training regions and write them as a store.

    Args:
        request: generator, data, protocol, seed and labels; ``copy`` as model for mirrored copies.
        per_image: synthetic images per image of a labelled training region.
        out: the new store.
        note: called with one line of text at a time.
        advance: called with a label, the regions done and their number.

    Returns:
        ``out``.

    Raises:
        InputError: if the model draws no labels, was trained on validation or test regions or with
            other labels than asked for, or ``out`` holds something.
    """
    if per_image < 1:
        raise InputError("--per-image", str(per_image), "Give 1 or more")
    generator, config, checkpoint = _generator(request, note, advance)
    lineage = Lineage(
        request.model, checkpoint.preset if checkpoint else "",
        loaded_digest(generator) if generator else None, config.store.digest, config.store.recipe,
        config.protocol.label_share, per_image, request.seed,
    )  # fmt: skip
    with new_directory(out, f"a synthetic store in {out}", "choose another --out") as root:
        regions = labelled_regions(config.store, config.protocol)
        illegal = [
            _write(root, region, config, generator, lineage)
            for region in _counted(regions, advance)
        ]
        whole = replace(lineage, illegal=round(sum(illegal) / len(illegal), 6))
        finalise(root, _meta(config, whole))
        write_card(root, out.resolve().name)
    note(f"{per_image * len(regions)} regions; illegal codes: {100 * whole.illegal:.2f} %")
    return out


def _counted(regions: tuple[str, ...], advance: Advance) -> Iterator[str]:
    for done, region in enumerate(regions):
        advance("synthesizing", done, len(regions))
        yield region
    advance("synthesizing", len(regions), len(regions))


def _generator(
    request: RunRequest, note: Note, advance: Advance
) -> tuple[Synthesiser | None, EvaluationConfig, Checkpoint | None]:
    """Return the generator (None for copies), the configuration, and the checkpoint."""
    if request.model == COPY:
        store, config, _ = resolved(replace(request, model="class_mean"), quiet)
        note(f"mirrored copies of the training images of {store.path}")
        return None, config, None
    _, config, preset = resolved(request, note)
    with torch.device("meta"):
        draws = create_model(request.model, preset, **task_of(config).model_options(config))
    if not isinstance(draws, Synthesiser):
        raise InputError(
            f"synthesizing with {request.model}", "it draws no labels", f"Take satsynth, or {COPY}"
        )
    model, checkpoint = weighted_model(request, config, preset, note=note, advance=advance)
    assert isinstance(model, Synthesiser)
    for held_out in sorted(task_of(config).splits(config) - {"train"}):
        if checkpoint is not None:
            require_unseen(checkpoint, config.store, held_out)
    return model, config, checkpoint


def _write(
    root: Path, region: str, config: EvaluationConfig, generator: Synthesiser | None,
    lineage: Lineage,
) -> float:  # fmt: skip
    """Write the synthetic regions of a training region; return the share of illegal codes."""
    store, sensor = config.store, config.sensor
    entry, meta, classes = store.region(region), store.sensor(sensor), classes_of(store)
    drawn = [
        _drawn(config, Image(region, whole_window(entry.grids[sensor]), time), generator, lineage)
        for time in range(len(entry.times[sensor]))
    ]
    about = {**store.attributes(region, sensor, LABELS), "comment": f"Drawn by {lineage.model}."}
    for member in range(lineage.per_image):
        images = np.stack([one[0][member] for one in drawn])
        indices = np.stack([one[1][member] for one in drawn])
        codes = np.where(indices < 0, about["nodata"], _table(classes)[indices]).astype(np.uint8)
        valid = np.isfinite(images).all(axis=1)
        arrays = SensorArrays(
            stored(images, meta), valid, valid.astype(np.uint16), entry.times[sensor],
            entry.grids[sensor], labels=codes,
            about={LABELS: about},
        )  # fmt: skip
        record = RegionRecord(
            f"{region}-synthetic-{member + 1}", "train", {}, entry.times[sensor]
        )  # fmt: skip
        write_region(root, record, {sensor: arrays}, {sensor: meta})
    return float(np.mean([one[2] for one in drawn]))


def _drawn(
    config: EvaluationConfig, sample: Image, generator: Synthesiser | None, lineage: Lineage
) -> tuple[Any, Any, float]:
    """Return images ``(M, C, H, W)``, class indices ``(M, H, W)``, and share of illegal codes."""
    own = task_of(config)
    batch = own.reader(Reading(config.store, config.protocol, config.sensor, config.bands))
    question = Question(Noise(lineage.seed), lineage.per_image, own.context)
    given, want, truth = split(batch.assemble([sample]), question)
    if generator is None:
        copies, codes, illegal = Mirrored(truth).synthesise(given, want)
        return copies.values[0, :, 0].numpy(), codes[0].numpy(), float(illegal.float().mean())
    known = card(lineage.model).of(lineage.preset)
    found = pairs(generator, known, given.to(config.device), want.to(config.device))
    bands = len(config.bands)
    image, code, wrong = found[0, :, 0, :bands], found[0, :, 0, bands], found[0, :, 0, -1]
    return image.numpy(), code.long().numpy(), float(wrong.mean())


def pairs(generator: Synthesiser, known: Card, given: Given, want: Want) -> Tensor:
    """Return ``(B, M, 1, C + 2, H, W)``: image, class index and illegal codes, tile by tile."""
    stitcher = Stitcher(want)
    with torch.inference_mode():
        for tile, part_given, part_want in parts(known, given, want):
            image, codes, illegal = generator.synthesise(part_given, part_want)
            more = torch.stack([codes, illegal], dim=2)[:, :, None].to(image.values)
            whole = torch.cat([image.values, more], dim=3).cpu()
            stitcher.put(tile, Prediction(whole))
    return stitcher.result().values


def _table(classes: Classes) -> Any:
    """Return the label code of every class index; of a class of several codes, the smallest."""
    codes = [[c for c, at in classes.index.items() if at == k] for k in range(len(classes.names))]
    return np.array([min(one) for one in codes], np.uint8)


def stored(images: Any, meta: SensorMeta) -> Any:
    """Return physical values ``(T, C, H, W)`` as stored numbers; only NaN becomes nodata."""
    raw = (images.astype(np.float64) - meta.offset) / meta.scale
    missing = np.isnan(raw)
    raw = np.where(missing, 0, raw)
    if meta.dtype == "float32":
        return np.where(missing, meta.nodata, raw).astype(np.float32)
    limits = np.iinfo(meta.dtype)
    found = np.clip(np.rint(raw), limits.min, limits.max)
    beside = meta.nodata + (1 if meta.nodata < limits.max else -1)
    found = np.where(found == meta.nodata, beside, found)
    return np.where(missing, meta.nodata, found).astype(meta.dtype)


def _meta(config: EvaluationConfig, lineage: Lineage) -> StoreMeta:
    source, sensors = config.store.meta, {config.sensor: config.store.sensor(config.sensor)}
    recipe: Mapping[str, Any] = lineage.to_json()
    return StoreMeta(
        "series", recipe, None, "synthetic@1", simulated=source.simulated, complete=True,
        missing=(), step="irregular", default_preset=source.default_preset,
        default_protocol="segment", sensors=sensors,
    )  # fmt: skip
