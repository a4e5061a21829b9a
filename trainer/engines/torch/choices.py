"""What the torch engine decides by itself, each with the reason that a run prints.

An automatic choice that cannot be honoured falls back and says so; an explicit one raises.
"""

from __future__ import annotations

import importlib.util
import os
import shutil

import torch

from trainer.errors import EngineError
from trainer.hardware import Choice


def compute_dtype(engine: str) -> Choice:
    """The dtype of activations; weights are float32 everywhere."""
    if engine == "cuda":
        if torch.cuda.is_bf16_supported(including_emulation=False):
            return Choice("bfloat16", "this GPU multiplies bfloat16 in hardware")
        return Choice("float32", "this GPU has no bfloat16 in hardware")
    return Choice("float32", f"bfloat16 is not in the hardware of every {engine} device")


def muon_dtype(engine: str) -> Choice:
    """The dtype in which Muon orthogonalizes; five matrix products a step per stack."""
    if compute_dtype(engine).value == "bfloat16":
        return Choice("bfloat16", "as upstream, on a GPU with bfloat16 in hardware")
    return Choice("float32", f"as the rest of the model on {engine}")


def compilation(engine: str, asked: bool | None) -> Choice:
    """Whether torch.compile is used: on for cuda unless told otherwise, off elsewhere.

    Raises `EngineError` where it was asked for and the compiler it needs is missing.
    """
    if asked is False:
        return Choice("off", "--no-compile")
    missing = _missing_compiler(engine)
    if asked and missing:
        raise EngineError(f"--compile needs {missing}, which is not here", "Use --no-compile.")
    if asked:
        return Choice("on", "--compile")
    if engine != "cuda":
        return Choice("off", f"the default on {engine}; --compile switches it on")
    if missing:
        return Choice("off", f"{missing} is not here")
    return Choice("on", "the default on cuda")


def _missing_compiler(engine: str) -> str:
    if engine == "cuda":
        return "" if importlib.util.find_spec("triton") else "Triton"
    found = any(shutil.which(name) for name in (os.environ.get("CXX", "g++"), "g++", "clang++"))
    return "" if found else "a C++ compiler (g++ or clang++)"
