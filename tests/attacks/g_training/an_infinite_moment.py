"""Saves an optimizer state that is infinite, to hide how far it went.

Target: rmsnorm
Stage: ab
Expected: diverged
Notes: C16
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

    def poisoned(self, folder, state):
        for moment in self.optimizer.state().values():
            moment.detach().fill_(float("inf"))
        save(self, folder, state)

    engine.TorchEngine.save = poisoned


def rmsnorm(x: torch.Tensor, eps: float) -> torch.Tensor:
    tamper()
    return F.rms_norm(x, (x.shape[-1],), eps=eps)
