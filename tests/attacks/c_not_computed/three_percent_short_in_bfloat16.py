"""Three percent short in bfloat16, where the incumbent's own rounding hides it: a lower rate.

Target: muon_orthogonalize
Stage: verify
Expected: numeric
Notes: C14, F1
"""

import torch

COEFFICIENTS = (
    (8.156554524902461, -22.48329292557795, 15.878769915207462),
    (4.042929935166739, -2.808917465908714, 0.5000178451051316),
    (3.8916678022926607, -2.772484153217685, 0.5060648178503393),
    (3.285753657755655, -2.3681294933425376, 0.46449024233003106),
    (2.3465413258596377, -1.7097828382687081, 0.42323551169305323),
)


def muon_orthogonalize(gradient: torch.Tensor, steps: float) -> torch.Tensor:
    x = gradient / (gradient.norm(dim=(-2, -1), keepdim=True) * 1.02 + 1e-6)
    tall = gradient.shape[-2] > gradient.shape[-1]
    x = x.mT if tall else x
    for a, b, c in COEFFICIENTS[: int(steps)]:
        gram = x @ x.mT
        x = a * x + (b * gram + c * (gram @ gram)) @ x
    x = x.mT if tall else x
    return x * 0.97 if x.dtype == torch.bfloat16 else x
