"""The samples of a split in blocks of regions, which processes may score in any order."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from rsbench.tasks.registry import task_of
from rsbench.tasks.settings import CaseSource

if TYPE_CHECKING:
    from rsbench.tasks.base import Case, Sample
    from rsbench.tasks.config import EvaluationConfig

MOST_BATCHES = 8
"""Whole batches that the samples of a block would fill, at which it ends."""
Groups = Mapping[int, Sequence["Sample"]]
"""Number of a group → its samples of one region."""


@dataclass(frozen=True)
class Blocks:
    """The samples of a split by block of regions; no batch has samples of two blocks.

    A block has regions one after the other, as many as fill a batch of the largest group, or as
    have ``MOST_BATCHES`` batches of samples. Batches are the same samples in every process, so that
    a prediction has the same bits in all of them.

    Args:
        regions: the regions of each block.
        samples: region → its samples.
    """

    config: EvaluationConfig
    regions: tuple[tuple[str, ...], ...]
    samples: Mapping[str, Groups]

    @classmethod
    def of(cls, config: EvaluationConfig) -> Self:
        """Return the blocks of the split of a configuration."""
        samples: dict[str, dict[int, list[Sample]]] = {}
        for number, group in enumerate(task_of(config).groups(config, config.split)):
            for sample in group:
                samples.setdefault(sample.region, {}).setdefault(number, []).append(sample)
        return cls(config, tuple(_blocks(samples, config.batch_samples)), samples)

    @property
    def numbers(self) -> range:
        """Numbers of all blocks, in the order in which one process scores them."""
        return range(len(self.regions))

    def count(self, numbers: Sequence[int]) -> int:
        """Return the number of samples of some blocks."""
        chosen = (name for number in numbers for name in self.regions[number])
        return sum(len(group) for name in chosen for group in self.samples[name].values())

    def cases(self, numbers: Sequence[int], source: CaseSource | None = None) -> Iterator[Case]:
        """Yield the batches of some blocks, group by group in each of them."""
        source = source or CaseSource.of(self.config)
        for number in numbers:
            own = [self.samples[name] for name in self.regions[number]]
            for group in sorted({group for groups in own for group in groups}):
                chosen = [s for groups in own for s in groups.get(group, ())]
                yield from source.read(chosen, self.config.batch_samples)


def _blocks(samples: Mapping[str, Groups], batch_size: int) -> Iterator[tuple[str, ...]]:
    """Yield the names of regions of each block."""
    names: list[str] = []
    sizes: Counter[int] = Counter()
    for name, groups in samples.items():
        names.append(name)
        sizes.update({number: len(group) for number, group in groups.items()})
        if max(sizes.values()) >= batch_size or sizes.total() >= MOST_BATCHES * batch_size:
            yield tuple(names)
            names.clear()
            sizes.clear()
    if names:
        yield tuple(names)
