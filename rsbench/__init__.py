"""rsbench: dataset builder and benchmark harness for satellite imagery."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rsbench.core.version import __version__

if TYPE_CHECKING:
    from rsbench import metrics as metrics
    from rsbench.core.errors import InputError as InputError
    from rsbench.core.errors import RsbenchError as RsbenchError
    from rsbench.evaluation.run import evaluate as evaluate
    from rsbench.models.api import Card as Card
    from rsbench.models.api import Frames as Frames
    from rsbench.models.api import Given as Given
    from rsbench.models.api import Model as Model
    from rsbench.models.api import Noise as Noise
    from rsbench.models.api import Prediction as Prediction
    from rsbench.models.api import PresetInfo as PresetInfo
    from rsbench.models.api import SampleRef as SampleRef
    from rsbench.models.api import Stage as Stage
    from rsbench.models.api import Stateful as Stateful
    from rsbench.models.api import Trainable as Trainable
    from rsbench.models.api import Want as Want
    from rsbench.models.registry import create_model as create_model
    from rsbench.store.read import open_store as open_store
    from rsbench.training.api import train as train
    from rsbench.training.callbacks import TrainingCallback as TrainingCallback
    from rsbench.training.options import Options as Options


# Public module names (rsbench.check, rsbench.errors, rsbench.registry) stay where packages move.
__path__.append(str(Path(__file__).parent / "_aliases"))

# Resolved on first use, so that `import rsbench` costs neither torch nor rasterio.
_LAZY = {
    "open_store": "rsbench.store.read",
    "create_model": "rsbench.models.registry",
    "evaluate": "rsbench.evaluation.run",
    "train": "rsbench.training.api",
    "TrainingCallback": "rsbench.training.callbacks",
    "Options": "rsbench.training.options",
    "InputError": "rsbench.core.errors",
    "RsbenchError": "rsbench.core.errors",
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
        "rsbench.models.api",
    ),
}

__all__ = ["__version__", "metrics", *_LAZY]


def __getattr__(name: str) -> Any:
    if name == "metrics":
        return importlib.import_module("rsbench.metrics")
    if name in _LAZY:
        return getattr(importlib.import_module(_LAZY[name]), name)
    raise AttributeError(f"module 'rsbench' has no attribute {name!r}")
