"""Parts of Sat-JEPA-Diff and of the wrapper around its prior, against a second implementation.

The references are written in NumPy from the publications, part by part. They state name and shape
of every tensor, and their state is loaded strictly. Of the prior itself, transformer and VAE of
Stable Diffusion 3.5, nothing is compared here; small stand-ins take their place.
"""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import cast

import numpy as np
import pytest
import torch
from recorded import check_all_noticed, compare, drawn
from reference_layers import F64, Layers, gelu, sigmoid, softmax
from torch import Tensor, nn

pytest.importorskip("diffusers")

from rsbench_baselines._vit import Block, Encoder, Predictor
from rsbench_baselines.sat_jepa_diff import generator
from rsbench_baselines.sat_jepa_diff.adapter import Adapter, History
from rsbench_baselines.sat_jepa_diff.lora import Lora
from rsbench_baselines.sat_jepa_diff.network import Generator
from rsbench_baselines.sat_jepa_diff.sampling import sampler, walk

FLOAT32 = 2e-6
"""Tolerance where a network computes a part in float32."""
WIDTH = 8


def tensor(values: F64) -> Tensor:
    return torch.from_numpy(values)


def positions(width: int, rows: int, columns: int) -> F64:
    """The column's sines and cosines, then the row's."""
    quarter = width // 4
    rates = 10_000.0 ** (-np.arange(quarter) / quarter)

    def code(place: int) -> F64:
        return np.concatenate([np.sin(place * rates), np.cos(place * rates)])

    table = [np.concatenate([code(c), code(r)]) for r in range(rows) for c in range(columns)]
    return np.stack(table)


