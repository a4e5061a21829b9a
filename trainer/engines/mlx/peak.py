"""The arithmetic rate that utilisation is measured against: a quick matrix product."""

from __future__ import annotations

import time

import mlx.core as mx

SIDES = {"gpu": 4096, "cpu": 256}
"""Side of the square matrices: large enough for the device, small enough for 0.3 seconds."""
SECONDS = 0.3


def measured_peak(device: str, dtype: mx.Dtype, seconds: float = SECONDS) -> tuple[float, str]:
    """FLOP/s of the fastest of many products (other work can only slow one down), and how."""
    side = SIDES[device]
    matrix = mx.random.normal((side, side)).astype(dtype)
    mx.eval(matrix)
    fastest = float("inf")
    deadline = time.perf_counter() + seconds
    while fastest == float("inf") or time.perf_counter() < deadline:
        begin = time.perf_counter()
        mx.eval(matrix @ matrix)
        fastest = min(fastest, time.perf_counter() - begin)
    kind = str(dtype).removeprefix("mlx.core.")
    return 2 * side**3 / fastest, f"measured, {kind} product of {side} x {side} matrices"
