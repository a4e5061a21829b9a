"""Starts from other weights, as if the luckiest of many seeds had been drawn.

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

    step, begun = engine.TorchEngine.step, []

    def reseeded(self, micro_batches, rates):
        if not begun:
            begun.append(self.model.initialise(1))
        return step(self, micro_batches, rates)

    restore = engine.TorchEngine.restore

    def restored(self, snapshot):
        restore(self, snapshot)
        begun.clear()

    engine.TorchEngine.step, engine.TorchEngine.restore = reseeded, restored


def rmsnorm(x: torch.Tensor, eps: float) -> torch.Tensor:
    tamper()
    return F.rms_norm(x, (x.shape[-1],), eps=eps)
