"""Norms queries and keys without turning them. Expected: numeric"""

import mlx.core as mx


def attention_prelude(
    x: mx.array,
    query: mx.array,
    key: mx.array,
    value: mx.array,
    cos: mx.array,
    sin: mx.array,
    eps: float,
) -> tuple[mx.array, mx.array, mx.array]:
    by_head = (*x.shape[:2], *query.shape[:2])
    q, k, v = ((x @ matrix.flatten(0, 1).T).reshape(by_head) for matrix in (query, key, value))
    return mx.fast.rms_norm(q, None, eps), mx.fast.rms_norm(k, None, eps), v
