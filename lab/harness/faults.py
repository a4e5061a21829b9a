"""What a worker did wrong, and how the end of its process reads.

    raise Fault("dtype", "output 0 is float32, not bfloat16")
    raise ended(process, total_s)

A `Fault` is a reason of outcomes.FailureReason and one line of detail. It is the candidate's: what
the lab or the machine did wrong is never one.
"""

from __future__ import annotations

import contextlib
import subprocess
from typing import TYPE_CHECKING

from lab.outcomes import FailureReason

if TYPE_CHECKING:
    from lab.harness.running import Sandboxed


class Fault(Exception):
    """What a worker did wrong: a failure reason and one line of detail."""

    def __init__(self, reason: FailureReason, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = " ".join(detail.split())[:3000]


def limit_passed(process: Sandboxed, total_s: float) -> Fault | None:
    """The fault of a process that was killed for passing a limit."""
    if process.why == "timeout":
        return Fault("timeout", f"still running after {total_s:.0f} s")
    if process.why == "memory":
        return Fault("memory", "used more memory than a worker may")
    if process.why == "processes":
        return Fault("memory", "started more processes than a worker may")
    if process.why == "output_flood":
        return Fault("output_flood", "printed a megabyte or more; remove the prints")
    return None


def ended(process: Sandboxed, total_s: float) -> Fault:
    """Why a worker hung up. Kills what is left of it."""
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(timeout=2.0)
    running = process.poll() is None
    process.kill()
    limit = limit_passed(process, total_s)
    if limit:
        return limit
    if running:
        return Fault("protocol", "closed its control channel and ran on")
    code, said = process.returncode or 0, process.tail()
    said = f"; it printed: {said}" if said else ""
    if code < 0:
        return Fault("crash", f"the worker died of signal {-code}{said}")
    return Fault("exit", f"the worker ended itself with exit code {code}{said}")
