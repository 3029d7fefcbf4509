"""One run: a model and the rows it must stand beside, from a store to scores, table and report."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rsbench.catalog import Protocol, load_protocol
from rsbench.console import Advance, silent
from rsbench.digest import sha256_json
from rsbench.errors import HorizonError, InputError, TrainingError, unknown
from rsbench.scores import Absent, RunInfo, Scores

if TYPE_CHECKING:
    import torch

    from rsbench.evaluation import Case, Row
    from rsbench.model import Card, Model
    from rsbench.samples import Sample
    from rsbench.store.layout import SensorMeta
    from rsbench.store.read import Store

TRIVIAL = ("persistence", "climatology", "linear_trend", "damped_persistence")
KEEP = ("none", "viewer", "all")
SPLITS = ("test", "val", "train")
Note = Callable[[str], None]


def _quiet(text: str) -> None:
    """Say nothing."""


@dataclass(frozen=True)
class RunRequest:
    """What a person asked for; None means: as the recipe or the protocol says."""

    model: str
    preset: str | None = None
    data: Path | None = None
    protocol: str | None = None
    context: str | None = None
    horizon: int | None = None
    members: int = 1
    split: str = "test"
    seed: int = 0
    device: str = "auto"
    precision: str = "32-true"
    checkpoint: Path | None = None
    suite: str | None = None
    budget: str | None = None
    keep: str = "viewer"
    out: Path | None = None
    command: str = ""


@dataclass(frozen=True)
class Setting:
    """What every row of one table shares: data, protocol, split, context, horizon, metrics."""

    store: Store
    protocol: Protocol
    split: str
    context: int
    horizon: int
    sensor: str
    bands: tuple[str, ...]
    metrics: tuple[str, ...]
    members: int
    seed: int
    device: torch.device
    precision: str
    left_out: Mapping[str, str] = field(default_factory=dict)

    @property
    def meta(self) -> SensorMeta:
        """The sensor's metadata."""
        return self.store.sensor(self.sensor)


@dataclass(frozen=True)
class RunResult:
    """Where a run lies, and its scores."""

    out: Path
    scores: Scores

    def summary(self) -> str:
        """Return a short table for the terminal: first and last lead of the headline metrics."""
        from rsbench.table import headline

        return headline(self.scores.table())


def setting_of(
    store: Store,
    protocol: str,
    *,
    split: str = "test",
    context: str | int | None = None,
    horizon: int | None = None,
    members: int = 1,
    seed: int = 0,
    device: str = "auto",
    precision: str = "32-true",
    suite: str | None = None,
) -> Setting:
    """Resolve names and defaults into one frozen setting.

    Raises:
        HorizonError: if the store has too few dates for context and horizon.
        UnknownName: for a name in no catalogue.
    """
    from rsbench.metrics.suites import for_bands
    from rsbench.metrics.suites import suite as suite_of

    chosen = load_protocol(protocol)
    if split not in SPLITS:
        raise unknown("split", split, SPLITS)
    sensor = next(iter(store.meta.sensors))
    meta = store.sensor(sensor)
    bands = meta.bands if chosen.bands == "store" else chosen.bands
    meta.band_index(bands)
    times = min(len(store.region(name).times[sensor]) for name in store.regions)
    leads = chosen.horizon if horizon is None else horizon
    frames = _context(chosen.context if context is None else context, times, leads)
    _require_leads(times, frames, leads)
    ids, left_out = for_bands(suite_of(suite) if suite else chosen.suite, len(bands))
    return Setting(
        store=store,
        protocol=_fitting(chosen, store, sensor),
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
    )


def _context(asked: str | int, times: int, horizon: int) -> int:
    if asked == "all":
        return max(1, times - horizon)
    try:
        return int(asked)
    except ValueError:
        raise InputError("--context", f"{asked!r} is no number", "Give a number, or all") from None


def _require_leads(times: int, context: int, horizon: int) -> None:
    if context < 1 or horizon < 1:
        raise HorizonError(
            f"a horizon of {horizon} after a context of {context}",
            "both are at least 1",
            "Give --horizon 1 or more and --context 1 or more",
        )
    if context + horizon > times:
        room = times - context
        remedy = f"Ask for --horizon {room} or less" if room >= 1 else "Ask for a shorter --context"
        raise HorizonError(
            f"a horizon of {horizon} after a context of {context}",
            f"the store has {times} dates, so at most {max(room, 0)} leads follow that context",
            remedy,
        )


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


# ------------------------------------------------------------------------------------ cases


