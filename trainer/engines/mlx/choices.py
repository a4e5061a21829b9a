"""What the MLX engine decides by itself, each with the reason that a run prints.

An automatic choice that cannot be honoured falls back and says so; an explicit one raises.
"""

from __future__ import annotations

import shutil

import mlx.core as mx
import psutil

from trainer.errors import EngineError
from trainer.hardware import Choice

CPU_MEMORY_SHARE = 0.75
"""Of the memory that is free when a run starts. MLX's own default is a share of all there is."""
CACHE_SHARE = 0.5
"""Of the memory limit. A step needs the same buffers as the step before; MLX's default on a CPU
keeps 32 MiB of them, and every larger one is paged in anew."""


def device() -> Choice:
    """Metal where there is any, else the CPU."""
    if mx.metal.is_available():
        return Choice("gpu", "Metal")
    return Choice("cpu", "this MLX has no Metal")


def compute_dtype(device: str) -> Choice:
    """The dtype of activations; weights are float32 everywhere."""
    if device == "gpu":
        return Choice("bfloat16", "half the memory traffic of float32")
    return Choice("float32", "MLX emulates bfloat16 on a CPU")


def muon_dtype(device: str) -> Choice:
    """The dtype in which Muon orthogonalizes."""
    if device == "gpu":
        return Choice("float32", "a public port met NaN in bfloat16; it is little of a step")
    return Choice("float32", "as the rest of the model on a CPU")


def compilation(device: str, asked: bool | None) -> Choice:
    """Whether mx.compile is used: on for Metal unless told otherwise, off on a CPU.

    For a CPU MLX has g++ build each fused kernel when it is first met: 74 of them and a minute or
    more for the `tour-mlx` preset, whose steps were then no faster. Raises `EngineError` where it
    was asked for and g++ is missing.
    """
    if asked is False:
        return Choice("off", "--no-compile")
    if asked:
        if device == "cpu" and not shutil.which("g++"):
            raise EngineError("--compile needs g++, which is not here", "Use --no-compile.")
        return Choice("on", "--compile")
    if device == "cpu":
        return Choice("off", "the default on a CPU; --compile switches it on")
    return Choice("on", "the default on Metal")


def memory(device: str) -> Choice:
    """Sets MLX's limits from the machine: all memory, that of freed buffers, that kept resident."""
    if device == "gpu":
        limit = int(mx.device_info(mx.gpu)["max_recommended_working_set_size"])
        source = "the working set that Metal recommends"
        mx.set_wired_limit(limit)
    else:
        limit = int(CPU_MEMORY_SHARE * psutil.virtual_memory().available)
        source = f"{CPU_MEMORY_SHARE:.0%} of the free memory"
    mx.set_memory_limit(limit)
    mx.set_cache_limit(int(CACHE_SHARE * limit))
    return Choice(f"{limit / 2**30:.1f} GiB", f"{source}; freed buffers keep up to half of it")
