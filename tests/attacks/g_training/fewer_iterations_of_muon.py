"""Has the optimizer iterate twice instead of five times.

Target: rmsnorm
Stage: ab
Expected: trained_differently
Notes: C8
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

    def fewer(self, gradients):
        return self._orthogonalize_op(gradients, 2.0).to(torch.float32)

    MuonAdamW._orthogonalize = fewer


def rmsnorm(x: torch.Tensor, eps: float) -> torch.Tensor:
    tamper()
    return F.rms_norm(x, (x.shape[-1],), eps=eps)
