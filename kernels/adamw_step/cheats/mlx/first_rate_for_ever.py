"""Keeps the first rate as a number, as a compiled step that was given one. Expected: numeric"""

import math

import mlx.core as mx

RATE: list[float] = []


def adamw_step(
    weight: mx.array,
    gradient: mx.array,
    first: mx.array,
    second: mx.array,
    rate: mx.array,
    step: mx.array,
    beta1: float,
    beta2: float,
    eps: float,
) -> tuple[mx.array, mx.array, mx.array]:
    RATE.append(rate.item())
    new_first = first + (1 - beta1) * (gradient - first)
    new_second = beta2 * second + (1 - beta2) * gradient * gradient
    corrections = [-mx.expm1(step * math.log(beta)) for beta in (beta1, beta2)]
    root = mx.sqrt(new_second / corrections[1]) + eps
    return weight - RATE[0] * new_first / corrections[0] / root, new_first, new_second
