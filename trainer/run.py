"""One training run from its settings to its report: all of `train.py` but the command line.

    report = run(Settings(config=preset("tour"), budget=StepBudget(100)), Output(quiet=True))

In order: check what can be checked at once, open the data, build the engine, warm up, train, save,
evaluate. The checkpoint is on disk before the evaluation begins. A user's mistakes, missing data
and ops that cannot run raise `TrainerError`s.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from trainer import checkpoint, trace
from trainer.ablation import Ablation
from trainer.config import TrainConfig
from trainer.data import Batches, open_prepared
from trainer.engines import build, instrument
from trainer.engines.torch import switches
from trainer.errors import DataError, EngineError, TrainerError, is_out_of_memory
from trainer.evaluate import Evaluation, config_of, evaluate
from trainer.hardware import hardware_key, resolve_engine
from trainer.interrupt import Interrupt
from trainer.loop import Heartbeat, Position, train, warm_up
from trainer.ops import REGISTRY, resolve
from trainer.output import Output
from trainer.recording import Plan, Recorder
from trainer.report import Report
from trainer.schedule import Budget, SecondsBudget, budget_from_json
from trainer.threads import share_cores
from trainer.turns import Turns


@dataclass(frozen=True)
class Settings:
    """What a run is told. With `resume`, config, preset and data are those of the checkpoint."""

    config: TrainConfig
    preset: str = ""
    data: str = "stdlib"
    engine: str = "auto"
    budget: Budget | None = None
    """None: 300 seconds, or with `resume` the budget of the checkpoint."""
    ops: Mapping[str, Path] = field(default_factory=dict)
    registry: Path = REGISTRY
    evaluation: str | int | None = "cheap"
    """A rung or a number of tokens; None skips the evaluation."""
    checkpoint: Path | None = None
    resume: Path | None = None
    compile_model: bool | None = None
    heartbeat: int | None = None
    turns: int | None = None
    trace: Path | None = None
    trace_steps: int = 3
    ablate: bool = False
    record: Plan | None = None


class Session:
    """Everything that a run holds. Making one checks all that can be checked without an engine."""

    def __init__(self, settings: Settings) -> None:
        self.began = time.perf_counter()
        share_cores()
        saved: dict[str, Any] = {}
        if settings.resume is not None:
            settings, saved = _resumed(settings, settings.resume)
        self.settings, self.config = settings, settings.config
        self.budget = settings.budget or SecondsBudget()
        self.heartbeat, self.turns = Heartbeat(settings.heartbeat), Turns(settings.turns)
        if settings.checkpoint is not None:
            checkpoint.check_target(settings.checkpoint)
        if settings.trace is not None:
            trace.check_target(settings.trace, settings.trace_steps)
        self.choice = resolve_engine(settings.engine)
        self.hardware = hardware_key(self.choice.value)
        before = self._switches()
        self.ops = resolve(self.choice.value, self.hardware, settings.ops, settings.registry)
        switches.refuse_change(before, self._switches(), "loading the ops")
        self.prepared = open_prepared(settings.data)
        config = self.config
        self.stream = Batches(
            self.prepared, "train", config.device_batch_size, config.sequence, config.seed
        )
        self.position = Position()
        if saved:
            self.stream.restore(saved["stream"])
            self.position = Position(**saved["position"])

    def build(self) -> None:
        """Makes the engine: memory is taken and compilers are looked for from here on."""
        name, vocab, settings = self.choice.value, self.prepared.vocab, self.settings
        plan = settings.record
        self.recorder = Recorder(plan, instrument(name, "recording").take) if plan else None
        self.ablation = Ablation(instrument(name, "stand_in")) if settings.ablate else None
        ops = self.recorder.wrap(self.ops) if self.recorder else self.ops
        ops = self.ablation.wrap(ops) if self.ablation else ops
        # the framework is imported only now that everything cheap has been checked
        self.engine = build(name, self.config, vocab, ops, settings.compile_model)
        if settings.resume is not None:
            self.engine.load(settings.resume)
        self.switches = self._switches()

    def _switches(self) -> dict[str, str]:
        """Those of the process and of the engine's framework, as they are now."""
        found: dict[str, str] = instrument(self.choice.value, "switches").read()
        return found

    def header(self) -> list[str]:
        """The run in lines: engine, model, data, the engine's own decisions, ops."""
        config, prepared = self.config, self.prepared
        notes = {"engine": self.choice, **self.engine.notes}
        return [
            f"preset {self.settings.preset or 'none'}: depth {config.depth}, width {config.width}, "
            f"{self.engine.parameters / 1e6:.1f}M weights, sequence {config.sequence}, windows "
            f"{','.join(map(str, config.windows))}, {config.total_batch_size:,} tokens a step "
            f"(micro-batches: {config.accumulation}), seed {config.seed}",
            f"data {prepared.name} {prepared.data_sha256[:12]}, tokenizer "
            f"{prepared.tokenizer_sha256[:12]}, {prepared.vocab} tokens",
            f"hardware {self.hardware}",
            *(f"{name} {note.value} ({note.reason})" for name, note in notes.items()),
            *self.ops.lines(),
        ]

    def train(self, output: Output, interrupt: Interrupt) -> tuple[float, ...]:
        """Trains until the budget is spent or Ctrl-C; the milliseconds of each step."""
        step_ms: list[float] = []

        def on_step(position: Position) -> None:
            step_ms.append(position.last_step_ms)
            used = self.budget.progress(position.step, position.seconds)
            output.step(position, used, self.config)

        if self.budget.is_spent(self.position.step, self.position.seconds):
            output.say("the budget of this checkpoint is spent: give more --steps or --time-budget")
        self.position = train(
            self.recorder.watch(self.engine) if self.recorder else self.engine,
            self.stream,
            self.config,
            self.budget,
            self.position,
            heartbeat=self.heartbeat,
            turns=self.turns,
            on_step=on_step,
            should_stop=lambda: interrupt.wanted,
        )
        output.end_line()
        switches.refuse_change(self.switches, self._switches(), "training")
        return tuple(step_ms)

    def save_recording(self) -> None:
        """Writes what was recorded, if anything was to be."""
        if self.recorder:
            about = {
                "preset": self.settings.preset,
                "engine": self.choice.value,
                "vocab": self.prepared.vocab,
                "data_sha256": self.prepared.data_sha256,
                "tokenizer_sha256": self.prepared.tokenizer_sha256,
                "steps": self.position.step,
                "ops": {name: op.sha256 for name, op in self.ops.items()},
            }
            self.recorder.save(instrument(self.choice.value, "recording").write, about)

    def save(self, folder: Path) -> None:
        """Writes a checkpoint from which the run goes on as if it had never stopped."""
        position = self.position
        state = {
            "config": asdict(self.config),
            "preset": self.settings.preset,
            "data": self.settings.data,
            "data_sha256": self.prepared.data_sha256,
            "tokenizer_sha256": self.prepared.tokenizer_sha256,
            "vocab": self.prepared.vocab,
            "engine": self.choice.value,
            "ops": {name: op.sha256 for name, op in self.ops.items()},
            "budget": self.budget.as_json(),
            "step": position.step,
            "progress": self.budget.progress(position.step, position.seconds),
            "position": asdict(position),
            "stream": self.stream.state(),
        }
        self.engine.save(folder, state)

    def report(
        self, step_ms: tuple[float, ...], interrupted: bool, evaluation: Evaluation | None
    ) -> Report:
        """What there is to say at the end."""
        return Report(
            config=self.config,
            preset=self.settings.preset,
            data=self.settings.data,
            engine=self.choice.value,
            device=self.engine.device_name,
            hardware=self.hardware,
            notes=self.engine.notes,
            ops=self.ops,
            data_sha256=self.prepared.data_sha256,
            tokenizer_sha256=self.prepared.tokenizer_sha256,
            vocab=self.prepared.vocab,
            parameters=self.engine.parameters,
            position=self.position,
            step_ms=step_ms,
            peak_memory_mb=self.engine.peak_memory_mb(),
            peak_flops=self.engine.peak_flops(),
            interrupted=interrupted,
            checkpoint=self.settings.checkpoint,
            evaluation=evaluation,
            total_seconds=time.perf_counter() - self.began,
        )


