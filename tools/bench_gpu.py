"""Measure training steps and predictions of presets on one device, in several precisions.

Usage: python tools/bench_gpu.py --out results/gpu.md [--device cuda] [--minutes 8] [NAME ...]

A name is MODEL or MODEL:PRESET. Without names every preset
called ``paper`` is measured, and ESTARFM at 1720×2040 pixels of 6 bands. Each preset is measured in
a process of its own, with an equal share of the time that is left: what does not fit into it is
written as missing. Every form is compared with plain float32 of the same process. Weights are drawn
at random; presets with released weights that are not at hand are named with the reason.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

import torch

from rsbench.core.io import write_atomic
from rsbench.metrics.precision import products
from rsbench.models.api import Fitted, Frames, Given, Model, Trainable, Want
from rsbench.models.contract_data import Samples, make_samples
from rsbench.models.contract_subject import Subject
from rsbench.models.registry import cards
from rsbench.models.rollout import block_length

REPEATS = 5
SCENE = "estarfm:default"
SCENE_SIZE = (1720, 2040)


@dataclass(frozen=True)
class Form:
    """One way of computing the same.

    Args:
        name: as the table says it.
        autocast: type of autocast; None for none.
        tf32: whether float32 products may use TF32.
        compiled: mode of ``torch.compile``; None for none. ``reduce-overhead`` uses CUDA graphs.
    """

    name: str
    autocast: torch.dtype | None = None
    tf32: bool = False
    compiled: str | None = None


FORMS = (
    Form("fp32"),
    Form("tf32", tf32=True),
    Form("bf16", torch.bfloat16),
    Form("fp32 compiled", compiled="default"),
    Form("bf16 compiled", torch.bfloat16, compiled="default"),
    Form("bf16 graphs", torch.bfloat16, compiled="reduce-overhead"),
)


def main() -> int:
    """Measure and write the table, or measure one preset and print a line of JSON per form."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("names", nargs="*", metavar="MODEL[:PRESET]")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--minutes", type=float, default=8.0)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--side", type=int, help="pixels, where a preset fixes none")
    parser.add_argument("--forms", nargs="+", choices=[form.name for form in FORMS])
    parser.add_argument("--out", type=Path)
    parser.add_argument("--one", help=argparse.SUPPRESS)
    told = parser.parse_args()
    if told.device.startswith("cuda") and not torch.cuda.is_available():
        parser.error("there is no CUDA device; measure a small preset with --device cpu")
    forms = [form for form in FORMS if not told.forms or form.name in told.forms]
    if told.one:
        for found in measured(told, forms):
            print(json.dumps(found), flush=True)
        return 0
    if told.out is None:
        parser.error("name a file with --out")
    names = told.names or [*papers(), SCENE]
    write_atomic(told.out, "\n".join(page(names, told)) + "\n")
    return 0


def papers() -> list[str]:
    """Return ``MODEL:paper`` of every model with that preset."""
    return [f"{name}:paper" for name, entry in sorted(cards().items()) if "paper" in entry.presets]


def page(names: Sequence[str], told: argparse.Namespace) -> Iterator[str]:
    """Yield the lines of the table."""
    end = time.monotonic() + 60 * told.minutes
    yield from ("# Speed on one device", "", "Made by this command:", "")
    yield from ("```bash", f"python tools/bench_gpu.py {' '.join(sys.argv[1:])}", "```", "")
    yield f"{machine(told.device)}. Batch of {told.batch}; medians of {REPEATS} after a warm-up."
    yield "“×” is the time of plain float32 over that of the form: above 1 the form is faster."
    yield ""
    yield "| preset | form | training step, ms | × | prediction, ms | × | peak memory, MiB | note |"
    yield "|---|---|---|---|---|---|---|---|"
    for done, name in enumerate(names):
        share = (end - time.monotonic()) / (len(names) - done)
        print(f"{name}: at most {max(share, 0):.0f} s", file=sys.stderr)
        yield from rows(name, child(name, told, share))


def child(name: str, told: argparse.Namespace, seconds: float) -> list[dict[str, Any]]:
    """Measure a preset in a process of its own; the last entry says what is missing."""
    command = [sys.executable, __file__, "--one", name, "--device", told.device]
    command += ["--side", str(told.side)] if told.side else []
    command += ["--batch", str(told.batch), *(["--forms", *told.forms] if told.forms else [])]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=max(seconds, 1))
        text, last = done.stdout, done.stderr.strip().splitlines()[-1:] or ["it stopped"]
        why = "" if done.returncode == 0 else last[0][:160]
    except subprocess.TimeoutExpired as late:
        text = late.stdout.decode() if isinstance(late.stdout, bytes) else late.stdout or ""
        why = f"the rest did not fit into {seconds:.0f} s"
    found = [json.loads(line) for line in text.splitlines() if line.startswith("{")]
    return [*found, {"form": "–", "note": why}] if why else found


def rows(name: str, found: Sequence[dict[str, Any]]) -> Iterator[str]:
    """Yield the lines of a preset."""
    plain = found[0] if found and found[0]["form"] == "fp32" else {}
    for item in found:
        cells = [name, item["form"]]
        for what in ("step", "predict"):
            own, first = item.get(what), plain.get(what)
            cells += [f"{1e3 * own:.1f}" if own else "–"]
            cells += [f"{first / own:.2f}" if own and first else "–"]
        cells += [f"{item['memory']:.0f}" if item.get("memory") else "–", item.get("note", "")]
        yield f"| {' | '.join(cells)} |"


