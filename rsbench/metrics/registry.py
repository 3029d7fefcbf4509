"""The metrics that are installed: definitions from entry points, without importing torch.

An id is ``name@version``. The definition under an id never changes; a changed definition gets a
new version. Functions are imported when they are first used.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import fields, replace
from functools import cache
from typing import Any, cast

from rsbench.core.errors import InputError, MetricUnavailable, UnknownName, unknown
from rsbench.core.plugins import BrokenPlugIn, PlugIns
from rsbench.metrics.metric import Direction, Kind, Metric, MetricInfo
from rsbench.metrics.weights import TABLE, absence

__all__ = ["Direction", "Kind", "Metric", "MetricInfo", "implementation", "info", "metric_info"]

GROUP = "rsbench.metrics"
KINDS: tuple[Kind, ...] = ("image", "set", "members", "change", "pooled")


_EXTRA: dict[str, Metric] = {}


def metric_info(*, probe: bool = True) -> tuple[MetricInfo, ...]:
    """Return every metric that is installed, available or not.

    Without ``probe`` no weight file is looked for, and every metric counts as available.
    """
    found = tuple(_info(metric) for metric in _known().values())
    return tuple(_probed(one) for one in found) if probe else found


def info(metric: str) -> MetricInfo:
    """Return one metric and whether it is available.

    Raises:
        UnknownName: for an id that no installed package defines, with the nearest ids.
    """
    return _probed(_info(definition(metric)))


def broken() -> tuple[BrokenPlugIn, ...]:
    """Return the entry points that are left out, each with the reason."""
    return _scan()[1]


@contextmanager
def extra(metric: Metric) -> Iterator[Metric]:
    """Add a metric inside a ``with`` block, without an installed package."""
    if metric.id in _known():
        raise InputError(f"adding metric {metric.id!r}", "the id is taken", "Take another id")
    _EXTRA[metric.id] = metric
    try:
        yield metric
    finally:
        del _EXTRA[metric.id]


def implementation(metric: str) -> tuple[Callable[..., Any], Mapping[str, Any]]:
    """Import the function of a metric; return it with its options.

    Raises:
        MetricUnavailable: if its weights are not here.
    """
    state = available(metric)
    return imported(state.function), state.options


def available(metric: str) -> MetricInfo:
    """Return one metric that can be computed here.

    Raises:
        MetricUnavailable: if its weights are not here.
    """
    state = info(metric)
    if not state.available:
        raise MetricUnavailable(
            f"metric {metric!r}",
            str(state.reason),
            "Leave it out, or bring its weights; `rsbench weights check` lists them",
        )
    return state


@cache
def imported(name: str) -> Callable[..., Any]:
    """Import ``package.module:function``."""
    module, _, function = name.partition(":")
    try:
        return cast("Callable[..., Any]", getattr(importlib.import_module(module), function))
    except (ImportError, AttributeError) as error:
        raise InputError(
            f"the function {name} of a metric", str(error), "Repair the package that defines it"
        ) from error


def definition(metric: str) -> Metric:
    """Return the definition under an id.

    Raises:
        UnknownName: for an id that no installed package defines, with the nearest ids.
    """
    known = _known()
    if metric in known:
        return known[metric]
    name, at, version = metric.partition("@")
    versions = sorted(other for other in known if other.partition("@")[0] == name)
    if versions and at and version.isdigit():
        raise UnknownName(
            f"metric {metric!r}",
            f"this version of rsbench defines {', '.join(versions)}",
            f"Use a newer rsbench for version {version}, or ask for {versions[-1]}: "
            "another version is another definition",
        )
    if versions:
        raise UnknownName(
            f"metric {metric!r}", "an id carries its version", f"Did you mean {versions[-1]}?"
        )
    error = unknown("metric", metric, known)
    left_out = "".join(f"; metrics {item}" for item in broken())
    remedy = f"{error.remedy}. If another package defines it, install that package"
    raise UnknownName(error.asked, error.found + left_out, remedy)


def _known() -> Mapping[str, Metric]:
    return _scan()[0] | _EXTRA if _EXTRA else _scan()[0]


def _info(metric: Metric) -> MetricInfo:
    return MetricInfo(**{item.name: getattr(metric, item.name) for item in fields(metric)})


def _probed(known: MetricInfo) -> MetricInfo:
    """Return the metric with the reason, if a weight file that it needs is not here."""
    for name in known.needs:
        reason = absence(name)
        if reason is not None:
            return replace(known, available=False, reason=reason)
    reason = imported(known.ready)() if known.ready else None
    return known if reason is None else replace(known, available=False, reason=reason)


@cache
def _scan() -> tuple[dict[str, Metric], tuple[BrokenPlugIn, ...]]:
    """Load the entry points: definitions by id, in order of kind, and those that are left out."""
    found: dict[str, Metric] = {}
    unreadable = []
    for name, package, value in _PLUG_INS.each():
        if isinstance(value, BrokenPlugIn):
            unreadable.append(value)
            continue
        metrics = (value,) if isinstance(value, Metric) else tuple(value)
        fault = _fault(metrics, found)
        if fault is None:
            found |= {metric.id: metric for metric in metrics}
        else:
            unreadable.append(BrokenPlugIn(name, package, fault))
    if not found:
        raise InputError(
            "finding the metrics",
            f"this installation has no readable entry point in the group {GROUP}"
            + "".join(f"; metrics {item}" for item in unreadable),
            "Install rsbench again; in a checkout: pip install -e .",
        )
    ranked = sorted(found.values(), key=lambda m: (m.published, KINDS.index(m.kind)))
    return {metric.id: metric for metric in ranked}, tuple(unreadable)


def _fault(metrics: Sequence[Metric], found: Mapping[str, Metric]) -> str | None:
    """Return why a package's metrics are left out, or None."""
    known = {entry.name for entry in TABLE}
    for metric in metrics:
        if metric.id in found and found[metric.id] != metric:
            return f"another package defines {metric.id}"
        if not known.issuperset(metric.needs):
            return f"{metric.id} needs weights that rsbench does not know: {metric.needs}"
    return None


def _is_metrics(value: Any) -> bool:
    metrics = (value,) if isinstance(value, Metric) else value
    return isinstance(metrics, tuple | list) and all(isinstance(m, Metric) for m in metrics)


_PLUG_INS: PlugIns[Metric | Sequence[Metric]] = PlugIns(
    GROUP, "metrics", "a Metric or a sequence of them", _is_metrics
)
