"""What the MLX optimizer does to a stack of equally shaped gradients, in the dtype it is given."""

import mlx.core as mx

# Amsel, Persson, Musco, Gower: "The Polar Express" (2025), as used by karpathy/autoresearch.
COEFFICIENTS = (
    (8.156554524902461, -22.48329292557795, 15.878769915207462),
    (4.042929935166739, -2.808917465908714, 0.5000178451051316),
    (3.8916678022926607, -2.772484153217685, 0.5060648178503393),
    (3.285753657755655, -2.3681294933425376, 0.46449024233003106),
    (2.3465413258596377, -1.7097828382687081, 0.42323551169305323),
)


def muon_orthogonalize(gradient: mx.array, steps: float) -> mx.array:
    """gradient [count, rows, columns] -> the same shape, each matrix near its polar factor."""
    # in float32, since MLX adds up in the dtype of what it adds
    norm = mx.sqrt(mx.square(gradient.astype(mx.float32)).sum((-2, -1), keepdims=True))
    x = gradient / (norm * 1.02 + 1e-6).astype(gradient.dtype)
    if gradient.shape[-2] > gradient.shape[-1]:
        for a, b, c in COEFFICIENTS[: int(steps)]:
            gram = x.swapaxes(-1, -2) @ x
            x = _mix(a, x, 1.0, x @ _mix(b, gram, c, gram @ gram))
    else:
        for a, b, c in COEFFICIENTS[: int(steps)]:
            gram = x @ x.swapaxes(-1, -2)
            x = _mix(a, x, 1.0, _mix(b, gram, c, gram @ gram) @ x)
    return x


def _mix(a: float, x: mx.array, b: float, y: mx.array) -> mx.array:
    """a x + b y, in float32: MLX would round a and b to the dtype first, bfloat16 by up to 0.4%."""
    return (a * x.astype(mx.float32) + b * y.astype(mx.float32)).astype(x.dtype)
