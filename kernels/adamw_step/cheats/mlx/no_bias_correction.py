"""Leaves the bias corrections out, as MLX's own AdamW does by default. Expected: numeric"""

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
    new_first = beta1 * first + (1 - beta1) * gradient
    new_second = beta2 * second + (1 - beta2) * mx.square(gradient)
    return weight - rate * new_first / (mx.sqrt(new_second) + eps), new_first, new_second