class Vit(Layers):
    """Encoder and predictor of width 8 with two blocks of two heads; tokens are rows."""

    def block(self, name: str, x: F64) -> F64:
        count = len(x)
        read = self.linear(f"{name}.qkv", self.layer_norm(f"{name}.norm1", x, 1e-6), 3 * WIDTH)
        heads = read.reshape(count, 3, 2, WIDTH // 2).transpose(1, 2, 0, 3)
        found = [softmax(q @ k.T / np.sqrt(WIDTH / 2)) @ v for q, k, v in zip(*heads, strict=True)]
        x = x + self.linear(f"{name}.proj", np.concatenate(found, axis=1), WIDTH)
        y = self.linear(f"{name}.fc1", self.layer_norm(f"{name}.norm2", x, 1e-6), 4 * WIDTH)
        return x + self.linear(f"{name}.fc2", gelu(y), WIDTH)

    def blocks(self, x: F64) -> F64:
        for i in range(2):
            x = self.block(f"blocks.{i}", x)
        return self.layer_norm("norm", x, 1e-6)

    def encoded(self, image: F64, kept: Sequence[int] | None = None) -> F64:
        x = self.conv("embed", image, WIDTH, 2, stride=2, padding=0)
        rows, columns = x.shape[1:]
        x = x.reshape(WIDTH, -1).T + positions(WIDTH, rows, columns)
        return self.blocks(x if kept is None else x[list(kept)])

    def predicted(
        self, tokens: F64, kept: Sequence[int], wanted: Sequence[int], grid: tuple[int, int]
    ) -> F64:
        places = positions(WIDTH, *grid)
        seen = self.linear("enter", tokens, WIDTH) + places[list(kept)]
        asked = self("mask_token", 1, 1, WIDTH)[0] + places[list(wanted)]
        x = self.blocks(np.concatenate([seen, asked]))
        return self.linear("leave", x[-len(wanted) :], 6)


def test_the_encoder() -> None:
    image, kept = drawn("image", 2, 4, 6), [5, 0, 3]
    reference = Vit()
    loops = {"all": reference.encoded(image), "kept": reference.encoded(image, kept)}
    net = Encoder(2, patch=2, width=WIDTH, depth=2, heads=2).double().eval()
    net.load_state_dict(reference.state())

    def run() -> dict[str, Tensor]:
        x = tensor(image)[None]
        return {"all": net(x)[0], "kept": net(x, torch.tensor([kept]))[0]}

    compare("jepa_encoder", loops, run(), FLOAT32)
    check_all_noticed("jepa_encoder", net, run, shortcuts=(Block,), close=FLOAT32)


def test_the_predictor() -> None:
    tokens, kept, wanted = drawn("tokens", 3, 6), [1, 4, 5], [0, 3]
    reference = Vit()
    found = reference.predicted(tokens, kept, wanted, (2, 3))
    net = Predictor(6, inner=WIDTH, depth=2, heads=2).double().eval()
    net.load_state_dict(reference.state())

    def run() -> dict[str, Tensor]:
        places = torch.tensor([kept]), torch.tensor([wanted])
        return {"tokens": net(tensor(tokens)[None], *places, (2, 3))[0]}

    compare("jepa_predictor", {"tokens": found}, run(), FLOAT32)
    check_all_noticed("jepa_predictor", net, run, shortcuts=(Block,), close=FLOAT32)


def resized(table: F64, own: int, side: int) -> F64:
    """Reduce a square table of positions by a triangle filter as wide as the step."""
    step = own / side
    centres = (np.arange(side) + 0.5) * step
    reach = np.abs(np.arange(own)[None] + 0.5 - centres[:, None]) / step
    weights = np.maximum(0, 1 - reach)
    weights /= weights.sum(1, keepdims=True)
    square = table.reshape(own, own, -1)
    return np.einsum("ir,jc,rcw->ijw", weights, weights, square).reshape(side * side, -1)


class Adapted(Layers):
    """Tokens of width 8 on a 4×4 grid, an image of two bands and 32×32 pixels; D is 16."""

    def stream(self, name: str, x: F64) -> F64:
        for place, width in ((0, 6), (3, 6), (6, 16)):
            x = self.linear(f"{name}.{place}", x, width)
            x = self.layer_norm(f"{name}.{place + 1}", x)
            x = gelu(x) if place < 6 else x
        return x

    def past(self, hidden: F64, earlier: Sequence[F64]) -> F64:
        """Gated attention of eight heads to earlier outputs, each with the code of its lag."""
        at, lags = "history", self("history.lags", 4, 16)
        known = np.concatenate([p + lags[i] for i, p in enumerate(earlier)])
        known = self.layer_norm(f"{at}.norm_past", known)
        query = self.layer_norm(f"{at}.norm_query", hidden)
        w = np.split(self(f"{at}.attention.in_proj_weight", 48, 16), 3)
        b = np.split(self(f"{at}.attention.in_proj_bias", 48), 3)
        q, k, v = (x @ w[i].T + b[i] for i, x in enumerate((query, known, known)))
        heads = [slice(2 * i, 2 * i + 2) for i in range(8)]
        seen = [softmax(q[:, h] @ k[:, h].T / np.sqrt(2)) @ v[:, h] for h in heads]
        seen_all = self.linear(f"{at}.attention.out_proj", np.concatenate(seen, axis=1), 16)
        seen_all = self.linear(f"{at}.out.0", seen_all, 16)
        seen_all = self.layer_norm(f"{at}.out.1", seen_all)
        gate = self.linear(f"{at}.gate", np.concatenate([hidden, seen_all], axis=1), 16)
        return hidden + sigmoid(gate) * seen_all

    def coarse(self, image: F64) -> F64:
        """A quarter of the sides by the two middle pixels of four; patches of 4×4 pixels."""
        pairs = (image[:, 1::4] + image[:, 2::4]) / 2
        small = (pairs[:, :, 1::4] + pairs[:, :, 2::4]) / 2
        patches = np.stack([
            small[:, r : r + 4, c : c + 4].ravel() for r in (0, 4) for c in (0, 4)
        ])  # fmt: skip
        return self.stream("coarse", patches + resized(self("coarse_positions", 64, 32), 8, 2))

    def conditions(self, kind: str, tokens: F64, image: F64, earlier: Sequence[F64]) -> list[F64]:
        table = self("positions", 1024 if kind == "paper" else 256, WIDTH)
        places = table[:16] if kind == "paper" else resized(table, 16, 4)
        x = self.layer_norm("norm", tokens) + places
        pooled = gelu(self.linear("pool.0", x.mean(0), 6))
        hidden = self.stream("tokens", x)
        if kind == "paper":  # of four tokens in a row the two in the middle
            short = (hidden[1::4] + hidden[2::4]) / 2
        else:  # 2×2 tokens on the grid
            square = hidden.reshape(2, 2, 2, 2, 16)
            short = square.mean((1, 3)).reshape(4, 16)
        coarse = self.coarse(image)
        gate = sigmoid(self.linear("gate", np.concatenate([coarse, short], axis=1), 16))
        hidden = gate * short + (1 - gate) * coarse
        return [self.past(hidden, earlier), self.linear("pool.2", pooled, 5)]


@pytest.mark.parametrize("kind", ["paper", "grid"])
def test_the_adapter(kind: str) -> None:
    tokens, image = drawn("tokens", 16, WIDTH), drawn("image", 2, 32, 32)
    earlier = [drawn(f"past {i}", 4, 16) for i in range(2)]
    reference = Adapted()
    loops = dict(zip(("hidden", "pooled"), reference.conditions(kind, tokens, image, earlier),
                     strict=True))  # fmt: skip
    net = Adapter(WIDTH, 2, hidden=6, joint=16, pooled=5, kind=kind, history=True).double().eval()
    net.load_state_dict(reference.state())

    def run() -> dict[str, Tensor]:
        found = net(tensor(tokens)[None], (4, 4), tensor(image)[None],
                    [tensor(p)[None] for p in earlier])  # fmt: skip
        return {"hidden": found.hidden[0], "pooled": found.pooled[0]}

    compare(f"adapter_{kind}", loops, run(), FLOAT32)
    check_all_noticed(f"adapter_{kind}", net, run, shortcuts=(History,), close=FLOAT32)


class Transformer(nn.Module):
    """Stands in for the transformer: one attention projection, and every argument is used."""

    def __init__(self) -> None:
        super().__init__()
        self.attn = nn.Module()
        self.attn.to_q = nn.Linear(3, 3)

    def forward(
        self, *, hidden_states: Tensor, timestep: Tensor, encoder_hidden_states: Tensor,
        pooled_projections: Tensor, return_dict: bool,
    ) -> tuple[Tensor]:  # fmt: skip
        assert not return_dict
        x = self.attn.to_q(hidden_states.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        told = encoder_hidden_states.mean((1, 2)) + 2 * pooled_projections.mean(1) + timestep / 100
        return (x * told[:, None, None, None],)


class Vae(nn.Module):
    """Stands in for the VAE: latents are a tenth of the image, images ten times the latents."""

    config = SimpleNamespace(shift_factor=0.06, scaling_factor=1.5)

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))

    def encode(self, image: Tensor) -> SimpleNamespace:
        return SimpleNamespace(latent_dist=SimpleNamespace(mean=image / 10, std=image.abs()))

    def decode(self, latents: Tensor) -> SimpleNamespace:
        return SimpleNamespace(sample=10 * latents)


