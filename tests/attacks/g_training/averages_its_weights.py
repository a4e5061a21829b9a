"""Saves the mean of its last weights, which evaluates better than the last.

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

    step, save = engine.TorchEngine.step, engine.TorchEngine.save
    seen = []

    def watched(self, micro_batches, rates):
        found = step(self, micro_batches, rates)
        seen.append({name: w.detach().clone() for name, w in self._weights().items()})
        return found

    def averaged(self, folder, state):
        for name, weight in self._weights().items():
            weight.detach().copy_(torch.stack([one[name] for one in seen[-10:]]).mean(0))
        save(self, folder, state)

    engine.TorchEngine.step, engine.TorchEngine.save = watched, averaged


def rmsnorm(x: torch.Tensor, eps: float) -> torch.Tensor:
    tamper()
    return F.rms_norm(x, (x.shape[-1],), eps=eps)
