"""The forecasting task."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING

from rsbench.core.errors import HorizonError, InputError
from rsbench.core.progress import Advance, silent
from rsbench.tasks.base import (
    Asked,
    Bound,
    Drawing,
    Pool,
    Reader,
    Reading,
    SampleKey,
    Task,
    Unit,
)
from rsbench.tasks.coverage import enough, lack, valid_shares
from rsbench.tasks.forecast.samples import (
    Extent,
    Sample,
    backward,
    curve_of,
    index,
    regions_of,
    require_leads,
    spans,
)
from rsbench.tasks.forecast.texts import (
    gives_texts,
    require_one_lead,
    text_notes,
    text_partners,
    wanted_text,
)
from rsbench.tasks.forecast.words import WORDS
from rsbench.tasks.windows import fitting, whole_window

if TYPE_CHECKING:
    from numpy.random import Generator

    from rsbench.catalog import Protocol
    from rsbench.models.api import Given
    from rsbench.models.contract_data import Example
    from rsbench.tasks.config import EvaluationConfig
    from rsbench.tasks.frames import Requests
    from rsbench.tasks.words import Scored


class ForecastTask(Task[Sample]):
    """Forecast the frames after the context, or before it where the direction is the past."""

    name = "forecast"
    kinds = ("series",)
    words = WORDS
    reference_models = ("persistence", "climatology", "linear_trend", "damped_persistence")
    permutes = True

    def require_protocol(self, protocol: Protocol) -> None:
        """Refuse lists of triplets and conditions, which are of other tasks."""
        for option, value in (("dates", protocol.dates), ("conditions", protocol.conditions)):
            if value:
                raise InputError(
                    f"protocol {protocol.name}",
                    f"its task is {self.name}, which has no {option}",
                    f"Remove {option}, or state the task that they are for",
                )

    def settle(self, config: EvaluationConfig) -> EvaluationConfig:
        """Check that there are dates enough; windows become no larger than the regions."""
        store, sensor = config.store, config.sensor
        times = min(len(store.region(name).times[sensor]) for name in store.regions)
        require_leads(times, context=config.context, horizon=config.horizon)
        require_one_lead(config)
        own = replace(config, protocol=fitting(config.protocol, store, sensor))
        kept, found = _scored(own, own.split)
        if not kept and found:
            raise InputError(
                f"forecasts on {store.path}, split {own.split}",
                f"all {found} samples have a context {lack(own.protocol.least_valid)}",
                f"Give --context {own.context + 1} or more, or lower least_valid of the protocol"
                if own.context + own.horizon < times
                else "Take a protocol with a lower least_valid, or a store with more valid pixels",
            )
        return own

    def most_context(self, config: EvaluationConfig) -> int:
        """Return how many dates come before the leads."""
        return min(_count(config, name) for name in config.store.regions) - config.horizon

    def splits(self, config: EvaluationConfig) -> frozenset[str]:
        """Return the splits that have samples, by region or by target date."""
        own = super().splits(config)
        if config.protocol.scheme == "space":
            return own
        dated = frozenset(
            split
            for region in config.store.regions
            for split in spans(config.protocol, _count(config, region), config.context)
        )
        return dated if config.protocol.scheme == "time" else dated & own

    def groups(self, config: EvaluationConfig, split: str) -> list[list[Sample]]:
        """Return the samples of a split in groups of one start and one number of leads."""
        groups: dict[tuple[int, int], list[Sample]] = {}
        for sample in _scored(config, split)[0]:
            groups.setdefault((sample.start, len(sample.targets)), []).append(sample)
        return [groups[key] for key in sorted(groups)]

    def left_out(self, config: EvaluationConfig, split: str) -> Iterable[str]:
        """Return how many samples have an empty context."""
        kept, found = _scored(config, split)
        if len(kept) < found:
            why = lack(config.protocol.least_valid)
            yield f"{found - len(kept)} of {found} samples left out: context {why}"

    def unit(self, config: EvaluationConfig, sample: Sample) -> Unit:
        """Return start, targets and matched sets, counted along the direction."""
        dates = config.store.region(sample.region).times[config.sensor]
        past = config.protocol.direction == "past"
        start = len(dates) - 1 - sample.start if past else sample.start
        known = spans(config.protocol, len(dates), config.context).values()
        span = next(own for own in known if own[0] <= start + 1 <= own[1])
        curves = tuple(
            curve_of(start, lead, span=span, horizon=config.horizon)
            for lead in range(1, len(sample.targets) + 1)
        )
        return Unit(dates[sample.start], tuple(dates[i] for i in sample.targets), curves)

    def reader(self, reading: Reading, advance: Advance = silent) -> Reader[Sample]:
        """Return what reads context and leads of the forecast sensor."""
        from rsbench.store.cache import open_cache
        from rsbench.tasks.frames import FrameReader

        caches = {reading.sensor: open_cache(reading.store, reading.sensor, progress=advance)}
        told = gives_texts(reading.store, reading.protocol)
        return FrameReader(reading, caches, lambda sample: _requests(reading, sample, told=told))

    def notes(self, config: EvaluationConfig) -> Iterable[str]:
        """Return whether the texts of the store are given."""
        return text_notes(config)

    def partners(self, config: EvaluationConfig) -> Mapping[SampleKey, Sample]:
        """Return for every sample one of another region with another text, if texts are given."""
        return text_partners(config, self.groups(config, config.split))

    def permuted(self, given: Given, reader: Reader[Sample], others: Sequence[Sample]) -> Given:
        """Return what is given with the texts of other samples; the frames stay."""
        return replace(given, texts=reader.assemble(others).texts)

    def bounds(self, config: EvaluationConfig) -> Sequence[Bound]:
        """Return the oracle of a simulation and the floor of the data."""
        from rsbench.tasks.forecast.bounds import bounds

        return tuple(bounds(config))

    def pool(self, reading: Reading, drawing: Drawing, split: str) -> Pool[Sample]:
        """Return the starts of a split's regions."""
        return Starts.of(reading, drawing, split)

    def validation(
        self, reading: Reading, reader: Reader[Sample], drawing: Drawing
    ) -> Sequence[Sample]:
        """Return the windows that have all leads of the last stage."""
        leads = drawing.leads[-1]
        extent = Extent(drawing.context, leads, reading.sensor)
        rules = fitting(reading.protocol, reading.store, reading.sensor)
        found = index(reading.store, rules, "val", extent)
        whole = [sample for sample in found if len(sample.targets) == leads]
        if not whole:
            raise HorizonError(
                f"validating {drawing.model} on {leads} leads after {drawing.context} frames",
                f"the split val has {max(len(sample.targets) for sample in found)} target dates",
                "Choose a preset that needs fewer leads, or a dataset with more dates",
            )
        return whole

    def asked(self, config: EvaluationConfig) -> Sequence[Asked[Sample]]:
        """Return every (region, start) once, with its dates and grid."""
        found: dict[tuple[str, int], Asked[Sample]] = {}
        for group in self.groups(config, config.split):
            for sample in group:
                place = (sample.region, sample.start)
                if place not in found:
                    found[place] = self._asked(config, sample)
        return tuple(found[place] for place in sorted(found))

    def _asked(self, config: EvaluationConfig, sample: Sample) -> Asked[Sample]:
        entry = config.store.region(sample.region)
        dates, grid = entry.times[config.sensor], entry.grids[config.sensor]
        start = dates[sample.start].isoformat()
        return Asked(
            sample=sample.at(whole_window(grid)),
            key=f"{sample.region}:{start}",
            name=start,
            label=f"start {start}",
            grid=grid,
            given={config.sensor: tuple(dates[i] for i in sample.context)},
            folders={config.sensor: sample.region},
            targets=tuple(dates[i] for i in sample.targets),
        )

    def example(self) -> Example:
        """Return what makes up series for the contract."""
        from rsbench.models.contract_data import SERIES

        return SERIES

    def methods(self, run: Scored) -> str:
        """Return half a sentence: the inputs of models and what they predicted."""
        frames = "frame" if run.context == 1 else "frames"
        leads = "lead 1" if run.horizon == 1 else f"leads 1 to {run.horizon}"
        said = f"k = {run.context} context {frames} were given and {leads} of {run.step} predicted"
        starts = (
            f"{run.starts[0]} to {run.starts[-1]}" if len(run.starts) > 1 else "".join(run.starts)
        )
        return said + (f", from starts {starts}" if starts else "")


