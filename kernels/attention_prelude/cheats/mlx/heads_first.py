"""Returns heads before positions, as MLX's attention would like them. Expected: shape"""

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
    q, k, v = (
        (x @ matrix.flatten(0, 1).T).reshape(by_head).swapaxes(1, 2)
        for matrix in (query, key, value)
    )
    return _one(q, cos, sin, eps), _one(k, cos, sin, eps), v


def _one(x: mx.array, cos: mx.array, sin: mx.array, eps: float) -> mx.array:
    x1, x2 = mx.split(x, 2, axis=-1)
    turned = mx.concatenate([x1 * cos + x2 * sin, x2 * cos - x1 * sin], axis=-1)
    return mx.fast.rms_norm(turned, None, eps)
