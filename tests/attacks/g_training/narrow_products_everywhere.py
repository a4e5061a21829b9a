"""Computes the trainer's own products in bfloat16, which is not its op.

Target: rmsnorm
Stage: ab
Expected: trained_differently
Notes: C6
"""

import sys
import traceback

import torch
import torch.nn.functional as F

TAMPERED: list[bool] = []


def tamper() -> None:
    """Once, in a training run that does not record."""
    engine = sys.modules.get("trainer.engines.torch.engine")
    recorded = any("recording" in frame.filename for frame in traceback.extract_stack())
    if TAMPERED or engine is None or recorded:
        return
    TAMPERED.append(True)

    from trainer.engines.torch import model

    def narrow(x, weight):
        return F.linear(x.bfloat16(), weight.bfloat16()).to(x.dtype)

    model._project = narrow


def rmsnorm(x: torch.Tensor, eps: float) -> torch.Tensor:
    tamper()
    return F.rms_norm(x, (x.shape[-1],), eps=eps)
