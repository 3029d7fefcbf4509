"""The setting that every row of one table shares, and the cases it makes of a store."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rsbench.catalog import Protocol, load_protocol
from rsbench.core.errors import InputError, unknown
from rsbench.tasks.config import EvaluationConfig
from rsbench.tasks.forecast_samples import require_leads

if TYPE_CHECKING:
    import torch

    from rsbench.store.read import Store
    from rsbench.tasks.base import Case
    from rsbench.tasks.forecast_samples import Sample
    from rsbench.tasks.fusion_samples import Triplet

SPLITS = ("test", "val", "train")
Note = Callable[[str], None]


def quiet(text: str) -> None:
    """Say nothing."""


def evaluation_config(
    store: Store,
    protocol: str | Path | Protocol,
    *,
    split: str = "test",
    context: str | int | None = None,
    horizon: int | None = None,
    members: int = 1,
    seed: int = 0,
    device: str = "auto",
    precision: str = "32-true",
    suite: str | None = None,
    metrics: str | None = None,
) -> EvaluationConfig:
    """Resolve names and defaults into one frozen setting.

    Args:
        protocol: name in the catalogue, path of a YAML file, or a protocol.
        suite: suites or ids in place of the protocol's.
        metrics: suites or ids beside those.

    Raises:
        HorizonError: if the store has too few dates for context and horizon.
        UnknownName: for a name in no catalogue.
    """
    from rsbench.metrics.queries import SELECTION
    from rsbench.metrics.suites import for_bands
    from rsbench.metrics.suites import suite as suite_of
    from rsbench.tasks.fusion_settings import fusion_part, ratio_metrics

    _require_task(store)
    chosen = load_protocol(protocol)
    _require_primary(chosen)
    _require_kind(store, chosen)
    if split not in SPLITS:
        raise unknown("split", split, SPLITS)
    sensor = _wanted_sensor(store, chosen)
    meta = store.sensor(sensor)
    bands = meta.bands if chosen.bands == "store" else chosen.bands
    meta.band_index(bands)
    times = min(len(store.region(name).times[sensor]) for name in store.regions)
    leads = chosen.horizon if horizon is None else horizon
    frames = _context(chosen.context if context is None else context, times, leads)
    asked = [*(suite_of(suite) if suite else chosen.suite), *(suite_of(metrics) if metrics else ())]
    shown = meta.display is not None and set(meta.display) <= set(bands)
    ids, left_out = for_bands(tuple(dict.fromkeys(asked)), len(bands), rgb=shown, members=members)
    if SELECTION not in ids:
        ids = (SELECTION, *ids)  # skill and its share of regions stand in every table
    fusion = None
    if chosen.task == "fusion":
        fusion = fusion_part(store, chosen, split, frames, leads)
        ids = ratio_metrics(ids, fusion.footprint)
    else:
        require_leads(times, context=frames, horizon=leads)
    return EvaluationConfig(
        store=store,
        protocol=chosen if fusion else _fitting(chosen, store, sensor),
        split=split,
        context=frames,
        horizon=leads,
        sensor=sensor,
        bands=tuple(bands),
        metrics=tuple(ids),
        members=members,
        seed=seed,
        device=_device(device),
        precision=precision,
        left_out=left_out,
        fusion=fusion,
    )


def _require_task(store: Store) -> None:
    """Refuse pairs, whose stores name no protocol."""
    if store.meta.kind == "pairs":
        raise InputError(
            f"a task on {store.path}",
            "it holds pairs, and no task of this version is made of pairs",
            "Read them with rsbench.open_store or xarray, or take a store of kind series",
        )


def _require_primary(protocol: Protocol) -> None:
    """Refuse a primary endpoint that cannot order the entries of a table."""
    from rsbench.metrics.registry import definition

    if protocol.primary is None:
        return
    known = definition(protocol.primary.metric)
    asked = f"protocol {protocol.name}, primary metric {known.id}"
    if protocol.primary.score == "skill" and not known.skill:
        raise InputError(asked, "tables hold no skill of this metric", "Write score: value")
    if not known.ranked:
        raise InputError(asked, "it is conditioned on the truth", "Choose a metric of all pixels")


def _require_kind(store: Store, protocol: Protocol) -> None:
    """Refuse a protocol of another task than the store was built for."""
    fits = "fusion" if store.meta.kind == "triplets" else "forecast"
    if protocol.task != fits:
        raise InputError(
            f"protocol {protocol.name}, whose task is {protocol.task}",
            f"{store.path} holds {store.meta.kind}",
            f"Take a protocol whose task is {fits}, as {store.meta.default_protocol}",
        )


def _wanted_sensor(store: Store, protocol: Protocol) -> str:
    """Return the sensor that is predicted: the fine one in fusion, the store's first otherwise."""
    from rsbench.tasks.fusion_samples import sensor_pair

    if protocol.task == "fusion":
        return sensor_pair(store).fine
    return next(iter(store.meta.sensors))


