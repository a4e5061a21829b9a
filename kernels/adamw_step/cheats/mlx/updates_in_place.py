"""Updates the weights with -=, which in MLX changes the caller's array. Expected: input_changed"""

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
    new_first = first + (1 - beta1) * (gradient - first)
    new_second = beta2 * second + (1 - beta2) * gradient * gradient
    corrections = [-mx.expm1(step * math.log(beta)) for beta in (beta1, beta2)]
    root = mx.sqrt(new_second / corrections[1]) + eps
    weight -= rate * new_first / corrections[0] / root
    return weight, new_first, new_second
