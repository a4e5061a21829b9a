"""A candidate in the wrong framework is told so; nothing else is blamed on it."""

from __future__ import annotations

import pytest

from lab.harness.frameworks import imported, in_another_framework
from lab.outcomes import Failed, FailureReason

TORCH, MLX = b"import torch.nn.functional as F\n", b"def f(x):\n    import mlx.core as mx\n"


def told(source: bytes, engine: str, reason: FailureReason = "raised") -> Failed:
    """The failure as its author sees it."""
    return in_another_framework(Failed(reason=reason, detail="case train: x"), source, engine)


@pytest.mark.parametrize(
    ("source", "engine", "says"),
    [
        (TORCH, "mlx", "imports torch and not mlx: on engine 'mlx'"),
        (MLX, "cpu", "gets and returns torch.Tensor"),
        (b"from numpy import zeros\n", "mlx", "gets and returns mlx.core.array"),
        (b"import jax\nimport numpy\n", "cuda", "imports jax and numpy and not torch"),
    ],
)
def test_the_other_framework_is_named(source: bytes, engine: str, says: str) -> None:
    """An error about the type of an argument would not say that all of the file is wrong."""
    found = told(source, engine)
    assert found.reason == "framework"
    assert says in found.detail
    assert found.detail.endswith("case train: x")


@pytest.mark.parametrize(
    ("source", "engine", "reason"),
    [
        (TORCH, "cpu", "raised"),  # the right one
        (TORCH + MLX, "mlx", "raised"),  # both: the fault may be anywhere
        (b"import math\n", "mlx", "raised"),  # none that is known
        (TORCH, "mlx", "numeric"),  # it computed something
        (b"def f(:", "mlx", "import"),
    ],
)
def test_other_failures_keep_their_reason(
    source: bytes, engine: str, reason: FailureReason
) -> None:
    """Whoever is told to rewrite a file must not find that its framework was right."""
    assert told(source, engine, reason).reason == reason


def test_imports_are_found_wherever_they_stand() -> None:
    """Inside of functions, under other names, from within packages."""
    source = b"import os.path as p\nfrom a.b import c\ndef f():\n    import d\nfrom . import e\n"
    assert imported(source) == {"os", "a", "d", ""}
