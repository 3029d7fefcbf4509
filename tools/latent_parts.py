"""Measure which part of a trained latent diffusion holds its forecasts back, one year ahead.

Usage: python tools/latent_parts.py STORE --checkpoint FOLDER --out results/NAME

Writes ``table.md``: MSE skill relative to persistence, mean over regions, of the last frame through
the VAE, and of forecasts from predicted tokens, from the teacher's tokens of the true next frame,
from another region's tokens and from noise, with more steps and from pure noise. The last rows are
of a copy whose generator was trained again with the teacher's tokens, which no forecast has: they
show whether tokens that know the coming year reach the image.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any, cast

import torch
from torch import Tensor
from torch.nn import functional as F

from rsbench.core.errors import RsbenchError
from rsbench.core.io import atomic_file
from rsbench.models.checkpoint import load_into
from rsbench.models.registry import create_model
from rsbench.store.read import Store, open_store
from rsbench.training.plan import one_cycle
from rsbench_baselines.sat_jepa_diff.latent import GENERATOR
from rsbench_baselines.sat_jepa_diff.losses import StraightPath
from rsbench_baselines.sat_jepa_diff.objective import plain_norm
from rsbench_baselines.sat_jepa_diff.sampling import sampler, start_of, walk

GAIN = 2.0
BATCH, SIDE = 14, 128
ONE, MANY = "sjd-1step-0.35", "sjd-euler30-0.35"


@dataclass(frozen=True)
class Images:
    """Images of a year, the next, and that year elsewhere, times the gain: each ``(B, C, H, W)``.

    ``seen`` holds the pixels that are valid in the first two.
    """

    now: Tensor
    then: Tensor
    other: Tensor
    seen: Tensor


Tokens = Callable[[Images], Tensor]
Forecast = Callable[[Images], Tensor]


class Parts:
    """Forecasts of one network with one part of it replaced; all draw the same noise."""

    def __init__(self, network: Any) -> None:
        self.network = network

    def predicted(self, images: Images) -> Tensor:
        """Return the tokens that the network predicts."""
        return cast(Tensor, self.network.foresee(images.now))

    def elsewhere(self, images: Images) -> Tensor:
        """Return the tokens that it predicts for another region."""
        return cast(Tensor, self.network.foresee(images.other))

    def true(self, images: Images) -> Tensor:
        """Return the teacher's tokens of the true next frame."""
        return plain_norm(self.network.teacher(images.then))

    def true_elsewhere(self, images: Images) -> Tensor:
        """Return the teacher's tokens of another region."""
        return plain_norm(self.network.teacher(images.other))

    def random(self, images: Images) -> Tensor:
        """Return normal tokens."""
        shape = self.predicted(images).shape
        return plain_norm(torch.randn(shape, generator=torch.Generator().manual_seed(1)))

    def rebuilt(self, image: Tensor) -> Tensor:
        """Return images through the VAE."""
        latents = self.network.latents
        return cast(Tensor, latents.decode(latents.posterior(image)[0]))

    def drawn(self, tokens: Tokens, named: str = ONE, steps: int | None = None,
              *, coarse: bool = True) -> Forecast:  # fmt: skip
        """Return the forecast under tokens, by a sampler."""
        network = self.network

        def forecast(images: Images) -> Tensor:
            shown = images.now if coarse else None
            conditions = network.condition(tokens(images), network.grid(images.now), shown)
            last = network.latents.posterior(images.now)[0]
            epsilon = torch.randn(last.shape, generator=torch.Generator().manual_seed(0))
            found = walk(lambda x, s: network.velocity(x, s, conditions), epsilon, last,
                         sampler(named, steps))  # fmt: skip
            return cast(Tensor, network.latents.decode(found))

        return forecast


