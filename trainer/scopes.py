"""Named stretches of a training step, for the profiler.

    with scope("op:mlp_up"):
        ...

Off (the default) a scope is one function call that returns a shared no-op. Inside `recording()` it
is a `torch.profiler.record_function`. Every differentiable op of the forward pass
lies in exactly one `op:` scope, so that its backward is found through autograd's sequence numbers;
`op:` scopes do not nest, but for `op:muon_orthogonalize` inside `op:muon_update`. Scopes time
nothing themselves.
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
def recording() -> Iterator[None]:
    """Switches scopes on for the block; they appear in whatever torch profiler is running."""
    from torch.profiler import record_function

    global _record
    _record = record_function
    try:
        yield
    finally:
        _record = None
