"""The generation task."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from rsbench.core.errors import InputError
from rsbench.core.progress import Advance, silent
from rsbench.metrics.queries import OF_CASE, needs_case
from rsbench.store.texts import described, has_texts, text_of
from rsbench.tasks.base import Asked, Known, Reader, Reading, SampleKey
from rsbench.tasks.classes import TARGET, classes_of
from rsbench.tasks.generate.words import REAL, TRAIN_IMAGE, WORDS
from rsbench.tasks.labels import training_regions
from rsbench.tasks.pairs import Image
from rsbench.tasks.segment.task import SegmentTask

if TYPE_CHECKING:
    from rsbench.models.contract_data import Example
    from rsbench.store.layout import SensorMeta
    from rsbench.store.read import Store
    from rsbench.tasks.config import EvaluationConfig
    from rsbench.tasks.words import Scored


LEAST_TRAINING = 2
OF_TRAINING = ("nearest-training", "layout")
"""Features that are computed with training regions."""


class GenerateTask(SegmentTask):
    """Draw an image under conditions.

    Given are a map of classes, 1 for the class of a pixel and 0 for the others, and a text: that of
    the image in a store with texts, otherwise one by a template from the classes of the map. Place,
    date and pixel size are in ``want.grids`` and ``want.times``. The truth is the image of the
    sensor on whose pixels the labels are.
    """

    name = "generate"
    words = WORDS
    reference_models = ("class_mean",)
    predicts_labels = False
    permutes = True
    known_names = (REAL, TRAIN_IMAGE)
    case_features = OF_CASE

    def target(self, store: Store) -> SensorMeta:
        """Return bands, unit and range of the image."""
        classes_of(store)
        return store.sensor(self.sensor(store))

    def model_options(self, config: EvaluationConfig) -> Mapping[str, Any]:
        """Return the numbers of bands and classes."""
        return {"bands": len(config.bands), "classes": len(classes_of(config.store).names)}

    def bands_given(self, store: Store, sensor: str, bands: tuple[str, ...]) -> tuple[str, ...]:
        """Return those of the images that are drawn: maps have classes, no bands."""
        return bands

    def settle(self, config: EvaluationConfig) -> EvaluationConfig:
        """Return the configuration without metrics that need more training regions than there are.

        Raises:
            InputError: for a share of the labels with fewer labelled windows than classes, or a
                store with texts that lacks that of an image.
        """
        own = super().settle(config)
        _require_texts(own)
        count = len(training_regions(config.store))
        if count >= LEAST_TRAINING:
            return own
        why = f"needs {LEAST_TRAINING} training regions, the store has {count}"
        gone = {m: why for m in own.metrics if needs_case(m) in OF_TRAINING}
        kept = tuple(metric for metric in own.metrics if metric not in gone)
        return replace(own, metrics=kept, left_out={**own.left_out, **gone})

    def reader(self, reading: Reading, advance: Advance = silent) -> Reader[Image]:
        """Return what reads conditions and images."""
        from rsbench.tasks.generate.reader import ConditionReader

        return ConditionReader(self.labels(reading, advance))

    def label_codes(self, config: EvaluationConfig) -> Mapping[int, int]:
        """Return nothing: a prediction is an image."""
        return {}

    def notes(self, config: EvaluationConfig) -> Iterable[str]:
        """Return which labels are used, and where texts come from."""
        yield from super().notes(config)
        if has_texts(config.store):
            yield f"texts are those of the store: {described(config.store)}"
        else:
            yield "texts are made by a template from the classes of the map"

    def known(self, config: EvaluationConfig) -> Sequence[Known]:
        """Return the real images, and training images of the same dominant class."""
        from rsbench.tasks.generate.known import TrainImages, real
        from rsbench.tasks.generate.reader import ConditionReader

        found = [Known(REAL, "oracle", real)]
        if "train" in self.splits(config):
            reading = Reading(config.store, config.protocol, config.sensor, config.bands)
            (samples,) = self.groups(config, "train")
            images = TrainImages.of(ConditionReader(self.labels(reading)), samples, config.seed)
            found.append(Known(TRAIN_IMAGE, "trivial", images))
        return found

    def partners(self, config: EvaluationConfig) -> Mapping[SampleKey, Image]:
        """Return for every sample one of another region, half the split away; none for one region.

        The answers to the partners' conditions are the control ``shuffled``.
        """
        (samples,) = self.groups(config, config.split)
        if len({sample.region for sample in samples}) < 2:
            return {}
        times = {name: config.store.region(name).times[config.sensor] for name in
                 {sample.region for sample in samples}}  # fmt: skip
        found = {}
        for place, sample in enumerate(samples):
            turned = [*samples[place:], *samples[:place]]
            half = len(turned) // 2
            order = [*turned[half:], *turned[1:half]]
            key = f"{sample.region}:{times[sample.region][sample.time].isoformat()}"
            other = next(one for one in order if one.region != sample.region)
            found[sample.region, key, sample.window] = other
        return found

    def example(self) -> Example:
        """Return what makes up maps of classes and images for the contract."""
        from rsbench.tasks.generate.example import EXAMPLE

        return EXAMPLE

    def asked_of(self, config: EvaluationConfig, region: str, time: int) -> Asked[Image]:
        """Return what is asked for under the map of classes of one image of a region."""
        found = super().asked_of(config, region, time)
        return replace(found, given={TARGET: found.targets}, folders={TARGET: region})

    def methods(self, run: Scored) -> str:
        """Return half a sentence: the inputs of models and what they predicted."""
        return "a map of classes, a text and place and date were given and the image drawn"


def _require_texts(config: EvaluationConfig) -> None:
    """Refuse a store that has the texts of some of its images only."""
    store = config.store
    if not has_texts(store):
        return
    for region in store.regions:
        for day in store.region(region).times[config.sensor]:
            if not text_of(store, region, day):
                raise InputError(
                    f"generation on {store.path}, which holds texts",
                    f"the image of {region} of {day} has none",
                    "Add the texts of all images with rsbench add-texts",
                )


TASK = GenerateTask()
