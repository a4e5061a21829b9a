"""The operators of torch that a call consists of, written down while it runs.

    with recorder(torch) as operators:
        call()
    operators.seen                     "aten.mul.Tensor(torch.float32[4, 8][8, 1], 2)", ...

A worker records a candidate's, the judge the reference's; behaviour.py compares them. A worker
imports this file, so it imports nothing of ours. It never says what the operators mean.
"""

from __future__ import annotations

from typing import Any

MOST_OPERATORS, LONGEST_OPERATOR = 4096, 500


def recorder(torch: Any) -> Any:
    """A mode that writes down, in `seen`, every operator that computes or allocates, with what it
    is called on. Views are left out: what they do shows in the strides of what is computed from
    them."""
    from torch.utils._python_dispatch import TorchDispatchMode

    def shown(value: Any) -> str:
        if isinstance(value, torch.Tensor):
            return f"{value.dtype}{list(value.shape)}{list(value.stride())}"
        if isinstance(value, list | tuple):
            return f"[{', '.join(map(shown, value))}]"
        return repr(value)

    class Recorder(TorchDispatchMode):
        def __init__(self) -> None:
            super().__init__()
            self.seen: list[str] = []

        @classmethod
        def _should_skip_dynamo(cls) -> bool:
            return False  # else torch imports its compiler here, which takes seconds

        def __torch_dispatch__(
            self, operator: Any, types: Any, arguments: Any = (), named: Any = None
        ) -> Any:
            named = named or {}
            if not operator.is_view and len(self.seen) <= MOST_OPERATORS:
                words = [*map(shown, arguments), *(f"{n}={shown(v)}" for n, v in named.items())]
                self.seen.append(f"{operator}({', '.join(words)})"[:LONGEST_OPERATOR])
            return operator(*arguments, **named)

    return Recorder()
