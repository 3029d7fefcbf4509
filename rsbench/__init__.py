"""rsbench: one dataset from one lock, one door for models, one evaluator, one table."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rsbench import metrics as metrics
    from rsbench.errors import InputError as InputError
    from rsbench.errors import RsbenchError as RsbenchError
    from rsbench.model import Card as Card
    from rsbench.model import Frames as Frames
    from rsbench.model import Given as Given
    from rsbench.model import Model as Model
    from rsbench.model import Noise as Noise
    from rsbench.model import Prediction as Prediction
    from rsbench.model import PresetInfo as PresetInfo
    from rsbench.model import SampleRef as SampleRef
    from rsbench.model import Stage as Stage
    from rsbench.model import Stateful as Stateful
    from rsbench.model import Trainable as Trainable
    from rsbench.model import Want as Want
    from rsbench.registry import create_model as create_model
    from rsbench.run import evaluate as evaluate
    from rsbench.store.read import open_store as open_store

__version__ = "0.1.0"

# Resolved on first use, so that `import rsbench` costs neither torch nor rasterio.
_LAZY = {
    "open_store": "rsbench.store.read",
    "create_model": "rsbench.registry",
    "evaluate": "rsbench.run",
    "InputError": "rsbench.errors",
    "RsbenchError": "rsbench.errors",
    **dict.fromkeys(
        (
            "Card",
            "Frames",
            "Given",
            "Model",
            "Noise",
            "Prediction",
            "PresetInfo",
            "SampleRef",
            "Stage",
            "Stateful",
            "Trainable",
            "Want",
        ),
        "rsbench.model",
    ),
}

__all__ = ["__version__", "metrics", *_LAZY]


def __getattr__(name: str) -> Any:
    if name == "metrics":
        return importlib.import_module("rsbench.metrics")
    if name in _LAZY:
        return getattr(importlib.import_module(_LAZY[name]), name)
    raise AttributeError(f"module 'rsbench' has no attribute {name!r}")
