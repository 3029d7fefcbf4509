"""`rsbench.errors`: the public name of the errors that commands and functions raise."""

from rsbench.core.errors import (
    HorizonError,
    Incomparable,
    InputError,
    MetricUnavailable,
    PixelError,
    RsbenchError,
    SchemaError,
    UnitFailed,
    UnknownName,
)

__all__ = [
    "HorizonError",
    "Incomparable",
    "InputError",
    "MetricUnavailable",
    "PixelError",
    "RsbenchError",
    "SchemaError",
    "UnitFailed",
    "UnknownName",
]
