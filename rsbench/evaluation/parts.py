"""A run in parts: each scores its share of the regions, and the last step adds them up.

``RUN/parts/2-of-3`` has one folder per block of regions, and a note that says of which run it is.
A block has the sums of its regions (:mod:`rsbench.evaluation.pieces`) and the images of the report.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rsbench.core.digest import is_intact, sealed, sha256_json
from rsbench.core.errors import InputError
from rsbench.core.file_lock import target_lock
from rsbench.core.io import atomic_directory, disk_errors, read_json, write_atomic
from rsbench.core.phases import Phases
from rsbench.core.progress import Advance, silent
from rsbench.evaluation.batch_size import batch_of, known_batch, stated_batch
from rsbench.evaluation.class_map_files import MAPS
from rsbench.evaluation.part_references import FOLDER, NOTHING, PartReferences, digest_of
from rsbench.evaluation.pictures import INDEX, joined_viewers
from rsbench.evaluation.pieces import is_whole
from rsbench.evaluation.publish import MOST_REGIONS, kept_answers, publish
from rsbench.evaluation.run import Job, RunRequest, RunResult, job_of, own_of
from rsbench.evaluation.run_folder import ELSEWHERE, finished, require_writable, reserved
from rsbench.evaluation.run_info import REUSED, RunInfo
from rsbench.evaluation.score_table import (
    Scoring,
    Working,
    collect,
    completed,
    nothing,
    prepared,
)
from rsbench.tasks.blocks import Blocks
from rsbench.tasks.config import Note, quiet
from rsbench.tasks.settings import CaseSource

if TYPE_CHECKING:
    from rsbench.evaluation.own_entry import OwnEntry
    from rsbench.evaluation.reference_cache import KeptReferences, ReferenceCache
    from rsbench.evaluation.scores import Scores

PARTS = "parts"
NOTE = "part.json"
REFERENCES = "references"
"""Entry of a note: digest of all that the scores of reference models depend on."""
SCHEMA = 1


@dataclass(frozen=True)
class Part:
    """Part ``number`` of ``count``, counted from 1: every ``count``-th block of regions."""

    number: int
    count: int

    def __str__(self) -> str:
        return f"part {self.number} of {self.count}"

    def folder(self, out: Path) -> Path:
        """Return the folder of this part of a run."""
        return out / PARTS / f"{self.number}-of-{self.count}"

    def of(self, blocks: Blocks) -> range:
        """Return the numbers of the blocks of this part."""
        return blocks.numbers[self.number - 1 :: self.count]


@dataclass(frozen=True)
class PartResult:
    """The folder of the run, and the regions of a part, which are all scored."""

    out: Path
    part: Part
    regions: tuple[str, ...]

    @classmethod
    def of(cls, out: Path, part: Part, blocks: Blocks) -> PartResult:
        """Return the result of a part with these blocks of all parts."""
        return cls(out, part, tuple(n for i in part.of(blocks) for n in blocks.regions[i]))

    def to_json(self) -> dict[str, Any]:
        """Return what `rsbench run --parts i/n --json` prints."""
        part = [self.part.number, self.part.count]
        return {"out": str(self.out), "part": part, "regions": list(self.regions)}


def run_part(
    request: RunRequest, part: Part, *, note: Note = quiet, advance: Advance = silent,
    trains: str = "", share: int = 1,
) -> PartResult:  # fmt: skip
    """Score the regions of one part; blocks that are there already are not scored again.

    Parts may run at the same time, on machines that share the folder. Part 1 trains the model if no
    checkpoint fits, and chooses the reference of skill.

    Args:
        trains: what trains the model instead of part 1, in words.
        share: number of processes that share the memory.

    Raises:
        InputError: if the folder holds another run, or another process works on this part.
        TrainingError: if no checkpoint fits, in another part than the first.
    """
    job = job_of(request, note)
    folder = part.folder(job.out)
    if (done := finished(job.out, job.key)) is not None:
        note(f"{job.out} holds this run already; nothing was left to do")
        blocks = Blocks.of(job.batched(stated_batch(done.run.extra)).config)
        return PartResult.of(job.out, part, blocks)
    require_writable(job.out)
    with target_lock(folder, f"scoring {part} in {job.out}", ELSEWHERE):
        job, found = _sized(job, part, note=note, advance=advance, trains=trains, share=share)
        blocks = Blocks.of(job.config)
        own, result = part.of(blocks), PartResult.of(job.out, part, blocks)
        left = [i for i in own if not is_whole(_block(folder, i), blocks.regions[i])]
        if _note(folder, job) is not None and not left:
            note(f"{part} is in {job.out} already; nothing was left to do")
            return result
        note(f"{part}: {len(left)} of {len(own)} blocks of regions are left to score")
        entry, info = found or _own(job, part, note=note, advance=advance, trains=trains)
        how = Working(not request.fresh_references, parts=job.out / PARTS)
        scoring = prepared(
            job.config, entry, note=note, info=info, working=how, select=part.number == 1
        )
        costs = scoring.costs("the regions were scored in parts")
        extra = {**scoring.run.extra, **scoring.entries.reused, **costs}
        _keep_note(folder, job, part, replace(scoring.run, extra=extra), scoring.entries.cache)
        _score(job, part, blocks, left, scoring, advance)
    return result


def _own(
    job: Job, part: Part, *, note: Note, advance: Advance, trains: str
) -> tuple[OwnEntry, Mapping[str, Any]]:
    """Return the entry of the model, which part 1 may train, and further fields of the run."""
    trains = trains if trains or part.number == 1 else (
        f"Run --parts 1/{part.count} first, which trains it, or `rsbench train` with the same "
        "--model, --data, --seed and --budget; then type this command again"
    )  # fmt: skip
    return own_of(job, Phases(), note=note, advance=advance, trains=trains)


def _sized(
    job: Job, part: Part, *, note: Note, advance: Advance, trains: str, share: int
) -> tuple[Job, tuple[OwnEntry, Mapping[str, Any]] | None]:
    """Return the job with the number of samples at once, and the entry where a probe needs it."""
    asked, parts = job.request.batch_samples, job.out / PARTS
    known = asked if isinstance(asked, int) else known_batch(parts)
    if known is not None:
        return job.batched(known), None
    found = _own(job, part, note=note, advance=advance, trains=trains)
    number = batch_of(job.config, found[0], asked, note, parts=parts, processes=share)
    return job.batched(number), found


def _score(
    job: Job, part: Part, blocks: Blocks, left: Sequence[int], scoring: Scoring, advance: Advance
) -> None:
    """Score blocks one after the other; a block is written whole or not at all."""
    folder, source = part.folder(job.out), CaseSource.of(job.config)
    total = blocks.count(part.of(blocks))
    done = total - blocks.count(left)

    def count(images: int) -> None:
        nonlocal done
        done += images
        advance("scoring", done, total)

    advance("scoring", done, total)
    for number in left:
        target = _block(folder, number)
        shown = [_block(folder, i) for i in part.of(blocks) if i < number]
        room = MOST_REGIONS - sum(map(_shown_regions, shown))
        with disk_errors(f"scoring {part} in {job.out}", ELSEWHERE):
            shutil.rmtree(target, ignore_errors=True)
            with atomic_directory(target) as place:
                with kept_answers(job.config, job.request.keep, place, max(0, room)) as heard:
                    cases = blocks.cases([number], source)
                    found = collect(scoring, cases, on_answer=heard, on_case=count)
                found.save(place, blocks.regions[number])


def finalise_run(request: RunRequest, *, note: Note = quiet) -> RunResult:
    """Add up the parts of a run, write what a run in one process writes, and remove the parts.

    Raises:
        InputError: if a part is absent, unfinished or damaged, or parts are of different runs,
            weights or versions.
    """
    job = job_of(replace(request, device="cpu"), note)  # nothing is predicted
    phases = Phases()
    with reserved(job.out, job.key) as done:
        if done is not None:
            note(f"{job.out} holds this run already; nothing was left to do")
            return RunResult(job.out, done)
        places, notes = _whole_parts(job)
        run = replace(RunInfo.from_json(notes[0]["run"]), command=request.command)
        shared, kept = _references(job, notes, note)

        def made(folder: Path) -> Scores:
            found = nothing(job.config)
            for place in places:
                found.add(place)
                if (place / MAPS).is_dir():
                    shutil.copytree(place / MAPS, folder / MAPS, dirs_exist_ok=True)
            alike = {own.get(REFERENCES) for own in notes} == {sha256_json(shared.about)}
            shared.complete(found.tally, kept, run, alike, note)
            joined_viewers([place / "viewer" for place in places], folder / "viewer", MOST_REGIONS)
            with phases.time("metrics"):
                return completed(job.config, request.model, run, found, note=note)

        scores = publish(job.out, made, phases)
        shutil.rmtree(job.out / PARTS)
    return RunResult(job.out, scores, phases.seconds())


def _references(
    job: Job, notes: Sequence[Mapping[str, Any]], note: Note
) -> tuple[PartReferences, KeptReferences | None]:
    """Return what the parts decided of scores of reference models, and the scores they reuse."""
    asked = f"adding up the parts in {job.out}"
    shared = PartReferences.read(job.out / PARTS) or NOTHING
    if notes[0].get(REUSED, False) is not shared.reused:
        found = f"the scores of reference models that they share, {PARTS}/{FOLDER}, are damaged"
        raise InputError(asked, found, f"Remove {job.out / PARTS} and run all parts again")
    return shared, shared.kept(job.out / PARTS, asked, note)


def _whole_parts(job: Job) -> tuple[list[Path], list[Mapping[str, Any]]]:
    """Return the folders of all blocks in order, and the notes of the parts."""
    asked = f"adding up the parts in {job.out}"
    count = _count(job.out, asked)
    parts = [Part(number, count) for number in range(1, count + 1)]
    notes = {part: _note(part.folder(job.out)) for part in parts}
    if not any(notes.values()):
        remedy = f"Remove {job.out / PARTS} and run all parts again"
        raise InputError(asked, f"{NOTE} of every part is damaged", remedy)
    _require_alike(asked, job, {part: own for part, own in notes.items() if own is not None})
    known = [stated_batch(own["run"]) for own in notes.values() if own is not None]
    blocks = Blocks.of(job.batched(known[0]).config)
    places = {i: _block(part.folder(job.out), i) for part in parts for i in part.of(blocks)}
    whole = {i for i, place in places.items() if is_whole(place, blocks.regions[i])}
    lacking = [part for part, own in notes.items() if own is None or {*part.of(blocks)} - whole]
    if lacking:
        raise InputError(
            asked,
            f"{'part' if len(lacking) == 1 else 'parts'} {_named(lacking)} of {count} "
            f"{'is' if len(lacking) == 1 else 'are'} missing or not finished",
            f"Type the same command with --parts {lacking[0].number}/{count}"
            + (" and so on" if len(lacking) > 1 else "")
            + ", then with --finalise",
        )
    return [places[i] for i in blocks.numbers], [note for note in notes.values() if note]


def _named(parts: Sequence[Part]) -> str:
    """Return the numbers of parts, at most ten of them."""
    more = f" and {len(parts) - 10} more" if len(parts) > 10 else ""
    return ", ".join(str(part.number) for part in parts[:10]) + more


def _count(out: Path, asked: str) -> int:
    """Return the number of parts in a run; of several numbers the one with the most parts there."""
    found: dict[int, int] = {}
    for note in out.glob(f"{PARTS}/*-of-*/{NOTE}"):
        count = note.parent.name.rpartition("-")[2]
        if count.isdigit():
            found[int(count)] = found.get(int(count), 0) + 1
    if not found:
        remedy = "Type the same command with --parts 1/3 to --parts 3/3, then --finalise"
        raise InputError(asked, "no part is there", remedy)
    return min(found, key=lambda count: count - found[count])


def _require_alike(asked: str, job: Job, notes: Mapping[Part, Mapping[str, Any]]) -> None:
    """Refuse parts of another run than the one that is asked for, and parts that differ."""
    first = next(iter(notes))
    for part, own in notes.items():
        other = f"{part} is of another run than this command: they differ in"
        differ = _differences(own["stated"], job.stated)
        if not differ and part != first:
            other = f"{part} differs from {first} in"
            differ = _differences(_provenance(own), _provenance(notes[first]))
        if differ:
            remedy = (
                f"Type the command that made the parts, or remove {part.folder(job.out)} and run "
                f"--parts {part.number}/{part.count} again as the others were run"
            )
            raise InputError(asked, f"{other} {', '.join(differ)}", remedy)


def _provenance(note: Mapping[str, Any]) -> dict[str, Any]:
    run = note["run"]
    weights = {f"weights of {name}": digest for name, digest in run["weights"].items()}
    reused = {"reuse of reference scores": note.get(REUSED, False)}
    batch = {"samples at once": stated_batch(run)}
    return {**run["versions"], "device": run["device"], **weights, **reused, **batch}


def _differences(a: Mapping[str, Any], b: Mapping[str, Any]) -> list[str]:
    """Return the names of entries that differ, with short values."""
    names = [name for name in sorted({*a, *b}) if a.get(name) != b.get(name)]
    return [f"{name}{_both(a.get(name), b.get(name))}" for name in names]


def _both(a: Any, b: Any) -> str:
    plain = all(isinstance(value, str | int | float | None) for value in (a, b))
    return f" ({str(a)[:12]} / {str(b)[:12]})" if plain else ""


def _block(folder: Path, number: int) -> Path:
    return folder / f"{number:05d}"


def _shown_regions(block: Path) -> int:
    """Return the number of regions whose images a block keeps."""
    with suppress(InputError):
        return len(read_json(block / "viewer" / INDEX)["entries"])
    return 0


def _note(folder: Path, job: Job | None = None) -> Mapping[str, Any] | None:
    """Return what a part says of itself; None if it is absent or damaged.

    Raises:
        InputError: if it is a part of another run than ``job``.
    """
    try:
        note = read_json(folder / NOTE)
    except InputError:
        return None
    if not is_intact(note) or note.get("schema") != SCHEMA:
        return None
    if job is not None and (differ := _differences(note["stated"], job.stated)):
        raise _held(folder, differ)
    return note


def _held(folder: Path, differ: Sequence[str]) -> InputError:
    found = f"it holds a part of another run: they differ in {', '.join(differ)}"
    remedy = "Give another --out, or remove that folder"
    return InputError(f"scoring into {folder}", found, remedy)


def _keep_note(
    folder: Path, job: Job, part: Part, run: RunInfo, cache: ReferenceCache | None
) -> None:
    """Write what the part is of; refuse to go on with other weights or versions."""
    run = replace(run, device=run.device.partition(":")[0])  # any GPU of one kind
    held, about = _note(folder, job), digest_of(cache)
    fresh = {
        "schema": SCHEMA, "part": [part.number, part.count], "stated": job.stated,
        "run": run.to_json(), REUSED: REUSED in run.extra,
        REFERENCES: about if held is None or held.get(REFERENCES) == about else None,
    }  # fmt: skip
    fresh = json.loads(json.dumps(fresh))
    if held is not None and (differ := _differences(_provenance(held), _provenance(fresh))):
        raise _held(folder, differ)
    folder.mkdir(parents=True, exist_ok=True)
    write_atomic(folder / NOTE, json.dumps(sealed(fresh), indent=1, sort_keys=True))
