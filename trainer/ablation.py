"""Steps without one op: how much faster a step gets when the op costs nothing.

    ablation = Ablation(stand_in)                # the engine's: it knows the framework
    engine = Engine(..., ablation.wrap(ops))
    with ablation.without("rmsnorm"):
        engine.step(...)                         # every call of rmsnorm is free

A free op returns arrays of the right shape and dtype that lie ready, and so do its gradients; what
comes before and after it runs as ever. The first call of a shape without the op still calls it, and
keeps what it returned: time the steps after that one. Such a step trains nonsense, so put the
weights back. Nothing is measured here, and a compiled model would not notice the switch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, Protocol

from kernels.spec import Target, discover
from trainer.ops import Op, OpTable


class StandIn(Protocol):
    """What a framework has to offer: results that lie ready."""

    def key(self, target: Target, arguments: tuple[Any, ...]) -> Any:
        """What decides on the shapes of the results."""

    def learn(self, target: Target, arguments: tuple[Any, ...], result: Any) -> Callable[..., Any]:
        """A function of the arguments that returns copies of this result and does no work."""


class Ablation:
    """A table of ops, any one of which can be made free."""

    def __init__(self, stand_in: StandIn) -> None:
        self._stand_in = stand_in
        self._without = ""
        self._free: dict[Any, Callable[..., Any]] = {}
        self.called: set[str] = set()
        """The ops that were called so far."""

    def wrap(self, ops: OpTable) -> OpTable:
        """The table with every op behind the switch."""
        folders = discover()
        return OpTable(
            {n: replace(op, function=self._seam(op, folders[n].target)) for n, op in ops.items()}
        )

    @contextmanager
    def without(self, name: str) -> Iterator[None]:
        """Within the block the op of that name is free."""
        self._without = name
        try:
            yield
        finally:
            self._without = ""

    def forget(self) -> None:
        """Gives the memory of what lay ready back."""
        self._free.clear()

    def _seam(self, op: Op, target: Target) -> Callable[..., Any]:
        def call(*arguments: Any) -> Any:
            self.called.add(op.name)
            if self._without != op.name:
                return op.function(*arguments)
            key = (op.name, self._stand_in.key(target, arguments))
            if key in self._free:
                return self._free[key](*arguments)
            result = op.function(*arguments)
            self._free[key] = self._stand_in.learn(target, arguments, result)
            return result

        return call
