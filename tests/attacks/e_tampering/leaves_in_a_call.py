"""Ends the process from inside a call, past every handler, with code 0.

Target: rmsnorm
Stage: verify
Expected: exit
Notes: E16
"""

import os

import torch


def rmsnorm(x: torch.Tensor, eps: float) -> torch.Tensor:
    os._exit(0)
