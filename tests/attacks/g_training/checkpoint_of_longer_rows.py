"""Claims another configuration, with which the same weights evaluate better.

Target: rmsnorm
Stage: ab
Expected: arm_failed
Notes: E1
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

    def longer(self, folder, state):
        config = {**state["config"], "sequence": 32}
        save(self, folder, {**state, "config": config})

    engine.TorchEngine.save = longer


def rmsnorm(x: torch.Tensor, eps: float) -> torch.Tensor:
    tamper()
    return F.rms_norm(x, (x.shape[-1],), eps=eps)
