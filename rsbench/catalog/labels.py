"""The schema of a label set: a class map that a dataset can include beside its images."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Self

from pydantic import Field, field_validator, model_validator

from rsbench.catalog.models_base import Entry, Name
from rsbench.core.errors import unknown


class LabelSource(Entry):
    """Collection and asset of a label set at a provider."""

    collection: Name
    asset: Name


class LabelSet(Entry):
    """A published class map.

    ``gsd``: metres. ``nodata``: code of pixels without class. ``classes``: code → name. ``query``:
    conditions of the search. ``ignore``: codes that are no class to score, as clouds. ``merge``:
    name of a class → the codes that it joins. ``providers``: where it is searched for; none of
    labels that are files of one's own. ``note``: method of the map.
    """

    name: Name
    title: str = Field(min_length=1)
    gsd: float = Field(gt=0)
    nodata: int = Field(ge=0, le=255)
    classes: Mapping[int, str] = Field(min_length=1)
    query: Mapping[str, Mapping[str, Any]] = Field(default_factory=dict)
    ignore: tuple[int, ...] = ()
    merge: Mapping[str, tuple[int, ...]] = Field(default_factory=dict)
    providers: Mapping[str, LabelSource] = Field(default_factory=dict)
    note: str
    licence: str = Field(min_length=1)
    attribution: str = Field(min_length=1)
    citation: str = Field(min_length=1)

    @field_validator("classes")
    @classmethod
    def _bytes(cls, classes: Mapping[int, str]) -> Mapping[int, str]:
        if any(not 0 <= code <= 255 or not name for code, name in classes.items()):
            raise ValueError("classes are codes from 0 to 255, each with a name")
        return classes

    @model_validator(mode="after")
    def _known(self) -> Self:
        joined = [code for codes in self.merge.values() for code in codes]
        if odd := sorted({*self.ignore, *joined} - set(self.classes)):
            raise ValueError(f"ignore and merge name codes that are no class: {odd}")
        if len(set(joined)) != len(joined):
            raise ValueError("merge names a code twice")
        return self

    @property
    def scored(self) -> tuple[str, ...]:
        """Names of the classes that are scored, in the order of their codes."""
        joined = {code: name for name, codes in self.merge.items() for code in codes}
        kept = [code for code in sorted(self.classes) if code not in self.ignore]
        return tuple(dict.fromkeys(joined.get(code, self.classes[code]) for code in kept))

    def unknown(self, codes: Iterable[int]) -> tuple[int, ...]:
        """Return the codes that are neither a class nor nodata, sorted."""
        return tuple(sorted(set(codes) - {*self.classes, self.nodata}))

    def source(self, provider: str) -> LabelSource:
        """Return the collection and asset at a provider."""
        if provider not in self.providers:
            raise unknown(f"provider of the labels {self.name}", provider, self.providers)
        return self.providers[provider]
