"""Named stretches of a training step, for the profiler.

    with scope("op:mlp_up"):
        ...

Off (the default) a scope is one function call that returns a shared no-op. Inside `recording(mark)`
it is a `mark`, such as `torch.profiler.record_function`. Every differentiable op of the torch
engine's forward pass lies in exactly one `op:` scope, so that its backward is found through
autograd's sequence numbers; `op:` scopes do not nest, but for `op:muon_orthogonalize` inside
`op:muon_update`. Scopes time nothing themselves. The model in MLX has seams of the same names
(`trainer.engines.mlx.seams`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

_NOTHING: AbstractContextManager[Any] = nullcontext()
_record: Callable[[str], AbstractContextManager[Any]] | None = None


def scope(name: str) -> AbstractContextManager[Any]:
    """A context manager that marks its block as `name` while scopes are on."""
    return _NOTHING if _record is None else _record(name)


@contextmanager
def recording(mark: Callable[[str], AbstractContextManager[Any]]) -> Iterator[None]:
    """Switches scopes on for the block: each is the context manager that `mark` makes of a name."""
    global _record
    _record = mark
    try:
        yield
    finally:
        _record = None