def forecasts(network: Any, told: Any) -> Mapping[str, Forecast]:
    """Return the rows of the table by name; ``told`` is :func:`taught`'s network."""
    parts, other = Parts(network), Parts(told)
    return {
        "last frame through the VAE": lambda i: parts.rebuilt(i.now),
        "true next frame through the VAE": lambda i: parts.rebuilt(i.then),
        "predicted tokens, 1 step (the preset)": parts.drawn(parts.predicted),
        "tokens predicted for another region": parts.drawn(parts.elsewhere),
        "random tokens": parts.drawn(parts.random),
        "the teacher's tokens of the true next frame": parts.drawn(parts.true),
        "predicted tokens, without the coarse image": parts.drawn(parts.predicted, coarse=False),
        "predicted tokens, 4 steps": parts.drawn(parts.predicted, MANY, 4),
        "predicted tokens, 8 steps from pure noise": parts.drawn(parts.predicted, "sjd-fm", 8),
        "generator taught with true tokens: true tokens": other.drawn(other.true),
        "generator taught with true tokens: those of another region": other.drawn(
            other.true_elsewhere
        ),
    }


def taught(network: Any, store: Store) -> Any:
    """Return a copy whose adapter and updates learned from the true next frame's tokens as well."""
    copy = deepcopy(network)
    windows = store.torch_dataset(split="train", window=SIDE, context=1, leads=1)
    chosen, latents = sampler(ONE), copy.latents
    generator = torch.Generator().manual_seed(0)
    parameters = [*copy.adapter.parameters(), *copy.lora.parameters()]
    optimizer = torch.optim.AdamW(parameters, lr=GENERATOR.learning_rate, weight_decay=0.0)
    for step in range(GENERATOR.steps):
        optimizer.param_groups[0]["lr"] = GENERATOR.learning_rate * one_cycle(
            step / GENERATOR.steps
        )
        drawn = torch.randint(0, len(windows), (GENERATOR.batch_size,), generator=generator)
        part = [windows[int(i)] for i in drawn]
        images = _images(part, part)
        with torch.no_grad():
            last, clean = latents.posterior(images.now)[0], latents.posterior(images.then)[0]
            tokens = plain_norm(copy.teacher(images.then))
        start = start_of(chosen, last, torch.randn(last.shape, generator=generator))
        weight = F.avg_pool2d(images.seen.all(dim=1, keepdim=True).float(), latents.side)
        loss = StraightPath(start, clean, chosen.strength).loss(
            copy, copy.condition(tokens, copy.grid(images.now), images.now),
            torch.full((len(last),), chosen.strength), weight,
        )  # fmt: skip
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(parameters, GENERATOR.clip)
        optimizer.step()
    return copy


def _images(part: list[Any], elsewhere: list[Any]) -> Images:
    """Return the images of windows; ``elsewhere`` holds as many of another region."""
    now, then, other = (
        torch.nan_to_num(torch.stack([s[name][0] for s in of])) * GAIN
        for of, name in ((part, "given"), (part, "truth"), (elsewhere, "given"))
    )
    known = torch.stack([s["given_valid"][0] & s["truth_valid"][0] for s in part])
    seen = known if known.ndim == now.ndim else known[:, None].expand_as(now)
    return Images(now, torch.where(seen, then, now), other, seen)


@torch.inference_mode()
def skills(
    rows: Mapping[str, Forecast], store: Store, split: str, *, side: int = SIDE
) -> dict[str, float]:
    """Return the MSE skill of each row relative to persistence, mean over regions."""
    windows = store.torch_dataset(split=split, window=side, context=1, leads=1)
    by_region: dict[str, list[Any]] = {}
    for i in range(len(windows)):
        by_region.setdefault(windows[i]["region"], []).append(windows[i])
    places = list(by_region.values())
    found: dict[str, list[float]] = {}
    for place, samples in enumerate(places):
        elsewhere = places[(place + 1) % len(places)]
        errors: dict[str, float] = {}
        for first in range(0, len(samples), BATCH):
            part = samples[first : first + BATCH]
            others = [elsewhere[(first + i) % len(elsewhere)] for i in range(len(part))]
            images = _images(part, others)
            for name, forecast in {"persistence": lambda i: i.now, **rows}.items():
                error = (forecast(images).clamp(0, GAIN) - images.then).square() * images.seen
                errors[name] = errors.get(name, 0.0) + float(error.sum())
        for name, error in errors.items():
            found.setdefault(name, []).append(1 - error / errors["persistence"])
    return {name: fmean(values) for name, values in found.items()}


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
        network = model.module.eval()
        found = skills(forecasts(network, taught(network, store)), store, asked.split)
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
