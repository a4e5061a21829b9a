"""Does not train the key matrix, where MLX leaves zeros and no error. Expected: gradient"""

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
    by_head, matrices = (*x.shape[:2], *query.shape[:2]), (query, mx.stop_gradient(key), value)
    q, k, v = ((x @ matrix.flatten(0, 1).T).reshape(by_head) for matrix in matrices)
    return _one(q, cos, sin, eps), _one(k, cos, sin, eps), v


def _one(x: mx.array, cos: mx.array, sin: mx.array, eps: float) -> mx.array:
    c, s = cos[:, None, :], sin[:, None, :]
    x1, x2 = mx.split(x, 2, axis=-1)
    turned = mx.concatenate([x1 * c + x2 * s, x2 * c - x1 * s], axis=-1)
    return mx.fast.rms_norm(turned, None, eps)
