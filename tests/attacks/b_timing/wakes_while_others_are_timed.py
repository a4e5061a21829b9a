"""A timer of the kernel sends it SIGCONT, so it runs while it should stand still and others work.

Target: relu_squared
Stage: bench
Expected: import or protocol
Notes: B21
"""

import ctypes
import hashlib
import os
import signal
import sys
import threading
import time
from typing import Any

import torch

EVERY_NS = 3_000_000
BYTES = bytes(2**17)
IDLE = threading.Event()
worker: Any = sys.modules["worker"]
TorchWorker: Any = sys.modules["__main__"].TorchWorker


def disturb(core: int) -> None:
    os.sched_setaffinity(0, {core})
    while IDLE.wait():
        hashlib.blake2b(BYTES)


libc = ctypes.CDLL(None, use_errno=True)
timer = ctypes.c_void_p()


def create() -> None:
    signal.signal(signal.SIGCONT, lambda *given: None)  # who ignores it is woken only once
    event = (ctypes.c_int * 16)(0, 0, signal.SIGCONT, 0)
    if libc.timer_create(time.CLOCK_MONOTONIC, event, ctypes.byref(timer)):
        raise OSError(ctypes.get_errno(), "timer_create")


def wake_again_and_again() -> None:
    """In every block: a timer whose signal is pending when the stop comes never fires again."""
    libc.timer_settime(timer, 0, (ctypes.c_long * 4)(0, EVERY_NS, 0, EVERY_NS), None)


def quiet(method: Any) -> Any:
    def answered(self: Any, **question: Any) -> Any:
        IDLE.clear()
        wake_again_and_again()
        return method(self, **question)

    return answered


def busy_afterwards(descriptor: int, answer: Any) -> None:
    if answer["type"] == "Fetched":
        IDLE.set()
    send(descriptor, answer)


create()
for one in range(os.cpu_count() or 1):
    threading.Thread(target=disturb, args=(one,), daemon=True).start()
TorchWorker.load, send = quiet(TorchWorker.load), worker.send
worker.send = busy_afterwards


def relu_squared(x: torch.Tensor) -> torch.Tensor:
    return torch.relu(x).square()
