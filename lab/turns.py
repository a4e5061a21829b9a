"""Both arms of a pair at once, taking turns of a quarter of a second until each has done its steps.

One arm works, the other's whole process tree is stopped; round by round they do the same steps on
the same batches. The order of the first round is the pair's, then it turns over (AB BA AB BA …).
What changes on the machine over seconds meets both arms alike, where runs of half a minute, one
after the other, find two different machines.

Both must fit into memory at once. On a GPU the arms go one after the other unless told otherwise:
both would hold their memory there, and a kernel that was launched works on while its process is
stopped.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Literal

import psutil

from lab.arm import Arm
from lab.training_run import Run

TURN_S = 0.25
"""Far more than a wake-up and a cold cache cost (milliseconds), far less than the machine's speed
takes to change (seconds). Even the 20 steps of the tour make five to ten turns."""
ROOM = 1.5
"""Free memory must be so many times what the first arm has resident after its warm-up."""

Which = Literal["A", "B"]
Order = Literal["AB", "BA"]
Starter = Callable[[Which], Arm]
ARMS: Mapping[Order, tuple[Which, Which]] = {"AB": ("A", "B"), "BA": ("B", "A")}


def train_pair(start: Starter, order: Order, steps: int, turns: bool | None) -> Mapping[Which, Run]:
    """Trains the incumbent A and the candidate B; `turns` None: if there is room for both.

    Raises `lab.training_run.ArmFailed`. However it ends, no process of either arm is left.
    """
    first, second = ARMS[order]
    with start(first) as one:
        one.get_ready()
        if turns or (turns is None and _is_room_for_another(one)):
            one.pause()  # also while the other starts up: both start alone
            with start(second) as other:
                other.get_ready()
                other.pause()
                take_turns({first: one, second: other}, order, steps)
                return {first: one.finish(), second: other.finish()}
        one.turn(steps)
        alone = one.finish()
    with start(second) as other:
        return {first: alone, second: other.go_through(steps)}


def take_turns(arms: Mapping[Which, Arm], order: Order, steps: int) -> None:
    """Both arms do `steps` steps. The first round is one step: it says how many make a turn."""
    step_s = _round(arms, order, 1)
    for size in sizes(steps - 1, step_s):
        order = "BA" if order == "AB" else "AB"
        _round(arms, order, size)


def sizes(steps: int, step_s: float) -> list[int]:
    """Steps of each turn: as near to `TURN_S` as whole steps come, as even as can be."""
    if steps < 1:
        return []
    count = min(steps, max(1, round(steps * step_s / TURN_S)))
    least, more = divmod(steps, count)
    return [least + 1] * more + [least] * (count - more)


def _round(arms: Mapping[Which, Arm], order: Order, size: int) -> float:
    """One turn of each; the incumbent's seconds, which alone decide how long turns are."""
    took = {}
    for which in ARMS[order]:
        took[which] = arms[which].turn(size)
        arms[which].pause()
    return took["A"]


def _is_room_for_another(arm: Arm) -> bool:
    return psutil.virtual_memory().available > ROOM * arm.resident_bytes()
