"""The segmentation task."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from rsbench.core.errors import InputError
from rsbench.core.progress import Advance, silent
from rsbench.tasks.base import Asked, Drawing, Pool, Reader, Reading, Task, Unit
from rsbench.tasks.classes import TARGET, UNIT, classes_of, labelled_sensor
from rsbench.tasks.labels import labelled_regions, training_regions
from rsbench.tasks.pairs import Image, whole_images
from rsbench.tasks.segment.labelled import training_labels
from rsbench.tasks.segment.pool import images_of, pool_of, rules_of
from rsbench.tasks.segment.words import WORDS
from rsbench.tasks.windows import fitting, whole_window

if TYPE_CHECKING:
    from rsbench.catalog import Protocol
    from rsbench.models.contract_data import Example
    from rsbench.store.layout import SensorMeta
    from rsbench.store.read import Store
    from rsbench.tasks.config import EvaluationConfig
    from rsbench.tasks.labels import TrainingLabels
    from rsbench.tasks.segment.reader import LabelReader
    from rsbench.tasks.words import Scored


class SegmentTask(Task[Image]):
    """Predict class probabilities of every pixel of an image.

    Given is one image of the sensor on whose pixels the labels are. The truth is 1 for the class
    of a pixel and 0 for the others; pixels without a class are not scored.
    """

    name = "segment"
    kinds = ("pairs", "series")
    words = WORDS
    reference_models: tuple[str, ...] = ("majority", "pixel_lda", "window_lda", "random_encoder")
    context = "once"
    predicts_labels = True
    reads_labels = True
    shows_start = False

    def require_protocol(self, protocol: Protocol) -> None:
        """Refuse leads, several images, and lists of dates or conditions."""
        wrong = {
            "horizon": protocol.horizon != 1, "context": protocol.context != 1,
            "direction": protocol.direction != "future", "scheme": protocol.scheme != "space",
            "dates": bool(protocol.dates), "conditions": bool(protocol.conditions),
            "bands": protocol.bands != "store",
        }  # fmt: skip
        if found := [name for name, is_wrong in wrong.items() if is_wrong]:
            raise InputError(
                f"protocol {protocol.name}, whose task is {self.name}",
                f"its {', '.join(found)} {'is' if len(found) == 1 else 'are'} not of this task",
                "It has context 1, horizon 1, scheme space and bands store",
            )

    def sensor(self, store: Store) -> str:
        """Return the sensor on whose pixels the labels are."""
        return labelled_sensor(store)

    def target(self, store: Store) -> SensorMeta:
        """Return what is predicted: shares of classes, on the pixels of the input sensor."""
        meta = store.sensor(self.sensor(store))
        return replace(
            meta, name=TARGET, bands=classes_of(store).names, unit=UNIT, dtype="float32", scale=1.0,
            offset=0.0, nodata=0.0, value_range=(0.0, 1.0), display=None,
        )  # fmt: skip

    def model_options(self, config: EvaluationConfig) -> Mapping[str, Any]:
        """Return the numbers of input bands and classes."""
        bands = config.store.sensor(config.sensor).bands
        return {"bands": len(bands), "classes": len(config.bands)}

    def bands_given(self, store: Store, sensor: str, bands: tuple[str, ...]) -> tuple[str, ...]:
        """Return the bands of the images under the labels."""
        return store.sensor(sensor).bands

    def settle(self, config: EvaluationConfig) -> EvaluationConfig:
        """Return the configuration with windows no larger than the regions.

        Raises:
            InputError: for a share of the labels with fewer labelled windows than classes.
        """
        own = replace(config, protocol=fitting(config.protocol, config.store, config.sensor))
        if own.protocol.labels is not None:
            self.training_labels(own)
        return own

    def groups(self, config: EvaluationConfig, split: str) -> list[list[Image]]:
        """Return the windows of all images of a split's regions in one group.

        Of the training split these are the regions whose labels may be used.
        """
        return [list(images_of(config.store, config.protocol, config.sensor, split))]

    def left_out(self, config: EvaluationConfig, split: str) -> Iterable[str]:
        """Return how many training regions are not scored, as their labels are hidden."""
        every = training_regions(config.store) if split == "train" else ()
        hidden = len(every) - len(labelled_regions(config.store, config.protocol))
        if every and hidden:
            yield f"{hidden} of {len(every)} training regions are not scored: labels are hidden"

    def unit(self, config: EvaluationConfig, sample: Image) -> Unit:
        """Return the date of the image."""
        day = config.store.region(sample.region).times[config.sensor][sample.time]
        return Unit(day, (day,), ("starts",))

    def reader(self, reading: Reading, advance: Advance = silent) -> Reader[Image]:
        """Return what reads images and, as truth, labels."""
        return self.labels(reading, advance)

    def labels(self, reading: Reading, advance: Advance = silent) -> LabelReader:
        """Return what reads images and labels."""
        from rsbench.tasks.pairs import image_reader
        from rsbench.tasks.segment.finer import FinerImages
        from rsbench.tasks.segment.reader import LabelReader

        store, sensor = reading.store, reading.sensor
        images = image_reader(reading, sensor, store.sensor(sensor).bands, advance)
        hidden = {*training_regions(store)} - {*labelled_regions(store, reading.protocol)}
        finer = FinerImages.open(reading, sensor, advance) if reading.taught else None
        return LabelReader(reading, images, classes_of(store), frozenset(hidden), finer)

    def shown(self, config: EvaluationConfig) -> str:
        """Return the inputs of every model, with the label set and a stated share of it."""
        share, labels = config.protocol.labels, classes_of(config.store).labels
        part = "" if share is None else f" fraction={share.fraction:g} label seed={share.seed}"
        return f"{config.sensor} labels={labels}{part}"

    def label_codes(self, config: EvaluationConfig) -> Mapping[int, int]:
        """Return the codes of the label set that are scored."""
        return classes_of(config.store).index

    def class_pixels(self, config: EvaluationConfig) -> Mapping[str, Mapping[str, int]]:
        """Return the pixels of every class in the windows of every split."""
        reader = self.labels(Reading(config.store, config.protocol, config.sensor, config.bands))
        found = {}
        for split in self.splits(config):
            samples = images_of(config.store, config.protocol, config.sensor, split)
            counts = sum((reader.class_pixels(sample) for sample in samples), np.zeros(1, int))
            found[split] = dict(zip(reader.classes.names, counts.tolist(), strict=True))
        return found

    def training_labels(self, config: EvaluationConfig) -> TrainingLabels | None:
        """Return the labels of the training split that the protocol allows."""
        reading = Reading(config.store, config.protocol, config.sensor, config.bands)
        samples = images_of(config.store, config.protocol, config.sensor, "train")
        reader = self.labels(reading)
        return training_labels(config.store, config.protocol, reader, samples)

    def notes(self, config: EvaluationConfig) -> Iterable[str]:
        """Return which labels are used, where it is a share of them or a class has none."""
        return filter(None, [str(self.training_labels(config))])

    def pool(self, reading: Reading, drawing: Drawing, split: str) -> Pool[Image]:
        """Return the images of a split's regions."""
        return pool_of(reading, split)

    def validation(
        self, reading: Reading, reader: Reader[Image], drawing: Drawing
    ) -> Sequence[Image]:
        """Return the windows of the validation split."""
        rules = fitting(reading.protocol, reading.store, reading.sensor)
        found = images_of(reading.store, rules, reading.sensor, "val")
        return [sample for sample in found if reader.usable(sample)]

    def solved(self, reading: Reading, reader: Reader[Image], drawing: Drawing) -> Sequence[Image]:
        """Return the windows of the training split, with sides of the crops of training."""
        side = {"window": drawing.window, "stride": drawing.window}
        rules = rules_of(reading).model_copy(update=side)
        found = images_of(reading.store, rules, reading.sensor, "train")
        return [sample for sample in found if reader.usable(sample)]

    def example(self) -> Example:
        """Return what makes up images and labels for the contract."""
        from rsbench.tasks.segment.example import EXAMPLE

        return EXAMPLE

    def asked(self, config: EvaluationConfig) -> Sequence[Asked[Image]]:
        """Return every image of the split once, as a whole region."""
        places = whole_images(self.groups(config, config.split))
        return tuple(self.asked_of(config, region, time) for region, time in places)

    def asked_of(self, config: EvaluationConfig, region: str, time: int) -> Asked[Image]:
        """Return what is asked for of one image of a region."""
        entry, sensor = config.store.region(region), config.sensor
        day, grid = entry.times[sensor][time], entry.grids[sensor]
        return Asked(
            sample=Image(region, whole_window(grid), time), key=f"{region}:{day.isoformat()}",
            name=day.isoformat(), label=f"image {day}", grid=grid, given={sensor: (day,)},
            folders={sensor: region}, targets=(day,),
        )  # fmt: skip

    def methods(self, run: Scored) -> str:
        """Return half a sentence: the inputs of models and what they predicted."""
        return "one image was given and the class of every pixel predicted"


TASK = SegmentTask()
