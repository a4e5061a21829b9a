"""Puts plain momentum in the place of Muon.

Target: rmsnorm
Stage: ab
Expected: trained_differently
Notes: D1
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

    from trainer.engines.torch.optim import MuonAdamW

    def plain(self, gradients):
        return gradients / gradients.norm(dim=(-2, -1), keepdim=True).clamp_min(1e-7)

    MuonAdamW._orthogonalize = plain


def rmsnorm(x: torch.Tensor, eps: float) -> torch.Tensor:
    tamper()
    return F.rms_norm(x, (x.shape[-1],), eps=eps)
