"""One case, timed: blocks of calls on three fresh workers, interleaved, and every output checked.

The arms are the incumbent, the candidate, and a control, which is the incumbent again: the A/A of
this very session. A round is one block per arm, in random order, all on the same inputs. Inputs are
new in every round, in the same storage as before; they are written while the worker is frozen, so
nothing can be computed ahead. A block's time is the judge's wall clock from question to answer.
Beside each come a few single calls (one_by_one.py): they show whether a block is worked off as one.
So do blocks behind a secret round of each generation, whose inputs change on the way (midway.py).
Outputs are checked when the clocks of the round have stopped (timed_outputs.py).

`measure` is called once per generation of workers. The number of calls in a block comes from the
incumbent's time alone and the number of rounds from that of the warm-up; both are fixed before the
first round counts, and the same in every generation.
"""

from __future__ import annotations

import math
import secrets
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, Literal

import msgspec

from lab.bench_intervals import middles, speedup
from lab.harness import clocks, forms, inputs, midway, variations
from lab.harness.appeal import incumbent_blamed
from lab.harness.checking import judge_threads
from lab.harness.clocks import Block
from lab.harness.faults import Fault
from lab.harness.inputs import Content, Layout
from lab.harness.one_by_one import OneByOne, calls_of
from lab.harness.pace import ARMS, WARM_UP_ROUNDS, Pace, orders
from lab.harness.session import Session
from lab.harness.telemetry import Watch
from lab.harness.timed_outputs import TimedOutputs
from lab.outcomes import CaseTiming, Interval
from lab.progress import Progress

if TYPE_CHECKING:
    import numpy as np
    import torch

    from kernels.spec import Case, TargetFolder

LEAST_PILOT, MOST_PILOT, PILOT_BLOCKS = 3, 20, 3
"""The pilot makes 3 to 20 calls, about three blocks' time; the fastest of them counts."""
WRONG = ("numeric", "gradient", "not_finite")
LIGHT = 0.9
"""A time below this share of the floor is impossible: the floor is itself measured, to some 10%."""

UNKNOWN = Interval(point=1.0, low=0.0, high=math.inf, samples=0)
"""Until the samples are together that it is computed from."""

Exchange = Callable[[Session, "torch.Tensor", bool], forms.Answers]
Reason = Literal["faster_than_light", "clock_mismatch", "timed_output_wrong"]


class Untrue(Exception):
    """What was measured cannot be believed: a reason of outcomes.Quarantined and one line."""

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail


@dataclass
class CaseTimes:
    """One case, and what is measured of it."""

    folder: TargetFolder
    case: Case
    dtype: str
    engine: str
    layout: Layout
    floor_ms: float = 0.0
    """The least time that a call can take on this machine."""
    sessions: Mapping[str, Session] = field(default_factory=dict)
    calls: int = 0
    rounds: int = 0
    """Per generation."""
    generation: list[int] = field(default_factory=list)
    """Of each round."""
    blocks: dict[str, list[Block]] = field(default_factory=lambda: {arm: [] for arm in ARMS})
    alone: OneByOne = field(default_factory=OneByOne)
    _orders: Iterator[tuple[str, ...]] = field(default_factory=orders)
    _watch: Watch = field(init=False)
    _outputs: TimedOutputs = field(init=False)

    @classmethod
    def of(cls, folder: TargetFolder, case: Case, dtype: str, engine: str) -> CaseTimes:
        """Nothing measured yet."""
        return cls(folder, case, dtype, engine, Layout.of(folder.target, case, dtype))

    def __post_init__(self) -> None:
        self._watch = Watch(self._used_s, self.engine)
        self._outputs = TimedOutputs(self.folder, self.layout)

    def measure(
        self, sessions: Mapping[str, Session], generation: int, pace: Pace, progress: Progress
    ) -> None:
        """Warms up, then times. Raises `Fault`, `Untrue` or `MachineError`."""
        self.sessions = sessions
        # One thread: those of a pool spin for a while after their work, into the next block.
        with judge_threads(1):
            self._measure(generation, pace, progress)

    def _measure(self, generation: int, pace: Pace, progress: Progress) -> None:
        generator = inputs.generator()
        self.calls = self.calls or self._pilot(generator, pace)
        for arm in ARMS:
            self._arrange(arm, self.calls)
        contents = [self._draw(generator) for _ in range(self.calls)]
        given = inputs.pack(self.layout, contents)
        del contents
        for _ in range(WARM_UP_ROUNDS):
            start = time.perf_counter()
            self._renew(given, generator)
            self._round(given, ARMS)
            self._one_by_one(given, ARMS, generator)
            round_s = time.perf_counter() - start
        self.rounds = self.rounds or pace.rounds_of(round_s)
        chosen = secrets.randbelow(self.rounds)
        label, most = f"bench {self.folder.id} {self.case.name}", self.rounds * pace.generations
        for number, order in enumerate(islice(self._orders, self.rounds)):
            progress(label, self.rounds_done, most)
            self._renew(given, generator)
            try:
                measured = self._round(given, order)
                alone = self._one_by_one(given, order, generator)
                if number == chosen:
                    self._changing(given, generator)
            except Fault as fault:
                if fault.reason not in WRONG:
                    raise
                detail = f"case {self.case.name}, round {self.rounds_done + 1}: {fault.detail}"
                raise Untrue("timed_output_wrong", detail) from fault
            self.generation.append(generation)
            self._watch.keep()
            for arm, block in measured.items():
                self.blocks[arm].append(block)
            if alone:
                self.alone.incumbent.append(alone["incumbent"])
                self.alone.candidate.append(alone["candidate"])
        self.sessions["candidate"].check_switches()
        progress(label, self.rounds_done, most)

    @property
    def rounds_done(self) -> int:
        """Over all generations."""
        return len(self.generation)

    def timing(self) -> CaseTiming:
        """The raw samples in milliseconds per call, and the paired ratio."""
        incumbent, candidate, control = (
            tuple(block.judge_ns / 1e6 / self.calls for block in self.blocks[arm]) for arm in ARMS
        )
        found = CaseTiming(
            case=self.case.name,
            dtype=self.dtype,
            calls_per_block=self.calls,
            incumbent_ms=incumbent,
            candidate_ms=candidate,
            control_ms=control,
            floor_ms=self.floor_ms,
            speedup=UNKNOWN,
            generation=tuple(self.generation),
            telemetry=self._watch.telemetry(),
        )
        return msgspec.structs.replace(found, speedup=speedup([found]))

    def believe(self) -> None:
        """Raises `Untrue` for clocks that disagree and times below the speed of light.

        The typical block of each generation must be possible, as its mean is what counts.
        """
        arms = self.blocks["incumbent"], self.blocks["candidate"]
        found = clocks.trouble(*arms, self.generation)
        found = found or self.alone.trouble(*arms, self.calls, self.generation)
        if found:
            raise Untrue("clock_mismatch", f"case {self.case.name}: {found}")
        times = [block.judge_ns / 1e6 / self.calls for block in self.blocks["candidate"]]
        took_ms = min(middles(times, self.generation).values())
        if took_ms < LIGHT * self.floor_ms:
            raise Untrue(
                "faster_than_light",
                f"case {self.case.name}: {took_ms:.4g} ms per call, but moving its data takes at "
                f"least {self.floor_ms:.4g} ms on this machine",
            )

    # ---- within ----------------------------------------------------------------------------------

    def _used_s(self) -> float:
        """CPU seconds of the judge and the workers."""
        return time.process_time() + sum(session.cpu_s() for session in self.sessions.values())

    def _draw(self, generator: np.random.Generator) -> Content:
        return inputs.draw(self.folder.target, self.case, self.dtype, generator)

    def _arrange(self, arm: str, slots: int) -> None:
        if arm == "candidate":
            self.sessions[arm].arrange(self.layout, slots)
            return
        with incumbent_blamed(self.folder.id):
            self.sessions[arm].arrange(self.layout, slots)

    def _pilot(self, generator: np.random.Generator, pace: Pace) -> int:
        """Calls per block, from the incumbent's time per call and what fits into memory."""
        self._arrange("incumbent", 1)
        session = self.sessions["incumbent"]
        given = inputs.pack(self.layout, [self._draw(generator)])
        took: list[int] = []
        while len(took) < LEAST_PILOT or (
            len(took) < MOST_PILOT and sum(took) < PILOT_BLOCKS * pace.block_ms * 1e6
        ):
            with incumbent_blamed(self.folder.id):
                answers = forms.exchange(session, given, self.layout.differentiable)
            took.append(answers.timed.host_ns)
        wanted = math.ceil(pace.block_ms * 1e6 / max(1, min(took)))
        return max(1, min(wanted, session.arena_bytes // self.layout.slot_bytes, pace.most_slots))

    def _renew(self, given: torch.Tensor, generator: np.random.Generator) -> None:
        """New content in every slot, in place."""
        variations.mix(self.layout, self.folder.target, given, generator)

    def _round(self, given: torch.Tensor, order: Sequence[str]) -> dict[str, Block]:
        """One block per arm on the same inputs; checks the outputs of every call."""
        answers: dict[str, forms.Answers] = {}
        self._watch.begin()
        for arm in order:
            if arm == "candidate":
                answers[arm] = self._exchange(arm, given)
                forms.check_inputs(self.sessions[arm], answers[arm], self.layout, given)
                continue
            with incumbent_blamed(self.folder.id):
                answers[arm] = self._exchange(arm, given)
        self._watch.end()
        return self._checked(given, answers)

    def _one_by_one(
        self, given: torch.Tensor, order: Sequence[str], generator: np.random.Generator
    ) -> dict[str, Block]:
        """A block of single calls of incumbent and candidate, on new inputs; checked as others."""
        given = given[: calls_of(self.calls)]
        if not len(given):
            return {}
        self._renew(given, generator)
        answers: dict[str, forms.Answers] = {}
        for arm in order:
            if arm == "candidate":
                answers[arm] = self._exchange(arm, given, forms.exchange_one_by_one)
                forms.check_inputs(self.sessions[arm], answers[arm], self.layout, given)
            elif arm == "incumbent":
                with incumbent_blamed(self.folder.id):
                    answers[arm] = self._exchange(arm, given, forms.exchange_one_by_one)
        return self._checked(given, answers)

    def _changing(self, given: torch.Tensor, generator: np.random.Generator) -> None:
        """Blocks of the candidate's on inputs that change as they go; not timed, but checked."""
        pair = self.sessions["candidate"], self.sessions["incumbent"]
        changed = 0
        for _ in range(midway.MOST_BLOCKS):
            changes = midway.plan(self.layout, self.folder.target, self.calls, generator)
            if self.engine != "cpu" or not changes or changed >= min(midway.ENOUGH, 2 * self.calls):
                return
            self._renew(given, generator)
            fresh = given.clone()
            self._renew(fresh, generator)
            changed += self._outputs.check_changing(changes, given, fresh, *pair)

    def _checked(
        self, given: torch.Tensor, answers: Mapping[str, forms.Answers]
    ) -> dict[str, Block]:
        ours, theirs = answers["candidate"], answers["incumbent"]
        self._outputs.check(given, ours, theirs, self.sessions["incumbent"])
        return {arm: answered.block() for arm, answered in answers.items()}

    def _exchange(
        self, arm: str, given: torch.Tensor, how: Exchange = forms.exchange_timed
    ) -> forms.Answers:
        answers = how(self.sessions[arm], given, self.layout.differentiable)
        forms.check_form(answers, self.layout, self.engine)
        return answers
