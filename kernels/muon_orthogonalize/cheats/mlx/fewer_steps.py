"""Leaves out the last step, which changes least. Expected: numeric"""

import mlx.core as mx

COEFFICIENTS = (
    (8.156554524902461, -22.48329292557795, 15.878769915207462),
    (4.042929935166739, -2.808917465908714, 0.5000178451051316),
    (3.8916678022926607, -2.772484153217685, 0.5060648178503393),
    (3.285753657755655, -2.3681294933425376, 0.46449024233003106),
)


def muon_orthogonalize(gradient: mx.array, steps: float) -> mx.array:
    norm = mx.sqrt(mx.square(gradient.astype(mx.float32)).sum((-2, -1), keepdims=True))
    x = (gradient / (norm * 1.02 + 1e-6)).astype(gradient.dtype)
    for a, b, c in COEFFICIENTS:
        gram = x @ x.swapaxes(-1, -2)
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x
