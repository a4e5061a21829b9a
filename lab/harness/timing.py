"""One case, timed: blocks of calls on three fresh workers, interleaved, and every output checked.

The arms are the incumbent, the candidate, and a control, which is the incumbent again: the A/A of
this very session. A round is one block per arm, in random order, all on the same inputs. Inputs are
new in every round, in the same storage as before; they are written while the worker is frozen, so
nothing can be computed ahead. A block's time is the judge's wall clock from question to answer.

The number of calls in a block comes from the incumbent's time alone, and the number of rounds is
fixed before the first one counts.
"""

from __future__ import annotations

import itertools
import math
import random
import secrets
import statistics
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from lab.harness import clocks, forms, inputs, oracle, tolerances, words
from lab.harness.appeal import Appeal, incumbent_blamed
from lab.harness.checking import LIGHT_BYTES, judge_threads
from lab.harness.clocks import Block
from lab.harness.inputs import Content, Layout
from lab.harness.judge import Fault, Session
from lab.progress import Progress
from lab.records import CaseTiming

if TYPE_CHECKING:
    import numpy as np
    import torch

    from kernels.spec import Case, TargetFolder

ARMS = ("incumbent", "candidate", "control")
WARM_UP_ROUNDS = 2
LEAST_PILOT, MOST_PILOT, PILOT_BLOCKS = 3, 20, 3
"""The pilot makes 3 to 20 calls, about three blocks' time; the fastest of them counts."""
HEAVY_ORACLE_EVERY = 4
"""The oracle of a large case is slow, so it sees one call in a random quarter of the rounds."""
WRONG = ("numeric", "gradient", "not_finite")
LIGHT = 0.9
"""A time below this share of the floor is impossible: the floor is itself measured, to some 10%."""

Wrong = Literal["numeric", "gradient"]
Reason = Literal["faster_than_light", "clock_mismatch", "timed_output_wrong"]


@dataclass(frozen=True)
class Pace:
    """How long to measure. A block should be far longer than a wake-up of a process (0.1 ms)."""

    block_ms: float = 30.0
    most_slots: int = 512
    rounds: int = 48
    least_rounds: int = 12
    budget_s: float = 20.0
    """Per case; fewer rounds, but never fewer than `least_rounds`, where they take longer."""


