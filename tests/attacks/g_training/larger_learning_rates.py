"""Doubles the learning rates, so that a short run gets further.

Target: rmsnorm
Stage: ab
Expected: trained_differently
Notes: C22
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

    from dataclasses import replace

    step = engine.TorchEngine.step

    def faster(self, micro_batches, rates):
        scale = 2 * rates.learning_rate_scale
        return step(self, micro_batches, replace(rates, learning_rate_scale=scale))

    engine.TorchEngine.step = faster


def rmsnorm(x: torch.Tensor, eps: float) -> torch.Tensor:
    tamper()
    return F.rms_norm(x, (x.shape[-1],), eps=eps)
