"""Does its steps after the last one, while a process that had worked goes and takes its time along.

Target: rmsnorm
Stage: ab
Expected: clock_mismatch
Notes: B15, B21
"""

import os
import signal
import sys
import time
import traceback

import torch
import torch.nn.functional as F

TAMPERED: list[bool] = []


def start_to_work() -> int:
    """A process that has used 4 s of CPU time; it ends once the descriptor is closed."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # then nobody is charged for them
    told, tell = os.pipe()
    there, ready = os.pipe()
    if os.fork() == 0:
        os.close(tell)
        burn(4.0)
        os.write(ready, b".")
        os.read(told, 1)
        os._exit(0)
    os.read(there, 1)
    return tell


def tamper() -> None:
    """Once, in a training run that does not record."""
    engine = sys.modules.get("trainer.engines.torch.engine")
    recorded = any("recording" in frame.filename for frame in traceback.extract_stack())
    if TAMPERED or engine is None or recorded:
        return
    TAMPERED.append(True)

    loop = sys.modules["trainer.loop"]
    step, say, put_off = engine.TorchEngine.step, loop.Heartbeat.say, []
    state = {"ready": False, "lifeline": start_to_work()}

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
            time.sleep(0.2)  # until the judge has read how much CPU time it all had used
            os.close(state["lifeline"])
            time.sleep(0.1)
            for one in put_off:
                burn(0.08)  # as if the op were slow
                step(*one)

    engine.TorchEngine.step, loop.Heartbeat.say = lazy, late


def burn(seconds: float) -> None:
    end = time.process_time() + seconds
    while time.process_time() < end:
        pass


def rmsnorm(x: torch.Tensor, eps: float) -> torch.Tensor:
    tamper()
    return F.rms_norm(x, (x.shape[-1],), eps=eps)
