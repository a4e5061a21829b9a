"""What the MLX trainer does to a table, in torch's order of operations; mx.compile fuses it."""

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
    """All [weights] but rate and step [1] -> the weights and both moments after the step."""
    new_first = first + (1 - beta1) * (gradient - first)
    new_second = beta2 * second + (1 - beta2) * gradient * gradient
    size = rate / _one_minus_power(beta1, step)
    root = mx.sqrt(new_second) / mx.sqrt(_one_minus_power(beta2, step))
    return weight - size * new_first / (root + eps), new_first, new_second


def _one_minus_power(beta: float, step: mx.array) -> mx.array:
    """1 - beta^step, without the digits that the subtraction would lose in float32."""
    return -mx.expm1(step * math.log(beta))
