"""rsbench: dataset builder and benchmark harness for satellite imagery."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rsbench.core.version import __version__

if TYPE_CHECKING:
    from rsbench import catalog as catalog
    from rsbench import metrics as metrics
    from rsbench._aliases import errors as errors
    from rsbench._aliases import registry as registry
    from rsbench.build.datasets import build_dataset as build_dataset
    from rsbench.build.datasets import download_dataset as download_dataset
    from rsbench.build.datasets import import_dataset as import_dataset
    from rsbench.build.datasets import lock_diff as lock_diff
    from rsbench.build.engine.options import BuildOptions as BuildOptions
    from rsbench.build.importers.api import ImportOptions as ImportOptions
    from rsbench.cli.demo import run_demo as run_demo
    from rsbench.cli.doctor import doctor as doctor
    from rsbench.core.cache_files import cache_entries as cache_entries
    from rsbench.core.cache_files import prunable as prunable
    from rsbench.core.cache_files import prune as prune
    from rsbench.core.errors import InputError as InputError
    from rsbench.core.errors import RsbenchError as RsbenchError
    from rsbench.evaluation import plot as plot
    from rsbench.evaluation.gate import check as check
    from rsbench.evaluation.report.versus import compare as compare
    from rsbench.evaluation.results import report as report
    from rsbench.evaluation.results import run as run
    from rsbench.evaluation.results import table as table
    from rsbench.evaluation.run import RunRequest as RunRequest
    from rsbench.evaluation.run import evaluate as evaluate
    from rsbench.evaluation.scores import Scores as Scores
    from rsbench.evaluation.submissions import export_task as export_task
    from rsbench.evaluation.submissions import score_answers as score_answers
    from rsbench.evaluation.synthesize import synthesize as synthesize
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
    from rsbench.models.contract import run_contract as run_contract
    from rsbench.models.registry import cards as cards
    from rsbench.models.registry import create_model as create_model
    from rsbench.models.weights_import import import_weights as import_weights
    from rsbench.store.add_texts import add_texts as add_texts
    from rsbench.store.export.geotiff import export_geotiff as export_geotiff
    from rsbench.store.export.summary import inspect_store as inspect_store
    from rsbench.store.read import Store as Store
    from rsbench.store.read import open_store as open_store
    from rsbench.training.api import train as train
    from rsbench.training.callbacks import TrainingCallback as TrainingCallback
    from rsbench.training.options import Options as Options


# Public module names (rsbench.check, rsbench.errors, rsbench.registry) stay where packages move.
__path__.append(str(Path(__file__).parent / "_aliases"))

# Resolved on first use, so that `import rsbench` costs neither torch nor rasterio.
_MODULES = {name: f"rsbench.{name}" for name in ("catalog", "errors", "metrics", "registry")}
_MODULES["plot"] = "rsbench.evaluation.plot"
_NAMES = {
    "rsbench.build.datasets": "build_dataset download_dataset import_dataset lock_diff",
    "rsbench.build.engine.options": "BuildOptions",
    "rsbench.build.importers.api": "ImportOptions",
    "rsbench.cli.demo": "run_demo",
    "rsbench.cli.doctor": "doctor",
    "rsbench.core.cache_files": "cache_entries prunable prune",
    "rsbench.core.errors": "InputError RsbenchError",
    "rsbench.evaluation.gate": "check",
    "rsbench.evaluation.report.versus": "compare",
    "rsbench.evaluation.results": "report run table",
    "rsbench.evaluation.run": "RunRequest evaluate",
    "rsbench.evaluation.scores": "Scores",
    "rsbench.evaluation.synthesize": "synthesize",
    "rsbench.evaluation.submissions": "export_task score_answers",
    "rsbench.models.api": (
        "Card Frames Given Model Noise Prediction PresetInfo SampleRef Stage Stateful Trainable "
        "Want"
    ),
    "rsbench.models.contract": "run_contract",
    "rsbench.models.registry": "cards create_model",
    "rsbench.models.weights_import": "import_weights",
    "rsbench.store.add_texts": "add_texts",
    "rsbench.store.export.geotiff": "export_geotiff",
    "rsbench.store.export.summary": "inspect_store",
    "rsbench.store.read": "Store open_store",
    "rsbench.training.api": "train",
    "rsbench.training.callbacks": "TrainingCallback",
    "rsbench.training.options": "Options",
}
_LAZY = {name: module for module, names in _NAMES.items() for name in names.split()}

__all__ = ["__version__", *_MODULES, *_LAZY]


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return importlib.import_module(_MODULES[name])
    if name in _LAZY:
        return getattr(importlib.import_module(_LAZY[name]), name)
    raise AttributeError(f"module 'rsbench' has no attribute {name!r}")


def __dir__() -> list[str]:
    """Return the public names, those that are loaded on first use included."""
    return sorted({*__all__, *(name for name in globals() if name.startswith("__"))})
