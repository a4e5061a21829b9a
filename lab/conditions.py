"""What the machine was doing during a bench, in one line, from the telemetry in the record.

    conditions.seen(outcome.cases)    "other processes took 12% of the CPU, ..."

It explains; it never says whether a result counts.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from lab.outcomes import CaseTiming, Telemetry


def seen(cases: Sequence[CaseTiming]) -> str:
    """Over the rounds of all cases."""
    columns = {
        name: tuple(value for case in cases for value in getattr(case.telemetry, name))
        for name in Telemetry.__struct_fields__
    }
    return summary(Telemetry(**columns)) or "what else ran is not readable here"


def summary(found: Telemetry) -> str:
    """The typical round and the worst heat, in one line; empty where nothing is known."""
    words = []
    if found.others_cpu:
        words.append(f"other processes took {statistics.median(found.others_cpu):.0%} of the CPU")
    if any(share > 0.005 for share in found.stolen_cpu):
        words.append(f"the hypervisor {statistics.mean(found.stolen_cpu):.1%}")
    if found.cpu_mhz:
        words.append(f"cores ran at {min(found.cpu_mhz):.0f} to {max(found.cpu_mhz):.0f} MHz")
    if found.cpu_celsius:
        words.append(f"up to {max(found.cpu_celsius):.0f} °C")
    if sum(found.cpu_throttled):
        words.append(f"slowed for heat {sum(found.cpu_throttled):.0f} times")
    if found.gpu_mhz:
        words.append(f"GPU at {min(found.gpu_mhz):.0f} to {max(found.gpu_mhz):.0f} MHz")
    if found.gpu_celsius:
        words.append(f"up to {max(found.gpu_celsius):.0f} °C")
    if sum(found.gpu_throttled):
        slowed = sum(found.gpu_throttled) / len(found.gpu_throttled)
        words.append(f"slowed for heat or power in {slowed:.0%} of the rounds")
    return ", ".join(words)
