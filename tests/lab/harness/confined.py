"""Where the tests of the sandbox run their programs: in every isolation that works here."""

from __future__ import annotations

from collections.abc import Callable

from lab.harness import sandbox
from lab.harness.running import Limits
from lab.harness.sandbox import Sandboxed
from lab.isolation import NONE

AVAILABLE = [kind for kind in sandbox.KINDS if not sandbox._problem(kind)]
CONFINED = [kind for kind in AVAILABLE if kind != NONE]
LINUX = [kind for kind in CONFINED if kind != "seatbelt"]
"""What only namespaces can promise is not asked of seatbelt."""
GENEROUS = Limits(wall_s=60, memory_bytes=2**30)

Run = Callable[..., Sandboxed]
"""Starts a Python script with arguments: `start(script, *arguments, kind=..., limits=...)`."""
