"""Whoever is told that the machine was too noisy should know what to end."""

from __future__ import annotations

import msgspec
from made_records import benched, steady, timing

from lab.conditions import seen, summary
from lab.describe import describe
from lab.outcomes import Quarantined, Telemetry


def test_the_summary_names_what_disturbed_and_only_that() -> None:
    """Its reader should know what to end, or to cool."""
    quiet = Telemetry(others_cpu=(0.01, 0.02, 0.0), stolen_cpu=(0.0, 0.0, 0.0))
    assert summary(quiet) == "other processes took 1% of the CPU"
    hot = Telemetry(
        others_cpu=(0.5, 0.4, 0.6),
        stolen_cpu=(0.0, 0.09, 0.0),
        cpu_mhz=(1200.0, 3400.0, 3000.0),
        cpu_celsius=(80.0, 97.0, 90.0),
        cpu_throttled=(0.0, 3.0, 1.0),
    )
    assert summary(hot) == (
        "other processes took 50% of the CPU, the hypervisor 3.0%, cores ran at 1200 to 3400 MHz, "
        "up to 97 °C, slowed for heat 4 times"
    )
    assert summary(Telemetry()) == ""


def test_all_cases_are_told_together() -> None:
    """A disturbance in the second case is one of the bench."""
    one = timing("train", [1.0, 1.1], [1.0, 1.2], [1.0, 1.1])
    quiet = msgspec.structs.replace(one, telemetry=Telemetry(cpu_mhz=(3000.0, 3000.0)))
    slow = msgspec.structs.replace(one, telemetry=Telemetry(cpu_mhz=(900.0, 3000.0)))
    assert seen([quiet, slow]) == "cores ran at 900 to 3000 MHz"
    assert seen([one]) == "what else ran is not readable here"


def test_the_answer_of_a_bench_tells_it() -> None:
    """Nobody reads telemetry in the ledger before wondering about a number."""
    one = msgspec.structs.replace(
        steady("train"),
        telemetry=Telemetry(others_cpu=(0.2, 0.3)),
        generation=(0,) * 10 + (1,) * 10,
    )
    for outcome in (None, Quarantined(reason="control_failed", detail="1.1x", cases=(one,))):
        said = "\n".join(str(part) for part in describe(benched(outcome, [one])))
        assert "workers: 2; other processes took 25% of the CPU" in said
