"""Tasks exported as files, and predictions made elsewhere scored like those of any model.

``export_task`` writes the frames that models are given and ``task.json``, which states what to
predict; truth is not written. ``score_answers`` reads a folder of answers and the ``answer.json``
that came with the task, and scores them as ``rsbench run`` does.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from rsbench.catalog import Protocol, load_protocol
from rsbench.core.digest import sha256_json
from rsbench.core.errors import Incomparable, InputError, SchemaError, unknown
from rsbench.core.file_lock import new_directory
from rsbench.core.io import read_json
from rsbench.core.names import label_fault
from rsbench.core.progress import Advance, silent
from rsbench.core.typed import typed
from rsbench.evaluation.own_entry import OwnEntry
from rsbench.evaluation.publish import kept_answers, publish
from rsbench.evaluation.run import RunResult
from rsbench.evaluation.run_folder import reserved
from rsbench.evaluation.score_table import Working, score_table
from rsbench.evaluation.submission_digests import require_digests
from rsbench.evaluation.submission_files import (
    NOTE,
    AnswerFiles,
    ContextFiles,
    open_answers,
)
from rsbench.evaluation.submission_range import require_probabilities, require_unit
from rsbench.store.layout import SHARE
from rsbench.tasks.config import EvaluationConfig, EvaluationOptions, Note, quiet
from rsbench.tasks.registry import task, task_of
from rsbench.tasks.settings import evaluation_config, reading_of

if TYPE_CHECKING:
    from rsbench.core.grid import Window
    from rsbench.evaluation.entries import Answer, ModelEntry
    from rsbench.evaluation.scores import Scores
    from rsbench.evaluation.submission_files import Array
    from rsbench.store.read import Store
    from rsbench.tasks.base import Asked, Case

SCHEMA = "rsbench.task@1"
TASK = "task.json"
PLACEHOLDER = "name-your-model"
BOUNDS = ("oracle", "floor")
"""Names of entries that bound what can be reached."""


@dataclass(frozen=True)
class AnswerNote:
    """``answer.json``: which task the answers belong to, and which model made them.

    ``protocol_content`` is there for a protocol that is not in the catalogue, ``sha256`` where the
    maker of the answers states the digest of every file, by its path in the folder.
    """

    digest: str
    protocol: str
    split: str
    context: int
    horizon: int
    sensor: str
    bands: tuple[str, ...]
    format: str
    model: str = PLACEHOLDER
    preset: str = ""
    citation: str = ""
    protocol_content: Mapping[str, Any] | None = None
    sha256: Mapping[str, str] | None = None
    schema: str = SCHEMA
    task: str = "forecast"

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read the note of a folder of answers."""
        asked = f"reading the predictions {folder}"
        remedy = f"Copy the {NOTE} that `rsbench export-task` wrote, and fill in the model's name"
        if not (folder / NOTE).is_file():
            found = f"there is no {NOTE} in it" if folder.is_dir() else "there is no such folder"
            raise InputError(asked, found, remedy)
        value = read_json(folder / NOTE, asked, remedy)
        if value.get("schema") != SCHEMA:
            found = f"{NOTE} has schema {value.get('schema')!r}, not {SCHEMA!r}"
            raise SchemaError(asked, found, remedy)
        extra = sorted(set(value) - set(cls.__dataclass_fields__))
        try:
            if extra:
                raise ValueError(f"{extra[0]} is no field of it")
            return typed(cls, value)
        except ValueError as error:
            raise InputError(asked, f"its {NOTE} does not fit ({error})", remedy) from error

    def to_json(self) -> dict[str, Any]:
        """Return the JSON form."""
        value = {**vars(self), "bands": list(self.bands)}
        absent = {name for name in ("protocol_content", "sha256") if value[name] is None}
        return {name: held for name, held in value.items() if name not in absent}

    def load_protocol(self) -> Protocol:
        """Return the protocol of the task.

        Raises:
            Incomparable: if its content is not the one that the name states.
        """
        if self.protocol_content is None:
            return load_protocol(self.protocol)
        try:
            found = load_protocol(Protocol.model_validate(self.protocol_content))
        except ValueError as error:
            raise InputError(
                f"the protocol {self.protocol} in {NOTE}", f"it does not fit ({error})",
                f"Copy the {NOTE} that `rsbench export-task` wrote",
            ) from error  # fmt: skip
        if found.name != self.protocol:
            raise Incomparable(
                f"the protocol {self.protocol} in {NOTE}",
                f"its content is that of {found.name}",
                f"Copy the {NOTE} that `rsbench export-task` wrote",
            )
        return found


