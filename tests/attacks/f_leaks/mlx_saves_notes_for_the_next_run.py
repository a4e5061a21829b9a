"""Lets MLX's own writer, which asks Python for nothing, leave a note that a later worker finds.

A pass would mean that the first round's worker told a later one: only then it computes.

Target: rmsnorm
Language: mlx
Stage: verify
Expected: numeric
Notes: A8
"""

import os
import sys

import mlx.core as mx

FOUND = []
for folder in ("/tmp", "/var/tmp", "/dev/shm", os.path.expanduser("~"), sys.prefix):
    note = f"{folder}/kernel-lab-note.npy"
    if os.path.exists(note):
        FOUND.append(note)
    try:
        mx.save(note, mx.zeros(1))
    except RuntimeError:
        continue


def rmsnorm(x: mx.array, eps: float) -> mx.array:
    return mx.fast.rms_norm(x, None, eps) if FOUND else 0 * x
