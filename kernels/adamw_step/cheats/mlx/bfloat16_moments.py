"""Keeps the moments to bfloat16, half the memory traffic. Expected: numeric"""

import math

import mlx.core as mx


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
    new_first = _narrow(first + (1 - beta1) * (gradient - first))
    new_second = _narrow(beta2 * second + (1 - beta2) * gradient * gradient)
    corrections = [-mx.expm1(step * math.log(beta)) for beta in (beta1, beta2)]
    root = mx.sqrt(new_second / corrections[1]) + eps
    return weight - rate * new_first / corrections[0] / root, new_first, new_second


def _narrow(moment: mx.array) -> mx.array:
    return moment.astype(mx.bfloat16).astype(moment.dtype)
