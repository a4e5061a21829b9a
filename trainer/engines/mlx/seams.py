"""The seams of the MLX model: named pieces of work whose time can be measured.

    q, k, v = seam("qkv_projection", project, x, weights)      # project(x, weights)
    ops = seamed(ops)                           # every op of the table behind a seam of its name

    with fenced(Fences()) as fences:            # from here on every seam is fenced
        engine.step(...)
    fences.events

MLX is lazy, so a clock around a call sees nothing of its work. A fence evaluates the inputs before
its clock starts and the outputs before it stops. In the backward pass marks do the same: the clock
of a seam runs from when the gradients of its outputs are there until those of its inputs are.

The events have the form of torch's profiler, so the same code reads them. Fences cost time: nothing
overlaps, and nothing is fused across a seam. Off (the default), a seam is one function call more.
Never on in a compiled function.
"""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any, TypeVar

import mlx.core as mx

from trainer import scopes
from trainer.engines.mlx.marks import marked, several
from trainer.ops import OpTable

Result = TypeVar("Result")

SCOPE, OPERATOR = "user_annotation", "cpu_op"
"""How torch's profiler files scopes and operators; a node of the backward pass is an operator."""
EVALUATE = "autograd::engine::evaluate_function: "


def seam(name: str, function: Callable[..., Result], *arguments: Any) -> Result:
    """What the function returns; measured under this name while fences are on."""
    if _fences is None:
        return function(*arguments)
    return _fences.call(name, function, arguments)


def seamed(ops: OpTable) -> OpTable:
    """The table with every function behind a seam."""
    return OpTable(
        {n: replace(op, function=partial(seam, n, op.function)) for n, op in ops.items()}
    )


class Fences:
    """Measures what passes through the seams; `events` are those of a Chrome trace."""

    def __init__(self) -> None:
        self.events: list[dict[str, Any]] = []
        self._numbers = itertools.count()
        self._began: dict[int, float] = {}
        """Of a seam in the backward pass, by its number."""

    @contextmanager
    def scope(self, name: str) -> Iterator[None]:
        """A stretch of the host's time, without fences."""
        began = _now_us()
        yield
        self._add(SCOPE, name, began)

    def call(self, name: str, function: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
        """Calls the function between two fences, with marks for its backward pass."""
        number = next(self._numbers)
        mx.eval(arguments)
        began = _now_us()
        given = self._marked(arguments, partial(self._ends, name, number))
        result = function(*given)
        mx.eval(result)
        self._add(SCOPE, f"op:{name}", began)
        self._add(OPERATOR, name, began, {"Sequence number": number})
        if not isinstance(result, (mx.array, tuple, list)):
            return result
        behind = self._marked(tuple(several(result)), partial(self._begins, number))
        return behind[0] if isinstance(result, mx.array) else tuple(behind)

    def _marked(self, values: tuple[Any, ...], told: Callable[[list[mx.array]], None]) -> list[Any]:
        """The values, those through which gradients may flow marked."""
        floats = [i for i, v in enumerate(values) if _is_float(v)]
        found = list(values)
        for i, alias in zip(floats, marked([values[i] for i in floats], told), strict=True):
            found[i] = alias
        return found

    def _begins(self, number: int, gradients: list[mx.array]) -> None:
        self._began[number] = _now_us()

    def _ends(self, name: str, number: int, gradients: list[mx.array]) -> None:
        about = {"Sequence number": number, "Fwd thread id": 1}
        self._add(OPERATOR, f"{EVALUATE}{name}", self._began.pop(number), about)

    def _add(self, kind: str, name: str, began: float, about: Any = None) -> None:
        when = {"ts": began, "dur": _now_us() - began, "pid": os.getpid(), "tid": 1}
        self.events.append({"ph": "X", "cat": kind, "name": name, "args": about or {}, **when})


_fences: Fences | None = None


@contextmanager
def fenced(fences: Fences) -> Iterator[Fences]:
    """Switches the fences, and the scopes of the trainer's other parts, on for the block."""
    global _fences
    _fences = fences
    try:
        with scopes.recording(fences.scope):
            yield fences
    finally:
        _fences = None


def _is_float(value: Any) -> bool:
    return isinstance(value, mx.array) and bool(mx.issubdtype(value.dtype, mx.floating))


def _now_us() -> float:
    return time.perf_counter_ns() / 1e3
