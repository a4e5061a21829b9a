"""Which engine a run uses and on what hardware, each with its reason.

The hardware key names the model of the chip, and for CPUs the number of usable cores: promotions
and evidence are filed under it. Imports torch only when an engine needs it.
"""

from __future__ import annotations

import os
from typing import NamedTuple

from trainer.errors import EngineError, unknown
from trainer.system import apple_gpu_cores, cpu_model

ENGINES = ("cuda", "mps", "cpu")
"""The torch engine on its three devices."""


class Choice(NamedTuple):
    """A value and why it was chosen."""

    value: str
    reason: str


def usable_cores() -> int:
    """Cores that this process may run on: under taskset, fewer than the machine has."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def resolve_engine(name: str) -> Choice:
    """`auto` becomes the best engine here; a named engine that is not here raises `EngineError`."""
    if name not in (*ENGINES, "auto"):
        raise unknown("engine", name, (*ENGINES, "auto"))
    if name == "cpu":
        return Choice("cpu", "asked for")
    import torch

    present = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if name != "auto":
        if not present[name]:
            raise EngineError(
                f"engine '{name}' was asked for, but torch {torch.__version__} sees no such device",
                "Use --engine cpu, or --engine auto to take what is there.",
            )
        return Choice(name, "asked for")
    for engine, is_here in present.items():
        if is_here:
            return Choice(engine, f"auto: torch sees a {engine} device")
    return Choice("cpu", "auto: torch sees no GPU")


def hardware_key(engine: str) -> str:
    """The chip that `engine` runs on, e.g. `AMD EPYC x2` or `NVIDIA H100 80GB HBM3`."""
    if engine == "cuda":
        import torch

        return str(torch.cuda.get_device_name())
    if engine == "mps":
        # chips of one name differ in their GPUs: an M4 Max has 32 or 40 cores
        return f"{cpu_model()} with {apple_gpu_cores() or 'unknown'} GPU cores"
    return f"{cpu_model()} x{usable_cores()}"
