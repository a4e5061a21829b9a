"""Projections, rotation and norm in one, backward by hand.

The three matrices stand below one another: forward is one product, and so are the gradient of x,
which needs no additions after it, and that of the matrices. Rotation and norm work as in the
candidate of `rope_qk_norm`, on q and k together: kept are their results and one scale per head
vector. Products are computed in the dtype given, as the incumbent does, the rest in float32.
"""

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
    """x [batch, sequence, width], matrices [heads, head_dim, width], tables [sequence,
    head_dim / 2] -> q, k and v [batch, sequence, heads, head_dim]."""
    heads = query.shape[0]
    c, s = (table.astype(mx.float32)[:, None, :] for table in (cos, sin))

    @mx.custom_function
    def prelude(x: mx.array, matrices: mx.array) -> tuple[mx.array, ...]:
        flat = x @ matrices.flatten(0, 1).T
        all_heads = flat.reshape(*x.shape[:2], *matrices.shape[:2])
        turned = _turned(all_heads[:, :, : 2 * heads].astype(mx.float32), c, s)
        scale = mx.rsqrt(mx.square(turned).mean(-1, keepdims=True) + eps)
        normed = turned * scale
        return normed.astype(x.dtype), all_heads[:, :, 2 * heads :], normed, scale

    @prelude.vjp
    def gradients(
        given: tuple[mx.array, ...], incoming: list[mx.array], outputs: list[mx.array]
    ) -> tuple[mx.array, mx.array]:
        x, matrices = given
        _, _, normed, scale = outputs
        dy = incoming[0].astype(mx.float32)
        dz = scale * (dy - normed * (dy * normed).mean(-1, keepdims=True))
        turned_back = _turned(dz, c, -s).astype(x.dtype)
        flat = mx.concatenate([turned_back, incoming[1]], axis=2).flatten(2)
        of_matrices = flat.flatten(0, 1).T @ x.flatten(0, 1)
        return flat @ matrices.flatten(0, 1), of_matrices.reshape(matrices.shape)

    normed, v, *_ = prelude(x, mx.concatenate([query, key, value]))
    return normed[:, :, :heads], normed[:, :, heads:], v


def _turned(x: mx.array, c: mx.array, s: mx.array) -> mx.array:
    """x turned by minus the angles of the tables."""
    x1, x2 = mx.split(x, 2, axis=-1)
    return mx.concatenate([x1 * c + x2 * s, x2 * c - x1 * s], axis=-1)
