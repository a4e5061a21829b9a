"""Do the clocks of a benchmark agree? Pure functions over what was measured of each block.

The judge's clock decides the result. Four others are only looked at for contradictions: the
worker's own, the device's, and, of the hand-over of its results afterwards, the time that it takes
and the CPU time that all its threads use meanwhile. A worker that finishes its work after it has
said that it is done gains on the first clock and loses on one of the last two, even if a thread on
another core does it while the first results are copied; one that patched its timer contradicts the
first.

Not seen: what stays below the margins here, a twenty-fifth of the hand-over or half of what was
gained, half a millisecond of each other core, and what falls on so few blocks that it hardly moves
the typical one. The A/B, whose clock contains everything, is the answer to that.
"""

from __future__ import annotations

import os
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from lab import bench_intervals, stats

OVERSHOOT = 1.01
"""The worker's reading lies within the judge's; more than this is no rounding."""
OVERSHOOT_NS = 50_000
SHORTFALL = 0.10
"""Share of the judge's time that the worker's may miss more than the incumbent's does: on a busy
machine the answer arrives late, but for both alike."""
SHORTFALL_NS = 2_000_000
DEVICE_SHORTFALL = 0.5
"""The device's own time must be at least this share of what it is for the incumbent."""
DEFERRED_OF_GAIN, DEFERRED_OF_FETCH = 0.5, 0.04
"""How much longer handing over may take than the incumbent's, as a share of the gain and of it."""
SPINNING_NS = 500_000
"""OpenMP's threads stay awake for so long after their last work, at most: 0.26 ms were measured for
the 10,000 spins that a worker is told. Each other core may be used for that long, as the incumbent
may have no such threads."""
CHANCE = 0.025
"""What is typical is claimed as a gain is: by the trimmed mean, over blocks and over generations. A
count of blocks would let through work that is put off in half of them, which gains half as much."""


@dataclass(frozen=True)
class Block:
    """One block of one arm: nanoseconds by each clock, and of the hand-over.

    `cpu_ns` is that of all threads and processes of the worker, as the kernel counts it, `usual_ns`
    what a block of single calls would take if all took as long as the median.
    """

    judge_ns: int
    host_ns: int
    device_ns: int
    fetch_ns: int
    cpu_ns: int = 0
    fetch_cpu_ns: int = 0
    usual_ns: int = 0


def trouble(
    incumbent: Sequence[Block], candidate: Sequence[Block], generation: Sequence[int] = ()
) -> str | None:
    """What cannot be true about the candidate's blocks, in one line, or None.

    `generation` numbers the workers of each block; empty: the same throughout.
    """
    for block in candidate:
        if block.host_ns > OVERSHOOT * block.judge_ns + OVERSHOOT_NS:
            return (
                f"the worker's clock counted {block.host_ns / 1e6:.2f} ms in a block that took "
                f"{block.judge_ns / 1e6:.2f} ms: its timer was changed"
            )
    return (
        _shortfall(incumbent, candidate, generation)
        or _device(incumbent, candidate)
        or _deferred(incumbent, candidate, generation)
    )


def _shortfall(
    incumbent: Sequence[Block], candidate: Sequence[Block], generation: Sequence[int]
) -> str | None:
    ours, theirs = _missing(candidate), _missing(incumbent)
    judge = statistics.median(block.judge_ns for block in candidate)
    limit = max(SHORTFALL * judge, SHORTFALL_NS)
    if not typical([o - t - limit for o, t in zip(ours, theirs, strict=True)], generation):
        return None
    return (
        f"the worker's clock missed {statistics.median(ours) / 1e6:.2f} ms of {judge / 1e6:.2f} ms "
        f"per block (the incumbent's {statistics.median(theirs) / 1e6:.2f} ms): its timer was "
        "changed, or it worked outside of the calls"
    )


def _missing(blocks: Sequence[Block]) -> list[int]:
    return [block.judge_ns - block.host_ns for block in blocks]


def _device(incumbent: Sequence[Block], candidate: Sequence[Block]) -> str | None:
    ours = statistics.median(block.device_ns / block.judge_ns for block in candidate)
    theirs = statistics.median(block.device_ns / block.judge_ns for block in incumbent)
    if ours < DEVICE_SHORTFALL * theirs:
        return (
            f"the device's clock saw {ours:.0%} of each block, {theirs:.0%} of the incumbent's: "
            "work on another stream, or changed events"
        )
    return None


def _deferred(
    incumbent: Sequence[Block], candidate: Sequence[Block], generation: Sequence[int]
) -> str | None:
    """Whether handing over took longer, by a share of what was gained in the same round."""
    gain = mean([i.judge_ns - c.judge_ns for i, c in zip(incumbent, candidate, strict=True)])
    if gain <= 0:
        return None
    spinning = SPINNING_NS * ((os.cpu_count() or 1) - 1)
    for calls, handing_over, allowed, took in (
        ("judge_ns", "fetch_ns", 0, "took {:.2f} ms longer than"),
        ("cpu_ns", "fetch_cpu_ns", spinning, "used {:.2f} ms of CPU time, on all cores, more than"),
    ):
        gained, extra = _differences(incumbent, candidate, calls, handing_over)
        usual = statistics.median(getattr(block, handing_over) for block in incumbent)
        allowed += DEFERRED_OF_FETCH * usual
        share = [DEFERRED_OF_GAIN * max(0, less) for less in gained]
        excess = [more - part - allowed for more, part in zip(extra, share, strict=True)]
        if typical(excess, generation):
            return (
                f"handing over the results {took.format(mean(extra) / 1e6)} the incumbent's, "
                f"the calls {gain / 1e6:.2f} ms less: work was put off until after the answer"
            )
    return None


def _differences(
    incumbent: Sequence[Block], candidate: Sequence[Block], less: str, more: str
) -> tuple[list[int], list[int]]:
    """Of each round, what the candidate took less by one clock and what more by another."""
    pairs = list(zip(incumbent, candidate, strict=True))
    return (
        [getattr(i, less) - getattr(c, less) for i, c in pairs],
        [getattr(c, more) - getattr(i, more) for i, c in pairs],
    )


def mean(values: Sequence[float]) -> float:
    return bench_intervals.middles(values, ())[0]


def typical(excess: Sequence[float], generation: Sequence[int]) -> bool:
    """Whether the typical block's excess lies above 0, beyond chance."""
    if min(excess) > 0 or max(excess) <= 0:
        return min(excess) > 0
    if stats.typical_bounds(excess, CHANCE).low <= 0:
        return False
    means = list(bench_intervals.middles(excess, generation).values())
    return len(means) < 2 or stats.mean_bounds(means, CHANCE).low > 0
