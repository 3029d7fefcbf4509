"""From a store, a protocol and options to a configuration, and to the cases of a split."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from rsbench.catalog import Protocol, load_protocol
from rsbench.catalog.loaders import names
from rsbench.core.errors import InputError, unknown
from rsbench.store.lineage import Lineage
from rsbench.tasks.base import Case, Reader, Reading, Sample, SampleKey, Task
from rsbench.tasks.config import BATCH, SPLITS, EvaluationConfig, EvaluationOptions
from rsbench.tasks.registry import TASKS, fitting, require_protocol, task, task_of

if TYPE_CHECKING:
    import torch

    from rsbench.store.read import Store
    from rsbench.tasks.base import Batch
    from rsbench.tasks.split import Question


def evaluation_config(
    store: Store, protocol: str | Path | Protocol, options: EvaluationOptions | None = None
) -> EvaluationConfig:
    """Resolve names and defaults into one frozen configuration.

    Args:
        protocol: name in the catalogue, path of a YAML file, or a protocol.

    Raises:
        HorizonError: if the store has too few dates for context and horizon.
        UnknownName: for a name in no catalogue.
        InputError: if the task of the protocol is not for such a store.
    """
    asked = options or EvaluationOptions()
    _require_task(store, protocol)
    rules = load_protocol(protocol)
    _require_primary(rules)
    own = _task(store, rules)
    if asked.split not in SPLITS:
        raise unknown("split", asked.split, SPLITS)
    sensor = own.sensor(store)
    target = own.target(store)
    bands = target.bands if rules.bands == "store" else rules.bands
    target.band_index(bands)
    times = min(len(store.region(name).times[sensor]) for name in store.regions)
    leads = rules.horizon if asked.horizon is None else asked.horizon
    config = EvaluationConfig(
        store=store, protocol=rules, split=asked.split,
        context=_context(rules.context if asked.context is None else asked.context, times, leads),
        horizon=leads, sensor=sensor, target=target, bands=tuple(bands), metrics=(),
        members=asked.members,
        seed=asked.seed, device=_device(asked.device), precision=asked.precision,
    )  # fmt: skip
    return own.settle(_with_metrics(config, asked))


def default_protocol(store: Store, wanted: str) -> str:
    """Return the protocol of a store for a model of a task, where none is named.

    It is the store's default. Where that is of another task, and the store can be used for this
    one, it is the catalogue's protocol of the name of the task, if there is one.

    Args:
        store: an open store.
        wanted: name of the task of the model.
    """
    named = store.meta.default_protocol
    if named and load_protocol(named).task == wanted:
        return named
    fits = wanted in {item.name for item in fitting(store.meta.kind)}
    return wanted if fits and wanted in names("protocols") else named


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


def _require_task(store: Store, protocol: str | Path | Protocol) -> None:
    """Refuse a store of a kind that no installed task is made of, and one without a protocol."""
    if not fitting(store.meta.kind):
        left_out = "".join(f"; task {item}" for item in TASKS.broken())
        raise InputError(
            f"a task on {store.path}",
            f"it holds {store.meta.kind}, and no installed task is made of {store.meta.kind}"
            + left_out,
            "Read them with rsbench.open_store or xarray, or take a store of kind series",
        )
    lineage = Lineage.of(store)
    if lineage is not None:
        raise InputError(
            f"a task on {store.path}",
            f"its images are synthetic: {lineage.model} drew them from {lineage.dataset}",
            "Give the store of real images with --data, and this one with --also",
        )
    if protocol == "":
        raise InputError(
            f"a task on {store.path}",
            f"it holds {store.meta.kind} and has no default protocol, as pairs without labels",
            "With labels name --protocol segment, without build it again with --labels NAME",
        )


def _task(store: Store, protocol: Protocol) -> Task[Any]:
    """Return the task of a protocol, after checking that both fit the store."""
    kind = store.meta.kind
    own = task(protocol.task)
    if kind not in own.kinds:
        names = [item.name for item in fitting(kind)]
        default = store.meta.default_protocol
        raise InputError(
            f"protocol {protocol.name}, whose task is {protocol.task}",
            f"{store.path} holds {kind}",
            f"Take a protocol whose task is {' or '.join(names)}, as {default}",
        )
    require_protocol(protocol)
    return own


def _with_metrics(config: EvaluationConfig, asked: EvaluationOptions) -> EvaluationConfig:
    """Return the configuration with the metrics that its task, bands and members allow."""
    from rsbench.metrics.queries import SELECTION, needs_case
    from rsbench.metrics.suites import for_bands
    from rsbench.metrics.suites import suite as suite_of

    wanted = [
        *(suite_of(asked.suite) if asked.suite else config.protocol.suite),
        *(suite_of(asked.metrics) if asked.metrics else ()),
    ]
    own, display = task_of(config), config.meta.display
    shown = display is not None and set(display) <= set(config.bands)
    ids, left_out = for_bands(
        tuple(dict.fromkeys(wanted)), len(config.bands), rgb=shown, members=config.members,
        start=own.shows_start, ratio=own.pixel_ratio(config),
    )  # fmt: skip
    of_case = task_of(config).case_features
    for metric in [one for one in ids if needs_case(one) not in (None, *of_case)]:
        left_out[metric] = f"needs conditions that the task {config.protocol.task} does not give"
    ids = tuple(metric for metric in ids if metric not in left_out)
    if SELECTION not in ids:
        ids = (SELECTION, *ids)  # every table holds skill and its share of regions
    return replace(config, metrics=tuple(ids), left_out=left_out)


def _context(asked: str | int, times: int, horizon: int) -> int:
    if asked == "all":
        return max(1, times - horizon)
    try:
        return int(asked)
    except ValueError:
        raise InputError("--context", f"{asked!r} is no number", "Give a number, or all") from None


def _device(name: str) -> torch.device:
    import torch

    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise InputError("--device", f"{name!r} is no device", "Give auto, cpu or cuda") from error
    if device.type == "cuda" and not torch.cuda.is_available():
        raise InputError("--device", "no GPU is available here", "Give --device cpu")
    return device


def reading_of(config: EvaluationConfig) -> Reading:
    """Return what a configuration reads."""
    return Reading(config.store, config.protocol, config.sensor, config.bands)


def cases(
    config: EvaluationConfig,
    *,
    split: str | None = None,
    batch_size: int = BATCH,
    regions: Collection[str] | None = None,
) -> Iterator[Case]:
    """Yield the batches of a split; every batch has one number of leads.

    Args:
        split: the configuration's where None.
        regions: only these; all of the split where None.
    """
    source = CaseSource.of(config)
    for whole in task_of(config).groups(config, split or config.split):
        group = [sample for sample in whole if regions is None or sample.region in regions]
        yield from source.read(group, batch_size)


@dataclass(frozen=True)
class CaseSource:
    """Reads samples as cases.

    Args:
        partners: sample → that whose conditions its control is given.
    """

    config: EvaluationConfig
    question: Question
    reader: Reader[Any]
    partners: Mapping[SampleKey, Any]

    @classmethod
    def of(cls, config: EvaluationConfig) -> Self:
        """Return the source of a configuration; it opens the cache of the store."""
        from rsbench.models.noise import Noise
        from rsbench.tasks.split import Question

        own = task_of(config)
        question = Question(Noise(config.seed), config.members, own.context)
        partners = own.partners(config) if own.permutes else {}
        return cls(config, question, own.reader(reading_of(config)), partners)

    def read(self, samples: Sequence[Sample], batch_size: int = BATCH) -> Iterator[Case]:
        """Yield samples of one group in batches, one shape per batch."""
        from rsbench.tasks.batches import batches

        own = task_of(self.config)
        ratio = own.pixel_ratio(self.config)
        for batch in batches(self.reader, samples, batch_size):
            case = replace(_case(self.config, own, batch, self.question), ratio=ratio)
            chosen = [self.partners.get((s.region, s.key, s.window)) for s in case.samples]
            if all(chosen):
                case = replace(case, permuted=own.permuted(case.given, self.reader, chosen))
            yield case


def _case(config: EvaluationConfig, own: Task[Any], batch: Batch[Any], question: Question) -> Case:
    from rsbench.tasks.split import split

    given, want, truth = split(batch, question)
    units = [own.unit(config, sample) for sample in batch.samples]
    return Case(
        given=given,
        want=want,
        truth=truth.values[:, 0],
        valid=truth.valid[:, 0],
        starts=tuple(unit.start for unit in units),
        targets=tuple(unit.targets for unit in units),
        curves=tuple(unit.curves for unit in units),
        conditions=tuple(unit.condition for unit in units),
        zones=own.zones(given, want),
    )


def start_dates(config: EvaluationConfig) -> tuple[str, ...]:
    """Return the ISO dates of the starts that are scored."""
    own = task_of(config)
    groups = own.groups(config, config.split)
    return tuple(
        sorted({own.unit(config, sample).start.isoformat() for group in groups for sample in group})
    )
