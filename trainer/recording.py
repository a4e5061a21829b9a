"""Records single calls of ops as they cross the op seam in training: `train.py --record FD`.

    recorder = Recorder(plan, take)             # `take` is the engine's: it knows the framework
    engine = Engine(…, recorder.wrap(ops))      # the plan's ops are wrapped, all others untouched
    train(recorder.watch(engine), …)
    recorder.save(write, about)                 # one file per op

A plan names calls by step and chance, not by number: which call of the step it is follows from how
many there were in the step before. Warm-up and evaluation are never recorded. Of a recorded call's
tensors aliases are handed on, so that the gradients that come back are those of this call alone.
The plan arrives through a file descriptor, so that no command line tells a run that records from
one that does not. Knows no framework, judges nothing.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import prod
from pathlib import Path
from typing import Any, Protocol, cast

from kernels.spec import Target, discover
from trainer.errors import EngineError, UsageError, unknown
from trainer.loop import Engine, MicroBatch, Pending
from trainer.ops import Op, OpTable
from trainer.schedule import Rates

FORMAT = 1
LONGEST_PLAN = 2**16
FIRST_STEP = 2
"""The step before has to be counted. At the first step most gradients are zero anyway: the blocks'
output matrices start at zero."""
LIMIT_BYTES = 2**22
"""Of one call: of the inputs, outputs and both kinds of gradients, those that have the target's
independent dim. What is larger is cut along it; the logits of `upstream` alone would be 4 GiB.
What all parts share (weights) is kept whole, but for its gradient where the call is cut: that is a
sum over parts which are not kept."""


@dataclass(frozen=True)
class Wanted:
    """One call to be recorded. `chance`, in [0, 1), says which of the step's calls, and which part
    of it where it is cut."""

    op: str
    step: int
    chance: float


@dataclass(frozen=True)
class Plan:
    """What to record, and the folder that gets one file per op."""

    folder: Path
    calls: tuple[Wanted, ...]
    limit_bytes: int = LIMIT_BYTES

    def as_json(self) -> str:
        """What `read_plan` reads."""
        calls = [vars(wanted) for wanted in self.calls]
        content = {"folder": str(self.folder), "calls": calls, "limit_bytes": self.limit_bytes}
        return json.dumps(content)


def read_plan(descriptor: int) -> Plan | None:
    """The plan in an open file descriptor; None where it holds nothing. Raises `UsageError`."""
    try:
        with os.fdopen(os.dup(descriptor), "rb") as stream:
            text = stream.read(LONGEST_PLAN)
        if not text.strip():
            return None
        content = json.loads(text)
        calls = tuple(Wanted(**call) for call in content["calls"])
        limit = int(content.get("limit_bytes", LIMIT_BYTES))
        plan = Plan(Path(content["folder"]), calls, limit)
        _check(plan)
    except (OSError, OverflowError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UsageError(
            f"--record {descriptor}: no plan can be read there: {error!r}",
            'For example: echo \'{"folder": "recorded", "calls": [{"op": "rmsnorm", "step": 2, '
            '"chance": 0.5}]}\' | uv run train.py --steps 2 --record 0',
        ) from error
    return plan


def _check(plan: Plan) -> None:
    folders = discover()
    for wanted in plan.calls:
        if wanted.op not in folders:
            raise unknown("op", wanted.op, folders)
        if wanted.step < FIRST_STEP or not 0 <= wanted.chance < 1:
            raise ValueError(f"steps count from {FIRST_STEP}, chances lie in [0, 1): {wanted}")
    if len({(wanted.op, wanted.step) for wanted in plan.calls}) < len(plan.calls):
        raise ValueError("two calls of one op in one step")


@dataclass
class Record:
    """One call: where it was, which part is kept, and its tensors by name as they arrive."""

    target: Target
    step: int
    number: int
    calls: int
    """The call's number in the step, and how many there were in the step before."""
    chance: float
    limit_bytes: int
    start: int = 0
    count: int = 0
    whole: int = 0
    """Of the independent dim: the part that is kept, and the extent in training."""
    scalars: tuple[float, ...] = ()
    tensors: dict[str, Any] = field(default_factory=dict)
    awaited: set[str] = field(default_factory=set)
    """Names of the gradients that the backward pass still has to bring."""

    def cut(self, shapes: Sequence[Sequence[int]], itemsize: int) -> None:
        """Decides which part to keep, from the inputs' shapes and the bytes of an element."""
        target, dims = self.target, dict[str, int]()
        for one, shape in zip(target.inputs, shapes, strict=True):
            dims.update(zip(one.shape, shape, strict=True))
        self.whole = dims.get(target.independent, 1)
        # each input, its gradient where it has one, each output and the gradient that comes in
        names = [i.shape for i in target.inputs for _ in range(2 if i.differentiable else 1)]
        names += [o.shape for o in target.outputs for _ in range(2)]
        parted = [shape for shape in names if target.independent in shape]
        total = itemsize * sum(prod([dims[name] for name in shape]) for shape in parted)
        parts = self.limit_bytes * self.whole // max(1, total)
        self.count = max(1, min(self.whole, parts))
        self.start = int(self.chance * (self.whole - self.count + 1))

    def keeps_gradient(self, shape: tuple[str, ...]) -> bool:
        """Whether the gradient of an input with these dims is that of what is kept."""
        return self.count == self.whole or self.target.independent in shape

    def axis(self, shape: tuple[str, ...]) -> int | None:
        """Which axis of a tensor with these dims is cut; None for none of them."""
        name = self.target.independent
        return shape.index(name) if name in shape else None

    def about(self, strides: Mapping[str, Sequence[int]]) -> dict[str, Any]:
        """What identifies the call, as JSON."""
        return {
            "step": self.step,
            "number": self.number,
            "calls": self.calls,
            "part": [self.start, self.count, self.whole],
            "scalars": self.scalars,
            "strides": {name: list(found) for name, found in strides.items()},
        }