def export_task(
    store: Store,
    out: Path,
    *,
    protocol: str | Path | Protocol | None = None,
    options: EvaluationOptions | None = None,
    form: str = "npy",
    advance: Advance = silent,
) -> Path:
    """Write the inputs of a task as files and return the folder; it is whole or absent.

    Args:
        store: an open store.
        out: the folder; must not exist.
        protocol: name in the catalogue, path of a YAML file, or a protocol; the store's default
            where None.
        options: split, context and horizon.
        form: ``npy``, ``zarr``, ``geotiff`` or ``envi``, of the frames given and of the answers:
            float32 (C, H, W) in the sensor's unit.
        advance: called with ``(label, done, total)``.

    Raises:
        InputError: if the folder exists or the form is unknown.
        HorizonError: if context or horizon exceed the data.
    """
    if out.exists():
        raise InputError(f"exporting a task to {out}", "it exists already", "Choose another OUT")
    named = protocol or store.meta.default_protocol
    config = evaluation_config(store, named, replace(options or EvaluationOptions(), device="cpu"))
    chosen = load_protocol(named)
    asked = task_of(config).asked(config)
    with new_directory(out, f"exporting a task to {out}", "choose another OUT") as folder:
        inputs, texts = _write_frames(
            config, asked, ContextFiles(folder / "context", form), advance
        )
        answer = AnswerNote(
            digest=store.digest, protocol=chosen.name, split=config.split, context=config.context,
            horizon=config.horizon, sensor=config.sensor, bands=config.bands, format=form,
            task=config.protocol.task, protocol_content=_stated(chosen),
        )  # fmt: skip
        (folder / "predictions").mkdir()
        _dump(folder / "predictions" / NOTE, answer.to_json())
        whole = _task(config, chosen.name, form, asked)
        for entry in whole[task_of(config).words.answers]:
            entry |= texts.get((entry["region"], entry["name"]), {})
        _dump(folder / TASK, {**whole, "inputs": inputs})
    return out


def _stated(protocol: Protocol) -> dict[str, Any] | None:
    """Return the content of a protocol that is not in the catalogue."""
    if protocol.name == protocol.stated_name:
        return None
    return {"name": protocol.stated_name, "description": protocol.description, **protocol.content}


def _write_frames(
    config: EvaluationConfig, asked: Sequence[Asked[Any]], files: ContextFiles, advance: Advance
) -> tuple[dict[str, dict[str, Any]], dict[tuple[str, str], dict[str, str]]]:
    """Write the frames as models see them, whole regions at once.

    Returns:
        Sensor → what it holds; region and name of a prediction → its text, where there is one.
    """
    reader = task_of(config).reader(reading_of(config))
    inputs: dict[str, dict[str, Any]] = {}
    texts: dict[tuple[str, str], dict[str, str]] = {}
    for done, item in enumerate(asked, start=1):
        if files.lacks(item) or texts:
            batch = reader.assemble([item.sample])
            given = batch.given
            if batch.texts:
                texts[item.region, item.name] = {"text": batch.texts[0]}
            files.write(item, given)
            inputs |= {
                sensor: {"bands": list(f.bands), "unit": f.unit, "value_range": list(f.value_range)}
                for sensor, f in given.items()
            }
        advance("writing", done, len(asked))
    return inputs, texts


