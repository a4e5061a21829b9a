"""Says all steps at once, before any of them was done.

Target: rmsnorm
Stage: ab
Expected: arm_failed
Notes: E10
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

    loop = sys.modules["trainer.loop"]
    say = loop.Heartbeat.say

    def hasty(self, line):
        if line == "ready":
            line = "\n".join(["ready", *(f"step {k}" for k in range(1, 13))])
        say(self, line if not line.startswith("step") else "")

    loop.Heartbeat.say = hasty


def rmsnorm(x: torch.Tensor, eps: float) -> torch.Tensor:
    tamper()
    return F.rms_norm(x, (x.shape[-1],), eps=eps)
