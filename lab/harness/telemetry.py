"""What else the machine was doing in each round of a bench: load, clock, heat, throttling.

    watch = Watch(sessions' CPU seconds, engine)
    watch.begin(); ...the blocks of a round...; watch.end(); watch.keep()
    watch.telemetry()     one number per round of what this machine tells, for the record

It explains a wide interval and decides nothing: no sample is dropped or weighed by it, and where a
machine tells nothing the record says nothing. Counters are read before and after a round, never
during a block. CPU shares have the resolution of the kernel's ticks, 10 ms on each core. A virtual
machine rarely tells its temperature or its true clock.

The GPU is asked through NVIDIA's own library, if it is there; it is the first that CUDA shows.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import statistics
import sys
from collections.abc import Callable
from pathlib import Path

import psutil

from lab.outcomes import Telemetry

CPUS = Path("/sys/devices/system/cpu")
THERMAL = Path("/sys/class/thermal")
MOST_CORES = 8
"""Clocks are read of so many cores at most: asking one takes up to a millisecond."""
PROCESSOR_ZONES = ("x86_pkg_temp", "cpu", "soc", "acpitz")
SLOWED = 0x04 | 0x08 | 0x20 | 0x40 | 0x80
"""NVML's reasons: power cap, hardware slowdown, software and hardware thermal, power brake."""

Reading = dict[str, float]


class Watch:
    """Collects one reading per round. `ours_s()`: CPU seconds that the bench itself has used."""

    def __init__(self, ours_s: Callable[[], float], engine: str) -> None:
        self._ours_s = ours_s
        self._gpu = Gpu.first() if engine == "cuda" else None
        self._rounds: list[Reading] = []
        self._before: tuple[float, Reading, float] = (0.0, {}, 0.0)
        self._reading: Reading = {}

    def begin(self) -> None:
        """Before the first block of a round."""
        self._before = (self._ours_s(), cpu_seconds(), throttle_events())

    def end(self) -> None:
        """After its last block."""
        ours, cpu, throttled = self._before
        reading = shares(cpu, cpu_seconds(), self._ours_s() - ours)
        reading["cpu_throttled"] = throttle_events() - throttled
        reading["cpu_mhz"] = cpu_mhz()
        reading["cpu_celsius"] = cpu_celsius()
        if self._gpu is not None:
            reading |= self._gpu.reading()
        self._reading = reading

    def keep(self) -> None:
        """The round counts."""
        self._rounds.append(self._reading)

    def telemetry(self) -> Telemetry:
        """The columns that were read in every round."""
        columns = {}
        for name in Telemetry.__struct_fields__:
            column = [reading.get(name, float("nan")) for reading in self._rounds]
            if all(value == value for value in column):  # NaN: not readable
                columns[name] = tuple(float(f"{value:.4g}") for value in column)
        return Telemetry(**columns)


# ---- the CPU ------------------------------------------------------------------------------------


def cpu_seconds() -> Reading:
    """Seconds since boot over all cores: in all, busy, and stolen by the hypervisor."""
    times = psutil.cpu_times()._asdict()
    guests = times.get("guest", 0.0) + times.get("guest_nice", 0.0)  # counted in user and nice too
    total = sum(times.values()) - guests
    idle = times["idle"] + times.get("iowait", 0.0)
    return {"total": total, "busy": total - idle, "stolen": times.get("steal", 0.0)}


def shares(before: Reading, after: Reading, ours_s: float) -> Reading:
    """What others took between two readings, as shares of all CPU time; NaN if it was too short."""
    total = after["total"] - before["total"]
    if total <= 0:
        return {}
    stolen = (after["stolen"] - before["stolen"]) / total
    others = (after["busy"] - before["busy"] - ours_s) / total
    return {"stolen_cpu": min(1.0, max(0.0, stolen)), "others_cpu": min(1.0, max(0.0, others))}


def throttle_events(folder: Path = CPUS) -> float:
    """How often cores were slowed for heat since boot; NaN where the kernel does not count."""
    files = sorted(folder.glob("cpu[0-9]*/thermal_throttle/core_throttle_count"))
    return _added(files, sum)


def cpu_mhz(folder: Path = CPUS) -> float:
    """The cores' mean clock now; NaN where it is not told."""
    files = sorted(folder.glob("cpu[0-9]*/cpufreq/scaling_cur_freq"))[:MOST_CORES]
    return _added(files, statistics.mean) / 1000


def cpu_celsius(folder: Path = THERMAL) -> float:
    """The hottest zone of the processor; NaN where none is told."""
    zones = []
    for zone in folder.glob("thermal_zone*"):
        with contextlib.suppress(OSError):
            if (zone / "type").read_text().strip().lower().startswith(PROCESSOR_ZONES):
                zones.append(zone / "temp")
    return _added(zones, max) / 1000


def _added(files: list[Path], how: Callable[[list[float]], float]) -> float:
    found = []
    for file in files:
        with contextlib.suppress(OSError, ValueError):
            found.append(float(file.read_text()))
    return float(how(found)) if found else float("nan")


# ---- the GPU ------------------------------------------------------------------------------------


class Gpu:
    """One NVIDIA GPU, as its driver's management library sees it."""

    def __init__(self, library: ctypes.CDLL, handle: ctypes.c_void_p) -> None:
        self._library = library
        self._handle = handle

    @classmethod
    def first(cls) -> Gpu | None:
        """The first GPU that CUDA shows; None without the library or where it refuses."""
        name = "nvml.dll" if sys.platform == "win32" else "libnvidia-ml.so.1"
        shown = os.environ.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0]
        handle = ctypes.c_void_p()
        with contextlib.suppress(OSError, AttributeError):
            library = ctypes.CDLL(name)
            if library.nvmlInit_v2() != 0:
                return None
            if shown.isdigit():
                failed = library.nvmlDeviceGetHandleByIndex_v2(int(shown), ctypes.byref(handle))
            else:
                failed = library.nvmlDeviceGetHandleByUUID(shown.encode(), ctypes.byref(handle))
            return None if failed else cls(library, handle)
        return None

    def reading(self) -> Reading:
        """Clock of the multiprocessors, temperature, power, and whether it is slowed."""
        slowed = self._ask("nvmlDeviceGetCurrentClocksThrottleReasons", ctypes.c_ulonglong())
        return {
            "gpu_mhz": self._ask("nvmlDeviceGetClockInfo", ctypes.c_uint(), 1),
            "gpu_celsius": self._ask("nvmlDeviceGetTemperature", ctypes.c_uint(), 0),
            "gpu_watts": self._ask("nvmlDeviceGetPowerUsage", ctypes.c_uint()) / 1000,
            "gpu_throttled": float(int(slowed) & SLOWED != 0) if slowed == slowed else slowed,
        }

    def _ask(self, name: str, answer: ctypes.c_uint | ctypes.c_ulonglong, *which: int) -> float:
        """NaN where this GPU does not tell."""
        function = getattr(self._library, name, None)
        if function is None or function(self._handle, *which, ctypes.byref(answer)) != 0:
            return float("nan")
        return float(answer.value)
