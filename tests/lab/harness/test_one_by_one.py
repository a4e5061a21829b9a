"""A gain that is there only where a whole block's inputs lie ready is none that training has."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from in_process import bench_in_process

from kernels.spec import TargetFolder
from lab.harness.clocks import Block
from lab.harness.one_by_one import MOST_CALLS, OneByOne, calls_of
from lab.harness.pace import Pace

US, CALLS, ROUNDS = 1000, 60, 32
GENERATION = [number // 8 for number in range(ROUNDS)]
WAKE_UPS_US = 120.0


def blocks(call_us: float, calls: int, generator: np.random.Generator) -> list[Block]:
    """Blocks of so many calls, with 2% of noise, and 10% more of what a call alone pays."""
    noise = generator.normal(1.0, 0.02, ROUNDS)
    return [
        Block(took, took, 0, 1000 * US, cpu_ns=took, fetch_cpu_ns=1000 * US, usual_ns=took)
        for took in (int(US * calls * call_us * one) for one in noise)
    ]


def trouble(incumbent_us: float, candidate_us: float, alone_us: float) -> str | None:
    """What is said of a candidate that takes so long in a block, and so long alone."""
    generator = np.random.default_rng(3)
    single = calls_of(CALLS)
    alone = OneByOne(
        blocks(incumbent_us + WAKE_UPS_US, single, generator),
        blocks(alone_us + WAKE_UPS_US, single, generator),
    )
    ordinary = (blocks(us, CALLS, generator) for us in (incumbent_us, candidate_us))
    return alone.trouble(*ordinary, CALLS, GENERATION)


def test_a_block_that_is_computed_at_once_is_found() -> None:
    """In training one call knows nothing of the next."""
    found = trouble(100.0, 50.0, alone_us=100.0)
    assert found is not None
    assert "computed together" in found
    assert trouble(100.0, 80.0, alone_us=105.0) is not None


@pytest.mark.parametrize(
    ("candidate_us", "alone_us"),
    [(50.0, 50.0), (95.0, 95.0), (100.0, 100.0), (130.0, 140.0), (60.0, 72.0)],
    ids=["twice as fast", "a little faster", "the same", "slower", "some of it lost to the cold"],
)
def test_what_a_call_pays_for_coming_alone_refuses_nobody(
    candidate_us: float, alone_us: float
) -> None:
    """Both arms pay it, and here it is more than the call itself."""
    assert trouble(100.0, candidate_us, alone_us) is None


@pytest.mark.parametrize("clock", ["judge_ns", "usual_ns"])
def test_either_clock_is_enough(clock: str) -> None:
    """A busy machine hides it from the sum; work put off to one of the calls, from the median."""
    generator = np.random.default_rng(3)
    single = calls_of(CALLS)
    other = {"judge_ns": "usual_ns", "usual_ns": "judge_ns"}[clock]
    gaining = [
        replace(block, **{other: block.judge_ns - single * 50 * US})
        for block in blocks(220.0, single, generator)
    ]
    alone = OneByOne(blocks(220.0, single, generator), gaining)
    ordinary = blocks(100.0, CALLS, generator), blocks(50.0, CALLS, generator)
    assert "computed together" in (alone.trouble(*ordinary, CALLS, GENERATION) or "")


def test_work_put_off_from_single_calls_is_found_too() -> None:
    """Else a block would be computed at once, and single calls after their answer."""
    generator = np.random.default_rng(3)
    single = calls_of(CALLS)
    late = [
        Block(b.judge_ns, b.host_ns, 0, b.fetch_ns + single * 50 * US)
        for b in blocks(170.0, single, generator)
    ]
    alone = OneByOne(blocks(220.0, single, generator), late)
    ordinary = blocks(100.0, CALLS, generator), blocks(50.0, CALLS, generator)
    assert "put off" in (alone.trouble(*ordinary, CALLS, GENERATION) or "")


def test_single_calls_cost_half_a_block_at_most() -> None:
    """A block of one call is alone already."""
    assert [calls_of(n) for n in (1, 2, 3, 8, 500)] == [0, 2, 2, 4, MOST_CALLS]


def test_an_input_is_there_only_once_the_call_before_was_answered(
    toy: TargetFolder, tmp_path: Path
) -> None:
    """What the judge has not written yet, nobody can compute."""
    log, file = tmp_path / "log", tmp_path / "submitted.py"
    file.write_text(f"""
import sys
import torch
def toynorm(x, eps):
    caller = sys._getframe(2)
    if caller.f_code.co_name == "next":
        slots, now = caller.f_locals["self"].slots, caller.f_locals["slot"]
        ahead = [hash(tuple(s.arguments[0].flatten().tolist())) for s in slots[now:]]
        with open({str(log)!r}, "a") as log:
            print(now, *ahead, file=log)
    return torch.nn.functional.rms_norm(x, (x.shape[-1],), eps=eps)
""")
    pace = Pace(block_ms=1.0, most_slots=4, rounds=6, least_rounds=6, generations=1)
    bench_in_process(file, toy, pace)
    lines = [[int(word) for word in line.split()] for line in log.read_text().splitlines()]
    assert [line[0] for line in lines[:4]] == [0, 1, 0, 1]
    for first, second in zip(lines[::2], lines[1::2], strict=True):
        assert first[2] != second[1], "the second input was there when the first call was made"
