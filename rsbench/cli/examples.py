"""Two examples of every command, which its help shows."""

from __future__ import annotations

from collections.abc import Mapping

EXAMPLES: Mapping[str, tuple[str, ...]] = {
    "build-dataset": (
        "rsbench build-dataset --recipe demo --out demo.zarr",
        "rsbench build-dataset --regions 4 --years 2020-2022 --dry-run",
    ),
    "download": (
        "rsbench download demo@527790a2 --from https://example.org/releases",
        "rsbench download ./release --out demo.zarr",
    ),
    "import-dataset": (
        "rsbench import-dataset geotiff-series FOLDER --out own.zarr --unit reflectance "
        "--scale 0.0001",
        "rsbench import-dataset geotiff-pairs FOLDER --out pairs.zarr --unit display --labels SET",
    ),
    "inspect": ("rsbench inspect demo.zarr", "rsbench inspect demo.zarr --json"),
    "validate": ("rsbench validate demo.zarr", "rsbench validate demo.zarr --json"),
    "add-texts": (
        "rsbench add-texts demo.zarr texts.csv --out described.zarr",
        "rsbench add-texts before-after.zarr disasters.csv --out disasters.zarr",
    ),
    "export": (
        "rsbench export demo.zarr --out tiffs",
        "rsbench export demo.zarr --out tiffs --region sim-01",
    ),
    "lock diff": (
        "rsbench lock diff old.zarr/lock.json new.zarr/lock.json",
        "rsbench lock diff lock.json other.json -q",
    ),
    "train": (
        "rsbench train --model simvp --data demo.zarr",
        "rsbench train --model simvp --preset tiny --budget 10min --seed 1",
    ),
    "run": (
        "rsbench run --model persistence --data demo.zarr --out run",
        "rsbench run --model simvp --preset tiny --data demo.zarr --out run-simvp --devices 2",
    ),
    "demo": ("rsbench demo", "rsbench demo --out demo2 --seed 1"),
    "contract": ("rsbench contract persistence", "rsbench contract simvp --preset tiny"),
    "check": (
        "rsbench check run --against expected.toml",
        "rsbench check run --against expected.toml --junit gate.xml --summary summary.md",
    ),
    "compare": (
        "rsbench compare run-a run-b",
        "rsbench compare a-s0 a-s1 a-s2 b --model simvp --model predrnn --json",
    ),
    "report": (
        "rsbench report run --out report.html",
        "rsbench report run-a run-b --published sat-jepa-diff --out both.html --force",
    ),
    "table": (
        "rsbench table run --best bold --no-interval",
        'rsbench table run-a run-b --metric ssim,rmse --lead 1,3 --latex --caption "Scores"',
    ),
    "figure": (
        "rsbench figure run strip --zoom 10,20,40,40 --out strip.pdf",
        "rsbench figure run-a run-b ranking --metric ssim --lead 1 --out ranking.svg",
    ),
    "synthesize": (
        "rsbench synthesize --model satsynth --data pairs.zarr --out synthetic.zarr",
        "rsbench synthesize --model satsynth --data pairs.zarr --per-image 4 --out synthetic.zarr",
    ),
    "export-task": (
        "rsbench export-task demo.zarr task",
        "rsbench export-task demo.zarr task --format geotiff --horizon 3",
    ),
    "score": (
        "rsbench score task/predictions --data demo.zarr --out run",
        "rsbench score task/predictions --data demo.zarr --out run --metrics perceptual",
    ),
    "models": ("rsbench models", "rsbench models --json"),
    "metrics": ("rsbench metrics", "rsbench metrics --json"),
    "recipes": ("rsbench recipes", "rsbench recipes --json"),
    "protocols": ("rsbench protocols", "rsbench protocols --json"),
    "labels": ("rsbench labels", "rsbench labels --json"),
    "regions": ("rsbench regions", "rsbench regions --recipe landsat-modis --json"),
    "weights check": ("rsbench weights check", "rsbench weights check --json"),
    "weights fetch": ("rsbench weights fetch", "rsbench weights fetch --to weights"),
    "weights import": (
        "rsbench weights import released.pth --model sa_stf --out checkpoint",
        "rsbench weights import released.safetensors --model sa_stf --bands 4 --out checkpoint",
    ),
    "doctor": ("rsbench doctor", "rsbench doctor --json"),
    "cache": ("rsbench cache", "rsbench cache --prune --older-than 7"),
}
"""Words of a command → what may be typed."""
