"""Which engine a run uses and on what hardware, each with its reason.

The hardware key names the model of the chip, and for CPUs the number of usable cores: promotions
and evidence are filed under it. Imports a framework only when an engine needs it.
"""

from __future__ import annotations

import os
import platform
import resource
import sys
from typing import Literal, NamedTuple

from trainer.errors import EngineError, unknown
from trainer.system import apple_gpu_cores, cpu_model

ENGINES = ("mlx", "cuda", "mps", "cpu")
"""The MLX engine, and the torch engine on its three devices."""

Framework = Literal["torch", "mlx"]


class Choice(NamedTuple):
    """A value and why it was chosen."""

    value: str
    reason: str


def framework(engine: str) -> Framework:
    """In which framework an engine computes, and therefore its ops and candidates."""
    return "mlx" if engine == "mlx" else "torch"


def is_apple_silicon() -> bool:
    """Whether this is a Mac with Apple's own chip, and Python built for it."""
    return sys.platform == "darwin" and platform.machine() == "arm64"


def computes_on_cpu(engine: str) -> bool:
    """Whether an engine's work is done by the processor: mlx computes on Metal on a Mac only."""
    return engine == "cpu" or (engine == "mlx" and not is_apple_silicon())


def resident_peak_mb() -> float:
    """Largest resident set of this process so far (MiB); getrusage counts bytes on macOS."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 2**10)


def usable_cores() -> int:
    """Cores that this process may run on: under taskset, fewer than the machine has."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def resolve_engine(name: str) -> Choice:
    """`auto` becomes the best engine here; a named engine that is not here raises `EngineError`.

    `auto` takes mlx on Apple silicon, cuda where torch sees a GPU of NVIDIA's, else the CPU; mps
    has to be asked for.
    """
    if name not in (*ENGINES, "auto"):
        raise unknown("engine", name, (*ENGINES, "auto"))
    if name == "auto":
        return _best()
    if name == "mlx":
        _require_mlx()
    elif name != "cpu" and not _torch_sees(name):
        import torch

        raise EngineError(
            f"engine '{name}' was asked for, but torch {torch.__version__} sees no such device",
            "Use --engine cpu, or --engine auto to take what is there.",
        )
    return Choice(name, "asked for")


def _best() -> Choice:
    instead = ""
    if is_apple_silicon():
        try:
            _require_mlx()
        except EngineError as error:
            instead = f"; on this Mac mlx would be faster, but {error.message}"
        else:
            return Choice("mlx", "auto: this is Apple silicon")
    if _torch_sees("cuda"):
        return Choice("cuda", "auto: torch sees a cuda device")
    return Choice("cpu", f"auto: torch sees no GPU{instead}")


def _torch_sees(device: str) -> bool:
    import torch

    if device == "cuda":
        return torch.cuda.is_available()
    return torch.backends.mps.is_available()


def _require_mlx() -> None:
    from trainer.engines.mlx.installed import require_mlx

    require_mlx()


def hardware_key(engine: str) -> str:
    """The chip that `engine` runs on, e.g. `AMD EPYC x2` or `NVIDIA H100 80GB HBM3`."""
    if engine == "cuda":
        import torch

        return str(torch.cuda.get_device_name())
    if engine == "mps" or (engine == "mlx" and is_apple_silicon()):
        # chips of one name differ in their GPUs: an M4 Max has 32 or 40 cores
        return f"{cpu_model()} with {apple_gpu_cores() or 'unknown'} GPU cores"
    return f"{cpu_model()} x{usable_cores()}"
