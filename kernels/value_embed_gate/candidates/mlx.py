"""The gated value embedding with its gradient by hand. For CPUs, where memory is the cost.

With the gate g = 2 s, s = sigmoid(z), and p the sum of dy times embedding over each head, what
reaches z is p 2 s (1 - s) = p g (1 - g / 2), and dvalue is dy itself. Of the gradient of x only the
gate's channels are computed; zeros are put beside them. Kept is one number per token and head.
Narrow dtypes are computed in float32 and rounded once.
"""

import mlx.core as mx


def value_embed_gate(
    x: mx.array, weight: mx.array, value: mx.array, embedding: mx.array
) -> mx.array:
    """x [batch, sequence, width], weight [heads, channels], value and embedding
    [batch, sequence, heads, head_dim] -> the shape of value."""
    return _gated(x, weight, value, embedding)[0]


@mx.custom_function
def _gated(
    x: mx.array, weight: mx.array, value: mx.array, embedding: mx.array
) -> tuple[mx.array, mx.array]:
    gate = 2 * mx.sigmoid(_wide(x[..., : weight.shape[1]]) @ _wide(weight).T)
    y = _wide(value) + gate[..., None] * _wide(embedding)
    return y.astype(value.dtype), gate


@_gated.vjp
def _gradients(
    given: tuple[mx.array, ...], incoming: list[mx.array], outputs: list[mx.array]
) -> tuple[mx.array, ...]:
    x, weight, _, embedding = given
    dy, gate = _wide(incoming[0]), outputs[1]
    channels = weight.shape[1]
    dz = (dy * _wide(embedding)).sum(-1) * gate * (1 - gate / 2)
    read = _wide(x[..., :channels])
    beside = [(0, 0)] * (x.ndim - 1) + [(0, x.shape[-1] - channels)]
    return (
        mx.pad((dz @ _wide(weight)).astype(x.dtype), beside),
        (dz.flatten(0, -2).T @ read.flatten(0, -2)).astype(weight.dtype),
        incoming[0],
        (dy * gate[..., None]).astype(embedding.dtype),
    )


def _wide(array: mx.array) -> mx.array:
    return array.astype(mx.float32)
