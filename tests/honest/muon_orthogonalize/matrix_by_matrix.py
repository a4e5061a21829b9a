"""One matrix of the stack after the other."""

import torch

COEFFICIENTS = (
    (8.156554524902461, -22.48329292557795, 15.878769915207462),
    (4.042929935166739, -2.808917465908714, 0.5000178451051316),
    (3.8916678022926607, -2.772484153217685, 0.5060648178503393),
    (3.285753657755655, -2.3681294933425376, 0.46449024233003106),
    (2.3465413258596377, -1.7097828382687081, 0.42323551169305323),
)


def one(matrix: torch.Tensor, steps: int) -> torch.Tensor:
    if matrix.shape[0] > matrix.shape[1]:
        return one(matrix.T, steps).T
    x = matrix / (matrix.norm() * 1.02 + 1e-6)
    for a, b, c in COEFFICIENTS[:steps]:
        gram = x @ x.T
        x = a * x + (b * gram + c * (gram @ gram)) @ x
    return x


def muon_orthogonalize(gradient: torch.Tensor, steps: float) -> torch.Tensor:
    return torch.stack([one(matrix, int(steps)) for matrix in gradient])