class Untrue(Exception):
    """What was measured cannot be believed: a reason of records.Quarantined and one line."""

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
    sessions: Mapping[str, Session] = field(default_factory=dict)
    calls: int = 0
    blocks: dict[str, list[Block]] = field(default_factory=lambda: {arm: [] for arm in ARMS})
    _agreements: dict[str, tolerances.Agreement] = field(default_factory=dict)

    @classmethod
    def of(cls, folder: TargetFolder, case: Case, dtype: str, engine: str) -> CaseTimes:
        """Nothing measured yet."""
        return cls(folder, case, dtype, engine, Layout.of(folder.target, case, dtype))

    def measure(self, sessions: Mapping[str, Session], pace: Pace, progress: Progress) -> None:
        """Warms up, then times. Raises `Fault`, `Untrue` or `MachineError`."""
        self.sessions = sessions
        # One thread: those of a pool spin for a while after their work, into the next block.
        with judge_threads(1):
            self._measure(pace, progress)

    def _measure(self, pace: Pace, progress: Progress) -> None:
        generator = inputs.generator()
        self.calls = self._pilot(generator, pace)
        for arm in ARMS:
            self._arrange(arm, self.calls)
        contents = [self._draw(generator) for _ in range(self.calls)]
        given = inputs.pack(self.layout, contents)
        del contents
        label = f"bench {self.folder.id} {self.case.name}"
        for _ in range(WARM_UP_ROUNDS):
            start = time.perf_counter()
            self._renew(given, generator)
            self._round(given, ARMS)
            round_s = time.perf_counter() - start
        affordable = int(pace.budget_s / max(round_s, 1e-6))
        rounds = max(pace.least_rounds, min(pace.rounds, affordable))
        for number, order in enumerate(orders(rounds)):
            progress(label, number, rounds)
            self._renew(given, generator)
            try:
                measured = self._round(given, order)
            except Fault as fault:
                if fault.reason not in WRONG:
                    raise
                detail = f"case {self.case.name}, round {number + 1}: {fault.detail}"
                raise Untrue("timed_output_wrong", detail) from fault
            for arm, block in measured.items():
                self.blocks[arm].append(block)
        progress(label, rounds, rounds)

    def timing(self, floor_ms: float) -> CaseTiming:
        """The raw samples in milliseconds per call, and the paired ratio."""
        from lab.stats import ratio_interval

        incumbent, candidate, control = (
            tuple(block.judge_ns / 1e6 / self.calls for block in self.blocks[arm]) for arm in ARMS
        )
        return CaseTiming(
            case=self.case.name,
            dtype=self.dtype,
            calls_per_block=self.calls,
            incumbent_ms=incumbent,
            candidate_ms=candidate,
            control_ms=control,
            floor_ms=floor_ms,
            speedup=ratio_interval(incumbent, candidate),
        )

    def believe(self, floor_ms: float) -> None:
        """Raises `Untrue` for clocks that disagree and times below the speed of light."""
        found = clocks.trouble(self.blocks["incumbent"], self.blocks["candidate"])
        if found:
            raise Untrue("clock_mismatch", f"case {self.case.name}: {found}")
        took = statistics.median(self.timing(floor_ms).candidate_ms)
        if took < LIGHT * floor_ms:
            raise Untrue(
                "faster_than_light",
                f"case {self.case.name}: {took:.4g} ms per call, but moving its data takes at "
                f"least {floor_ms:.4g} ms on this machine",
            )

    # ---- within ----------------------------------------------------------------------------------

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
        for slot in given:
            inputs.shuffle(self.layout, self.folder.target, slot, generator)

    def _round(self, given: torch.Tensor, order: Sequence[str]) -> dict[str, Block]:
        """One block per arm on the same inputs; checks the outputs of every call."""
        answers: dict[str, forms.Answers] = {}
        for arm in order:
            if arm == "candidate":
                answers[arm] = self._exchange(arm, given)
                forms.check_inputs(self.sessions[arm], answers[arm], self.layout, given)
                continue
            with incumbent_blamed(self.folder.id):
                answers[arm] = self._exchange(arm, given)
        self._check(given, answers["candidate"], answers["incumbent"])
        return {
            arm: Block(a.timed.judge_ns, a.timed.host_ns, a.timed.device_ns, a.fetch_ns)
            for arm, a in answers.items()
        }

    def _exchange(self, arm: str, given: torch.Tensor) -> forms.Answers:
        answers = forms.exchange(self.sessions[arm], given, self.layout.differentiable)
        forms.check_outputs(answers, self.layout, self.engine)
        if self.layout.differentiable:
            forms.check_gradients(answers, self.layout, self.engine)
        return answers

    def _check(self, given: torch.Tensor, ours: forms.Answers, theirs: forms.Answers) -> None:
        """One call of the round against the oracle, all of them against the incumbent's.

        The oracle has the last word: a call that only disagrees with the incumbent goes to it.
        """
        layout = self.layout
        light = layout.slot_bytes <= LIGHT_BYTES
        chosen = secrets.randbelow(len(given))
        if light or not self._agreements or secrets.randbelow(HEAVY_ORACLE_EVERY) == 0:
            self._ask_oracle(given, chosen, ours, theirs)
        names = (*layout.output_names, *layout.gradient_names)
        spans = (*layout.outputs, *layout.gradients)
        for name, span in zip(names, spans, strict=True):
            pairs = zip(ours.tensors(span), theirs.tensors(span), strict=True)
            for slot, (found, honest) in enumerate(pairs):
                if not self._agreements[name].holds(found, honest):
                    self._ask_oracle(given, slot, ours, theirs)

    def _ask_oracle(
        self, given: torch.Tensor, slot: int, ours: forms.Answers, theirs: forms.Answers
    ) -> None:
        """One call's results against the oracle; learns how far two implementations may differ."""
        layout = self.layout
        content = inputs.unpack(layout, given[slot])
        expected = oracle.evaluate(self.folder, content)
        appeal = Appeal(self.folder, layout, self.sessions["incumbent"], layout.differentiable)
        names = (*layout.output_names, *layout.gradient_names)
        spans = (*layout.outputs, *layout.gradients)
        for index, (name, span) in enumerate(zip(names, spans, strict=True)):
            found, honest = ours.tensors(span)[slot], theirs.tensors(span)[slot]
            within = tolerances.bounds(expected.tensors[index], honest, span.dtype)
            place = tolerances.not_finite(found, within)
            if place is not None:
                raise Fault("not_finite", words.not_finite(name, place))
            away = appeal.distance(content, index, found, within)
            if not away.ok:
                reason: Wrong = "numeric" if index < len(layout.outputs) else "gradient"
                raise Fault(reason, words.too_far(name, away, within.dtype))
            before = self._agreements.get(name)
            self._agreements[name] = tolerances.Agreement.like(within, before)


def orders(rounds: int) -> Iterator[tuple[str, ...]]:
    """A random order of the arms for each round; every order equally often, as far as it goes."""
    every = list(itertools.permutations(ARMS))
    shuffle = random.SystemRandom().shuffle
    bag: list[tuple[str, ...]] = []
    for _ in range(rounds):
        if not bag:
            bag = list(every)
            shuffle(bag)
        yield bag.pop()
