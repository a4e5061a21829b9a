"""Leaves out the 1e-6 of the norm, which only tiny gradients notice. Expected: numeric"""

import torch

COEFFICIENTS = (
    (8.156554524902461, -22.48329292557795, 15.878769915207462),
    (4.042929935166739, -2.808917465908714, 0.5000178451051316),
    (3.8916678022926607, -2.772484153217685, 0.5060648178503393),
    (3.285753657755655, -2.3681294933425376, 0.46449024233003106),
    (2.3465413258596377, -1.7097828382687081, 0.42323551169305323),
)


def muon_orthogonalize(gradient: torch.Tensor, steps: float) -> torch.Tensor:
    norm = gradient.norm(dim=(-2, -1), keepdim=True)
    x = gradient / torch.where(norm > 0, norm * 1.02, 1e-6)
    for a, b, c in COEFFICIENTS[: int(steps)]:
        if x.shape[-2] > x.shape[-1]:
            gram = x.mT @ x
            x = a * x + x @ (b * gram + c * (gram @ gram))
        else:
            gram = x @ x.mT
            x = a * x + (b * gram + c * (gram @ gram)) @ x
    return x