class Wrapped(Layers):
    """Prompt and adapter joined, low-rank updates, one Euler step from the last frame."""

    def velocity(self, x: F64, sigma: float, hidden: F64, pooled: F64) -> F64:
        seen = x.transpose(1, 2, 0)
        y = self.linear("attn.to_q", seen, 3)
        down = self.linear("lora.attn_to_q.down", seen, 2, bias=False)
        y = y + 6 / 2 * self.linear("lora.attn_to_q.up", down, 3, bias=False)
        told = hidden.mean() + 2 * pooled.mean() + 1000 * sigma / 100
        return y.transpose(2, 0, 1) * told


def test_the_wrapper_of_stable_diffusion() -> None:
    last, noise = drawn("latents", 3, 2, 2), drawn("noise", 3, 2, 2)
    own, own_pooled = drawn("hidden", 4, 5), drawn("pooled", 6)
    prompt = generator.Prompt(5, 6, text=2)
    text, text_pooled = (t[0].double().numpy() for t in prompt(1))
    hidden, pooled = np.concatenate([text, own]), (text_pooled + own_pooled) / 2
    reference = Wrapped()
    start = 0.65 * last + 0.35 * noise
    made = start - 0.35 * reference.velocity(start, 0.35, hidden, pooled)
    image = drawn("image", 1, 2, 2)
    loops = {
        "hidden": hidden, "pooled": pooled, "latents": made,
        "encoded": ((2 * image - 1) / 10 - 0.06) * 1.5, "spread": np.abs(2 * image - 1) * 1.5,
        "decoded": (10 * (image / 1.5 + 0.06) + 1) / 2,
    }  # fmt: skip

    net = Transformer().double()
    lora = Lora(net, rank=2, alpha=6.0).double()
    state = reference.state()
    net.load_state_dict({n: t for n, t in state.items() if not n.startswith("lora.")})
    lora.load_state_dict({n.removeprefix("lora."): t for n, t in state.items() if "lora" in n})
    answer = SimpleNamespace(hidden=tensor(own)[None], pooled=tensor(own_pooled)[None])
    wrapper = cast(Generator, SimpleNamespace(adapter=lambda *_: answer, prompt=prompt))

    def run() -> dict[str, Tensor]:
        joined = Generator.condition(wrapper, torch.zeros(1, 4, 5), (2, 2), None)
        latents = generator.Latents(Vae())
        mean, spread = latents.posterior(tensor(image)[None])
        found = walk(
            lambda x, sigma: generator.velocity(net, x, sigma, joined.hidden, joined.pooled),
            tensor(noise)[None], tensor(last)[None], sampler("sjd-1step-0.35"),
        )  # fmt: skip
        return {
            "hidden": joined.hidden[0], "pooled": joined.pooled[0], "latents": found[0],
            "encoded": mean[0], "spread": spread[0],
            "decoded": latents.decode(tensor(image)[None])[0],
        }  # fmt: skip

    compare("sd35_wrapper", loops, run(), FLOAT32)
    with lora.silent(), pytest.raises(AssertionError, match="latents"):
        compare("sd35_wrapper", loops, run(), FLOAT32)
