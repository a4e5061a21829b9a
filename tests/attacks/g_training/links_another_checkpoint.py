"""Leaves a link in the place of its weights, to those of whoever ran before.

Target: rmsnorm
Stage: ab
Expected: arm_failed
Notes: E24
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

    def linked(self, folder, state):
        save(self, folder, state)
        weights = folder / "model.safetensors"
        others = [p for p in folder.parents[1].glob("*/checkpoint/*") if p.name == weights.name]
        others = [p for p in others if p != weights]
        weights.rename(folder / "own.safetensors")
        weights.symlink_to(others[0] if others else "own.safetensors")

    engine.TorchEngine.save = linked


def rmsnorm(x: torch.Tensor, eps: float) -> torch.Tensor:
    tamper()
    return F.rms_norm(x, (x.shape[-1],), eps=eps)
