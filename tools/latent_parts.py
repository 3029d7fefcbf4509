"""Measure which part of a trained latent diffusion holds its forecasts back, one year ahead.

Usage: python tools/latent_parts.py STORE --checkpoint FOLDER --out results/NAME

Writes ``table.md``: MSE skill relative to persistence, mean over regions, of the last frame through
the VAE, and of forecasts from predicted tokens, from the teacher's tokens of the true next frame,
from another image's tokens and from noise, with more steps and from pure noise.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from statistics import fmean
from typing import Any, cast

import torch
from torch import Tensor

from rsbench.core.errors import RsbenchError
from rsbench.core.io import atomic_file
from rsbench.models.checkpoint import load_into
from rsbench.models.registry import create_model
from rsbench.store.read import Store, open_store
from rsbench_baselines.sat_jepa_diff.objective import plain_norm
from rsbench_baselines.sat_jepa_diff.sampling import sampler, walk

GAIN = 2.0
BATCH = 14
Forecast = Callable[[Tensor, Tensor], Tensor]
"""Takes images of a year and the next, in shares of the range times the gain."""


def forecasts(network: Any) -> Mapping[str, Forecast]:
    """Return the rows of the table by name."""
    latents = network.latents
    noise = torch.Generator().manual_seed(0)

    def drawn(tokens: Callable[[Tensor, Tensor], Tensor], named: str, steps: int | None = None,
              *, coarse: bool = True) -> Forecast:  # fmt: skip
        def forecast(now: Tensor, then: Tensor) -> Tensor:
            shown = now if coarse else None
            conditions = network.condition(tokens(now, then), network.grid(now), shown)
            last = latents.posterior(now)[0]
            epsilon = torch.randn(last.shape, generator=noise)
            found = walk(lambda x, s: network.velocity(x, s, conditions), epsilon, last,
                         sampler(named, steps))  # fmt: skip
            return cast(Tensor, latents.decode(found))

        return forecast

    def predicted(now: Tensor, then: Tensor) -> Tensor:
        return cast(Tensor, network.foresee(now))

    def random(now: Tensor, then: Tensor) -> Tensor:
        return plain_norm(torch.randn(predicted(now, then).shape, generator=noise))

    one, many = "sjd-1step-0.35", "sjd-euler30-0.35"
    return {
        "last frame through the VAE": lambda now, then: latents.decode(latents.posterior(now)[0]),
        "true next frame through the VAE": lambda now, then: latents.decode(
            latents.posterior(then)[0]
        ),
        "predicted tokens, 1 step (the preset)": drawn(predicted, one),
        "the teacher's tokens of the true next frame": drawn(
            lambda now, then: plain_norm(network.teacher(then)), one
        ),
        "tokens predicted for another image": drawn(lambda a, b: predicted(a, b).roll(1, 0), one),
        "random tokens": drawn(random, one),
        "predicted tokens, without the coarse image": drawn(predicted, one, coarse=False),
        "predicted tokens, 4 steps": drawn(predicted, many, 4),
        "predicted tokens, 8 steps from pure noise": drawn(predicted, "sjd-fm", 8),
    }


@torch.inference_mode()
def skills(network: Any, store: Store, split: str) -> dict[str, float]:
    """Return the MSE skill of each row relative to persistence, mean over regions."""
    windows = store.torch_dataset(split=split, window=128, context=1, leads=1)
    by_region: dict[str, list[Any]] = {}
    for i in range(len(windows)):
        by_region.setdefault(windows[i]["region"], []).append(windows[i])
    rows: dict[str, list[float]] = {}
    for samples in by_region.values():
        errors: dict[str, float] = {}
        for first in range(0, len(samples), BATCH):
            part = samples[first : first + BATCH]
            now, then = (torch.stack([s[n][0] for s in part]) for n in ("given", "truth"))
            known = torch.stack([s["given_valid"][0] & s["truth_valid"][0] for s in part])
            seen = known if known.ndim == now.ndim else known[:, None].expand_as(now)
            now, then = torch.nan_to_num(now) * GAIN, torch.nan_to_num(then) * GAIN
            for name, forecast in {"persistence": lambda a, b: a, **forecasts(network)}.items():
                wrong = ((forecast(now, then).clamp(0, GAIN) - then).square() * seen).sum()
                errors[name] = errors.get(name, 0.0) + float(wrong)
        for name, error in errors.items():
            rows.setdefault(name, []).append(1 - error / errors["persistence"])
    return {name: fmean(found) for name, found in rows.items()}


def main(words: list[str]) -> int:
    """Write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("store", type=Path)
    parser.add_argument("--checkpoint", type=Path, required=True)
    parser.add_argument("--split", default="val")
    parser.add_argument("--out", type=Path, required=True)
    asked = parser.parse_args(words)
    try:
        store = open_store(asked.store)
        bands = len(store.sensor(next(iter(store.meta.sensors))).bands)
        model: Any = create_model("sat_jepa_diff", "tiny", bands=bands)
        note = load_into(model, asked.checkpoint, store, split=asked.split)
        found = skills(model.module.eval(), store, asked.split)
    except RsbenchError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    origin = "simulated data: nothing is claimed of real places" if store.simulated else "real data"
    lines = [
        f"# Parts of sat_jepa_diff tiny\n\nDigest `{store.digest}`; {origin}. Split {asked.split}, "
        f"lead 1, seed {note.seed}, weights `{note.weights_digest[:12]}`. MSE skill relative to "
        "persistence, mean over regions; no interval: one seed.\n\nMade by `python "
        f"tools/latent_parts.py STORE --checkpoint FOLDER --out {asked.out}`.\n",
        "| forecast | MSE skill |\n|---|---|",
        *(f"| {name} | {skill:+.3f} |" for name, skill in found.items()),
    ]
    asked.out.mkdir(parents=True, exist_ok=True)
    with atomic_file(asked.out / "table.md") as path:
        path.write_text("\n".join(lines) + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
