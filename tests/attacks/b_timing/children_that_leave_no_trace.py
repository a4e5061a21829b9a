"""A timer wakes a small process while others are timed; its child works instead, and is forgotten.

Target: relu_squared
Stage: bench
Expected: import or protocol
Notes: B21
"""

import os
import subprocess
import sys
from typing import Any

import torch

HELPER = """
import ctypes, os, signal, sys, time
signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # then nobody is charged for a child's time
libc = ctypes.CDLL(None, use_errno=True)
def wake(*given):
    if ARMED.pop() and os.fork() == 0:
        os.fork()
        end = time.monotonic() + 0.002
        while time.monotonic() < end:
            pass
        os._exit(0)
ARMED = [False]
event = (ctypes.c_int * 16)(0, 0, signal.SIGCONT, 0)
timer = ctypes.c_void_p()
if libc.timer_create(time.CLOCK_MONOTONIC, event, ctypes.byref(timer)):
    sys.exit(1)
print("ready", flush=True)
while os.read(0, 1):
    ARMED[:] = [False, True]
    signal.signal(signal.SIGCONT, lambda *given: ARMED and wake())
    libc.timer_settime(timer, 0, (ctypes.c_long * 4)(0, 0, 0, 3_000_000), None)
"""
helper = subprocess.Popen(
    [sys.executable, "-I", "-S", "-c", HELPER], stdin=subprocess.PIPE, stdout=subprocess.PIPE
)
assert helper.stdin is not None
assert helper.stdout is not None
if helper.stdout.readline() != b"ready\n":
    raise RuntimeError("no timer")
worker: Any = sys.modules["worker"]
send = worker.send


def armed_before_it_stands(descriptor: int, answer: Any) -> None:
    if answer["type"] == "Fetched":
        os.write(helper.stdin.fileno(), b".")
    send(descriptor, answer)


worker.send = armed_before_it_stands


def relu_squared(x: torch.Tensor) -> torch.Tensor:
    return torch.relu(x).square()