def cases(setting: Setting, *, split: str | None = None, batch_size: int = 8) -> Iterator[Case]:
    """Yield the batches of a split; every batch has one start, so one number of leads."""
    from rsbench.evaluation import Case, day
    from rsbench.loader import batches
    from rsbench.noise import Noise
    from rsbench.task import ForecastTask

    task = ForecastTask(
        setting.protocol, setting.meta, bands=setting.bands,
        members=setting.members, noise=Noise(setting.seed),
    )  # fmt: skip
    for group in _groups(setting, split or setting.split):
        times = len(setting.store.region(group[0].region).times[setting.sensor])
        for batch in batches(
            setting.store, group, batch_size, sensor=setting.sensor, bands=setting.bands
        ):
            given, want, truth = task.split(batch)
            yield Case(
                given=given,
                want=want,
                truth=truth.values[:, 0],
                valid=truth.valid[:, 0],
                starts=tuple(day(int(d)) for d in batch.context_times[:, -1]),
                targets=tuple(tuple(day(int(d)) for d in row) for row in batch.target_times),
                curves=tuple(_curves(setting, sample, times) for sample in batch.samples),
            )


def _curves(setting: Setting, sample: Sample, times: int) -> tuple[str, ...]:
    from rsbench.evaluation import curve_of

    return tuple(
        curve_of(sample.start, lead, times=times, context=setting.context, horizon=setting.horizon)
        for lead in range(1, len(sample.targets) + 1)
    )


def _groups(setting: Setting, split: str) -> list[list[Sample]]:
    from rsbench.samples import index

    found = index(
        setting.store, setting.protocol, split, horizon=setting.horizon, context=setting.context
    )
    groups: dict[tuple[int, int], list[Sample]] = {}
    for sample in found:
        if "targets" not in setting.protocol.curves and len(sample.targets) < setting.horizon:
            continue
        groups.setdefault((sample.start, len(sample.targets)), []).append(sample)
    return [groups[key] for key in sorted(groups)]


# ------------------------------------------------------------------------------------- rows


@dataclass(frozen=True)
class Rows:
    """The rows of a table, and why others are absent."""

    rows: tuple[Row, ...]
    absent: tuple[Absent, ...]
    citations: Mapping[str, str]
    weights: Mapping[str, str | None]


def trivial_rows(setting: Setting, *, note: Note = _quiet) -> Rows:
    """Return the trivial rows that the context allows; the others are absent with the reason."""
    from rsbench.evaluation import model_row
    from rsbench.registry import card, create_model
    from rsbench.train import fit_closed_form

    rows, absent, citations = [], [], {}
    weights: dict[str, str | None] = {}
    for name in TRIVIAL:
        entry = card(name)
        citations[name] = entry.citation
        if setting.context < entry.min_context:
            why = f"needs {entry.min_context} context frames, the table has {setting.context}"
            absent.append(Absent(name, why))
            continue
        model = create_model(name, bands=len(setting.bands), context=setting.context)
        if entry.fitted:
            if "train" not in {r["split"] for r in setting.store.listed.values()}:
                absent.append(Absent(name, "the store has no training split to fit on"))
                continue
            note(f"fitting {name} on the training split")
            weights[name] = sha256_json(fit_closed_form(model, training_pairs(setting)))
        rows.append(
            model_row(name, entry.default_preset, "trivial", model, entry, device=setting.device)
        )
    return Rows(tuple(rows), tuple(absent), citations, weights)


def training_pairs(setting: Setting) -> Iterator[tuple[Any, Any, Any]]:
    """Yield (given, want, truth) of the training split, for closed-form fits."""
    from rsbench.model import Frames

    low_high = setting.meta.value_range
    for case in cases(setting, split="train"):
        truth = Frames(
            values=case.truth[:, None],
            valid=case.valid[:, None],
            times=case.want.times,
            bands=setting.bands,
            unit=setting.meta.unit,
            predicted=(False,) * case.truth.shape[1],
            value_range=low_high,
        )
        yield case.given, case.want, truth


def control_rows(setting: Setting) -> tuple[Row, ...]:
    """Return the oracle of a simulation and the floor, where the store has them."""
    rows = []
    if setting.store.meta.simulation is not None:
        rows.append(_oracle(setting))
    held = setting.store.arrays(setting.store.split(setting.split)[0], setting.sensor)
    if {"odd", "even"} <= set(held):
        rows.append(_floor(setting))
    return tuple(rows)


