"""Measure how time and memory grow with regions, years, scenes and samples.

Writes results/bench/growth.md and growth.svg.

Usage: RSBENCH_TEST_DATA=DIR python tools/growth.py [--out results/bench] [--planned 10000]
       [--scenes 1000000] [--sizes 1,4,16] [--only planning,opening,building,scoring] [--rows FILE]

Each size is measured in a process of its own: seconds of the processor, and the most memory that
the process held (RSS). Scenes of plans and locks are those of a recorded page of Sentinel-2 items,
built datasets are simulated.
"""

from __future__ import annotations

import argparse
import json
import math
import multiprocessing
import os
import platform
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rsbench.catalog import Recipe, Region

PAGE = "dev/stac/responses/pc_s2_search_20190101_33_items.json"
API = "https://planetarycomputer.microsoft.com/api/stac/v1"
PLAN_S, PLAN_MB, OPEN_S = 300, 1000, 10
"""Goals: seconds and megabytes of a plan of 10 000 regions, seconds to open a million scenes."""


@dataclass(frozen=True)
class Measured:
    """What one process took: seconds of the processor, and megabytes that it held at most."""

    name: str
    size: int
    seconds: float
    megabytes: float


def measured(name: str, size: int, work: Callable[..., float], *args: Any) -> Measured:
    """Return what ``work(size, *args)`` takes in a process of its own."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_in_process, args=(theirs, work, size, args))
    process.start()
    theirs.close()
    seconds, megabytes = ours.recv()
    process.join()
    found = Measured(name, size, seconds, megabytes)
    print(f"{name} {size}: {seconds:.1f} s, {megabytes:.0f} MB", file=sys.stderr, flush=True)
    return found


def _in_process(pipe: Any, work: Callable[..., float], size: int, args: Sequence[Any]) -> None:
    seconds = work(size, *args)
    pipe.send((seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024))


def _timed(work: Callable[[], Any]) -> float:
    begun = time.process_time()
    work()
    return time.process_time() - begun


# Plans and locks --------------------------------------------------------------------------


def recorded_page() -> bytes:
    """Return the recorded page, its items as if all were of one tile."""
    folder = os.environ.get("RSBENCH_TEST_DATA")
    if not folder or not (Path(folder) / PAGE).is_file():
        raise SystemExit(f"RSBENCH_TEST_DATA names no folder with {PAGE}")
    page = json.loads((Path(folder) / PAGE).read_text())
    first = page["features"][0]["properties"]
    for item in page["features"]:
        item["properties"] |= {"s2:mgrs_tile": first["s2:mgrs_tile"]}
        item["properties"].pop("proj:epsg", None)
        item["properties"]["proj:code"] = "EPSG:32660"
    return json.dumps(page).encode()


class Recorded:
    """A catalogue that answers every search with the recorded page."""

    url = API

    def __init__(self) -> None:
        self._page = recorded_page()

    def search(self, query: Any) -> list[Any]:
        """Return the items of the page, read as those of a provider."""
        from rsbench.build.plan.items import read_page
        from rsbench.build.plan.omissions import NOTHING
        from rsbench.build.plan.search import read_or_leave

        features, _, _ = read_page(json.loads(self._page), self.url)
        return [read_or_leave(item, self.url, NOTHING) for item in features]


def recipe_of(regions: int) -> tuple[Recipe, list[Region]]:
    """Return a recipe of all months, and so many regions of the recorded tile."""
    from rsbench.build.plan.plan import regions_of
    from rsbench.catalog import load_recipe

    recipe = load_recipe("s2-yearly")
    place = regions_of(recipe)[0].model_copy(update={"tile": "", "epsg": 32660})
    named = [place.model_copy(update={"name": f"r-{i:05d}"}) for i in range(regions)]
    return recipe.model_copy(update={"months": tuple(range(1, 13)), "max_cloud": 100.0}), named


def plan(regions: int, path: str = "") -> float:
    """Return the seconds in which a lock of so many regions is planned and saved."""
    from rsbench.build.plan import plan as module

    recipe, places = recipe_of(regions)
    module.open_catalogue_at = lambda address, leaving: Recorded()  # type: ignore[assignment,return-value]

    def work() -> None:
        with tempfile.TemporaryDirectory() as folder:
            os.environ["RSBENCH_CACHE"] = folder
            lock = module.make_plan(recipe, places, provider=API)
            module.describe(lock)
            lock.save(Path(path) if path else Path(folder) / "lock.json.gz")

    return _timed(work)


def write_lock(scenes: int, path: Path) -> None:
    """Write a lock of so many scenes, a hundred a region, with links of their own."""
    from rsbench.build.plan.lock import Lock
    from rsbench.build.plan.lock_texts import RegionTexts, text_in

    small = path.with_name("small.json")
    plan(1, str(small))
    one = Lock.load(small)
    (name,) = one.regions
    pattern, place = text_in(one.regions, name), one.places[name]
    held = max(1, sum(len(items) for by in one.regions[name].values() for items in by.values()))
    names = [f"r-{i:05d}" for i in range(max(1, scenes // held))]
    texts = {n: pattern.replace(b"SAFE", n.encode()) for n in names}
    places = {n: place.model_copy(update={"name": n}) for n in names}
    Lock(
        one.recipe, one.provider, one.catalogue, one.query, places, RegionTexts(texts), one.source
    ).save(path)


def open_lock(scenes: int, path: str) -> float:
    """Return the seconds in which a lock is opened and the scenes of one region are read."""
    from rsbench.build.plan.lock import Lock

    def work() -> None:
        lock = Lock.load(path)
        assert lock.regions[min(lock.regions)]

    return _timed(work)


# Datasets ---------------------------------------------------------------------------------


def built(folder: str, counts: Mapping[str, int], years: int) -> float:
    """Return the seconds in which simulated regions are built into ``folder/out``."""
    from rsbench.build.engine.builder import build as build_store
    from rsbench.build.plan.plan import make_plan
    from rsbench.catalog import load_recipe

    span = (2025 - years, 2024)
    recipe = load_recipe("demo-small")
    assert recipe.simulated is not None
    spec = recipe.simulated.model_copy(update={**counts, "years": span})
    recipe = recipe.model_copy(update={"simulated": spec, "years": span})
    os.environ["RSBENCH_CACHE"] = f"{folder}/cache"
    lock = make_plan(recipe)  # simulates the scenes, which is not measured
    return _timed(lambda: build_store(recipe, f"{folder}/out", lock=lock, workers=1))


def build(size: int, axis: str) -> float:
    """Return the seconds in which 3 × ``size`` regions, or ``size`` years of three, are built."""
    regions, years = (3 * size, 1) if axis == "regions" else (3, size)
    counts = {"regions": regions, "train": regions - 2, "val": 1, "test": 1, "size": 64}
    with tempfile.TemporaryDirectory() as folder:
        return built(folder, {**counts, "scenes_per_year": 3}, years)


def write_store(size: int, axis: str, folder: str) -> float:
    """Build 8 × ``size`` regions of one window to be scored, or 8 regions of ``size`` windows."""
    tested, side = (8 * size, 64) if axis == "regions" else (8, 64 * math.isqrt(size))
    counts = {"regions": tested + 3, "train": 2, "val": 1, "test": tested, "size": side}
    return built(folder, {**counts, "scenes_per_year": 1}, 6)


def score(size: int, folder: str) -> float:
    """Return the seconds in which persistence and its reference models are scored."""
    import torch

    from rsbench.evaluation.run import RunRequest, run_model

    torch.set_num_threads(1)
    os.environ["RSBENCH_CACHE"] = f"{folder}/cache"
    asked = RunRequest(model="persistence", data=Path(folder) / "out", suite="pixel", window=64,
                       out=Path(folder) / f"run-{size}")  # fmt: skip
    return _timed(lambda: run_model(asked))


# Page and picture -------------------------------------------------------------------------


def rows(found: Sequence[Measured]) -> list[str]:
    """Return the lines of the table."""
    lines = ["| what | size | processor, s | per unit, ms | most memory, MB |",
             "|---|---:|---:|---:|---:|"]  # fmt: skip
    return lines + [
        f"| {one.name} | {one.size} | {one.seconds:.2f} | {1000 * one.seconds / one.size:.3g} | "
        f"{one.megabytes:.0f} |"
        for one in found
    ]


def draw(found: Sequence[Measured], path: Path) -> None:
    """Draw seconds and megabytes by size, each relative to the smallest."""
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams["svg.hashsalt"] = "rsbench"
    from matplotlib import pyplot

    by_name: dict[str, list[Measured]] = {}
    for one in found:
        by_name.setdefault(one.name, []).append(one)
    figure, axes = pyplot.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
    for name, own in by_name.items():
        sizes = [one.size / own[0].size for one in own]
        axes[0].plot(sizes, [one.seconds / own[0].seconds for one in own], "o-", label=name)
        axes[1].plot(sizes, [one.megabytes for one in own], "o-", label=name)
    most = max(one.size / own[0].size for own in by_name.values() for one in own)
    axes[0].plot([1, most], [1, most], "k:", label="linear")
    for axis, title in zip(axes, ("processor time, relative", "most memory, MB"), strict=True):
        axis.set(xscale="log", yscale="log", xlabel="size, relative to the smallest", title=title)
    axes[0].legend(fontsize=8)
    figure.savefig(path, metadata={"Date": None})


def page(found: Sequence[Measured], told: Mapping[str, str]) -> str:
    """Return the page as Markdown."""
    goals = (
        f"Goals: a plan of 10 000 regions in {PLAN_S} s and {PLAN_MB} MB, a lock of a million "
        f"scenes opened in {OPEN_S} s."
    )
    head = (
        "# Growth\n\n"
        "Made by `tools/growth.py`. Seconds are those of the processor, memory is the most that\n"
        "the process held (RSS), with the libraries that it loads. Plans read a recorded page of\n"
        "33 Sentinel-2 items for every region, without the time of a provider. Built regions are\n"
        "simulated, 64² pixels with three scenes a year, in one thread. Scored regions have six\n"
        "years and windows of 64²: `rsbench run --model persistence --suite pixel` with reference\n"
        f"models, table and report.\n\n{goals}\n"
    )
    about = "\n".join(f"{name}: {value}  " for name, value in told.items())
    return "\n".join([head, *rows(found), "", "![Growth](growth.svg)", "", about, ""])


def planning(asked: argparse.Namespace, sizes: Sequence[int]) -> Iterator[Measured]:
    """Measure plans of growing numbers of regions."""
    for size in sizes:
        yield measured("planning, regions", asked.planned * size // max(sizes), plan)


def opening(asked: argparse.Namespace, sizes: Sequence[int]) -> Iterator[Measured]:
    """Measure locks of growing numbers of scenes."""
    for size in sizes:
        with tempfile.TemporaryDirectory() as folder:
            path, scenes = f"{folder}/lock.json.gz", asked.scenes * size // max(sizes)
            measured("writing a lock, scenes", scenes, _write, path)
            yield measured("opening a lock, scenes", scenes, open_lock, path)


def building(asked: argparse.Namespace, sizes: Sequence[int]) -> Iterator[Measured]:
    """Measure builds of growing numbers of regions and of years."""
    for axis in ("regions", "years"):
        for size in sizes:
            yield measured(f"building, {axis}", size, build, axis)


def scoring(asked: argparse.Namespace, sizes: Sequence[int]) -> Iterator[Measured]:
    """Measure runs of growing numbers of regions and of windows."""
    for axis, name in (("regions", "regions / 8"), ("windows", "windows of 8 regions")):
        for size in sizes:
            with tempfile.TemporaryDirectory() as folder:
                measured("writing a store", size, write_store, axis, folder)
                yield measured(f"scoring, {name}", size, score, folder)


PARTS = {"planning": planning, "opening": opening, "building": building, "scoring": scoring}


def known_rows(path: Path) -> list[Measured]:
    """Return the rows of a file, in the order of the parts; of equal rows the last."""
    lines = path.read_text().splitlines() if path.is_file() else []
    found = {(row["name"], row["size"]): Measured(**row) for row in map(json.loads, lines)}
    order = list(PARTS)
    return sorted(found.values(), key=lambda one: order.index(one.name.split()[0].rstrip(",")))


def command(asked: argparse.Namespace) -> str:
    """Return the command that measures the same sizes, and whether parts were measured apart."""
    sizes = f"--planned {asked.planned} --scenes {asked.scenes} --sizes {asked.sizes}"
    parts = "; its parts were measured one by one, on a busy machine" if asked.rows else ""
    return f"`python tools/growth.py {sizes}`{parts}"


def main() -> int:
    """Measure all sizes and write page and picture."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--out", type=Path, default=Path("results/bench"))
    parser.add_argument("--planned", type=int, default=10_000, help="regions of the largest plan")
    parser.add_argument("--scenes", type=int, default=1_000_000, help="scenes of the largest lock")
    parser.add_argument("--sizes", default="1,4,16", help="relative sizes")
    parser.add_argument("--only", default=",".join(PARTS), help="parts to measure now")
    parser.add_argument("--rows", type=Path, help="file of rows: of earlier parts, and of these")
    asked = parser.parse_args()
    sizes = sorted(int(size) for size in asked.sizes.split(","))
    with tempfile.TemporaryDirectory() as folder:
        kept = asked.rows or Path(folder) / "rows.jsonl"
        for part in filter(None, asked.only.split(",")):
            for one in PARTS[part](asked, sizes):
                with kept.open("a") as file:
                    file.write(json.dumps(asdict(one)) + "\n")
        found = known_rows(kept)
    asked.out.mkdir(parents=True, exist_ok=True)
    draw(found, asked.out / "growth.svg")
    told = {
        "Machine": f"{platform.machine()}, {os.cpu_count()} processors",
        "Python": platform.python_version(), "Command": command(asked),
    }  # fmt: skip
    (asked.out / "growth.md").write_text(page(found, told), encoding="utf-8")
    return 0


def _write(scenes: int, path: str) -> float:
    return _timed(lambda: write_lock(scenes, Path(path)))


if __name__ == "__main__":
    sys.exit(main())
