"""Polar Express with fewer large products: pairs of steps for elongated matrices.

A step is X <- P X with the symmetric P = a I + b A + c A^2 and A = X X^T on the shorter side. All P
commute, so for a pair A is carried on by A <- P A P, and the long X is multiplied once by the
product of both P. Pairs stand first and last, where they cost least precision, and A comes anew
from X in between. Narrow dtypes and short sides take single steps. Tall matrices are turned once
instead of at every step.
"""

import mlx.core as mx

# Amsel, Persson, Musco, Gower: "The Polar Express" (2025), as used by karpathy/autoresearch.
COEFFICIENTS = (
    (8.156554524902461, -22.48329292557795, 15.878769915207462),
    (4.042929935166739, -2.808917465908714, 0.5000178451051316),
    (3.8916678022926607, -2.772484153217685, 0.5060648178503393),
    (3.285753657755655, -2.3681294933425376, 0.46449024233003106),
    (2.3465413258596377, -1.7097828382687081, 0.42323551169305323),
)
PAIRS_START = (0, 3)
"""Steps that may be taken together with the one after them."""
ELONGATED = 2
"""Ratio of the sides from which on a pair costs less than two steps."""
AVERAGING = 16
"""Shorter sides have too few directions for a pair's errors to average out."""

Coefficients = tuple[float, float, float]


def muon_orthogonalize(gradient: mx.array, steps: float) -> mx.array:
    """gradient [count, rows, columns] -> the same shape, each matrix near its polar factor."""
    is_tall = gradient.shape[-2] > gradient.shape[-1]
    norm = mx.sqrt(mx.square(gradient.astype(mx.float32)).sum((-2, -1), keepdims=True))
    x = gradient / (norm * 1.02 + 1e-6).astype(gradient.dtype)
    x = x.swapaxes(-1, -2) if is_tall else x
    short, long = x.shape[-2:]
    may_pair = long >= ELONGATED * short and short >= AVERAGING and x.dtype == mx.float32
    coefficients = COEFFICIENTS[: int(steps)]
    done = 0
    while done < len(coefficients):
        if may_pair and done in PAIRS_START and done + 1 < len(coefficients):
            x = _two_steps(x, coefficients[done], coefficients[done + 1])
            done += 2
        else:
            x = _step(x, coefficients[done])
            done += 1
    return x.swapaxes(-1, -2) if is_tall else x


def _step(x: mx.array, coefficients: Coefficients) -> mx.array:
    a, b, c = coefficients
    gram = x @ x.swapaxes(-1, -2)
    return _mix(a, x, 1.0, _mix(b, gram, c, gram @ gram) @ x)


def _two_steps(x: mx.array, first: Coefficients, second: Coefficients) -> mx.array:
    gram = x @ x.swapaxes(-1, -2)
    one = _factor(gram, first)
    two = _factor(one @ (gram @ one), second)
    return (two @ one) @ x


def _factor(gram: mx.array, coefficients: Coefficients) -> mx.array:
    """a I + b A + c A^2."""
    a, b, c = coefficients
    return _mix(b, gram, c, gram @ gram) + a * mx.eye(gram.shape[-1])


def _mix(a: float, x: mx.array, b: float, y: mx.array) -> mx.array:
    """a x + b y, in float32: MLX would round a and b to the dtype first, bfloat16 by up to 0.4%."""
    return (a * x.astype(mx.float32) + b * y.astype(mx.float32)).astype(x.dtype)
