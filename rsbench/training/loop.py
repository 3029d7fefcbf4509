"""The loop of a training: stages, steps, validations and states."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from rsbench.core.errors import TrainingError
from rsbench.core.phases import Phases
from rsbench.core.progress import Advance, describe
from rsbench.models.noise import Noise, Scoped
from rsbench.training.augment import augmented
from rsbench.training.callbacks import Callbacks
from rsbench.training.data import Checked, Source, TrainingBatch, mean_terms
from rsbench.training.optimisers import Rate, schedule
from rsbench.training.options import Average, Options
from rsbench.training.plan import Budget, Plan
from rsbench.training.shared import SharedStages
from rsbench.training.signals import Interrupted, StopSign, derive, is_out_of_memory, seed_all
from rsbench.training.stages import LossModule, closed_form, focused, optimizer_of, set_mode
from rsbench.training.state import Position, StateFolder, pack, unpack

if TYPE_CHECKING:
    from lightning_fabric import Fabric

    from rsbench.models.api import Stage, Trainable

WATCHED = 32
"""Validation samples of watched terms."""
SAVE_EVERY = 300.0
"""Seconds after which a state is saved between validations."""
TICKS = 1000


@dataclass
class Tools:
    """Budget, modules and optimisers of one stage."""

    index: int
    stage: Stage
    budget: Budget
    wrapped: Any
    optimizer: torch.optim.Optimizer
    fabric_optimizer: Any
    average: Average
    rate: Rate
    points: int


@dataclass(frozen=True)
class Sources:
    """Training crops, the validation set, and the samples of watched terms."""

    crops: Source
    validation: Checked
    watched: Source | None = None


@dataclass(frozen=True)
class Listeners:
    """What is told about a training: a progress bar, callbacks, and where the time goes."""

    advance: Advance
    callbacks: Callbacks = field(default_factory=Callbacks)
    phases: Phases = field(default_factory=Phases)


class Loop:
    """Trains all stages from a position on; interrupted or not, the weights end the same."""

    def __init__(
        self, fabric: Fabric, model: Trainable, plan: Plan, sources: Sources, *,
        states: StateFolder, listeners: Listeners, shared: SharedStages | None = None,
    ) -> None:  # fmt: skip
        self.fabric = fabric
        self.model = model
        self.plan = plan
        self.options = Options.of(plan.extras)
        self.crops = sources.crops
        self.validation = sources.validation
        self.watched = sources.watched
        self.states = states
        self.advance = listeners.advance
        self.callbacks = listeners.callbacks
        self.phases = listeners.phases
        self.shared = shared
        self.position = Position()
        self._saved_at = time.monotonic()

    def run(self, begun: tuple[Position, dict[str, Tensor]] | None) -> Position:
        """Train from where ``begun`` left off and leave the chosen weights in the model.

        Raises:
            Interrupted: after a signal, with the state on disk.
            TrainingError: if a loss is not finite or memory runs out.
        """
        tensors = None
        if begun is not None:
            self.position, tensors = begun
        with StopSign().watching() as sign:
            for index in range(self.position.stage, len(self.plan.stages)):
                self._stage(index, tensors, sign)
                tensors = None
        self._take_best()
        return self.position

    def _stage(self, index: int, tensors: Mapping[str, Tensor] | None, sign: StopSign) -> None:
        stage = self.plan.stages[index]
        if stage.closed_form:
            with self.phases.time("step"):
                self._solve(index, tensors)
            self._next_stage(index)
            return
        with focused(self.model.module, stage, self.plan.model):
            optimizer = optimizer_of(self.model.module, stage, self.plan)
            wrapped, fabric_optimizer = self.fabric.setup(LossModule(self.model, stage), optimizer)
            average = Average(self.model.module, self.options.ema)
            if tensors is not None:
                unpack(tensors, self.model.module, optimizer)
                self._load_scaler()
                if self.position.step:
                    average.restore(tensors)
                else:
                    average = Average(self.model.module, self.options.ema)
            tools = Tools(
                index, stage, self.plan.budgets[index], wrapped, optimizer, fabric_optimizer,
                average, schedule(stage.schedule), self.plan.points[index],
            )  # fmt: skip
            with ThreadPoolExecutor(1, thread_name_prefix="rsbench-crops") as pool:
                self._steps(tools, pool, sign)
        self._next_stage(index)

    def _solve(self, index: int, tensors: Mapping[str, Tensor] | None) -> None:
        """Solve a stage in closed form; after the last one, its weights are those kept."""
        at, stage, began = self.position, self.plan.stages[index], time.monotonic()
        if tensors is not None:
            unpack(tensors, self.model.module, None)
        if at.step:
            return  # solved before the interruption
        label = f"training {self.plan.model}, {stage.name}"
        self.advance(label, 0, 1)
        seed_all(derive(self.plan.seed, "step", index, 0))
        self.model.module.to(self.fabric.device).eval()
        most = self.plan.batch_size or stage.batch_size
        shown = (
            batch.to(self.fabric.device)
            for batch in self.crops.solved(index, Noise(self.plan.seed), most)
        )
        with torch.no_grad(), self.fabric.autocast():
            closed_form(self.model, stage).solve(
                stage, ((batch.given, batch.want, batch.truth) for batch in shown)
            )
        at.step += 1
        at.seconds += time.monotonic() - began
        at.history.append({"stage": stage.name, "step": at.steps, "seconds": round(at.seconds, 3)})
        self.advance(label, 1, 1)
        if index + 1 == len(self.plan.stages):
            value = at.history[-1]["validation"] = self._validate()
            at.best = {"metric": "mse", "value": value, "step": at.steps}
            self._save(None, self._weights())
        self.callbacks.point(at.history[-1])

    def _weights(self) -> dict[str, Tensor]:
        return {n: t.detach().cpu().clone() for n, t in self.model.module.state_dict().items()}

    def _next_stage(self, index: int) -> None:
        at = self.position
        if self.shared and index + 1 == self.shared.count and self.fabric.is_global_zero:
            self.shared.save(at, self.model.module)
        if index + 1 == len(self.plan.stages):
            return
        self.position = Position(
            stage=index + 1,
            before=at.steps,
            seconds_before=at.seconds_before + at.seconds,
            history=at.history,
        )
        self._save(None, None)

    def _steps(self, tools: Tools, pool: ThreadPoolExecutor, sign: StopSign) -> None:
        at = self.position
        set_mode(self.model.module, tools.stage)
        ahead = pool.submit(self._batches, tools, at.step)
        while self._share(tools) < 1.0:
            began = time.monotonic()
            current, ahead = ahead, pool.submit(self._batches, tools, at.step + 1)
            loss = self._guarded_step(tools, current)
            at.step += 1
            self.callbacks.step(at.steps, dict(loss))
            self._describe(tools, loss["total"])
            at.loss = (at.loss[0] + loss.pop("total"), at.loss[1] + 1)
            for name, value in loss.items():
                at.terms[name] = at.terms.get(name, 0.0) + value
            at.seconds += time.monotonic() - began
            if self._due(tools):
                began = time.monotonic()
                better = self._point(tools)
                at.seconds += time.monotonic() - began
                self._save(tools, better)
                self.callbacks.point(at.history[-1])
                set_mode(self.model.module, tools.stage)
                if self._selects(tools) and 0 < self.options.patience <= at.waited:
                    break
            elif time.monotonic() - self._saved_at > SAVE_EVERY:
                self._save(tools, None)
            self._report(tools)
            if self._stopped(sign):
                self._save(tools, None)
                raise self._interrupted(tools, sign)
        ahead.cancel()

    def _share(self, tools: Tools) -> float:
        share = tools.budget.done(steps=self.position.step, seconds=self.position.seconds)
        # Clocks differ between processes; all must take the same step.
        return float(self.fabric.broadcast(share)) if self.fabric.world_size > 1 else share

    def _due(self, tools: Tools) -> bool:
        return int(self._share(tools) * tools.points + 1e-9) > self.position.points

    def _selects(self, tools: Tools) -> bool:
        return tools.index + 1 == len(self.plan.stages)

    def _stopped(self, sign: StopSign) -> bool:
        wanted = sign.received is not None
        if self.fabric.world_size == 1:
            return wanted
        flag: Any = torch.tensor(float(wanted), device=self.fabric.device)
        total: Any = self.fabric.all_reduce(flag, reduce_op="sum")
        return bool(total > 0)

    def _interrupted(self, tools: Tools, sign: StopSign) -> Interrupted:
        error = Interrupted(
            f"training {self.plan.model}",
            f"it was interrupted after step {self.position.step} of stage {tools.stage.name}; "
            f"its state is kept in {self.states.folder}",
            "Type the same command again; it goes on from there",
        )
        error.exit_code = 128 + (sign.received or 2)
        return error

    def _label(self, tools: Tools) -> str:
        return f"training {self.plan.model}, {tools.stage.name}"

    def _describe(self, tools: Tools, loss: float) -> None:
        best = self.position.best
        more = "" if best is None else f", best validation {best['value']:.4g}"
        describe(self.advance, self._label(tools), f"loss {loss:.4g}{more}")

    def _report(self, tools: Tools) -> None:
        label = self._label(tools)
        if tools.budget.steps is not None:
            self.advance(label, self.position.step, tools.budget.steps)
        else:
            self.advance(label, int(self._share(tools) * TICKS), TICKS)

    def _batches(self, tools: Tools, step: int) -> list[TrainingBatch]:
        """Return this process's part of a step's batch, in pieces that are taken at once."""
        rank, world = self.fabric.global_rank, self.fabric.world_size
        samples = self.crops.draw(tools.index, step, tools.stage.batch_size)[rank::world]
        most = self.plan.batch_size or len(samples)
        # The same sample gets fresh noise at every step.
        noise = Scoped(Noise(self.plan.seed), f"train/{tools.index}/{step}")
        seed = derive(self.plan.seed, "augment", tools.index, step, rank)
        parts = [(i, self.crops.training_batch(samples[i : i + most], noise, tools.index))
                 for i in range(0, len(samples), most)]  # fmt: skip
        return [augmented(batch, self.options.augment, seed + i) for i, batch in parts]

    def _guarded_step(self, tools: Tools, made: Future[list[TrainingBatch]]) -> dict[str, float]:
        with self.phases.time("read"):
            ready = made.result()
        try:
            with self.phases.time("step"):
                return self._step(tools, ready)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        # Outside the except block: the traceback would keep the tensors of the failed step.
        raise self._too_large(tools, ready[0], reason)

    def _step(self, tools: Tools, batches: list[TrainingBatch]) -> dict[str, float]:
        at = self.position
        # Seeding by number makes a step the same whether or not the ones before ran here.
        seed_all(derive(self.plan.seed, "step", tools.index, at.step, self.fabric.global_rank))
        rate = tools.stage.learning_rate * tools.rate(self._share(tools))
        for group in tools.optimizer.param_groups:
            group["lr"] = rate
        count = sum(len(p.want.samples) for p in batches)
        loss: dict[str, float] = {}
        for number, batch in enumerate(batches, start=1):
            with self.fabric.no_backward_sync(tools.wrapped, enabled=number < len(batches)):
                with self.phases.time("transfer"):
                    shown = batch.to(self.fabric.device)
                terms = tools.wrapped(shown)
                total = self._total(terms, tools)
                part = len(batch.want.samples) / count
                self.fabric.backward(total * part)
                for name, term in terms.items():
                    loss[name] = loss.get(name, 0.0) + float(term.detach()) * part
        self._clip(tools)
        tools.fabric_optimizer.step()
        tools.fabric_optimizer.zero_grad(set_to_none=True)
        tools.average.update(at.step + 1)
        return loss

    def _total(self, terms: Mapping[str, Tensor], tools: Tools) -> Tensor:
        asked = f"training {self.plan.model}, stage {tools.stage.name}, step {self.position.step}"
        if "total" not in terms:
            raise TrainingError(
                asked, f"its loss returned {', '.join(terms) or 'nothing'}", "Name one term total"
            )
        total = terms["total"]
        if not math.isfinite(float(total.detach())):
            shown = ", ".join(f"{n} = {float(t.detach()):g}" for n, t in terms.items())
            raise TrainingError(
                asked,
                f"the loss is not finite ({shown})",
                "Try a smaller learning rate, 32-true precision, or look at the data's range",
            )
        return total

    def _clip(self, tools: Tools) -> None:
        if tools.stage.clip <= 0:
            return
        norm = self.fabric.clip_gradients(
            tools.wrapped, tools.optimizer, max_norm=tools.stage.clip, error_if_nonfinite=False
        )
        # Under float16 the scaler skips such a step and lowers its scale by itself.
        if norm is not None and not norm.isfinite() and self.plan.precision != "16-mixed":
            raise TrainingError(
                f"training {self.plan.model}, stage {tools.stage.name}, step {self.position.step}",
                f"the gradient's norm is {float(norm)}",
                "Try a smaller learning rate, or look at the data's range",
            )

    def _too_large(self, tools: Tools, batch: TrainingBatch, reason: str) -> TrainingError:
        had = len(batch.want.samples)
        fitting = self._fitting(tools, had)
        remedy = (
            f"Give --batch-size {fitting}: that many fit, and the gradient of the whole batch is "
            "gathered in parts"
            if fitting
            else "Not even one sample fits: choose a smaller preset, or a device with more memory"
        )
        return TrainingError(
            f"training {self.plan.model} on {had} samples at once",
            f"memory ran out on {self.fabric.device} ({reason})",
            remedy,
        )

    def _fitting(self, tools: Tools, had: int) -> int:
        """Halve the batch until one step fits; the gradients are thrown away."""
        while (had := had // 2) >= 1:
            tools.fabric_optimizer.zero_grad(set_to_none=True)
            if self.fabric.device.type == "cuda":
                torch.cuda.empty_cache()
            try:
                samples = self.crops.draw(tools.index, self.position.step, had)
                batch = self.crops.training_batch(samples, Noise(self.plan.seed), tools.index)
                total = tools.wrapped(batch.to(self.fabric.device))["total"]
                self.fabric.backward(total)
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    return 0
                continue
            tools.fabric_optimizer.zero_grad(set_to_none=True)
            return had
        return 0

    def _point(self, tools: Tools) -> dict[str, Tensor] | None:
        """Validate, note a point of the curve, and return the weights if they are the best."""
        at = self.position
        at.points = int(self._share(tools) * tools.points + 1e-9)
        point: dict[str, Any] = {
            "stage": tools.stage.name,
            "step": at.steps,
            "loss": at.loss[0] / max(at.loss[1], 1),
            "rate": float(tools.optimizer.param_groups[0]["lr"]),
            "seconds": round(at.seconds_before + at.seconds, 3),
        }
        if at.terms:
            count = max(at.loss[1], 1)
            point["terms"] = {name: value / count for name, value in at.terms.items()}
        at.loss, at.terms = (0.0, 0), {}
        if tools.stage.watched and self.watched is not None and self.fabric.is_global_zero:
            point["validation_terms"] = self._watch(tools, self.watched)
        at.history.append(point)
        # Before the last stage a part of the model is untrained, so validation selects no weights.
        if not self._selects(tools):
            return None
        with tools.average.shown():
            point["validation"] = value = self._validate()
            kept = self._weights()
        if at.best is not None and value >= at.best["value"]:
            at.waited += 1
            return None
        at.best, at.waited = {"metric": "mse", "value": value, "step": at.steps}, 0
        return kept

    def _watch(self, tools: Tools, source: Source) -> dict[str, float]:
        """Return the watched terms on the same validation samples at every point."""
        samples = source.draw(tools.index, 0, WATCHED)
        most = self.plan.batch_size or tools.stage.batch_size
        noise = Noise(self.plan.seed)
        batches = (
            source.training_batch(samples[i : i + most], noise, tools.index)
            for i in range(0, WATCHED, most)
        )
        # Every step seeds anew: what is drawn here changes none.
        seed_all(derive(self.plan.seed, "watch", tools.index))
        self.model.module.eval()
        shown = tools.average.shown()
        with self.phases.time("validation"), shown, self.fabric.autocast():
            return mean_terms(self.model, tools.stage, batches, self.fabric.device)

    def _validate(self) -> float:
        value = 0.0
        if self.fabric.is_global_zero:
            with self.phases.time("validation"), self.fabric.autocast():
                value = self.validation.mse(self.model, Noise(self.plan.seed), self.fabric.device)
        if self.fabric.world_size > 1:
            value = float(self.fabric.broadcast(value))
        if not math.isfinite(value):
            raise TrainingError(
                f"validating {self.plan.model}",
                f"its mean squared error is {value}",
                "Try a smaller learning rate, or look at the data's range",
            )
        return value

    def _take_best(self) -> None:
        best = self.states.best() if self.fabric.is_global_zero else None
        if self.fabric.world_size > 1:
            best = self.fabric.broadcast(best)
        if best is not None:
            self.model.module.load_state_dict(best, strict=True)
        self.model.module.eval()

    def _save(self, tools: Tools | None, best: Mapping[str, Tensor] | None) -> None:
        if self.fabric.is_global_zero:
            self.position.scaler = self._scaler_state()
            tensors = pack(self.model.module, tools.optimizer if tools else None)
            tensors |= tools.average.tensors() if tools else {}
            with self.phases.time("write"):
                self.states.save(self.position, tensors, best)
        if self.fabric.world_size > 1:
            self.fabric.barrier()
        self._saved_at = time.monotonic()

    def _scaler_state(self) -> dict[str, Any]:
        precision = self.fabric.strategy.precision
        return dict(precision.state_dict()) if hasattr(precision, "state_dict") else {}

    def _load_scaler(self) -> None:
        if self.position.scaler:
            self.fabric.strategy.precision.load_state_dict(self.position.scaler)