def machine(device: str) -> str:
    """Return the device, the processor, and the versions that matter."""
    what = torch.cuda.get_device_name() if device.startswith("cuda") else platform.processor()
    cores = len(os.sched_getaffinity(0))
    return f"{what or platform.machine()}, {cores} cores, torch {torch.__version__}"


def measured(told: argparse.Namespace, forms: Sequence[Form]) -> Iterator[dict[str, Any]]:
    """Yield the times of every form, with the agreement of its prediction with the CPU."""
    name, _, preset = told.one.partition(":")
    subject = Subject(name, preset or None)
    entry, scene = subject.card, told.one == SCENE
    leads = max(1, block_length(entry))
    shape = replace(subject.shape, samples=told.batch, leads=leads, taught=entry.taught)
    if told.side and not entry.fixed_size:
        shape = replace(shape, side=-(-told.side // entry.multiple_of) * entry.multiple_of)
    if scene:
        shape = replace(shape, samples=1, bands=6, side=max(SCENE_SIZE))
    samples = make_samples(shape, masked=False)
    samples = cropped(samples, *SCENE_SIZE) if scene else samples
    model = subject.fresh()
    if isinstance(model, Fitted):
        model.fit([(samples.given, samples.want, samples.truth)])
    stir(model)
    expected = None if scene else answer(model, samples)
    for form in forms:
        yield one_form(model, samples, form, torch.device(told.device), expected)


def one_form(
    model: Model, samples: Samples, form: Form, device: torch.device, expected: torch.Tensor | None
) -> dict[str, Any]:
    """Return times in seconds, peak memory in MiB and a note; a form that fails has only a note."""
    held = {"form": form.name, "note": ""}
    module = getattr(model, "module", None)
    given, want = samples.given.to(device), samples.want.to(device)
    truth = samples.truth.to(device)
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    try:
        if module is not None:
            module.to(device)
        with ExitStack() as stack:
            stack.enter_context(products("tf32" if form.tf32 else "ieee"))
            if form.autocast is not None:
                stack.enter_context(torch.autocast(device.type, dtype=form.autocast))
            if form.compiled and module is not None:
                module.compile(mode=form.compiled)
            held |= {"predict": timed(lambda: answered(model, given, want), device)}
            if expected is not None:
                apart = (answered(model, given, want).float().cpu() - expected).abs().max()
                held["note"] = f"at most {float(apart):.1e} from the CPU's float32"
            if isinstance(model, Trainable):
                held |= {"step": timed(step_of(model, given, want, truth), device)}
    except (RuntimeError, NotImplementedError) as error:
        held["note"] = " ".join(str(error).split())[:120]
    finally:
        if module is not None:
            module._compiled_call_impl = None
    if device.type == "cuda":
        held["memory"] = torch.cuda.max_memory_allocated() / 2**20
    return held


def step_of(model: Trainable, given: Given, want: Want, truth: Frames) -> Callable[[], None]:
    """Return one training step of the last stage that is trained by gradient."""
    stage = [stage for stage in model.stages() if not stage.closed_form][-1]
    chosen = [
        p
        for name, p in model.module.named_parameters()
        if p.requires_grad and (not stage.modules or name.startswith(stage.modules))
    ]
    # The weights must not move: every form is measured on the same ones.
    optimizer = torch.optim.AdamW(chosen, lr=0.0, weight_decay=0.0)

    def step() -> None:
        model.module.train()
        optimizer.zero_grad(set_to_none=True)
        model.loss(stage, given, want, truth)["total"].backward()  # type: ignore[no-untyped-call]
        optimizer.step()

    return step


def stir(model: Model) -> None:
    """Move all weights a little: layers that start at zero would hide what comes before them."""
    generator = torch.Generator().manual_seed(0)
    for parameter in model.module.parameters() if isinstance(model, Trainable) else ():
        noise = torch.randn(parameter.shape, generator=generator)
        parameter.data.add_(noise, alpha=0.02)


def answer(model: Model, samples: Samples) -> torch.Tensor:
    """Return a prediction on the CPU."""
    return answered(model, samples.given, samples.want).float()


def answered(model: Model, given: Given, want: Want) -> torch.Tensor:
    """Return the values of a prediction in evaluation mode."""
    module = getattr(model, "module", None)
    if module is not None:
        module.eval()
    with torch.inference_mode():
        return model.predict(given, want).values.clone()


def timed(work: Callable[[], object], device: torch.device) -> float:
    """Return the median of seconds, after one call that does not count."""

    def once() -> float:
        start = time.perf_counter()
        work()
        if device.type == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter() - start

    once()
    return median(once() for _ in range(REPEATS))


def cropped(samples: Samples, height: int, width: int) -> Samples:
    """Return the upper left part of all frames."""

    def cut(frames: Frames) -> Frames:
        return replace(
            frames,
            values=frames.values[..., :height, :width].contiguous(),
            valid=frames.valid[..., :height, :width].contiguous(),
        )

    given, want = samples.given, samples.want
    grids = {n: tuple(cut_grid(g, height, width) for g in held) for n, held in given.grids.items()}
    own = Given({n: cut(f) for n, f in given.frames.items()}, grids, given.samples)
    asked = replace(want, grids=tuple(cut_grid(g, height, width) for g in want.grids))
    return Samples(own, asked, cut(samples.truth))


def cut_grid(grid: Any, height: int, width: int) -> Any:
    """Return the upper left part of a grid."""
    return replace(grid, height=height, width=width)


if __name__ == "__main__":
    sys.exit(main())
