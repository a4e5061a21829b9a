"""The oracle of `muon_orthogonalize`: Polar Express in the precision it is given."""

import torch

# Amsel, Persson, Musco, Gower: "The Polar Express" (2025), as used by karpathy/autoresearch.
COEFFICIENTS = (
    (8.156554524902461, -22.48329292557795, 15.878769915207462),
    (4.042929935166739, -2.808917465908714, 0.5000178451051316),
    (3.8916678022926607, -2.772484153217685, 0.5060648178503393),
    (3.285753657755655, -2.3681294933425376, 0.46449024233003106),
    (2.3465413258596377, -1.7097828382687081, 0.42323551169305323),
)


def muon_orthogonalize(gradient: torch.Tensor, steps: float) -> torch.Tensor:
    """gradient [count, rows, columns] -> the same shape, each matrix near its polar factor.

    Every matrix is scaled by 1 / (1.02 ||gradient||_F + 1e-6) first. `steps` is a whole number, at
    most five. The Gram matrix is taken on the shorter side, so that it is the smaller one.
    """
    if gradient.shape[-2] > gradient.shape[-1]:
        return muon_orthogonalize(gradient.mT, steps).mT
    norm = torch.sqrt((gradient * gradient).sum(dim=(-2, -1), keepdim=True))
    x = gradient / (norm * 1.02 + 1e-6)
    for a, b, c in COEFFICIENTS[: int(steps)]:
        gram = x @ x.mT
        x = a * x + (b * gram + c * (gram @ gram)) @ x
    return x


def added_in_one_rounding(gradient: torch.Tensor, steps: float) -> torch.Tensor:
    """Each multiple is added without being rounded before, as fused products do. In bfloat16 that
    is another way through the roundings, and where all singular values are equal, as in matrices of
    one row, one way is all that there is: 4% off for one, 20% for the next."""
    x = gradient / (gradient.norm(dim=(-2, -1), keepdim=True) * 1.02 + 1e-6)
    x = x.mT if gradient.shape[-2] > gradient.shape[-1] else x
    for a, b, c in COEFFICIENTS[: int(steps)]:
        gram = x @ x.mT
        x = (((gram @ gram) * c).add(gram, alpha=b) @ x).add(x, alpha=a)
    return x.mT if gradient.shape[-2] > gradient.shape[-1] else x


PEERS = (added_in_one_rounding,)
