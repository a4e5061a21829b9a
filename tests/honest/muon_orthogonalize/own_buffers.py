"""Writes every product into buffers of its own, made in each call."""

import torch

COEFFICIENTS = (
    (8.156554524902461, -22.48329292557795, 15.878769915207462),
    (4.042929935166739, -2.808917465908714, 0.5000178451051316),
    (3.8916678022926607, -2.772484153217685, 0.5060648178503393),
    (3.285753657755655, -2.3681294933425376, 0.46449024233003106),
    (2.3465413258596377, -1.7097828382687081, 0.42323551169305323),
)


def muon_orthogonalize(gradient: torch.Tensor, steps: float) -> torch.Tensor:
    tall = gradient.shape[-2] > gradient.shape[-1]
    x = gradient.mT.clone() if tall else gradient.clone()
    x.div_(gradient.norm(dim=(-2, -1), keepdim=True).mul_(1.02).add_(1e-6))
    gram = torch.empty(*x.shape[:-1], x.shape[-2], dtype=x.dtype)
    square = torch.empty_like(gram)
    for a, b, c in COEFFICIENTS[: int(steps)]:
        torch.bmm(x, x.mT, out=gram)
        torch.bmm(gram, gram, out=square)
        square.mul_(c).add_(gram, alpha=b)
        x = torch.bmm(square, x).add_(x, alpha=a)
    return x.mT if tall else x
