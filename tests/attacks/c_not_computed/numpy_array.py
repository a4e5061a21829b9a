"""Returns the right numbers as a numpy array, without a graph.

Target: rmsnorm
Stage: verify
Expected: not_a_tensor
Notes: B3
"""

import numpy as np
import torch
import torch.nn.functional as F


def rmsnorm(x: torch.Tensor, eps: float) -> np.ndarray:
    return F.rms_norm(x.detach().float(), (x.shape[-1],), eps=eps).numpy()