def _oracle(setting: Setting) -> Row:
    from functools import lru_cache

    import torch

    from rsbench.build.simulate import conditional_mean
    from rsbench.catalog import SimulatedSpec
    from rsbench.evaluation import whole_row

    spec = SimulatedSpec.model_validate(dict(setting.store.meta.simulation or {})["spec"])

    @lru_cache(maxsize=256)
    def whole(region: str, start: date, target: date) -> torch.Tensor:
        values = conditional_mean(
            spec, region, setting.sensor,
            context_end=start.year, targets=(target.year,), bands=setting.bands,
        )  # fmt: skip
        return torch.from_numpy(values[0])

    return whole_row("oracle", "oracle", whole)


def _floor(setting: Setting) -> Row:
    from functools import lru_cache

    import numpy as np
    import torch

    from rsbench.evaluation import floor_row

    store, meta = setting.store, setting.meta
    index = list(meta.band_index(setting.bands))

    @lru_cache(maxsize=8)
    def array(region: str, name: str) -> np.ndarray[Any, Any]:
        return store.read(region, setting.sensor, array=name)

    def place(region: str, target: date) -> int:
        return store.region(region).times[setting.sensor].index(target)

    def half(name: str) -> Callable[[str, date, date], torch.Tensor]:
        def whole(region: str, start: date, target: date) -> torch.Tensor:
            raw = array(region, name)[place(region, target)][index]
            return torch.from_numpy(store.to_physical(setting.sensor, raw))

        return whole

    def both(region: str, start: date, target: date) -> torch.Tensor:
        at = place(region, target)
        there = [(array(region, name)[at] != meta.nodata).all(axis=0) for name in ("odd", "even")]
        return torch.from_numpy(there[0] & there[1])[None]

    return floor_row(half("odd"), half("even"), both)


def best_trivial(setting: Setting, rows: Sequence[Row]) -> str | None:
    """Return the trivial row with the least mean squared error on validation; None without one."""
    from rsbench.evaluation import score

    splits = {str(r["split"]) for r in setting.store.listed.values()}
    if "val" not in splits or not rows:
        return None
    tally = score(
        rows, cases(setting, split="val"), ["mse@1"], bands=setting.bands,
        value_range=setting.meta.value_range,
    )  # fmt: skip
    units = tally.frame({})
    units = units[(units["band"] == "all") & units["curve"].isin(("starts", "both"))]
    sums = units.groupby("model")[["value_sum", "weight"]].sum()
    means = (sums["value_sum"] / sums["weight"]).dropna()
    return None if means.empty else str(means.idxmin())


# ------------------------------------------------------------------------------------- runs


def evaluate(
    model: Model,
    store: Store,
    protocol: str | None = None,
    split: str = "test",
    horizon: int | None = None,
    members: int = 1,
    seed: int = 0,
    device: str = "auto",
    precision: str = "32-true",
    *,
    context: str | int | None = None,
    suite: str | None = None,
) -> Scores:
    """Score a model beside the trivial rows on a store.

    Args:
        model: a model of :func:`rsbench.create_model`, or any object with ``predict`` that was
            given a card with :func:`rsbench.registry.adopt`.
        store: an open store.
        protocol: name of a protocol; the store's default where None.
        split: ``test``, ``val`` or ``train``.
        horizon: leads; the protocol's where None.
        members: ensemble members; their mean is scored.
        seed: the only seed.
        device: ``auto``, ``cpu``, ``cuda`` …
        precision: as Lightning Fabric names it; metrics are always float32 with float64 sums.
        context: context frames, or ``all``.
        suite: a suite of metrics; the protocol's where None.

    Raises:
        TrainingError: if the model is trainable and its weights were neither trained nor loaded.
    """
    setting = setting_of(
        store, protocol or store.meta.default_protocol, split=split, context=context,
        horizon=horizon, members=members, seed=seed, device=device, precision=precision,
        suite=suite,
    )  # fmt: skip
    return _scores(setting, model)


