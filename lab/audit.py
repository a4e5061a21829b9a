"""Did the candidate's run work outside of its turns? CPU counts and clocks that must agree.

While a run has its turn, everything it does is timed; between turns it stands still. What it could
do is say that a step is done when it is not, and do the work before it is ready, in the moment
before it is stopped, or after its last step. So the CPU time of its whole process tree outside of
its turns is held against that of the incumbent's run of the same pair, which has the same to do
there; and the wall clock, too, since a child process can take its CPU time to the grave.

Only the start may honestly take longer: a candidate may compile. Where it does, a pair of a single
step is run: what a start takes does not depend on how many steps follow.

Each limit is on the median over the pairs: what a candidate gains in fewer than half of them widens
the interval more than it moves the mean.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from lab.training_run import Run

Runs = tuple[Run, Run]
"""The incumbent's and the candidate's."""

BETWEEN_SHARE = 0.005
"""Of the time of its turns. Stopping a tree takes a millisecond, a turn a quarter of a second;
honest runs used 0.01 to 0.02% here, on a busy machine too; threads that spin after their work use
more."""
BETWEEN_S = 0.02
"""And so much in all: the time of children that have ended is counted in ticks of 10 ms."""
CPU_S = 0.5
"""Starting used 7 to 9 s of CPU time on a busy machine; arms of a pair differed by up to 0.5 s."""
WALL_S = 2.0
"""Two process starts differ by this much. On a busy machine both differ by more, so that by which
the incumbent's own runs differ from pair to pair is added: before that, an exact copy was refused
for 0.64 s of CPU time before its first step, on a machine that its neighbours slow down."""
MARGIN = 1.25
"""A start that compiles may take so much longer in one run than in another."""
STARTS = (("before_cpu_s", CPU_S, "CPU time"), ("before_s", WALL_S, "wall clock"))
"""What a start is measured by: the field of `Run`, the least slack, its name."""


def trouble(pairs: Sequence[Runs]) -> str | None:
    """What the candidate's runs cannot have done honestly, in one line, or None."""
    turns_s = statistics.median(sum(candidate.turn_ms) / 1e3 for _, candidate in pairs)
    between_s = _more(pairs, "between_cpu_s")
    if between_s > BETWEEN_SHARE * turns_s + BETWEEN_S:
        return f"{between_s:.2f} s of CPU time while it should have waited for its turn"
    after_cpu_s, after_s = _more(pairs, "after_cpu_s"), _more(pairs, "after_s")
    if after_cpu_s > CPU_S or after_s > _slack_s(pairs, "after_s", WALL_S):
        return (
            f"after its last step it took {after_s:.2f} s and {after_cpu_s:.2f} s of CPU time more "
            "than the incumbent"
        )
    return None


def starts_longer(pairs: Sequence[Runs]) -> bool:
    """Whether it takes a pair of a single step to say that nothing was done ahead."""
    return any(_more(pairs, name) > _slack_s(pairs, name, least) for name, least, _ in STARTS)


def worked_ahead(pairs: Sequence[Runs], short: Runs) -> str | None:
    """What the start took longer than that of a run of one step, in one line, or None."""
    for name, least, what in STARTS:
        long_s, short_s = _more(pairs, name), _more([short], name)
        if long_s > MARGIN * max(0.0, short_s) + _slack_s([*pairs, short], name, least):
            return (
                f"before its first step it took {long_s:.2f} s of {what} more than the incumbent, "
                f"but {short_s:.2f} s more in a run of a single step"
            )
    return None


def _slack_s(pairs: Sequence[Runs], name: str, least: float) -> float:
    seen = [getattr(incumbent, name) for incumbent, _ in pairs]
    return least + max(seen) - min(seen)


def _more(pairs: Sequence[Runs], name: str) -> float:
    """How much more of that field of `Run` the candidate took than the incumbent."""
    return statistics.median(getattr(b, name) - getattr(a, name) for a, b in pairs)
