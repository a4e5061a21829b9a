"""Changes how the whole process computes: less precise products, no denormals, in every other op.

A pass would let the A/B count the trainer's own products, made faster, as a gain of this op.

Target: relu_squared
Stage: verify
Expected: switches
Notes: B22, B25
"""

import torch

torch.set_float32_matmul_precision("medium")
torch.set_flush_denormal(True)
torch.backends.cudnn.allow_tf32 = True


def relu_squared(x: torch.Tensor) -> torch.Tensor:
    return torch.relu(x).square()
