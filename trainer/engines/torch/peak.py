"""The arithmetic rate that utilisation is measured against."""

from __future__ import annotations

import time

import torch

from trainer.chips import nvidia

SIDE = 1024
SECONDS = 0.3


def peak_flops(device: torch.device, dtype: torch.dtype) -> tuple[float, str]:
    """FLOP/s and where the number is from: the maker's, or a quick measurement."""
    if device.type == "cuda" and dtype == torch.bfloat16:
        chip = nvidia(torch.cuda.get_device_name())
        if chip is not None:
            return chip.bfloat16_tflop_s * 1e12, f"{chip.source}, {chip.name}, dense bfloat16"
    kind = str(dtype).removeprefix("torch.")
    return measured_peak(device, dtype), f"measured, {kind} product of {SIDE} x {SIDE} matrices"


def measured_peak(device: torch.device, dtype: torch.dtype, seconds: float = SECONDS) -> float:
    """FLOP/s of the fastest of many matrix products: other work can only slow one down."""
    matrix = torch.randn(SIDE, SIDE).to(device, dtype)
    product = torch.empty_like(matrix)
    fastest = float("inf")
    deadline = time.perf_counter() + seconds
    while fastest == float("inf") or time.perf_counter() < deadline:
        begin = time.perf_counter()
        torch.mm(matrix, matrix, out=product)
        product[0, 0].item()  # waits for the device
        fastest = min(fastest, time.perf_counter() - begin)
    return float(2 * SIDE**3 / fastest)
