"""Says its steps and does them after the last one.

Target: rmsnorm
Stage: ab
Expected: clock_mismatch
Notes: B15
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
    step, say, put_off = engine.TorchEngine.step, loop.Heartbeat.say, []
    state = {"ready": False}

    class Later:
        def wait(self):
            return 5.0

    def lazy(self, micro_batches, rates):
        if not state["ready"]:
            return step(self, micro_batches, rates)
        put_off.append((self, micro_batches, rates))
        return Later()

    def late(self, line):
        state["ready"] = state["ready"] or line == "ready"
        say(self, line)
        if line == "done":
            for one in put_off:
                burn(0.2)  # as if the op were slow
                step(*one)

    engine.TorchEngine.step, loop.Heartbeat.say = lazy, late


def burn(seconds: float) -> None:
    import time

    end = time.process_time() + seconds
    while time.process_time() < end:
        pass


def rmsnorm(x: torch.Tensor, eps: float) -> torch.Tensor:
    tamper()
    return F.rms_norm(x, (x.shape[-1],), eps=eps)
