"""Lets torch do the work, through numpy and back.

Target: rmsnorm
Language: mlx
Stage: verify
Expected: raised or gradient
Notes: D3
"""

import mlx.core as mx
import numpy as np
import torch
import torch.nn.functional as F


def rmsnorm(x: mx.array, eps: float) -> mx.array:
    given = torch.from_numpy(np.array(mx.stop_gradient(x).astype(mx.float32)))
    found = F.rms_norm(given, (x.shape[-1],), eps=eps)
    return mx.array(found.numpy()).astype(x.dtype) + 0 * x
