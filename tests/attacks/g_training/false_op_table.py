"""Reports that the incumbent's own file was run.

Target: rmsnorm
Stage: ab
Expected: wrong_op
Notes: E15
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

    from trainer.report import Report

    said = Report.as_json

    def other(self):
        digest = self.ops["rmsnorm"].sha256
        return said(self).replace(digest, "0" * 64)

    Report.as_json = other


def rmsnorm(x: torch.Tensor, eps: float) -> torch.Tensor:
    tamper()
    return F.rms_norm(x, (x.shape[-1],), eps=eps)