def _context(asked: str | int, times: int, horizon: int) -> int:
    if asked == "all":
        return max(1, times - horizon)
    try:
        return int(asked)
    except ValueError:
        raise InputError("--context", f"{asked!r} is no number", "Give a number, or all") from None


def _fitting(protocol: Protocol, store: Store, sensor: str) -> Protocol:
    """Return the protocol with a window no larger than the store's regions; the table names it."""
    grids = [store.region(name).grids[sensor] for name in store.regions]
    side = min(min(grid.height, grid.width) for grid in grids)
    if side >= protocol.window:
        return protocol
    return protocol.model_copy(
        update={
            "name": f"{protocol.name}/w{side}",
            "window": side,
            "stride": min(side, protocol.stride),
        }
    )


def _device(name: str) -> torch.device:
    import torch

    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise InputError("--device", f"{name!r} is no device", "Give auto, cpu or cuda") from error
    if device.type == "cuda" and not torch.cuda.is_available():
        raise InputError("--device", "no GPU is to be seen here", "Give --device cpu")
    return device


def cases(
    config: EvaluationConfig, *, split: str | None = None, batch_size: int = 8
) -> Iterator[Case]:
    """Yield the batches of a split; every batch has one start, so one number of leads."""
    from rsbench.core.dates import date_of
    from rsbench.models.noise import Noise
    from rsbench.tasks.base import Case
    from rsbench.tasks.forecast import ForecastTask
    from rsbench.tasks.forecast_batches import batches
    from rsbench.tasks.fusion_settings import fusion_cases

    if config.fusion is not None:
        yield from fusion_cases(config, split or config.split, batch_size)
        return
    task = ForecastTask(
        config.protocol, config.meta, bands=config.bands,
        members=config.members, noise=Noise(config.seed),
    )  # fmt: skip
    for group in forecast_groups(config, split or config.split):
        times = len(config.store.region(group[0].region).times[config.sensor])
        for batch in batches(
            config.store, group, batch_size, sensor=config.sensor, bands=config.bands
        ):
            given, want, truth = task.split(batch)
            yield Case(
                given=given,
                want=want,
                truth=truth.values[:, 0],
                valid=truth.valid[:, 0],
                starts=tuple(date_of(d) for d in batch.context_times[:, -1].tolist()),
                targets=tuple(tuple(map(date_of, row)) for row in batch.target_times.tolist()),
                curves=tuple(_curves(config, sample, times) for sample in batch.samples),
            )


def _curves(config: EvaluationConfig, sample: Sample, times: int) -> tuple[str, ...]:
    from rsbench.tasks.base import curve_of

    # A matched set is one of steps along the direction: counted from the first date given.
    past = config.protocol.direction == "past"
    start = times - 1 - sample.start if past else sample.start
    return tuple(
        curve_of(start, lead, times=times, context=config.context, horizon=config.horizon)
        for lead in range(1, len(sample.targets) + 1)
    )


def groups_of(config: EvaluationConfig, split: str) -> Sequence[Sequence[Sample | Triplet]]:
    """Return the samples of a split in the groups in which they are scored."""
    from rsbench.tasks.fusion_settings import fusion_groups

    if config.fusion is not None:
        return fusion_groups(config, split)
    return forecast_groups(config, split)


def start_dates(config: EvaluationConfig) -> tuple[str, ...]:
    """Return the ISO dates of the starts that are scored; in fusion of the first references."""
    from rsbench.tasks.fusion_samples import Triplet

    found = set()
    for group in groups_of(config, config.split):
        for sample in group:
            if isinstance(sample, Triplet):
                found.add(sample.references[0].isoformat())
            else:
                times = config.store.region(sample.region).times[config.sensor]
                found.add(times[sample.start].isoformat())
    return tuple(sorted(found))


def forecast_groups(config: EvaluationConfig, split: str) -> list[list[Sample]]:
    """Return the samples of a split in groups of one start and one number of leads."""
    from rsbench.tasks.forecast_samples import index

    found = index(
        config.store, config.protocol, split, horizon=config.horizon, context=config.context
    )
    groups: dict[tuple[int, int], list[Sample]] = {}
    for sample in found:
        if "targets" not in config.protocol.curves and len(sample.targets) < config.horizon:
            continue
        groups.setdefault((sample.start, len(sample.targets)), []).append(sample)
    return [groups[key] for key in sorted(groups)]
