"""One attack or honest candidate, tried: what it met, and whether that is what should meet it.

`Trials` keeps the arenas, `meet` sends an entry to the stage that it attacks. A machine or lab
error in the middle of an attack is no detection: it would be blamed on nobody.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import msgspec

from kernels.spec import discover
from lab.context import FRAMEWORKS
from lab.errors import LabError
from lab.harness.bench import CONTROL_MARGIN
from lab.harness.worker_process import Patience
from lab.outcomes import Failed, Measured, Quarantined
from lab.selftest.arena import Arena
from lab.selftest.corpus import FAIR, HONEST, Entry
from lab.selftest.training import Course

WITH_ATTACKS = Patience(call_s=20.0, memory_bytes=2**30)
"""One that hangs or takes all memory need not be waited for; none compiles anything."""
NOISE = ("control_failed", "too_noisy")
NOISY_TRIES = 3
"""A bench that ends so says nothing of the candidate: the machine was busy. Then again, and if it
stays so, the attack counts as not run."""
BY_CHANCE = ("clock_mismatch", "faster")
"""What one short pair also meets on a busy machine, where starts differ by seconds and steps by
their own length. An attack that really earns it meets it again."""
SECRET = "KERNEL_LAB_SELF_TEST_TOKEN"
"""An environment variable that the judge has and no worker may see."""

GOT_THROUGH = ("passed", "faster", "accepted", "lab_error")

End = Literal["as expected", "another reason", "missed", "falsely rejected", "not run"]


class Trial(msgspec.Struct, frozen=True, kw_only=True):
    """One entry and what it met."""

    name: str
    category: str
    target: str
    stage: str
    expected: str
    met: str
    """A failure reason, or `passed`, `faster`, `no_gain`, `val_bpb`."""
    detail: str
    end: End
    known_hole: str = ""


class Trials:
    """The arenas of all targets and the course of the A/B, opened when first needed."""

    def __init__(self, engine: str) -> None:
        self._engine = engine
        self._folders = discover()
        self._arenas: dict[tuple[str, str, bool], Arena] = {}
        self._course: Course | None = None

    def __enter__(self) -> Trials:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Ends every worker."""
        for arena in self._arenas.values():
            arena.close()
        self._arenas.clear()
        if self._course is not None:
            self._course.close()
            self._course = None

    def run(self, entry: Entry, following: Entry | None = None) -> Trial:
        """Tries one entry; the worker of `following` starts meanwhile, unless clocks run."""
        try:
            met, detail = self._meet(entry, following)
        except LabError as error:
            met, detail = "lab_error", str(error)
            self._arena(entry).renew()
        return Trial(
            name=entry.name,
            category=entry.category,
            target=entry.target,
            stage=entry.stage,
            expected=" or ".join(entry.expected),
            met=met,
            detail=detail,
            end=_end(entry, met),
            known_hole=entry.known_hole,
        )

    def _meet(self, entry: Entry, following: Entry | None) -> tuple[str, str]:
        from lab.selftest import scene

        if entry.stage == "verify":
            return self._verify(entry, following)
        if entry.stage == "bench":
            return self._bench(entry)
        if entry.stage == "ab":
            return self._train(entry)
        return scene.meet(entry, self._engine)

    def _verify(self, entry: Entry, following: Entry | None) -> tuple[str, str]:
        arena = self._arena(entry)
        arena.start(entry.path)
        if following and _kind(following) == _kind(entry):
            self._arena(following).start(following.path)
        outcome = arena.verify(entry.path)
        if isinstance(outcome, Failed):
            return outcome.reason, outcome.detail
        return "passed", f"{len(outcome.checks)} tensors within bounds"

    def _bench(self, entry: Entry) -> tuple[str, str]:
        from lab.harness.pace import Pace

        pace = Pace(block_ms=20.0, rounds=12, least_rounds=12, generations=1, gain=1.5)
        arena = self._arena(entry)
        outcome = arena.bench(entry.path, pace)
        for _ in range(NOISY_TRIES):
            if not (isinstance(outcome, Quarantined) and outcome.reason in NOISE):
                break
            outcome = arena.bench(entry.path, pace)
        if not isinstance(outcome, Measured):
            return outcome.reason, outcome.detail
        found = outcome.speedup
        met = "faster" if found.low >= CONTROL_MARGIN else "no_gain"
        return met, f"{found.point:.3f}x [{found.low:.3f}, {found.high:.3f}]"

    def _train(self, entry: Entry) -> tuple[str, str]:
        self._course = self._course or Course(self._engine)
        met = self._course.meet(entry)
        for _ in range(NOISY_TRIES):
            if met[0] in entry.expected or met[0] not in BY_CHANCE:
                break
            met = self._course.meet(entry)
        return met

    def _arena(self, entry: Entry) -> Arena:
        honest = entry.category == HONEST
        key = (entry.target, entry.language, honest)
        if key not in self._arenas:
            for other in [k for k in self._arenas if k != key]:
                self._arenas.pop(other).close()
            patience = Patience() if honest else WITH_ATTACKS
            engine = "mlx" if FRAMEWORKS[entry.language] == "mlx" else self._engine
            folder = self._folders[entry.target]
            self._arenas[key] = Arena(folder, engine, patience, entry.language)
        return self._arenas[key]


def _kind(entry: Entry) -> tuple[str, str, str]:
    """Entries of the same kind meet in the same arena."""
    return entry.target, entry.stage, entry.language


@contextmanager
def planted_secret() -> Iterator[None]:
    """A secret in the judge's environment, for the attacks that look for one."""
    os.environ[SECRET] = "found"
    try:
        yield
    finally:
        del os.environ[SECRET]


def _end(entry: Entry, met: str) -> End:
    if met in entry.expected:
        return "as expected"
    if entry.category in FAIR:
        return "falsely rejected"
    if met in NOISE:
        return "not run"
    return "missed" if met in GOT_THROUGH else "another reason"