def _dump(path: Path, value: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(value, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def _task(
    config: EvaluationConfig, protocol: str, form: str, asked: Sequence[Asked[Any]]
) -> dict[str, Any]:
    store, meta = config.store, config.meta
    return {
        "schema": SCHEMA, "task": config.protocol.task, "dataset": store.recipe,
        "digest": store.digest, "simulated": store.simulated, "protocol": protocol,
        "split": config.split, "context": config.context, "horizon": config.horizon,
        "step": store.meta.step, "sensor": config.sensor, "bands": list(config.bands),
        "unit": meta.unit, "value_range": list(meta.value_range), "licence": meta.licence,
        "attribution": meta.attribution, "format": form, "files": ContextFiles.LAYOUT[form],
        "answers": AnswerFiles.LAYOUT[form], **_codes(config),
        "regions": {item.region: item.grid.to_json() for item in asked},
        task_of(config).words.answers: [_entry(config, item) for item in asked],
    }  # fmt: skip


def _codes(config: EvaluationConfig) -> dict[str, Any]:
    """Return class → its codes, which one band of integers may hold in place of probabilities."""
    codes = task_of(config).label_codes(config)
    named = {band: [c for c, at in codes.items() if at == k] for k, band in enumerate(config.bands)}
    return {"codes": named} if codes else {}


def _entry(config: EvaluationConfig, item: Asked[Any]) -> dict[str, Any]:
    """Return what ``task.json`` says of a prediction; ``name`` is that of its file."""
    shown = item.given.get(config.sensor) or next(iter(item.given.values()))
    return {
        "region": item.region,
        "name": item.name,
        "start": task_of(config).unit(config, item.sample).start.isoformat(),
        "context": [day.isoformat() for day in shown],
        "targets": [day.isoformat() for day in item.targets],
        "frames": {
            sensor: {
                "folder": item.folders[sensor],
                "dates": [day.isoformat() for day in days],
                **({"grid": item.grids[sensor].to_json()} if sensor in item.grids else {}),
            }
            for sensor, days in item.given.items()
        },
    }


@dataclass(frozen=True, kw_only=True)
class ScoreOptions:
    """Options of a scoring of answers.

    Args:
        suite: suites or ids of metrics in place of the protocol's.
        metrics: suites or ids in addition to these.
        keep: which predictions are kept: ``none``, ``viewer`` or ``all``.
        command: the command line, for the report.
        fresh_references: compute the scores of reference models, even where they are kept.
    """

    suite: str | None = None
    metrics: str | None = None
    keep: str = "viewer"
    command: str = ""
    fresh_references: bool = False


def score_answers(
    predictions: Path,
    store: Store,
    out: Path,
    options: ScoreOptions | None = None,
    *,
    note: Note = quiet,
    advance: Advance = silent,
) -> RunResult:
    """Check the answers as `rsbench score` does, and score them with the reference models.

    Args:
        predictions: folder of the answers: (C, H, W) each, in the sensor's unit.
        store: the store that they were made for.
        out: folder of the run.
        options: metrics, and the command that is recorded.
        note: takes messages.
        advance: called with ``(label, done, total)``.

    Returns:
        The folder of the run and its scores.

    Raises:
        Incomparable: if they were made for another dataset.
        InputError: if a file is absent, damaged, or of another shape, grid or type, most
            predictions lie outside the value range, or class probabilities are negative or do not
            sum to 1.
        PixelError: if a value is not finite.
    """
    chosen = options or ScoreOptions()
    answer = AnswerNote.load(predictions)
    config = _config(answer, store, predictions, chosen)
    asked = task_of(config).asked(config)
    codes = task_of(config).label_codes(config)
    files = open_answers(answer.format, predictions, config.bands, codes)
    files.require(asked)
    digest = _content(require_digests(predictions, NOTE, answer.sha256))
    if not files.class_maps:
        require_unit(files, asked, config.meta)
    key = sha256_json({
        "answers": digest, "dataset": store.digest, "note": replace(answer, sha256=None).to_json(),
        "protocol": config.protocol.model_dump(mode="json"), "metrics": list(config.metrics),
        "keep": chosen.keep,
    })  # fmt: skip
    with reserved(out, key) as done:
        if done is not None:
            note(f"{out} holds these scores already; nothing was left to do")
            return RunResult(out, done)
        regions = len({item.region for item in asked})
        note(f"{answer.model}: {len(asked)} {task_of(config).words.answers} of {regions} regions")
        own = OwnEntry(
            answer.model,
            _entry_of(answer, files, asked, config.meta.unit),
            digest,
            answer.citation,
            "elsewhere",
        )
        info = {"command": chosen.command, "extra": {"key": key}}
        working = Working(reuse=not chosen.fresh_references)

        def made(folder: Path) -> Scores:
            with kept_answers(config, chosen.keep, folder, phases=working.phases) as on_answer:
                return score_table(
                    config, own, note=note, advance=advance, on_answer=on_answer, info=info,
                    working=working,
                )  # fmt: skip

        scores = publish(out, made, working.phases)
        return RunResult(out, scores, working.phases.seconds())


def _config(
    answer: AnswerNote, store: Store, folder: Path, chosen: ScoreOptions
) -> EvaluationConfig:
    asked = f"scoring {folder}"
    if answer.model in ("", PLACEHOLDER):
        raise InputError(asked, "its model has no name", f'Write the name as "model" in {NOTE}')
    for field in ("model", "preset"):
        if fault := getattr(answer, field) and label_fault(getattr(answer, field)):
            found = f"its {field} {getattr(answer, field)!r} is refused: {fault}"
            raise InputError(asked, found, f"Write another name into {NOTE}")
    own = task(answer.task)
    if answer.model in (*own.reference_models, *own.known_names, *BOUNDS):
        raise InputError(
            asked, f"{answer.model} is an entry of every table", f"Choose another name in {NOTE}"
        )
    if answer.digest != store.digest:
        raise Incomparable(
            asked,
            f"they were made for the dataset {answer.digest[:12]}; this store is "
            f"{store.digest[:12]}",
            "Give the store they were made for, or export the task again and predict again",
        )
    options = EvaluationOptions(
        split=answer.split, context=answer.context, horizon=answer.horizon, device="cpu",
        suite=chosen.suite, metrics=chosen.metrics,
    )  # fmt: skip
    config = evaluation_config(store, answer.load_protocol(), options)
    if (answer.sensor, answer.bands) != (config.sensor, config.bands):
        raise Incomparable(
            asked,
            f"they hold {answer.sensor} {', '.join(answer.bands)}; the protocol asks for "
            f"{config.sensor} {', '.join(config.bands)}",
            "Export the task again",
        )
    return config


def _content(digests: Mapping[str, str]) -> str:
    """Return one digest of all files of the answers, which is their provenance."""
    return sha256_json([list(pair) for pair in digests.items()])


def _entry_of(
    answer: AnswerNote, files: AnswerFiles, asked: Sequence[Asked[Any]], unit: str
) -> ModelEntry:
    import numpy as np
    import torch

    from rsbench.evaluation.entries import ModelEntry

    known = {(item.region, item.key): item for item in asked}

    def read(item: Asked[Any], index: int, window: Window) -> Array:
        values = files.read(item, index, window)
        if unit == SHARE and not files.class_maps:
            require_probabilities(values, item, window)
        return values

    def of(case: Case) -> Answer:
        for index in range(case.truth.shape[1]):
            found = [read(known[s.region, s.key], index, s.window) for s in case.samples]
            yield index + 1, torch.from_numpy(np.stack(found))

    return ModelEntry(answer.model, answer.preset, "model", of, class_map=files.class_maps)


def form_named(name: str) -> str:
    """Return the name of a format; raise UnknownName if there is none of this name."""
    if name not in ContextFiles.LAYOUT:
        raise unknown("format", name, ContextFiles.LAYOUT)
    return name
