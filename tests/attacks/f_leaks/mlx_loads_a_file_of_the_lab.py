"""Lets MLX's own loader, which asks Python for nothing, read the lab's reference.

Target: rmsnorm
Language: mlx
Stage: verify
Expected: raised
Notes: F1
"""

import sys

import mlx.core as mx


def rmsnorm(x: mx.array, eps: float) -> mx.array:
    place = sys.argv[0].removesuffix("lab/harness/mlx_worker.py")
    mx.load(f"{place}kernels/rmsnorm/reference.py", format="npy")
    return mx.fast.rms_norm(x, None, eps)
