"""Runs Metal Shading Language kernels on a CPU and finds what is wrong with them (docs/metal.md).

    from lab.metal_sim import MetalKernel, checked_call, simulate

It needs the extra `sim` (a compiler). It never says that a kernel runs on Metal, and times none.
"""

from lab.metal_sim.builds import Builds
from lab.metal_sim.dtypes import Bfloat16
from lab.metal_sim.errors import BadLaunch, Diagnostic, KernelError, Unavailable
from lab.metal_sim.findings import Finding
from lab.metal_sim.kernel import Call, MetalKernel, checked_call
from lab.metal_sim.launch import Schedule
from lab.metal_sim.simulate import SCHEDULES, Report, simulate

__all__ = [
    "SCHEDULES",
    "BadLaunch",
    "Bfloat16",
    "Builds",
    "Call",
    "Diagnostic",
    "Finding",
    "KernelError",
    "MetalKernel",
    "Report",
    "Schedule",
    "Unavailable",
    "checked_call",
    "simulate",
]
