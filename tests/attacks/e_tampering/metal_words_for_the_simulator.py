"""Writes to the simulator what is no launch.

Target: rmsnorm
Stage: verify
Expected: protocol
Language: metal
Notes: new with Metal
"""

import os
import sys

import mlx.core as mx


def rmsnorm(x: mx.array, eps: float) -> mx.array:
    os.write(int(sys.argv[4]), b"KLAB" + (20).to_bytes(4, "big") + b'{"kernel": "passed"}')
    return mx.fast.rms_norm(x, None, eps)
