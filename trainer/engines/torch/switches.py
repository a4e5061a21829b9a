"""Torch's switches of the whole process, read: what one op's file may not change for all others.

    before = read()
    ...                                        # ops are loaded or called
    refuse_change(before, read(), "loading the ops")   # raises `EngineError` and names the switch

A candidate that turns one (threads, the precision of products, denormals, the collector) computes
its own op right and makes every other op of the step faster, which it is not promoted for.
Changes nothing. What it reads comes from the process itself: code in there can forge it.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Mapping, Sequence
from operator import attrgetter

from trainer.errors import EngineError

SWITCHES = (
    *("torch.get_num_threads", "torch.get_num_interop_threads"),
    *("torch.get_float32_matmul_precision", "torch.get_default_dtype", "torch.get_default_device"),
    *("torch.is_grad_enabled", "torch.is_inference_mode_enabled", "torch.is_autocast_enabled"),
    # Without an argument torch.is_autocast_enabled speaks of CUDA alone.
    *("torch._C._is_any_autocast_enabled", "torch.is_autocast_cache_enabled"),
    # A mode that stays on stands between every op and its kernel.
    *("torch._C._len_torch_dispatch_stack", "torch._C._len_torch_function_stack"),
    *("torch.is_anomaly_enabled", "torch.autograd.is_multithreading_enabled"),
    *("torch.get_deterministic_debug_mode", "torch.utils.deterministic.fill_uninitialized_memory"),
    *("torch.backends.cudnn.enabled", "torch.backends.cudnn.benchmark"),
    *("torch.backends.cudnn.deterministic", "torch.backends.cudnn.allow_tf32"),
    *("torch.backends.fp32_precision", "torch.backends.cudnn.fp32_precision"),
    *("torch.backends.cuda.matmul.fp32_precision", "torch.backends.cuda.matmul.allow_tf32"),
    "torch.backends.cuda.matmul.allow_fp16_reduced_precision_reduction",
    "torch.backends.cuda.matmul.allow_bf16_reduced_precision_reduction",
    "torch.backends.cuda.matmul.allow_fp16_accumulation",
    *("torch.backends.mkldnn.enabled", "torch.backends.mkldnn.deterministic"),
    *("torch.backends.mkldnn.fp32_precision", "torch.backends.mkldnn.matmul.fp32_precision"),
    *("torch.backends.cuda.flash_sdp_enabled", "torch.backends.cuda.mem_efficient_sdp_enabled"),
    *("torch.backends.cuda.math_sdp_enabled", "torch.backends.cuda.cudnn_sdp_enabled"),
    "torch.backends.cuda.fp16_bf16_reduction_math_sdp_allowed",
    *("torch.backends.cuda.preferred_blas_library", "torch.cuda.tunable.is_enabled"),
    *("gc.isenabled", "gc.get_threshold", "sys.getswitchinterval"),
)
"""Each a value, or a function without arguments that returns it."""
DENORMALS = "denormal numbers"
"""torch.set_flush_denormal has no counterpart that reads it, so one is computed."""


def read(names: Sequence[str] = SWITCHES) -> dict[str, str]:
    """Every switch as it is now, and whether this thread computes with denormal numbers."""
    return {name: _value(name) for name in names} | {DENORMALS: str(sys.float_info.min / 2 > 0)}


def changed(before: Mapping[str, str], after: Mapping[str, str]) -> str:
    """What is another, with both values; empty if nothing is."""
    return ", ".join(
        f"{name}: was {was}, is {after.get(name, 'gone')}"
        for name, was in before.items()
        if after.get(name) != was
    )


def refuse_change(before: Mapping[str, str], after: Mapping[str, str], what: str) -> None:
    """Raises `EngineError` if any is another than `before`."""
    found = changed(before, after)
    if found:
        raise EngineError(
            f"{what} changed how the whole process computes ({found})",
            "An op may not: it has to leave these switches alone, or put them back.",
        )


def _value(name: str) -> str:
    import torch  # here, so that the judge can import the names alone

    root, _, path = name.partition(".")
    try:
        found = attrgetter(path)({"torch": torch, "gc": gc, "sys": sys}[root])
        return str(found() if callable(found) else found)
    except (AttributeError, RuntimeError) as error:  # another torch, or settings that contradict
        return f"{type(error).__name__}"
