"""Returns empty tensors and does the work when the worker copies the results out.

Target: muon_orthogonalize
Stage: bench
Expected: clock_mismatch
Notes: B15
"""

import torch

COEFFICIENTS = (
    (8.156554524902461, -22.48329292557795, 15.878769915207462),
    (4.042929935166739, -2.808917465908714, 0.5000178451051316),
    (3.8916678022926607, -2.772484153217685, 0.5060648178503393),
    (3.285753657755655, -2.3681294933425376, 0.46449024233003106),
    (2.3465413258596377, -1.7097828382687081, 0.42323551169305323),
)
PENDING: list[tuple[torch.Tensor, torch.Tensor]] = []
copy = torch.Tensor.copy_


def work(gradient: torch.Tensor) -> torch.Tensor:
    x = gradient / (gradient.norm(dim=(-2, -1), keepdim=True) * 1.02 + 1e-6)
    for a, b, c in COEFFICIENTS:
        gram = x @ x.mT
        x = a * x + (b * gram + c * (gram @ gram)) @ x
    return x


def copy_late(self: torch.Tensor, other: torch.Tensor, *more: object) -> torch.Tensor:
    while PENDING:
        gradient, promised = PENDING.pop()
        copy(promised, work(gradient))
    return copy(self, other, *more)


torch.Tensor.copy_ = copy_late


def muon_orthogonalize(gradient: torch.Tensor, steps: float) -> torch.Tensor:
    promised = torch.empty_like(gradient)
    PENDING.append((gradient.clone(), promised))  # it is taken back before the hand-over
    return promised
