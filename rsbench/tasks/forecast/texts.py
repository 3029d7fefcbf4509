"""Texts of forecasts: which samples are given the description of the wanted image.

A sample has one text, so that texts are given under protocols that ask for one date.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from rsbench.core.errors import InputError
from rsbench.store.texts import described, has_texts, text_of
from rsbench.tasks.base import SampleKey
from rsbench.tasks.forecast.samples import Sample

if TYPE_CHECKING:
    from rsbench.catalog import Protocol
    from rsbench.store.read import Store
    from rsbench.tasks.config import EvaluationConfig


def gives_texts(store: Store, protocol: Protocol) -> bool:
    """Return whether samples are given texts: the store has some, and one date is wanted."""
    return protocol.horizon == 1 and has_texts(store)


def require_one_lead(config: EvaluationConfig) -> None:
    """Refuse a longer horizon than that of a protocol under which texts are given.

    Raises:
        InputError: names the horizon.
    """
    if config.horizon > 1 and gives_texts(config.store, config.protocol):
        raise InputError(
            f"{config.horizon} leads under protocol {config.protocol.name}",
            f"{config.store.path} holds texts, and a sample has the text of one image",
            "Leave --horizon out, or choose a protocol of several leads, which gives no texts",
        )


def text_notes(config: EvaluationConfig) -> Iterator[str]:
    """Yield whether the texts of a store are given."""
    store, rules = config.store, config.protocol
    if gives_texts(store, rules):
        yield f"the text of the wanted image is given, where it has one: {described(store)}"
    elif has_texts(store):
        yield f"the texts of the store are not given: protocol {rules.name} asks for several leads"


def text_partners(
    config: EvaluationConfig, groups: Sequence[Sequence[Sample]]
) -> Mapping[SampleKey, Sample]:
    """Return for every sample one of another region with another text, half a group away.

    Empty unless texts are given and every sample has such a partner.
    """
    store = config.store
    if not gives_texts(store, config.protocol):
        return {}
    found: dict[SampleKey, Sample] = {}
    for group in groups:
        texts = [wanted_text(store, config.sensor, sample) for sample in group]
        for place, sample in enumerate(group):
            order = [(place + len(group) // 2 + i) % len(group) for i in range(len(group))]
            fitting = (
                i for i in order
                if group[i].region != sample.region and texts[i] != texts[place]
            )  # fmt: skip
            other = next(fitting, None)
            if other is None:
                return {}
            start = store.region(sample.region).times[config.sensor][sample.start]
            key = f"{sample.region}:{start.isoformat()}"
            found[sample.region, key, sample.window] = group[other]
    return found


def wanted_text(store: Store, sensor: str, sample: Sample) -> str:
    """Return the text of the first wanted image of a sample; empty where it has none."""
    day = store.region(sample.region).times[sensor][sample.targets[0]]
    return text_of(store, sample.region, day)