def _scores(
    setting: Setting,
    model: Model,
    *,
    note: Note = _quiet,
    advance: Advance = silent,
    seen: Callable[[Row, Case, int, torch.Tensor], None] | None = None,
    info: Mapping[str, Any] | None = None,
) -> Scores:
    from rsbench.evaluation import model_row, score
    from rsbench.registry import identity

    own = identity(model)
    digest = weights_of(model, own.card)
    rows = trivial_rows(setting, note=note)
    everyone = list(rows.rows)
    if own.name not in TRIVIAL:
        everyone.insert(0, model_row(
            own.name, own.preset, "model", model, own.card,
            device=setting.device, autocast=_autocast(setting.precision),
        ))  # fmt: skip
    everyone += control_rows(setting)
    reference = best_trivial(setting, rows.rows)
    total = sum(len(group) for group in _groups(setting, setting.split))
    done = 0

    def count(images: int) -> None:
        nonlocal done
        done += images
        advance("scoring", done, total)

    tally = score(
        everyone, cases(setting), setting.metrics, bands=setting.bands,
        value_range=setting.meta.value_range, seen=seen, on_case=count,
    )  # fmt: skip
    strata = {n: dict(setting.store.region(n).record.strata) for n in setting.store.regions}
    run = _info(setting, rows, own.name, digest, reference, info or {})
    run = replace(
        run,
        citations={**run.citations, own.name: own.card.citation},
        extra={**run.extra, "counts": _counts(tally.counts)},
    )
    return Scores(tally.frame(strata), run)


def _counts(counts: Mapping[tuple[str, str, str], int]) -> list[dict[str, Any]]:
    return [
        {"model": model, "metric": metric, "what": what, "count": number}
        for (model, metric, what), number in sorted(counts.items())
        if number
    ]


def weights_of(model: Model, card: Card) -> str | None:
    """Return the digest of a model's weights; a trainable model without any is refused."""
    if not card.trainable:
        return None
    from rsbench.checkpoint import loaded_digest

    digest = loaded_digest(model)
    if digest is None:
        raise TrainingError(
            f"scoring {card.name}",
            "its weights were neither trained nor loaded, and untrained weights are never scored",
            f"Type: rsbench train --model {card.name}, or give --checkpoint",
        )
    return digest


