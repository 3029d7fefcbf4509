"""Base class and field types of all catalogue entries."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from rsbench.core.names import folder_fault


def _folder(name: str) -> str:
    if fault := folder_fault(name):
        raise ValueError(f"{fault}; choose another one")
    return name


Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")]
FolderName = Annotated[Name, AfterValidator(_folder)]
"""The name of a region or a sensor, which becomes a folder of a store."""
Text = Annotated[str, Field(min_length=1)]
MetricId = Annotated[str, Field(pattern=r"^[a-z0-9_.-]+@[0-9]+$")]


class Entry(BaseModel):
    """Base of all catalogue entries: immutable, without unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)
