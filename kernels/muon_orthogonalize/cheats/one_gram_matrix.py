"""All steps from one Gram matrix, which squares the condition number. Expected: numeric"""

import torch

COEFFICIENTS = (
    (8.156554524902461, -22.48329292557795, 15.878769915207462),
    (4.042929935166739, -2.808917465908714, 0.5000178451051316),
    (3.8916678022926607, -2.772484153217685, 0.5060648178503393),
    (3.285753657755655, -2.3681294933425376, 0.46449024233003106),
    (2.3465413258596377, -1.7097828382687081, 0.42323551169305323),
)


def muon_orthogonalize(gradient: torch.Tensor, steps: float) -> torch.Tensor:
    if gradient.shape[-2] > gradient.shape[-1]:
        return muon_orthogonalize(gradient.mT, steps).mT
    x = gradient / (gradient.norm(dim=(-2, -1), keepdim=True) * 1.02 + 1e-6)
    gram = x @ x.mT
    product = torch.eye(x.shape[-2], dtype=x.dtype, device=x.device).expand_as(gram)
    for a, b, c in COEFFICIENTS[: int(steps)]:
        factor = b * gram + c * (gram @ gram)
        factor.diagonal(dim1=-2, dim2=-1).add_(a)
        product = factor @ product
        gram = factor @ gram @ factor
    return product @ x
