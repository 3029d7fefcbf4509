"""The tool that measures presets on one device, on the CPU at toy size."""

from __future__ import annotations

import argparse
import sys
from typing import Any

import pytest
import torch
from support.tool import load_tool

bench_gpu = load_tool("bench_gpu")

FORMS = [form for form in bench_gpu.FORMS if form.name in ("fp32", "bf16")]


@pytest.fixture(scope="module")
def found() -> list[dict[str, Any]]:
    told = argparse.Namespace(one="simvp:tiny", device="cpu", batch=1, side=None)
    return list(bench_gpu.measured(told, FORMS))


def test_every_form_has_its_times_and_its_distance_from_float32(
    found: list[dict[str, Any]],
) -> None:
    assert [item["form"] for item in found] == ["fp32", "bf16"]
    assert all(item["step"] > 0 and item["predict"] > 0 for item in found)
    same, other = (float(item["note"].split()[2]) for item in found)
    assert same <= 1e-6 < other < 0.1


def test_a_table_says_what_is_missing(found: list[dict[str, Any]]) -> None:
    late = {"form": "–", "note": "the rest did not fit into 3 s"}
    lines = list(bench_gpu.rows("simvp:tiny", [*found, late]))
    assert lines[0].split(" | ")[3] == "1.00"
    assert lines[2] == "| simvp:tiny | – | – | – | – | – | – | the rest did not fit into 3 s |"


def test_the_whole_scene_is_cut_from_square_samples() -> None:
    samples = bench_gpu.make_samples(bench_gpu.Subject("starfm", None).shape)
    cut = bench_gpu.cropped(samples, 20, 28)
    frames = next(iter(cut.given.frames.values()))
    assert frames.values.shape[-2:] == frames.valid.shape[-2:] == (20, 28)
    assert {(grid.height, grid.width) for grid in cut.want.grids} == {(20, 28)}
    assert torch.equal(cut.truth.values, samples.truth.values[..., :20, :28])


def test_a_device_that_is_not_there_is_one_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(sys, "argv", ["bench_gpu.py", "--out", "x.md"])
    with pytest.raises(SystemExit) as stopped:
        bench_gpu.main()
    assert stopped.value.code == 2
    assert "there is no CUDA device" in capsys.readouterr().err