TASK = ForecastTask()


def _scored(config: EvaluationConfig, split: str) -> tuple[list[Sample], int]:
    """Return the samples of a split whose context is seen, and how many there are in all."""
    extent = Extent(config.context, config.horizon, config.sensor)
    late = "targets" in config.protocol.curves
    found = [
        sample
        for sample in index(config.store, config.protocol, split, extent)
        if late or len(sample.targets) == config.horizon
    ]
    places = ((sample.region, sample.window) for sample in found)
    shares = valid_shares(config.store, config.sensor, places)

    def seen(sample: Sample) -> bool:
        share = shares[sample.region, sample.window][list(sample.context)].mean()
        return enough(float(share), config.protocol.least_valid)

    return [sample for sample in found if seen(sample)], len(found)


def _count(config: EvaluationConfig, region: str) -> int:
    return len(config.store.region(region).times[config.sensor])


def _requests(reading: Reading, sample: Sample, *, told: bool) -> Requests:
    """Return the frames of a sample, after checking that its dates run along the direction.

    Args:
        told: whether a sample of one lead has the text of its image.
    """
    from rsbench.tasks.frames import Request, Requests

    dates = reading.store.region(sample.region).times[reading.sensor]
    listed = (*sample.context, *sample.targets)
    step = -1 if reading.protocol.direction == "past" else 1
    if any((b - a) * step <= 0 for a, b in pairwise(listed)):
        raise InputError(
            f"a forecast of the {reading.protocol.direction}",
            f"the dates of {sample.region} run {', '.join(str(dates[i]) for i in listed)}",
            "Take samples of forecast.samples.index for the future, backward(…) for the past",
        )
    told = told and len(sample.targets) == 1
    return Requests(
        key=f"{sample.region}:{dates[sample.start].isoformat()}",
        given=(Request(reading.sensor, sample.context),),
        truth=Request(reading.sensor, sample.targets),
        text=wanted_text(reading.store, reading.sensor, sample) if told else None,
    )


