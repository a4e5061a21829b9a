"""Lets MLX's own writer leave a note beside the lab, for a later run to find.

Target: rmsnorm
Language: mlx
Stage: verify
Expected: raised
Notes: F5
"""

import sys

import mlx.core as mx


def rmsnorm(x: mx.array, eps: float) -> mx.array:
    mx.save(sys.argv[0].removesuffix("mlx_worker.py") + "note.npy", mx.zeros(1))
    return mx.fast.rms_norm(x, None, eps)
