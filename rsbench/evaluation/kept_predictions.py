"""Where the predictions of a run are kept, to be scored again without predicting."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from rsbench.models.checkpoint import plain_options
from rsbench.tasks.config import EvaluationConfig, Note
from rsbench.tasks.registry import task_of

if TYPE_CHECKING:
    from rsbench.models.prediction_cache import PredictionCache


def kept_predictions(
    config: EvaluationConfig, model: str, preset: str, weights: str | None,
    options: Mapping[str, Any], note: Note,
) -> PredictionCache | None:  # fmt: skip
    """Return the store of a model's predictions, None where they are not kept.

    Args:
        options: of the model, and what else predictions depend on.
    """
    from rsbench.core.paths import cache_dir
    from rsbench.core.version import __version__
    from rsbench.models.api import SampleRef
    from rsbench.models.prediction_cache import PredictionCache, PredictionKey

    if model in task_of(config).reference_models:
        note(f"{model} is faster than reading its predictions: none are kept")
        return None
    key = PredictionKey(
        dataset=config.store.digest, protocol=config.protocol.model_dump(mode="json"),
        split=config.split, model=model, preset=preset, seed=config.seed,
        precision=config.precision, members=config.members, horizon=config.horizon,
        context=config.context, weights=weights,
        options={"bands": list(config.bands), **plain_options(options)},
        code=__version__,
    )  # fmt: skip
    cache = PredictionCache(cache_dir("predictions"), key, keep="all")
    samples = [
        SampleRef(s.region, "", s.window)
        for group in task_of(config).groups(config, config.split)
        for s in group
    ]
    size = cache.estimate(samples, len(config.bands))
    note(f"keeping {len(samples)} predictions, at most {size / 1e6:.1f} MB, in {cache.folder}")
    if cache.made_on is not None:
        note(f"predictions made earlier on {cache.made_on} are used again")
    return cache
