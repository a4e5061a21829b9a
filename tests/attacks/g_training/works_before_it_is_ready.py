"""Trains before the clock runs and replays the steps when asked for them.

Target: rmsnorm
Stage: ab
Expected: clock_mismatch
Notes: A14
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
    step, say = engine.TorchEngine.step, loop.Heartbeat.say
    made = []

    def ahead(self, line):
        if line == "ready":
            prepare(sys._getframe(1).f_locals)
        say(self, line)

    def prepare(run):
        place = run["stream"].state()
        for k in range(run["budget"].steps):
            rates = loop.rates_at(run["config"], k, run["budget"].progress(k, 0.0))
            burn(0.4)  # as if the op were slow
            made.append(step(run["engine"], loop.take(run["stream"], 2), rates))
        run["stream"].restore(place)

    def replayed(self, micro_batches, rates):
        return made.pop(0) if made else step(self, micro_batches, rates)

    engine.TorchEngine.step, loop.Heartbeat.say = replayed, ahead


def burn(seconds: float) -> None:
    import time

    end = time.process_time() + seconds
    while time.process_time() < end:
        pass


def rmsnorm(x: torch.Tensor, eps: float) -> torch.Tensor:
    tamper()
    return F.rms_norm(x, (x.shape[-1],), eps=eps)