Take = Callable[[Record, Callable[..., Any], tuple[Any, ...]], Any]
"""Calls the function, keeps what goes in and out, sees to it that the gradients are kept as they
come; returns what the function returned."""


class Write(Protocol):
    """Writes the records of one op with what is known about the run."""

    def __call__(self, path: Path, records: Sequence[Record], about: dict[str, Any]) -> None: ...


class Recorder:
    """Records the calls of a plan in the run that it wraps and watches."""

    def __init__(self, plan: Plan, take: Take) -> None:
        self._plan, self._take = plan, take
        self._folders = discover()
        self._step = 0
        self._inside = False
        self._calls: Counter[str] = Counter()
        self._before: Counter[str] = Counter()
        self._records: dict[str, list[Record]] = {wanted.op: [] for wanted in plan.calls}

    def wrap(self, ops: OpTable) -> OpTable:
        """The table with the plan's ops wrapped; one that runs in parts runs as a whole instead."""
        return OpTable(
            {
                name: replace(op, function=self._seam(op), in_parts=False)
                if name in self._records
                else op
                for name, op in ops.items()
            }
        )

    def watch(self, engine: Engine) -> Engine:
        """The engine, telling the recorder when a step of training begins and ends."""
        return cast(Engine, _Watched(engine, self))

    def save(self, write: Write, about: dict[str, Any]) -> None:
        """Writes `FOLDER/OP.safetensors` for every op of the plan. Raises `EngineError` if any call
        of the plan did not take place, or a gradient did not come back."""
        for wanted in self._plan.calls:
            found = [r for r in self._records[wanted.op] if r.step == wanted.step]
            missing = sorted(found[0].awaited) if found else ["the call"]
            if missing:
                raise EngineError(
                    f"step {wanted.step} was to be recorded, but {wanted.op} left out "
                    f"{', '.join(missing)}",
                    f"The run made {self._step} steps; record fewer, or mend the op.",
                )
        for op, records in self._records.items():
            write(self._plan.folder / f"{op}.safetensors", records, {**about, "op": op})

    def step_begins(self) -> None:
        """Counts the calls of a new step."""
        self._step += 1
        self._before, self._calls, self._inside = self._calls, Counter(), True

    def step_ends(self) -> None:
        """What follows is no training."""
        self._inside = False

    def _seam(self, op: Op) -> Callable[..., Any]:
        wanted = {w.step: w for w in self._plan.calls if w.op == op.name}

        def call(*arguments: Any) -> Any:
            if not self._inside:
                return op.function(*arguments)
            number, calls = self._calls[op.name], self._before[op.name]
            self._calls[op.name] += 1
            due = wanted.get(self._step)
            if due is None or number != int(due.chance * calls):
                return op.function(*arguments)
            # What is left of the chance within the call decides on the part that is kept.
            record = Record(
                self._folders[op.name].target,
                self._step,
                number,
                calls,
                due.chance * calls % 1,
                self._plan.limit_bytes,
            )
            self._records[op.name].append(record)
            return self._take(record, op.function, arguments)

        return call


class _Watched:
    """An engine whose steps a recorder counts; all else is the engine's own."""

    def __init__(self, engine: Engine, recorder: Recorder) -> None:
        self._engine, self._recorder = engine, recorder

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)

    def step(self, micro_batches: Sequence[MicroBatch], rates: Rates) -> Pending:
        self._recorder.step_begins()
        try:
            return self._engine.step(micro_batches, rates)
        finally:
            self._recorder.step_ends()
