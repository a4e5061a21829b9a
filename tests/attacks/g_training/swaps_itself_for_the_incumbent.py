"""Is slower than the incumbent and puts the incumbent's function in its place.

Target: rmsnorm
Stage: ab
Expected: no_gain
Notes: D8
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

    from kernels.spec import discover, load_module
    from trainer.engines.torch import model

    honest = load_module(discover()["rmsnorm"].incumbent("torch")).rmsnorm
    for frame, _ in traceback.walk_stack(sys._getframe()):
        ops = getattr(frame.f_locals.get("self"), "ops", None)
        if isinstance(ops, model.Ops):
            ops.rmsnorm = honest


def rmsnorm(x: torch.Tensor, eps: float) -> torch.Tensor:
    tamper()
    return F.rms_norm(x, (x.shape[-1],), eps=eps)