def _autocast(precision: str) -> torch.dtype | None:
    import torch

    known = {"32-true": None, "bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}
    if precision not in known:
        raise unknown("precision", precision, known)
    return known[precision]


def _info(
    setting: Setting, rows: Rows, model: str, digest: str | None, reference: str | None,
    info: Mapping[str, Any],
) -> RunInfo:  # fmt: skip
    from rsbench.provenance import versions

    store, meta = setting.store, setting.meta
    starts = sorted({
        store.region(s.region).times[setting.sensor][s.start].isoformat()
        for group in _groups(setting, setting.split) for s in group
    })  # fmt: skip
    gone = [Absent("*", why, metric) for metric, why in setting.left_out.items()]
    return RunInfo(
        dataset=store.recipe,
        dataset_digest=store.digest,
        split=setting.split,
        protocol=setting.protocol.name,
        context=setting.context,
        horizon=setting.horizon,
        step=store.meta.step,
        sensor=setting.sensor,
        bands=setting.bands,
        value_range=meta.value_range,
        unit=meta.unit,
        starts=tuple(starts),
        display=meta.display,
        simulated=store.simulated,
        complete=store.complete,
        missing=store.meta.missing,
        seed=setting.seed,
        precision=setting.precision,
        device=str(setting.device),
        members=setting.members,
        versions=versions(),
        weights={**rows.weights, model: digest or rows.weights.get(model)},
        licences={setting.sensor: {"licence": meta.licence, "attribution": meta.attribution}},
        citations=rows.citations,
        absent=(*rows.absent, *gone),
        best_trivial=reference,
        **dict(info),
    )


def run_model(request: RunRequest, *, note: Note = _quiet, advance: Advance = silent) -> RunResult:
    """Do what `rsbench run` does: find data and weights, score, and write everything."""
    from rsbench.report import write_report
    from rsbench.table import to_markdown, to_parquet
    from rsbench.viewer import Viewer

    store, setting, preset = _resolve(request, note)
    if request.keep not in KEEP:
        raise unknown("--keep-predictions", request.keep, KEEP)
    name = f"{request.model}-{preset}-{store.digest[:8]}-s{request.seed}"
    out = request.out or Path("runs") / name
    key = _key(request, setting, preset)
    finished = _finished(out, key)
    if finished is not None:
        note(f"{out} holds this run already; nothing was left to do")
        return RunResult(out, finished)
    model, history = _with_weights(request, setting, preset, note=note, advance=advance)
    viewer = Viewer(out / "viewer", setting.meta, keep=request.keep)
    scores = _scores(
        setting, model, note=note, advance=advance, seen=viewer.see,
        info={"command": request.command, "history": history, "extra": {"key": key}},
    )  # fmt: skip
    out.mkdir(parents=True, exist_ok=True)
    viewer.close()
    table = scores.table()
    to_parquet(table, out / "table.parquet")
    (out / "table.md").write_text(to_markdown(table), encoding="utf-8")
    scores.save(out)
    write_report([out], out / "report.html", force=True)
    return RunResult(out, scores)


def _resolve(request: RunRequest, note: Note) -> tuple[Store, Setting, str]:
    from rsbench.home import default_store
    from rsbench.registry import card
    from rsbench.store.read import open_store

    entry = card(request.model)
    path, why = (request.data, "") if request.data else default_store()
    store = open_store(path)
    wished = store.meta.default_preset
    preset = request.preset or (wished if wished in entry.presets else entry.default_preset)
    entry.of(preset)
    whose = "" if request.preset else ", the recipe's" if preset == wished else ", its default"
    from_where = f", {why}" if why else ""
    note(f"model {request.model}, preset {preset}{whose}; data {path}{from_where}")
    if store.simulated:
        note("the data are simulated: numbers from them say nothing about real places")
    if not store.complete:
        note(f"the store is incomplete: {len(store.meta.missing)} units are missing")
    setting = setting_of(
        store, request.protocol or store.meta.default_protocol, split=request.split,
        context=request.context, horizon=request.horizon, members=request.members,
        seed=request.seed, device=request.device, precision=request.precision,
        suite=request.suite,
    )  # fmt: skip
    return store, setting, preset


def _key(request: RunRequest, setting: Setting, preset: str) -> str:
    from rsbench import __version__

    return sha256_json({
        "version": __version__, "dataset": setting.store.digest, "model": request.model,
        "preset": preset, "protocol": setting.protocol.model_dump(mode="json"),
        "split": setting.split, "context": setting.context, "horizon": setting.horizon,
        "members": setting.members, "seed": setting.seed, "precision": setting.precision,
        "metrics": list(setting.metrics), "budget": request.budget, "keep": request.keep,
        "checkpoint": str(request.checkpoint) if request.checkpoint else None,
    })  # fmt: skip


def _finished(out: Path, key: str) -> Scores | None:
    """Return the scores of the same run, if it lies there whole."""
    whole = all((out / n).is_file() for n in ("run.json", "scores.parquet", "report.html"))
    if not whole:
        return None
    try:
        same = json.loads((out / "run.json").read_text(encoding="utf-8")).get("key") == key
    except ValueError:
        return None
    if not same:
        raise InputError(
            f"writing the run {out}",
            "another run lies there",
            "Give another --out, or remove that folder",
        )
    return Scores.load(out)


def _with_weights(
    request: RunRequest, setting: Setting, preset: str, *, note: Note, advance: Advance
) -> tuple[Model, Mapping[str, Any]]:
    from rsbench.registry import card, create_model

    entry = card(request.model)
    model = create_model(request.model, preset, bands=len(setting.bands), context=setting.context)
    if not entry.trainable:
        return model, {}
    from rsbench.checkpoint import Checkpoint, find_checkpoint, load_into
    from rsbench.train import train

    path = request.checkpoint or find_checkpoint(
        model=request.model, preset=preset, digest=setting.store.digest,
        split=setting.protocol.scheme, seed=request.seed, context=setting.context,
    )  # fmt: skip
    if path is None:
        note(f"no checkpoint fits: {request.model} is trained first, within its preset's budget")
        path = train(
            model, entry.of(preset), setting.store, preset=preset, protocol=setting.protocol,
            sensor=setting.sensor, bands=setting.bands, context=setting.context,
            budget=request.budget, seed=request.seed, device=str(setting.device),
            precision=request.precision, progress=advance,
        ).checkpoint  # fmt: skip
    checkpoint: Checkpoint = load_into(model, path, setting.store, split=setting.split)
    return model, {request.model: checkpoint.history}


def train_model(
    request: RunRequest, *, devices: int = 1, note: Note = _quiet, advance: Advance = silent
) -> Path:
    """Do what `rsbench train` does, and return the checkpoint's folder."""
    from rsbench.registry import card, create_model
    from rsbench.train import train

    store, setting, preset = _resolve(replace(request, horizon=request.horizon or 1), note)
    entry = card(request.model)
    if not entry.trainable:
        raise InputError(
            f"training {request.model}", "it has nothing to train", "Type: rsbench run --model …"
        )
    model = create_model(request.model, preset, bands=len(setting.bands), context=setting.context)
    return train(
        model, entry.of(preset), store, preset=preset, protocol=setting.protocol,
        sensor=setting.sensor, bands=setting.bands, context=setting.context,
        budget=request.budget, seed=request.seed, device=str(setting.device), devices=devices,
        precision=request.precision, progress=advance,
    ).checkpoint  # fmt: skip
