"""Trains on the validation split, so that val_bpb falls.

Target: rmsnorm
Stage: ab
Expected: trained_differently
Notes: F4
"""

import itertools
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

    from trainer.data import validation_batches

    frame = next(f for f, _ in traceback.walk_stack(sys._getframe()) if "session" in f.f_locals)
    prepared, step = frame.f_locals["session"].prepared, engine.TorchEngine.step
    whole = (b for b in validation_batches(prepared, 4, 64, 8192) if (b[1] >= 0).all())
    rows = itertools.cycle(whole)

    def leaking(self, micro_batches, rates):
        return step(self, [next(rows) for _ in micro_batches], rates)

    engine.TorchEngine.step = leaking


def rmsnorm(x: torch.Tensor, eps: float) -> torch.Tensor:
    tamper()
    return F.rms_norm(x, (x.shape[-1],), eps=eps)
