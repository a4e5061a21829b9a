"""How long-running stages tell how far they are: a label, what is done and the total."""

from __future__ import annotations

from collections.abc import Callable

Progress = Callable[[str, int, int], None]


def silent(label: str, done: int, total: int) -> None:
    """The default: says nothing."""
