"""Noise: published answers of the generator, and where fields differ or agree."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from rsbench.core.errors import InputError
from rsbench.core.grid import Window
from rsbench.models.api import SampleRef, Want
from rsbench.models.contract_data import Shape, make_samples
from rsbench.models.noise import Noise, Scoped, box_muller, philox

SHAPE = Shape(samples=2, context=1, leads=1, bands=1, side=16)


def want_at(*windows: Window, key: str = "a:2020", members: int = 1) -> Want:
    template = make_samples(SHAPE).want
    refs = tuple(SampleRef("a", key, window) for window in windows)
    grids = tuple(template.grids[0].window(Window(0, 0, w.height, w.width)) for w in windows)
    return replace(template, samples=refs, grids=grids, members=members)


# Known answers of philox4x32 with ten rounds, as its authors publish them (Random123, kat_vectors).
@pytest.mark.parametrize(
    ("counter", "key", "expected"),
    [
        ((0, 0, 0, 0), (0, 0), (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
        (
            (0xFFFFFFFF,) * 4,
            (0xFFFFFFFF,) * 2,
            (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD),
        ),
        (
            (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
            (0xA4093822, 0x299F31D0),
            (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
        ),
    ],
)
def test_the_generator_gives_its_authors_known_answers(
    counter: tuple[int, int, int, int], key: tuple[int, int], expected: tuple[int, ...]
) -> None:
    c = [np.array([value], np.uint64) for value in counter]
    found = philox((c[0], c[1], c[2], c[3]), key)
    assert tuple(int(word[0]) for word in found) == expected


def test_box_muller_of_worked_words() -> None:
    # u = 2^31/2^32 after the shift by one word, angle a quarter turn: r = √(2 ln 2), (0, r).
    a = np.array([2**31 - 1], np.uint64)
    cosine, sine = box_muller(a, np.array([2**30], np.uint64))
    assert cosine[0] == pytest.approx(0.0, abs=1e-7)
    assert sine[0] == pytest.approx(np.sqrt(2 * np.log(2)), rel=1e-6)
    # The extremes are finite: u is never 0.
    assert np.isfinite(box_muller(np.array([0], np.uint64), np.array([0], np.uint64))[0][0])


def test_seed_sample_member_name_and_channel_all_matter() -> None:
    window = Window(0, 0, 16, 16)
    base = Noise(0).numpy("x", want_at(window, members=2), channels=6)
    assert base.shape == (1, 2, 6, 16, 16)
    others = [
        Noise(1).numpy("x", want_at(window), channels=6)[0, 0],
        Noise(0).numpy("y", want_at(window), channels=6)[0, 0],
        Noise(0).numpy("x", want_at(window, key="b:2020"), channels=6)[0, 0],
        base[0, 1],
        np.roll(base[0, 0], 1, axis=0),
    ]
    for other in others:
        assert abs(np.corrcoef(base[0, 0].ravel(), other.ravel())[0, 1]) < 0.1


def test_fewer_members_or_channels_are_the_first_of_more() -> None:
    window = Window(3, 5, 16, 16)
    many = Noise(0).numpy("x", want_at(window, members=3), channels=7)
    few = Noise(0).numpy("x", want_at(window, members=1), channels=2)
    assert np.array_equal(many[:, :1, :2], few)


def test_a_tensor_has_the_same_bits_and_lies_where_the_times_lie() -> None:
    want = want_at(Window(0, 0, 16, 16))
    tensor = Noise(0).normal("x", want, channels=3)
    assert tensor.dtype == torch.float32
    assert tensor.device == want.times.device
    assert np.array_equal(tensor.numpy(), Noise(0).numpy("x", want, channels=3))


def test_a_scope_gives_other_noise() -> None:
    want = want_at(Window(0, 0, 16, 16))
    one = Scoped(Noise(0), "lead1").normal("x", want, channels=1)
    two = Scoped(Noise(0), "lead2").normal("x", want, channels=1)
    assert not torch.equal(one, two)


def test_a_window_that_does_not_divide_is_refused_with_the_remedy() -> None:
    with pytest.raises(InputError, match="multiple_of"):
        Noise(0).numpy("x", want_at(Window(0, 0, 18, 16)), channels=1, downscale=4)
    with pytest.raises(InputError, match="at least 1"):
        Noise(0).numpy("x", want_at(Window(0, 0, 16, 16)), channels=0)
