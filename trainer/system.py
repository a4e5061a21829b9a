"""What the system says about its hardware, asked with its own tools and parsed here.

    cpu_model()                  # "AMD EPYC 9354", "Apple M4 Max", "Cortex-X925 + Cortex-A725"
    apple_gpu_cores()            # 40, or None where there is no Apple GPU
    nvidia_gpus()                # one NvidiaGpu for each that the driver lists

Every function takes the way of asking as an argument, so that tests feed it what real machines
printed. A tool that is missing, fails or hangs has said nothing. Imports no framework.
"""

from __future__ import annotations

import platform
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

Ask = Callable[..., str]
"""Runs a tool, given as words, and returns what it printed."""
TIMEOUT_S = 10.0


def ask(*argv: str) -> str:
    """What a tool prints, stripped; empty where it is missing, fails or hangs."""
    try:
        finished = subprocess.run(
            argv, capture_output=True, text=True, timeout=TIMEOUT_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return finished.stdout.strip() if finished.returncode == 0 else ""


@cache
def cpu_model() -> str:
    """The processor's marketing name, as this system gives it."""
    cpuinfo = Path("/proc/cpuinfo")
    return _cpu_model(ask, sys.platform, cpuinfo.read_text() if cpuinfo.is_file() else "")


def _cpu_model(ask: Ask, system: str, cpuinfo: str) -> str:
    """On ARM, Linux's own file has only numbers; `lscpu` knows their names, of each kind of core
    one. On macOS Python's `platform` says "arm" on every machine."""
    if match := re.search(r"^model name\s*: (.+)$", cpuinfo, re.MULTILINE):
        return match[1].strip()
    if system == "darwin":
        found = ask("sysctl", "-n", "machdep.cpu.brand_string")
    else:
        names = re.findall(r"Model name:\s*(\S.*)", ask("lscpu"))
        found = " + ".join(dict.fromkeys(name for name in names if name != "-"))
    return found or platform.processor() or platform.machine()


def apple_gpu_cores(ask: Ask = ask) -> int | None:
    """Cores of the Apple GPU, which chips of one name differ in; None where there is none."""
    match = re.search(r'"gpu-core-count" = (\d+)', ask("ioreg", "-rd1", "-c", "AGXAccelerator"))
    return int(match[1]) if match else None


@dataclass(frozen=True)
class NvidiaGpu:
    """One line of `nvidia-smi`. `memory_mib` is None where the GPU has no memory of its own."""

    name: str
    compute_capability: str
    memory_mib: int | None
    driver: str


def nvidia_gpus(ask: Ask = ask) -> tuple[NvidiaGpu, ...]:
    """The GPUs that the NVIDIA driver lists. A GB10 answers `[N/A]` where others give memory."""
    fields = "name,compute_cap,memory.total,driver_version"
    found = []
    for line in ask(
        "nvidia-smi", f"--query-gpu={fields}", "--format=csv,noheader,nounits"
    ).splitlines():
        words = [word.strip() for word in line.split(",")]
        if len(words) == 4:
            name, capability, memory, driver = words
            own = int(memory) if memory.isdigit() else None
            found.append(NvidiaGpu(name, capability, own, driver))
    return tuple(found)
