"""Do the clocks of a benchmark agree? Pure functions over what was measured of each block.

The judge's clock decides the result. Three others are only looked at for contradictions: the
worker's own, the device's, and the time that the worker takes to hand over its results afterwards.
A worker that finishes its work after it has said that it is done gains on the first clock and loses
on the last; a worker that patched its timer contradicts the first.

Not seen: what stays below the margins here, a twenty-fifth of the hand-over or half of what was
gained. The A/B, whose clock contains everything, is the answer to that.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

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
MOST_ROUNDS = 0.8
"""Share of the rounds in which it must. Under chance, 10 of 12 happen in 2% of all benchmarks. A
count, since hand-over times have outliers that drown any mean."""


@dataclass(frozen=True)
class Block:
    """One block of one arm: nanoseconds by each clock, and of the hand-over."""

    judge_ns: int
    host_ns: int
    device_ns: int
    fetch_ns: int


def trouble(incumbent: Sequence[Block], candidate: Sequence[Block]) -> str | None:
    """What cannot be true about the candidate's blocks, in one line, or None."""
    for block in candidate:
        if block.host_ns > OVERSHOOT * block.judge_ns + OVERSHOOT_NS:
            return (
                f"the worker's clock counted {block.host_ns / 1e6:.2f} ms in a block that took "
                f"{block.judge_ns / 1e6:.2f} ms: its timer was changed"
            )
    return (
        _shortfall(incumbent, candidate)
        or _device(incumbent, candidate)
        or _deferred(incumbent, candidate)
    )


def _shortfall(incumbent: Sequence[Block], candidate: Sequence[Block]) -> str | None:
    ours, theirs = _missing(candidate), _missing(incumbent)
    judge = statistics.median(block.judge_ns for block in candidate)
    if ours - theirs > max(SHORTFALL * judge, SHORTFALL_NS):
        return (
            f"the worker's clock missed {ours / 1e6:.2f} ms of {judge / 1e6:.2f} ms per block "
            f"(the incumbent's {theirs / 1e6:.2f} ms): its timer was changed, or it worked "
            "outside of the calls"
        )
    return None


def _missing(blocks: Sequence[Block]) -> float:
    return statistics.median(block.judge_ns - block.host_ns for block in blocks)


def _device(incumbent: Sequence[Block], candidate: Sequence[Block]) -> str | None:
    ours = statistics.median(block.device_ns / block.judge_ns for block in candidate)
    theirs = statistics.median(block.device_ns / block.judge_ns for block in incumbent)
    if ours < DEVICE_SHORTFALL * theirs:
        return (
            f"the device's clock saw {ours:.0%} of each block, {theirs:.0%} of the incumbent's: "
            "work on another stream, or changed events"
        )
    return None


def _deferred(incumbent: Sequence[Block], candidate: Sequence[Block]) -> str | None:
    """Whether handing over took longer, in most rounds, by a share of what was gained that way."""
    extra = [c.fetch_ns - i.fetch_ns for i, c in zip(incumbent, candidate, strict=True)]
    gains = [i.judge_ns - c.judge_ns for i, c in zip(incumbent, candidate, strict=True)]
    gain = statistics.median(gains)
    if gain <= 0:
        return None
    fetch = statistics.median(block.fetch_ns for block in incumbent)
    limit = DEFERRED_OF_GAIN * gain + DEFERRED_OF_FETCH * fetch
    if sum(one > limit for one in extra) < MOST_ROUNDS * len(extra):
        return None
    return (
        f"handing over the results took {statistics.median(extra) / 1e6:.2f} ms longer than the "
        f"incumbent's, the calls {gain / 1e6:.2f} ms less: work was put off until after the answer"
    )
