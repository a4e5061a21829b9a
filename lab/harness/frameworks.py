"""Which framework a candidate is written in, by what its text imports.

    told = in_another_framework(failed, source, "mlx")

A file in torch that meets MLX's arrays fails somewhere inside, with an error about an argument's
type that says everything but what is wrong. So a failure of such a kind, in a file that imports
another framework and not the engine's, gets a reason of its own. Decides nothing: only what failed
anyway is looked at, as text. Nothing is imported, nothing runs.
"""

from __future__ import annotations

import ast

import msgspec

from lab.outcomes import Failed
from trainer.hardware import framework

ARRAYS = {"torch": "torch.Tensor", "mlx": "mlx.core.array"}
"""What a candidate gets and returns, by the framework of the engine."""
OTHERS = ("jax", "numpy", "tensorflow", "tinygrad", "triton")
"""Also imported for what is neither torch nor MLX."""
REASONS = ("import", "raised", "arity", "not_a_tensor")
"""As which a file in another framework fails."""


def in_another_framework(failed: Failed, source: bytes, engine: str) -> Failed:
    """The failure under reason `framework`, if that explains it; else as it is."""
    ours, found = framework(engine), imported(source)
    theirs = sorted(found & {*ARRAYS, *OTHERS})
    if failed.reason not in REASONS or ours in found or not theirs:
        return failed
    detail = (
        f"the file imports {' and '.join(theirs)} and not {ours}: on engine '{engine}' a candidate "
        f"gets and returns {ARRAYS[ours]}. It failed in {failed.detail}"
    )
    return msgspec.structs.replace(failed, reason="framework", detail=detail)


def imported(source: bytes) -> set[str]:
    """The roots of all modules that a file imports anywhere; none for what is no Python."""
    try:
        nodes = list(ast.walk(ast.parse(source)))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return set()
    names = [alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names]
    names += [node.module or "" for node in nodes if isinstance(node, ast.ImportFrom)]
    return {name.partition(".")[0] for name in names}
