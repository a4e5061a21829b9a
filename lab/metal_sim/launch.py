"""Runs a compiled kernel once under one schedule, in a process of its own.

    run = launch(build, runtime, call, buffers, Schedule("reverse"), checked=True, poison=0xFF)

The process is a fresh Python that maps the buffers, loads the kernel and, before its first
instruction, gives up every system call but read, write and exit. Time-outs count CPU time; a second
limit on wall time, ten times as long and at least a minute, ends a process that hangs otherwise.
"""

from __future__ import annotations

import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lab.metal_sim import layout
from lab.metal_sim.builds import Build
from lab.metal_sim.errors import Unavailable
from lab.metal_sim.kernel import Call
from lab.metal_sim.memory import Buffer, Memory

CHILD = Path(__file__).with_name("child.py")
STACK_BYTES = 256 * 1024
"""Of private memory for each thread. Apple documents no limit; real kernels stay under 16 KiB."""
PREEMPT_EVERY = 8
"""Memory accesses between two stops of a thread, on average."""
WALL_FACTOR, LEAST_WALL_S = 10, 60.0
"""A busy machine may give a process a tenth of a core, and takes a while to start Python."""


@dataclass(frozen=True)
class Schedule:
    """An order in which threads run: in_order, reverse, random or preempting."""

    order: str
    seed: int = 1


@dataclass(frozen=True)
class Traffic:
    """Bytes that a checked run read from and wrote to one buffer, each access counted."""

    buffer: str
    bytes_read: int
    bytes_written: int
    never_written: int


@dataclass(frozen=True)
class Counts:
    """What a run did."""

    threads: int
    barriers: int
    collectives: int
    atomics: int
    accesses: int


@dataclass(frozen=True, eq=False)
class Run:
    """What one launch left behind. `complaint` says why it has no end of its own, if so."""

    schedule: Schedule
    ended: bool
    complaint: str
    outputs: tuple[np.ndarray, ...]
    findings: tuple[layout.Finding, ...]
    overwritten: tuple[str, ...]
    traffic: tuple[Traffic, ...]
    counts: Counts
    wall_s: float


def launch(
    build: Build,
    runtime: Path,
    call: Call,
    given: tuple[Buffer, ...],
    schedule: Schedule,
    *,
    checked: bool,
    poison: int,
    time_limit_s: float,
) -> Run:
    """One run; the caller's arrays are not touched."""
    memory = Memory(given, build.image, poison)
    try:
        job = memory.job
        job.grid[:], job.threads[:] = call.grid, call.threads
        job.checking, job.order = checked, layout.ORDERS[schedule.order]
        job.seed = schedule.seed
        job.preempt_every = PREEMPT_EVERY if schedule.order == "preempting" else 0
        job.stack_bytes, job.entry = STACK_BYTES, build.image.entry
        job.image_bytes = build.image.bytes
        job.group_section, job.group_bytes = build.image.group_section, build.image.group_bytes
        job.time_limit_us = int(time_limit_s * 1e6)
        started = time.perf_counter()
        wall_limit_s = max(time_limit_s * WALL_FACTOR, LEAST_WALL_S)
        complaint = _run_child(memory, runtime, build.path, wall_limit_s)
        return _result(memory, schedule, complaint, time.perf_counter() - started)
    finally:
        memory.close()


def _run_child(memory: Memory, runtime: Path, kernel: Path, limit_s: float) -> str:
    """Why the process did not end by itself, or nothing."""
    guards = ",".join(str(guard) for guard in memory.guards)
    command = [sys.executable, "-I", "-S", str(CHILD), str(memory.file)]
    child = subprocess.Popen(
        [*command, str(runtime), str(kernel), guards],
        pass_fds=[memory.file], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE, env={}, text=True, errors="replace",
    )  # fmt: skip
    try:
        _, said = child.communicate(timeout=limit_s)
    except subprocess.TimeoutExpired:
        child.kill()
        child.communicate()
        return f"the kernel's process was ended after {limit_s:g} s"
    if said:
        raise Unavailable(f"the simulator's process failed: {said.strip().splitlines()[-1]}")
    if memory.job.outcome == layout.UNFINISHED:
        return f"the kernel's process died with status {child.returncode}"
    if not memory.job.confined:
        raise Unavailable("this system does not allow a process to give up its system calls.")
    return ""


def _result(memory: Memory, schedule: Schedule, complaint: str, wall_s: float) -> Run:
    job = memory.job
    outputs = [at for at, buffer in enumerate(memory.buffers) if buffer.output]
    return Run(
        schedule=schedule,
        ended=not complaint and job.outcome == layout.FINISHED,
        complaint=complaint,
        outputs=tuple(memory.output(at) for at in outputs),
        findings=tuple(memory.findings()),
        overwritten=tuple(memory.overwritten()),
        traffic=tuple(
            Traffic(buffer.name, region.bytes_read, region.bytes_written, region.never_written)
            for buffer, region in zip(memory.buffers, memory.regions, strict=True)
        ),
        counts=Counts(job.threads_run, job.barriers, job.collectives, job.atomics, job.accesses),
        wall_s=wall_s,
    )
