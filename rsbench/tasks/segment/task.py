"""The segmentation task."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from rsbench.core.errors import InputError
from rsbench.core.progress import Advance, silent
from rsbench.tasks.base import Asked, Drawing, Pool, Reader, Reading, Task, Unit
from rsbench.tasks.segment.classes import classes_of, labelled_sensor
from rsbench.tasks.segment.samples import TARGET, UNIT, Image
from rsbench.tasks.segment.words import WORDS
from rsbench.tasks.windows import fitting, whole_window, windows_of

if TYPE_CHECKING:
    from numpy.random import Generator

    from rsbench.catalog import Protocol
    from rsbench.models.contract_data import Example
    from rsbench.store.layout import SensorMeta
    from rsbench.store.read import Store
    from rsbench.tasks.config import EvaluationConfig
    from rsbench.tasks.words import Scored


class SegmentTask(Task[Image]):
    """Predict class probabilities of every pixel of an image.

    Given is one image of the sensor on whose pixels the labels are. The truth is 1 for the class
    of a pixel and 0 for the others; pixels without a class are not scored.
    """

    name = "segment"
    kinds = ("pairs", "series")
    words = WORDS
    reference_models = ("majority", "pixel_lda", "window_lda", "random_encoder")
    context = "once"
    predicts_labels = True

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
                "Segmentation has context 1, horizon 1, scheme space and bands store",
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

    def settle(self, config: EvaluationConfig) -> EvaluationConfig:
        """Return the configuration with windows no larger than the regions."""
        return replace(config, protocol=fitting(config.protocol, config.store, config.sensor))

    def groups(self, config: EvaluationConfig, split: str) -> list[list[Image]]:
        """Return the windows of all images of a split's regions in one group."""
        return [list(_images(config.store, config.protocol, config.sensor, split))]

    def unit(self, config: EvaluationConfig, sample: Image) -> Unit:
        """Return the date of the image."""
        day = config.store.region(sample.region).times[config.sensor][sample.time]
        return Unit(day, (day,), ("starts",))

    def reader(self, reading: Reading, advance: Advance = silent) -> Reader[Image]:
        """Return what reads images and labels."""
        from rsbench.tasks.segment.finer import FinerImages
        from rsbench.tasks.segment.images import image_reader
        from rsbench.tasks.segment.reader import LabelReader

        store, sensor = reading.store, reading.sensor
        images = image_reader(reading, sensor, store.sensor(sensor).bands, advance)
        finer = FinerImages.open(reading, sensor, advance) if reading.taught else None
        return LabelReader(reading, images, classes_of(store), finer)

    def shown(self, config: EvaluationConfig) -> str:
        """Return the inputs of every model, with the label set."""
        return f"{config.sensor} labels={classes_of(config.store).labels}"

    def pool(self, reading: Reading, drawing: Drawing, split: str) -> Pool[Image]:
        """Return the images of a split's regions."""
        return Images.of(reading, split)

    def validation(
        self, reading: Reading, reader: Reader[Image], drawing: Drawing
    ) -> Sequence[Image]:
        """Return the windows of the validation split."""
        rules = fitting(reading.protocol, reading.store, reading.sensor)
        found = _images(reading.store, rules, reading.sensor, "val")
        return [sample for sample in found if reader.usable(sample)]

    def solved(self, reading: Reading, reader: Reader[Image], drawing: Drawing) -> Sequence[Image]:
        """Return the windows of the training split, with sides of the crops of training."""
        side = drawing.window
        rules = reading.protocol.model_copy(update={"window": side, "stride": side})
        found = _images(reading.store, rules, reading.sensor, "train")
        return [sample for sample in found if reader.usable(sample)]

    def example(self) -> Example:
        """Return what makes up images and labels for the contract."""
        from rsbench.tasks.segment.example import EXAMPLE

        return EXAMPLE

    def asked(self, config: EvaluationConfig) -> Sequence[Asked[Image]]:
        """Return every image of the split once, as a whole region."""
        groups = self.groups(config, config.split)
        places = sorted({(sample.region, sample.time) for group in groups for sample in group})
        return tuple(_asked(config, region, time) for region, time in places)

    def methods(self, run: Scored) -> str:
        """Return half a sentence: the inputs of models and what they predicted."""
        return "one image was given and the class of every pixel predicted"


TASK = SegmentTask()


def _asked(config: EvaluationConfig, region: str, time: int) -> Asked[Image]:
    entry, sensor = config.store.region(region), config.sensor
    day, grid = entry.times[sensor][time], entry.grids[sensor]
    return Asked(
        sample=Image(region, whole_window(grid), time), key=f"{region}:{day.isoformat()}",
        name=day.isoformat(), label=f"image {day}", grid=grid, given={sensor: (day,)},
        folders={sensor: region}, targets=(day,),
    )  # fmt: skip


def _images(store: Store, protocol: Protocol, sensor: str, split: str) -> Iterator[Image]:
    for region in store.split(split):
        entry = store.region(region)
        areas = windows_of(
            region, entry.grids[sensor], window=protocol.window, stride=protocol.stride
        )
        for time in range(len(entry.times[sensor])):
            yield from (Image(region, area, time) for area in areas)


@dataclass(frozen=True)
class Images:
    """The images of a split's regions, from which training crops are cut."""

    reading: Reading
    regions: tuple[str, ...]
    lattice: int = 1

    @classmethod
    def of(cls, reading: Reading, split: str) -> Images:
        """Return the images of a split."""
        return cls(reading, tuple(reading.store.split(split)))

    def longest(self, leads: int) -> int:
        """Return 1: every sample has one image."""
        return 1

    def fitting(self, context: int, leads: int) -> tuple[str, ...]:
        """Return all regions."""
        return self.regions

    def draw(self, rng: Generator, region: str, context: int, leads: int) -> Image:
        """Return a whole image of a region."""
        entry, sensor = self.reading.store.region(region), self.reading.sensor
        time = int(rng.integers(len(entry.times[sensor])))
        return Image(region, whole_window(entry.grids[sensor]), time)
