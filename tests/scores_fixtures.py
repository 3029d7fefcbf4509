"""Synthetic runs with known regional effects, for the tests of scores, table, check and report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from rsbench.evaluation.run_info import Absent, RunInfo
from rsbench.evaluation.scores import Scores

MODELS: Mapping[str, tuple[str, str, float]] = {
    # model: (role, preset, factor on the error)
    "simvp": ("model", "tiny", 0.7),
    "persistence": ("trivial", "fixed", 1.0),
    "damped_persistence": ("trivial", "fixed", 0.9),
    "oracle": ("oracle", "fixed", 0.4),
    "floor": ("floor", "fixed", 0.2),
}
METRICS = ("mse@1", "mae@1", "psnr@1", "ssim@1")


def value_of(metric: str, mse: float) -> float:
    """A smooth function of the error for every metric."""
    if metric == "mse@1":
        return mse
    if metric == "mae@1":
        return 0.8 * mse**0.5
    if metric == "rmse@1":
        return float(mse**0.5)
    if metric == "psnr@1":
        return float(-10 * np.log10(mse))
    return float(1 / (1 + 20 * mse))


def make_units(
    *,
    models: Mapping[str, tuple[str, str, float]] = MODELS,
    metrics: Sequence[str] = METRICS,
    regions: int = 12,
    first: int = 2017,
    years: int = 8,
    context: int = 1,
    horizon: int = 3,
    bands: Sequence[str] = ("all", "nir"),
    images: int = 4,
    seed: int = 0,
    noise: float = 0.02,
) -> pd.DataFrame:
    """One row per unit; errors grow with lead and differ by region, with noise per model."""
    rng = np.random.default_rng(seed)
    level = 0.004 * np.exp(rng.normal(0, 0.5, regions))
    last = first + years - 1
    rows: list[dict[str, Any]] = []
    for model, (role, preset, factor) in models.items():
        jitter = np.exp(rng.normal(0, noise, (regions, years, horizon)))
        for r in range(regions):
            for s in range(first + context - 1, last):
                for lead in range(1, min(horizon, last - s) + 1):
                    target = s + lead
                    starts = s + horizon <= last
                    targets = target - horizon >= first + context - 1
                    curve = ("none", "starts", "targets", "both")[starts + 2 * targets]
                    growth = lead**0.5 if role != "floor" else 1.0
                    mse = level[r] * factor * growth * jitter[r, s - first, lead - 1]
                    for metric in metrics:
                        for band in bands:
                            scale = {"all": 1.0, "red": 0.8}.get(band, 1.2)
                            rows.append(
                                {
                                    "model": model,
                                    "preset": preset,
                                    "role": role,
                                    "region": f"sim-{r + 1:02d}",
                                    "start": f"{s}-07-01",
                                    "lead": lead,
                                    "target": f"{target}-07-01",
                                    "curve": curve,
                                    "metric": metric,
                                    "band": band,
                                    "value_sum": images * value_of(metric, float(mse) * scale),
                                    "weight": float(images),
                                    "n_images": images,
                                    "n_missing": 0,
                                    "biome": "forest" if r % 2 else "cropland",
                                    "stratum": ("irrigated", "savanna", "desert")[r % 3],
                                    "country": "XXX",
                                }
                            )
    return pd.DataFrame(rows)


def pixel_parts(units: pd.DataFrame, shares: Mapping[str, float]) -> pd.DataFrame:
    """Classes of pixels that hold the same mean error, in these shares of every image."""
    mse = units[(units["metric"] == "mse@1") & (units["band"] == "all")]
    parts = [
        mse.assign(
            pixel_class=f"pixel land cover={name}",
            value_sum=mse["value_sum"] * share,
            weight=mse["weight"] * share,
        )
        for name, share in shares.items()
    ]
    return pd.concat(parts, ignore_index=True)


def make_run(**changes: Any) -> RunInfo:
    run = RunInfo(
        dataset="demo",
        dataset_digest="ab" * 32,
        split="test",
        protocol="year3",
        context=1,
        horizon=3,
        step="P1Y",
        sensor="s2",
        bands=("red", "nir"),
        value_range=(0.0, 1.0),
        unit="reflectance",
        starts=tuple(f"{y}-07-01" for y in range(2017, 2022)),
        display=("red", "green", "blue"),
        simulated=True,
        seed=0,
        versions={"rsbench": "0.1", "torch": "2.12"},
        weights={"simvp": "cd" * 32, "persistence": None, "damped_persistence": "ef" * 32},
        inputs={},
        licences={"s2": {"licence": "CC0-1.0", "attribution": "Simulated by rsbench"}},
        citations={"simvp": "Gao et al. 2022, SimVP: Simpler yet Better Video Prediction"},
        absent=(Absent("linear_trend", "needs k ≥ 3, the context has k = 1"),),
        best_trivial="damped_persistence",
        history={
            "simvp": [
                {"step": s, "loss": 0.1 / (1 + s / 40), "validation": 0.12 / (1 + s / 50)}
                for s in range(0, 400, 20)
            ]
        },
        command="rsbench run --model simvp --preset tiny --horizon 3",
    )
    return replace(run, **{"task": "", **changes})  # the task follows the protocol


def make_scores(run: Mapping[str, Any] | None = None, **units: Any) -> Scores:
    changes = dict(run or {})
    for name in ("context", "horizon"):
        if name in units:
            changes.setdefault(name, units[name])
    return Scores(make_units(**units), make_run(**changes))


def save_run(
    folder: Path,
    scores: Scores | None = None,
    *,
    viewer: bool = False,
    pictured: Sequence[str] = ("simvp", "persistence"),
    masked: bool = False,
) -> Path:
    from rsbench.evaluation import table

    scores = scores or make_scores()
    scores.save(folder)
    tidy = scores.table()
    table.to_parquet(tidy, folder / "table.parquet")
    text = table.to_markdown(tidy, best=table.supported_best(scores), scores=[scores])
    (folder / "table.md").write_text(text, encoding="utf-8")
    if viewer:
        save_viewer(folder, scores, pictured, masked=masked)
    return folder


def save_viewer(
    folder: Path,
    scores: Scores,
    pictured: Sequence[str],
    size: int = 96,
    *,
    masked: bool,
    noise: bool = False,
) -> None:
    """Truth, predictions and error maps of two regions, as `run` keeps them."""
    import json

    rng = np.random.default_rng(3)
    leads = list(range(1, scores.run.horizon + 1))
    entries = []
    target = folder / "viewer"
    target.mkdir(parents=True, exist_ok=True)
    for number in range(2):
        region = f"sim-{number + 1:02d}"
        base = _scene(rng, size)
        truth = np.stack([_grow(base, lead) for lead in leads])
        if noise:
            truth = rng.integers(0, 256, truth.shape).astype(np.uint8)
        np.save(target / f"{region}.truth.npy", truth)
        np.save(target / f"{region}.nir.npy", 255 - truth[:, None, ..., 0])
        entry: dict[str, Any] = {
            "region": region,
            "start": "2017-07-01",
            "targets": [f"{2017 + lead}-07-01" for lead in leads],
            "leads": leads,
            "truth": f"{region}.truth.npy",
            "truth_others": f"{region}.nir.npy",
            "models": [],
        }
        if masked:
            valid = np.ones(truth.shape[:3], dtype=bool)
            valid[:, : size // 8, : size // 4] = False
            np.save(target / f"{region}.valid.npy", valid)
            entry["valid"] = f"{region}.valid.npy"
        for model in pictured:
            blur = base if model == "persistence" else truth
            spread = rng.normal(0, 6, truth.shape)
            guess = np.clip(np.broadcast_to(blur, truth.shape) + spread, 0, 255).astype(np.uint8)
            error = np.abs(guess.astype(float) - truth).mean(-1).astype(np.float16) / 255
            np.save(target / f"{region}.{model}.npy", guess)
            np.save(target / f"{region}.{model}.error.npy", error)
            np.save(target / f"{region}.{model}.nir.npy", 255 - guess[:, None, ..., 0])
            entry["models"].append(
                {
                    "model": model,
                    "preset": MODELS[model.partition(" · ")[0]][1],
                    "prediction": f"{region}.{model}.npy",
                    "prediction_others": f"{region}.{model}.nir.npy",
                    "error": f"{region}.{model}.error.npy",
                }
            )
        entries.append(entry)
    index = {
        "schema": 1,
        "error": "mean absolute error over bands, in reflectance",
        "drawn": ["red", "green", "blue"],
        "others": ["nir"],
        "entries": entries,
    }
    (target / "index.json").write_text(json.dumps(index))


def _scene(rng: np.random.Generator, size: int) -> np.ndarray:
    y, x = np.mgrid[0:size, 0:size] / size
    fields = np.floor(x * 5) * 7 + np.floor(y * 4) * 13
    tone = (fields % 5) / 5
    image = np.stack([0.3 + 0.3 * tone, 0.4 + 0.2 * np.sin(6 * y + tone), 0.25 + 0.2 * tone], -1)
    return np.clip(255 * (image + rng.normal(0, 0.02, image.shape)), 0, 255).astype(np.uint8)


def _grow(base: np.ndarray, lead: int) -> np.ndarray:
    image = base.copy()
    image[: 12 * lead, : 18 * lead] = (180, 150, 120)
    return image
