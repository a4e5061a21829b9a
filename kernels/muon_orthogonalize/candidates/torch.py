"""Polar Express with fused products, and for elongated float32 matrices by pairs of steps. For CPUs.

A step is X <- P X with the symmetric P = a I + b A + c A^2 and A = X X^T on the shorter side m.
baddbmm adds b A and a X while it multiplies. Where the longer side n is at least twice as long,
most of the work is in products with X, 4 m^2 n per step. As all the P commute, a pair of steps can
do with half of it: A is carried on by A <- P A P, and X is multiplied by the product of both P.

Carrying A on squares the condition number, so A comes anew from X after each pair, and the pairs
stand where they cost least precision: at the start, with a single step to mend it, and at the end,
when all singular values are near 1. On spectra of up to five decades the float32 error stays within
twice that of single steps; three steps from one Gram matrix would be faster, and up to ten times
less accurate. In bfloat16 even a pair may diverge at two decades, so there all steps are single.
"""

import torch

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
NARROW_MINIMUM = 128
"""Shorter sides below this are computed in float32: it costs nothing there, and for the smallest
torch's baddbmm rounds the coefficients to bfloat16."""

Coefficients = tuple[float, float, float]


def muon_orthogonalize(gradient: torch.Tensor, steps: float) -> torch.Tensor:
    """gradient [count, rows, columns] -> the same shape, each matrix near its polar factor."""
    short, long = sorted(gradient.shape[-2:])
    precise = gradient.dtype in (torch.float32, torch.float64)
    if not precise and short < NARROW_MINIMUM:
        return muon_orthogonalize(gradient.float(), steps).to(gradient.dtype)
    norm = torch.linalg.vector_norm(gradient, dim=(-2, -1), keepdim=True)
    x = gradient / (norm * 1.02 + 1e-6)
    coefficients = COEFFICIENTS[: int(steps)]
    pairs = PAIRS_START if precise and long >= ELONGATED * short else ()
    done = 0
    while done < len(coefficients):
        size = 2 if done in pairs and done + 1 < len(coefficients) else 1
        take = _two_steps if size == 2 else _step
        x = take(x, *coefficients[done : done + size])
        done += size
    return x


def _step(x: torch.Tensor, coefficients: Coefficients) -> torch.Tensor:
    a, b, c = coefficients
    tall, gram = _gram(x)
    factor = torch.baddbmm(gram, gram, gram, beta=b, alpha=c)
    return torch.baddbmm(x, *((x, factor) if tall else (factor, x)), beta=a)


def _two_steps(x: torch.Tensor, first: Coefficients, second: Coefficients) -> torch.Tensor:
    tall, gram = _gram(x)
    one = _factor(gram, first)
    two = _factor(torch.bmm(one, torch.bmm(gram, one)), second)
    both = torch.bmm(two, one)
    return torch.bmm(x, both) if tall else torch.bmm(both, x)


def _gram(x: torch.Tensor) -> tuple[bool, torch.Tensor]:
    """Whether x has more rows than columns, and the Gram matrix on its shorter side."""
    tall = x.shape[-2] > x.shape[-1]
    return tall, torch.bmm(x.mT, x) if tall else torch.bmm(x, x.mT)


def _factor(gram: torch.Tensor, coefficients: Coefficients) -> torch.Tensor:
    """a I + b A + c A^2."""
    a, b, c = coefficients
    factor = torch.baddbmm(gram, gram, gram, beta=b, alpha=c)
    factor.diagonal(dim1=-2, dim2=-1).add_(a)
    return factor
