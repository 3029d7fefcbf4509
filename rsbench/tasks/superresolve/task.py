"""The super-resolution task."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from rsbench.core.errors import InputError
from rsbench.core.progress import Advance, silent
from rsbench.tasks.base import Asked, Drawing, Pool, Reader, Reading, Task, Unit
from rsbench.tasks.pairs import Image, ImagePool, whole_images
from rsbench.tasks.superresolve.samples import fitted, given_bands, images, sensor_pair
from rsbench.tasks.superresolve.words import WORDS
from rsbench.tasks.windows import whole_window

if TYPE_CHECKING:
    from rsbench.catalog import Protocol
    from rsbench.models.contract_data import Example
    from rsbench.store.read import Store
    from rsbench.tasks.config import EvaluationConfig
    from rsbench.tasks.superresolve.reader import PairReader
    from rsbench.tasks.words import Scored


class SuperResolveTask(Task[Image]):
    """Predict the image of the finer sensor of a pair from the image of the coarser one.

    Given is one coarse image on its own grid. Its first bands are the wanted ones, in their order;
    its other bands follow. Windows are scored; they fall on whole coarse pixels. Validation takes
    fewer windows than usual, because most networks are samplers of many steps.
    """

    name = "superresolve"
    kinds = ("pairs",)
    words = WORDS
    reference_models = ("bicubic_fitted", "nearest_fitted", "bicubic")
    validation_samples = 8
    context = "once"
    shows_start = False

    def require_protocol(self, protocol: Protocol) -> None:
        """Refuse leads, several images, and lists of dates or conditions."""
        wrong = {
            "horizon": protocol.horizon != 1, "context": protocol.context != 1,
            "direction": protocol.direction != "future", "scheme": protocol.scheme != "space",
            "dates": bool(protocol.dates), "conditions": bool(protocol.conditions),
        }  # fmt: skip
        if found := [name for name, is_wrong in wrong.items() if is_wrong]:
            raise InputError(
                f"protocol {protocol.name}, whose task is {self.name}",
                f"its {', '.join(found)} {'is' if len(found) == 1 else 'are'} not of this task",
                "Super-resolution has context 1, horizon 1 and scheme space",
            )

    def sensor(self, store: Store) -> str:
        """Return the finer sensor."""
        return sensor_pair(store).fine

    def model_options(self, config: EvaluationConfig) -> Mapping[str, Any]:
        """Return the numbers of wanted bands and of bands given."""
        given = config.store.sensor(sensor_pair(config.store).coarse).bands
        return {"bands": len(config.bands), "inputs": len(given)}

    def bands_given(self, store: Store, sensor: str, bands: tuple[str, ...]) -> tuple[str, ...]:
        """Return the bands of the coarse images: first those of the wanted ones."""
        return given_bands(store, sensor_pair(store), bands)

    def settle(self, config: EvaluationConfig) -> EvaluationConfig:
        """Check sensors, bands and grids; return the configuration with windows that fit.

        Raises:
            InputError: if they do not make pairs, or another context or horizon is asked for.
        """
        for name, number in (("context", config.context), ("horizon", config.horizon)):
            if number != 1:
                raise InputError(
                    f"a {name} of {number}",
                    "super-resolution makes one image of one image",
                    f"Leave --{name} out",
                )
        pair = sensor_pair(config.store)
        given_bands(config.store, pair, config.bands)
        return replace(config, protocol=fitted(config.protocol, config.store, pair))

    def most_context(self, config: EvaluationConfig) -> int:
        """Return 1."""
        return 1

    def groups(self, config: EvaluationConfig, split: str) -> list[list[Image]]:
        """Return the windows of all images of a split's regions in one group."""
        return [list(images(config.store, config.protocol, config.sensor, split))]

    def unit(self, config: EvaluationConfig, sample: Image) -> Unit:
        """Return the dates of the coarse image and of the fine one."""
        coarse = sensor_pair(config.store).coarse
        start, target = _dates(config.store, sample, coarse, config.sensor)
        return Unit(start, (target,), ("starts",))

    def reader(self, reading: Reading, advance: Advance = silent) -> PairReader:
        """Return what reads both images of a pair."""
        from rsbench.tasks.superresolve.reader import PairReader

        return PairReader.open(reading, advance)

    def pixel_ratio(self, config: EvaluationConfig) -> int:
        """Return how many fine pixels lie along one side of a coarse one."""
        return sensor_pair(config.store).ratio

    def unsuited(self, config: EvaluationConfig, name: str) -> str | None:
        """Return why bicubic is absent: it predicts values of the coarse sensor's unit."""
        given = config.store.sensor(sensor_pair(config.store).coarse)
        if name != "bicubic" or given.unit == config.meta.unit:
            return None
        return f"{given.name} is {given.unit}, {config.sensor} is {config.meta.unit}"

    def shown(self, config: EvaluationConfig) -> str:
        """Return the sensor that is given, and the ratio of pixel sizes."""
        pair = sensor_pair(config.store)
        return f"{pair.coarse} ×{pair.ratio}"

    def pool(self, reading: Reading, drawing: Drawing, split: str) -> Pool[Image]:
        """Return the pairs of a split's regions.

        Raises:
            InputError: if crops do not fall on whole coarse pixels.
        """
        ratio = sensor_pair(reading.store).ratio
        if drawing.window % ratio:
            raise InputError(
                f"training {drawing.model} on crops of {drawing.window} px",
                f"a coarse pixel spans {ratio} fine pixels",
                f"Take a protocol whose window is a multiple of {ratio}",
            )
        return ImagePool(reading, reading.store.split(split), ratio)

    def validation(
        self, reading: Reading, reader: Reader[Image], drawing: Drawing
    ) -> Sequence[Image]:
        """Return the windows of the validation split."""
        rules = fitted(reading.protocol, reading.store, sensor_pair(reading.store))
        found = images(reading.store, rules, reading.sensor, "val")
        return [sample for sample in found if reader.usable(sample)]

    def solved(self, reading: Reading, reader: Reader[Image], drawing: Drawing) -> Sequence[Image]:
        """Return the windows of the training split, with sides of the crops of training."""
        side = {"window": drawing.window, "stride": drawing.window}
        rules = reading.protocol.model_copy(update=side)
        found = images(reading.store, rules, reading.sensor, "train")
        return [sample for sample in found if reader.usable(sample)]

    def example(self) -> Example:
        """Return what makes up pairs for the contract."""
        from rsbench.tasks.superresolve.example import EXAMPLE

        return EXAMPLE

    def asked(self, config: EvaluationConfig) -> Sequence[Asked[Image]]:
        """Return every image of the split once, as a whole region."""
        places = whole_images(self.groups(config, config.split))
        return tuple(_asked(config, region, time) for region, time in places)

    def methods(self, run: Scored) -> str:
        """Return half a sentence: the inputs of models and what they predicted."""
        return "one coarse image was given and the fine image of the same ground predicted"


TASK = SuperResolveTask()


def _dates(store: Store, sample: Image, *sensors: str) -> list[Any]:
    entry = store.region(sample.region)
    return [entry.times[sensor][sample.time] for sensor in sensors]


def _asked(config: EvaluationConfig, region: str, time: int) -> Asked[Image]:
    coarse, fine = sensor_pair(config.store).coarse, config.sensor
    grids = config.store.region(region).grids
    sample = Image(region, whole_window(grids[fine]), time)
    start, target = _dates(config.store, sample, coarse, fine)
    return Asked(
        sample=sample, key=f"{region}:{target.isoformat()}", name=target.isoformat(),
        label=f"image {target}", grid=grids[fine], given={coarse: (start,)},
        folders={coarse: f"{region}/{coarse}"}, targets=(target,), grids={coarse: grids[coarse]},
    )  # fmt: skip
