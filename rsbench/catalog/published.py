"""Published tables as data: values, sources, and the metric id of each column."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from rsbench.catalog.loaders import published_root
from rsbench.catalog.models_base import Entry, MetricId, Name, Text
from rsbench.catalog.yamlfile import load_yaml, parse
from rsbench.core.errors import unknown


class PublishedColumn(Entry):
    """One column: its name in the paper, and the id of the metric that its code computes.

    ``metric`` is null if no code is public; ``nearest`` is then the most similar metric.
    """

    name: Text
    metric: MetricId | None
    nearest: MetricId | None = None
    better: Literal["lower", "higher"]
    unit: str = ""
    note: str = ""


class PublishedRow(Entry):
    """One row of a published table; a value is null where the paper has none.

    ``ours``: the model of this project that does the same. ``metrics``: columns of this row that
    another script scored. ``scored_by``: the script, null where none is public, and then no
    column's definition is known for this row.
    """

    name: Text
    values: tuple[float | None, ...] = Field(min_length=1)
    ours: Name | None = None
    metrics: Mapping[str, MetricId | None] = Field(default_factory=dict)
    scored_by: str | None


class PublishedTable(Entry):
    """One printed table.

    ``one_test_set``: whether all rows stand on the same images; ``why_not`` where they do not.
    ``recipe``: the recipe that builds those very images, where there is one. ``lead``: the lead
    that the values are of, null for a mean over several.
    """

    name: Name
    title: Text
    source: Text
    url: str = ""
    task: Name
    lead: int | None = Field(default=None, ge=1)
    dataset: Text
    recipe: Name | None = None
    test_set: Text
    one_test_set: bool
    why_not: str = ""
    columns: tuple[PublishedColumn, ...] = Field(min_length=1)
    rows: tuple[PublishedRow, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        names = [column.name for column in self.columns]
        for row in self.rows:
            if len(row.values) != len(names):
                raise ValueError(f"row {row.name!r} has {len(row.values)} values, not {len(names)}")
            odd = sorted(set(row.metrics) - set(names))
            if odd:
                raise ValueError(f"row {row.name!r} names a column that is not there: {odd[0]!r}")
        if len(set(names)) != len(names):
            raise ValueError("a column is listed twice")
        if not self.one_test_set and not self.why_not:
            raise ValueError("why_not must say why the rows do not stand on one test set")
        return self

    def metric(self, row: PublishedRow, column: PublishedColumn) -> str | None:
        """Return the metric id of one cell, or None if it is unknown."""
        if row.scored_by is None:
            return None
        return row.metrics.get(column.name, column.metric)

    def cells(self, name: str) -> Iterator[dict[str, Any]]:
        """Yield the values of a row with metric id, source, test set and notes.

        ``metric`` is None if it is unknown; ``nearest`` is then the most similar metric.
        """
        rows = {row.name: row for row in self.rows}
        if name not in rows:
            raise unknown(f"row of the published table {self.name}", name, rows)
        row = rows[name]
        beside = {} if self.one_test_set else {"why_not_comparable": self.why_not}
        for column, value in zip(self.columns, row.values, strict=True):
            if value is not None:
                metric = self.metric(row, column)
                near = {} if metric else {"nearest": column.nearest or column.metric}
                noted = {"note": column.note} if column.note else {}
                yield {
                    "dataset": self.dataset, "column": column.name, "metric": metric, **near,
                    **noted, "lead": self.lead, "value": value, "source": self.source,
                    "test_set": self.test_set, **beside,
                }  # fmt: skip


def published_names() -> tuple[str, ...]:
    """Return the names of the published tables, sorted."""
    return tuple(sorted(path.stem for path in published_root().glob("*.yaml")))


def load_published(name: str) -> PublishedTable:
    """Return one published table."""
    if name not in published_names():
        raise unknown("published table", name, published_names())
    return parse(load_yaml(published_root() / f"{name}.yaml"), PublishedTable)
