"""LatentMIM against a second implementation in NumPy, from the published description.

The references state name and shape of every tensor, and their state is loaded strictly. The parts
that I-JEPA shares with Sat-JEPA-Diff, encoder and predictor, are compared beside that model.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from recorded import by_rule, check_all_noticed, compare, drawn
from reference_layers import F64, Layers, gelu, softmax
from torch import Tensor

from rsbench_baselines._vit import Block
from rsbench_baselines.cross_scale import masking
from rsbench_baselines.cross_scale.decoder import CrossBlock, CrossDecoder
from rsbench_baselines.cross_scale.latentmim import LatentMim, Projected
from rsbench_baselines.cross_scale.options import SIZES, Pretraining

CLOSE = 2e-6
"""Tolerance where a network computes a part in float32."""
WIDTH, HEADS, INNER, HIDDEN = 8, 2, 12, 10
SIZE = replace(
    SIZES["latentmim", "tiny"], bands=2, hr_bands=2, width=WIDTH, depth=2, heads=HEADS, patch=2,
    gap=0, grid=3, crop=6, inner=INNER, inner_depth=2, inner_heads=3, hidden=HIDDEN, visible=3,
)  # fmt: skip


def places(width: int, side: int) -> F64:
    """Codes of a square grid whose positions run from 0 to its side."""
    rates = 10_000.0 ** (-np.arange(width // 4) / (width // 4))

    def code(place: float) -> F64:
        return np.concatenate([np.sin(place * rates), np.cos(place * rates)])

    steps = np.linspace(0, 1, side) * side
    return np.stack([np.concatenate([code(c), code(r)]) for r in steps for c in steps])


def attention(q: F64, k: F64, v: F64, heads: int) -> F64:
    parts = [np.split(x, heads, axis=1) for x in (q, k, v)]
    width = q.shape[1] / heads
    return np.concatenate(
        [softmax(a @ b.T / np.sqrt(width)) @ c for a, b, c in zip(*parts, strict=True)], axis=1
    )


class Reference(Layers):
    """Encoder, projector and decoder; tokens are rows, the one without a position first."""

    def mlp(self, at: str, norm: str, x: F64) -> F64:
        width = x.shape[1]
        y = self.linear(f"{at}.fc1", self.layer_norm(f"{at}.{norm}", x, 1e-6), 4 * width)
        return x + self.linear(f"{at}.fc2", gelu(y), width)

    def within(self, at: str, x: F64, heads: int) -> F64:
        width = x.shape[1]
        read = self.linear(f"{at}.qkv", self.layer_norm(f"{at}.norm1", x, 1e-6), 3 * width)
        mixed = attention(*np.split(read, 3, axis=1), heads)
        return x + self.linear(f"{at}.proj", mixed, width)

    def encoded(self, image: F64, kept: Sequence[int]) -> F64:
        x = self.conv("encoder.embed", image, WIDTH, 2, stride=2, padding=0)
        side = x.shape[1]
        x = x.reshape(WIDTH, -1).T + places(WIDTH, side)
        x = np.concatenate([self("encoder.cls", 1, 1, WIDTH)[0], x[list(kept)]])
        for i in range(2):
            at = f"encoder.blocks.{i}"
            x = self.mlp(at, "norm2", self.within(at, x, HEADS))
        return self.layer_norm("encoder.norm", x, 1e-6)

    def projected(self, x: F64) -> F64:
        for place, width in ((0, HIDDEN), (3, HIDDEN), (6, WIDTH)):
            x = self.linear(f"projector.{place}", x, width, bias=False)
            x = self.layer_norm(f"projector.{place + 1}", x)
            x = gelu(x) if place < 6 else x
        return x

    def cross_block(self, at: str, x: F64, known: F64) -> F64:
        x = self.within(at, x, 3)
        query = self.linear(f"{at}.query", self.layer_norm(f"{at}.norm_query", x, 1e-6), INNER)
        read = self.layer_norm(f"{at}.norm_known", known, 1e-6)
        key, value = np.split(self.linear(f"{at}.known", read, 2 * INNER), 2, axis=1)
        x = x + self.linear(f"{at}.cross", attention(query, key, value, 3), INNER)
        return self.mlp(at, "norm2", x)

    def decoded(self, tokens: F64, kept: Sequence[int], wanted: Sequence[int], side: int) -> F64:
        codes = places(INNER, side)
        seen, asked = codes[list(kept)], codes[list(wanted)]
        x = self.linear("enter", tokens, INNER)
        masked = softmax(asked @ seen.T / np.sqrt(INNER)) @ x[1:]
        masked = self("mask_token", 1, 1, INNER)[0] + masked + asked
        known = np.concatenate([x[:1], x[1:] + seen])
        x = np.concatenate([self("cls", 1, 1, INNER)[0], masked])
        for i in range(2):
            x = self.cross_block(f"blocks.{i}", x, known)
        return self.linear("leave", self.layer_norm("norm", x, 1e-6)[1:], WIDTH)


def infonce(predicted: F64, target: F64) -> F64:
    p = (predicted - predicted.mean(0)) / (predicted.std(0, ddof=1) + 1e-4)
    p, t = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (p, target))
    own = np.diagonal(softmax(p @ t.T / 0.2))
    return np.array([-np.log(own).mean() * 0.4])


def gram(student: F64, teacher: F64) -> F64:
    s, t = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (student, teacher))
    return np.array([((s @ s.T - t @ t.T) ** 2).mean()])


def tensor(values: F64) -> Tensor:
    return torch.from_numpy(values)[None]


def test_encoder_and_projector() -> None:
    image, kept = drawn("image", 2, 6, 6), [7, 0, 4]
    reference = Reference()
    tokens = reference.encoded(image, kept)
    loops = {"tokens": tokens, "projected": reference.projected(tokens)}
    whole = LatentMim(SIZE, Pretraining("latentmim"), steps=1).double().eval()
    net = Projected(whole.encoder, whole.projector)
    net.load_state_dict(reference.state())
    codes = torch.from_numpy(places(WIDTH, 3))

    def run() -> dict[str, Tensor]:
        found = net.encoder(tensor(image), torch.tensor([kept]), codes)
        return {"tokens": found[0], "projected": net.projector(found)[0]}

    compare("latentmim_encoder", loops, run(), CLOSE)
    check_all_noticed("latentmim_encoder", net, run, shortcuts=(Block,), close=CLOSE)


def test_the_decoder() -> None:
    tokens, kept, wanted = drawn("tokens", 4, WIDTH), [2, 8, 3], [0, 5]
    reference = Reference()
    loops = {"tokens": reference.decoded(tokens, kept, wanted, 3)}
    net = CrossDecoder(WIDTH, inner=INNER, depth=2, heads=3).double().eval()
    net.load_state_dict(reference.state())
    codes = torch.from_numpy(places(INNER, 3))

    def run() -> dict[str, Tensor]:
        found = net(tensor(tokens), torch.tensor([kept]), torch.tensor([wanted]), codes)
        return {"tokens": found[0]}

    compare("latentmim_decoder", loops, run(), CLOSE)
    check_all_noticed("latentmim_decoder", net, run, shortcuts=(CrossBlock,), close=CLOSE)


def test_the_losses_of_a_network() -> None:
    """From the images to both losses: the teacher's views, its positions, means of children."""
    mr, hr = drawn("image", 2, 6, 6), drawn("fine image", 2, 12, 12)
    generator = torch.Generator().manual_seed(1)
    visible, masked = (i[0].tolist() for i in masking.visible_subset(1, 9, 3, generator))
    reference, decoder = Reference(), Reference("decoder.")
    seen = reference.projected(reference.encoded(mr, visible))
    wanted = reference.projected(reference.encoded(mr, masked))[1:]
    inside = [
        (2 * (i // 3) + r) * 6 + 2 * (i % 3) + c for i in visible for r in (0, 1) for c in (0, 1)
    ]
    fine = reference.projected(reference.encoded(hr, inside))[1:].reshape(3, 4, WIDTH).mean(1)
    loops = {
        "base": infonce(decoder.decoded(seen, visible, masked, 3), wanted),
        "affinity": gram(seen[1:], fine),
    }
    options = Pretraining("latentmim", affinity="gram", teach="hr")
    net = LatentMim(SIZE, options, steps=1)
    by_rule(net)
    net.train()  # in evaluation mode the teacher stays as it is
    net.teacher.momentum = 0.0  # the teacher becomes the encoder
    found = net.loss(tensor(mr), tensor(hr), torch.Generator().manual_seed(1))
    parts = {name: found[name].double().reshape(1) for name in loops}
    compare("latentmim_losses", loops, parts, 1e-5)