@dataclass(frozen=True)
class Starts:
    """The starts of a split's regions whose targets all lie on dates of the split.

    Args:
        frames: region → its number of dates.
        spans: region → indices of the first target and after the last one.
        regions: those that hold every stage with the shortest context.
    """

    reading: Reading
    frames: Mapping[str, int]
    spans: Mapping[str, tuple[int, int]]
    regions: tuple[str, ...]
    lattice: int = 1

    @classmethod
    def of(cls, reading: Reading, drawing: Drawing, split: str) -> Starts:
        """Return the starts of a split.

        Raises:
            HorizonError: if no region has dates enough in the split.
        """
        store, rules, leads = reading.store, reading.protocol, max(drawing.leads)
        names = regions_of(store, rules, split)
        frames = {name: len(store.region(name).times[reading.sensor]) for name in names}
        found = {name: _span(rules, n, drawing.context, split) for name, n in frames.items()}
        regions = tuple(sorted(r for r in names if _room(found[r], drawing.shortest) >= leads))
        if not regions:
            raise HorizonError(
                f"training {drawing.model} on {leads} leads after {drawing.shortest} frames",
                f"the regions of the split {split} have {max(frames.values(), default=0)} dates",
                "Choose a preset that needs fewer, or a dataset with more dates",
            )
        return cls(reading, frames, found, regions)

    def longest(self, leads: int) -> int:
        """Return the longest context that some region has before so many leads."""
        return max(self.spans[region][1] for region in self.regions) - leads

    def fitting(self, context: int, leads: int) -> list[str]:
        """Return the regions with enough dates."""
        return [name for name in self.regions if _room(self.spans[name], context) >= leads]

    def draw(self, rng: Generator, region: str, context: int, leads: int) -> Sample:
        """Return a sample of the whole region from a random start."""
        first, end = self.spans[region]
        start = int(rng.integers(max(first, context) - 1, end - leads))
        grid = self.reading.store.region(region).grids[self.reading.sensor]
        given = tuple(range(start - context + 1, start + 1))
        wanted = tuple(range(start + 1, start + leads + 1))
        sample = Sample(region, whole_window(grid), given, wanted)
        turned = self.reading.protocol.direction == "past"
        return backward([sample], self.frames)[0] if turned else sample


def _span(protocol: Protocol, times: int, context: int, split: str) -> tuple[int, int]:
    """Return the indices of the first training target and after the last one.

    Where splits are made by region alone, shorter contexts may have earlier targets.
    """
    if protocol.scheme == "space":
        return 0, times
    first, last = spans(protocol, times, context).get(split, (0, -1))
    return first, last + 1


def _room(span: tuple[int, int], context: int) -> int:
    """Return how many targets of a span come after a context."""
    return span[1] - max(span[0], context)
