"""Is a gain still there where calls come one at a time, as in training? Pure functions.

    calls_of(60)                                            # single calls beside a block of 60
    OneByOne(incumbents, candidates).trouble(ordinary_incumbents, ordinary_candidates, 60, ())

All inputs of an ordinary block lie in the worker's memory when its clock starts, so a candidate can
reach for them and compute the whole block at once. In a block of single calls each input is written
only when the call before was answered. Every call then pays for two wake-ups of a process, 0.1 ms:
too much for a ratio, but both arms pay it, and it falls out of the difference. What is gained per
call in ordinary blocks has to be gained there too, at least by half: in all calls together, since
work can be put off to a few of them, and in the median one, which a busy machine disturbs less.

Not seen: gains below the margin, what hides in the time of the wake-ups on another core, and what
the noise of a busy machine hides.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from lab.harness import clocks
from lab.harness.clocks import Block

MOST_CALLS = 64
"""Of a block, half as many as an ordinary one has at most: it is to cost half as much. Wake-ups of
0.1 ms that vary hide what calls as short have lost: who computed whole blocks of them at once was
found in 3 of 6 benches with 16 single calls, and in 4 of 6 with 64."""
LOST = 0.5
"""The share of the gain that may be lost: a call that comes alone meets colder caches."""
MARGIN = 0.02
"""Of the incumbent's time for a call: gains of 4% and less, which decide little, are left alone."""


def calls_of(calls: int) -> int:
    """Single calls beside a block of so many; 0 where a block is one call anyway."""
    return 0 if calls < 2 else max(2, min(MOST_CALLS, calls // 2))


@dataclass
class OneByOne:
    """The blocks of single calls of one case: one of each arm in every round."""

    incumbent: list[Block] = field(default_factory=list)
    candidate: list[Block] = field(default_factory=list)

    def trouble(
        self,
        incumbent: Sequence[Block],
        candidate: Sequence[Block],
        calls: int,
        generation: Sequence[int],
    ) -> str | None:
        """What contradicts the gain in the ordinary blocks, in one line, or None."""
        if not self.incumbent:
            return None
        gains = _gains(incumbent, candidate, "judge_ns", calls)
        gain = clocks.mean(gains)
        wanted = [
            (1 - LOST) * gained - MARGIN * block.judge_ns / calls
            for gained, block in zip(gains, incumbent, strict=True)
        ]
        for clock in ("judge_ns", "usual_ns"):
            alone = _gains(self.incumbent, self.candidate, clock, calls_of(calls))
            lost = [least - found for least, found in zip(wanted, alone, strict=True)]
            if gain > 0 and clocks.typical(lost, generation):
                return (
                    f"in blocks of {calls} calls it gains {gain / 1e3:.1f} us per call, and "
                    f"{clocks.mean(alone) / 1e3:.1f} us where each input is there only once the "
                    "call before was answered: calls were computed together"
                )
        return clocks.trouble(self.incumbent, self.candidate, generation)


def _gains(
    incumbent: Sequence[Block], candidate: Sequence[Block], clock: str, calls: int
) -> list[float]:
    """Nanoseconds per call, round by round."""
    pairs = zip(incumbent, candidate, strict=True)
    return [(getattr(i, clock) - getattr(c, clock)) / calls for i, c in pairs]
