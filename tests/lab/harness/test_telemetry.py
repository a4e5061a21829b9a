"""If telemetry lied, a noisy bench would be blamed on the wrong thing."""

from __future__ import annotations

import ctypes
import math
from pathlib import Path
from typing import Any

import pytest

from lab.harness import telemetry
from lab.harness.telemetry import Watch, shares


def written(file: Path, text: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)


def test_what_the_bench_used_itself_is_nobody_elses() -> None:
    """Of 10 s of CPU time 6 were busy and one was stolen; 2 were ours."""
    before = {"total": 100.0, "busy": 50.0, "stolen": 3.0}
    after = {"total": 110.0, "busy": 56.0, "stolen": 4.0}
    assert shares(before, after, ours_s=2.0) == {"stolen_cpu": 0.1, "others_cpu": 0.4}


def test_a_tick_counted_too_late_is_no_negative_share() -> None:
    """The counters move in ticks of 10 ms, ours and theirs not at once."""
    before = {"total": 100.0, "busy": 50.0, "stolen": 0.0}
    after = {"total": 101.0, "busy": 50.5, "stolen": 0.0}
    assert shares(before, after, ours_s=0.6)["others_cpu"] == 0.0
    assert shares(before, before, ours_s=0.0) == {}, "too short to tell"


def test_the_counters_are_of_this_machine() -> None:
    """Busy time is a part of all time, and a busy process makes it grow."""
    before = telemetry.cpu_seconds()
    sum(range(10_000_000))
    after = telemetry.cpu_seconds()
    assert 0 <= after["stolen"] <= after["busy"] <= after["total"]
    assert after["total"] > before["total"]


def test_clocks_heat_and_throttling_are_read_where_they_are_told(tmp_path: Path) -> None:
    """In the kernel's own units: kHz, thousandths of a degree."""
    for core, (khz, slowed) in enumerate([(3_000_000, 2), (2_000_000, 3)]):
        written(tmp_path / f"cpu{core}/cpufreq/scaling_cur_freq", f"{khz}\n")
        written(tmp_path / f"cpu{core}/thermal_throttle/core_throttle_count", f"{slowed}\n")
    for zone, (kind, heat) in enumerate([("x86_pkg_temp", 61_000), ("iwlwifi_1", 90_000)]):
        written(tmp_path / f"thermal_zone{zone}/type", kind + "\n")
        written(tmp_path / f"thermal_zone{zone}/temp", f"{heat}\n")
    assert telemetry.cpu_mhz(tmp_path) == 2500
    assert telemetry.throttle_events(tmp_path) == 5
    assert telemetry.cpu_celsius(tmp_path) == 61, "the wireless card is no processor"


def test_what_a_machine_does_not_tell_is_not_invented(tmp_path: Path) -> None:
    """Zero throttling events and no knowledge of them are not the same."""
    for read in (telemetry.cpu_mhz, telemetry.throttle_events, telemetry.cpu_celsius):
        assert math.isnan(read(tmp_path))


def test_a_round_that_does_not_count_is_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """Row i of the telemetry must be of round i, or it explains the wrong block."""
    monkeypatch.setattr(telemetry, "cpu_mhz", iter([1000.0, 2000.0, 3000.0]).__next__)
    watch = Watch(lambda: 0.0, "cpu")
    for counts in (False, True, True):
        watch.begin()
        watch.end()
        if counts:
            watch.keep()
    assert watch.telemetry().cpu_mhz == (2000.0, 3000.0)


def test_a_column_with_a_hole_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """A number missing in one round would shift all that follow."""
    monkeypatch.setattr(telemetry, "cpu_mhz", iter([1000.0, math.nan]).__next__)
    watch = Watch(lambda: 0.0, "cpu")
    for _ in range(2):
        watch.begin()
        watch.end()
        watch.keep()
    assert watch.telemetry().cpu_mhz == ()


def test_without_nvidias_library_there_is_no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine without it must bench all the same."""

    def missing(name: str) -> None:
        raise OSError(name)

    monkeypatch.setattr(telemetry.ctypes, "CDLL", missing)
    assert telemetry.Gpu.first() is None


class Driver:
    """NVIDIA's library as far as `Gpu` asks it; it does not tell the temperature."""

    def __init__(self, **answers: int) -> None:
        for name, value in answers.items():
            setattr(self, name, self._answering(value))

    def _answering(self, value: int) -> Any:
        def function(handle: Any, *more: Any) -> int:
            more[-1]._obj.value = value
            return 0

        return function


def test_a_gpu_tells_in_its_drivers_units() -> None:
    """Milliwatts as watts, a set of reasons as yes or no, an unknown question as unknown."""
    driver = Driver(
        nvmlDeviceGetClockInfo=1980,
        nvmlDeviceGetPowerUsage=650_500,
        nvmlDeviceGetCurrentClocksThrottleReasons=0x04 | 0x01,
    )
    reading = telemetry.Gpu(driver, ctypes.c_void_p()).reading()  # type: ignore[arg-type]
    assert math.isnan(reading.pop("gpu_celsius"))
    assert reading == {"gpu_mhz": 1980.0, "gpu_watts": 650.5, "gpu_throttled": 1.0}
    idle = Driver(nvmlDeviceGetCurrentClocksThrottleReasons=0x01)
    assert telemetry.Gpu(idle, ctypes.c_void_p()).reading()["gpu_throttled"] == 0.0  # type: ignore[arg-type]
