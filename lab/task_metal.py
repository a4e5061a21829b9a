"""What TASK.md says to the author of a candidate in Metal, beside what it says to all."""

from __future__ import annotations

from lab.simulated import simulates
from lab.workspace import Seal


def write(seal: Seal) -> str:
    """A section of Markdown: what such a candidate is, and what is known where."""
    return f"""## A candidate in Metal
- It is a candidate in MLX that does its work in kernels of its own: `mx.fast.metal_kernel` makes
  one of Metal source, `mx.custom_function` with `.vjp` gives it its gradient, as a custom kernel
  has none. A candidate that launches no kernel at a training shape fails.
- `docs/metal.md` says how to write kernels for Apple GPUs and lists what the simulator finds and
  does not cover. `kernels/rmsnorm/candidates/metal.py` is a whole example.
- {_here(seal)}"""


def commands(seal: Seal) -> str:
    """Which stages work where, if not all do here; else nothing."""
    if not simulates(seal.language, seal.engine):
        return ""
    return (
        "\n\nHere only verify and gate do their work: there is no Metal to time. The gate holds, "
        "since evidence of a simulator promotes nothing."
    )


def _here(seal: Seal) -> str:
    if not simulates(seal.language, seal.engine):
        return "Here the kernels run on the GPU. Nothing checks them for races or stray reads."
    return (
        "This machine has no Metal: verify runs the kernels in a simulator, on a CPU, and looks "
        "for stray\n  accesses, races, wrong barriers and endless loops. An error fails; warnings "
        "and notes are shown.\n  What passes was checked on a CPU. It is not known to run on "
        "Metal, nor how fast it would be.\n  Kernels run when they are called, and `mx.compile` is "
        "switched off."
    )
