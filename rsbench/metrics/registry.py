"""What metrics there are: ids, directions, ranges, units and sources, without importing torch.

An id is ``name@version``. The definition under an id never changes; a changed definition gets a
new version. Functions stand in their own modules and are loaded when they are first asked for.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from rsbench.core.errors import MetricUnavailable, UnknownName, unknown
from rsbench.metrics.catalogue import ENTRIES
from rsbench.metrics.entry import Direction, Entry, Kind, MetricInfo
from rsbench.metrics.weights import absence

__all__ = ["Direction", "Kind", "MetricInfo", "implementation", "info", "metric_info"]

_REGISTRY: dict[str, Entry] = {entry.info.id: entry for entry in ENTRIES}


def metric_info(*, probe: bool = True) -> tuple[MetricInfo, ...]:
    """List every metric id this version knows, available or not.

    Without ``probe`` no weight file is looked for, and every metric counts as available.
    """
    found = tuple(entry.info for entry in _REGISTRY.values())
    return tuple(_probed(info) for info in found) if probe else found


def info(metric: str) -> MetricInfo:
    """Describe one metric; an unknown id says what was probably meant."""
    return _probed(_entry(metric).info)


def _probed(known: MetricInfo) -> MetricInfo:
    """Say whether the weights that a metric needs are here; one sentence if they are not."""
    if not known.available:
        return known
    for name in known.needs:
        reason = absence(name)
        if reason is not None:
            return replace(known, available=False, reason=reason)
    return known


def implementation(metric: str) -> tuple[Callable[..., Any], dict[str, Any]]:
    """Load the function behind an id and the options the id stands for.

    Raises:
        MetricUnavailable: if its weights are not here.
    """
    entry = _entry(metric)
    state = _probed(entry.info)
    if not state.available:
        raise MetricUnavailable(
            f"metric {metric!r}",
            str(state.reason),
            "Leave it out, or bring its weights; `rsbench weights check` lists them",
        )
    module, _, function = entry.where.partition(":")
    found = getattr(importlib.import_module(f"rsbench.metrics.{module}"), function)
    return found, entry.options


def _entry(metric: str) -> Entry:
    if metric in _REGISTRY:
        return _REGISTRY[metric]
    name, at, version = metric.partition("@")
    versions = sorted(known for known in _REGISTRY if known.partition("@")[0] == name)
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
    raise unknown("metric", metric, _REGISTRY)