def run(settings: Settings, output: Output) -> Report | None:
    """Trains, saves and evaluates. After a trace there is nothing to report: None."""
    session = Session(settings)
    with _blaming(session):
        session.build()
        output.header(session.header())
        warm_up(session.engine, session.stream, session.config)
        if settings.trace is not None:
            trace.record(
                session.engine,
                session.stream,
                session.config,
                settings.trace,
                settings.trace_steps,
                session.hardware,
                session.ablation,
            )
            output.say(f"trace of {settings.trace_steps} steps: {settings.trace}")
            return None
        with Interrupt() as interrupt:
            step_ms = session.train(output, interrupt)
            session.save_recording()
            if settings.checkpoint is not None:
                session.save(settings.checkpoint)
                output.say(f"checkpoint: {settings.checkpoint}")
        evaluation = None
        if settings.evaluation is not None and not interrupt.wanted:
            evaluation = evaluate(
                session.engine, session.prepared, settings.evaluation, output.evaluated
            )
            output.say(evaluation.note)
        return session.report(step_ms, interrupt.wanted, evaluation)


def _resumed(settings: Settings, folder: Path) -> tuple[Settings, dict[str, Any]]:
    """The settings of a run that goes on, and the saved state."""
    saved = checkpoint.load_state(folder)
    try:
        settings = replace(
            settings,
            config=config_of(saved, folder),
            preset=saved["preset"],
            data=saved["data"],
            budget=settings.budget or budget_from_json(saved["budget"]),
        )
        Position(**saved["position"])
    except (KeyError, TypeError) as error:
        raise DataError(
            f"the checkpoint at {folder} cannot be resumed: {error!r}", "Start a new run."
        ) from error
    return settings, saved


@contextmanager
def _blaming(session: Session) -> Iterator[None]:
    """Turns what is not the trainer's fault into an `EngineError` that says whose it is."""
    try:
        yield
    except TrainerError:
        raise
    except Exception as error:  # candidates' code may raise anything; the rest is raised again
        what = f"{type(error).__name__}: {error}"
        if is_out_of_memory(error):
            raise EngineError(
                f"out of memory on {session.choice.value}: {what}",
                "Lower --device-batch-size (the total batch stays), or take a smaller preset.",
            ) from error
        changed = [
            name for name, op in session.ops.items() if op.reason.startswith(("promoted", "forced"))
        ]
        if changed:
            raise EngineError(
                f"the run failed with other ops than the incumbents ({', '.join(changed)}): {what}",
                "Run again without them: leave out --op, or give --registry an empty file.",
            ) from error
        if type(error).__module__.startswith(("torch._dynamo", "torch._inductor")):
            raise EngineError(f"torch.compile failed: {what}", "Use --no-compile.") from error
        raise
