"""One case in one dtype: several rounds of fresh inputs in the same storage, every answer checked.

Each round writes new content into the very storage of the round before, so an answer that was
remembered by address, tensor or number of calls is found out. A round has three calls. The last
repeats the first, which shows whether the candidate is deterministic; the one between has other
content, which shows a buffer that all calls return. The order of the checks is that of
records.FailureReason; the first failure ends it with a `Fault`.

The case itself is on trial too: if an answer that anyone could give would pass (probes.py), it
proves nothing, and `ProvesNothing` says so.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import Executor, wait
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from lab.errors import MachineError
from lab.harness import forms, inputs, oracle, variations
from lab.harness.appeal import Appeal, incumbent_blamed
from lab.harness.comparing import Answered, Compared, check_finite
from lab.harness.families import Round, Taker
from lab.harness.forms import Answers
from lab.harness.inputs import Content, Layout
from lab.harness.probes import Probes
from lab.harness.session import Session

if TYPE_CHECKING:
    import torch
    from numpy.random import Generator

    from kernels.spec import Case, TargetFolder
    from lab.harness.recording import RecordedCall

SLOTS = 3
"""Calls per round."""
HEAVY_BYTES = 2**25
"""Cases whose slot is larger have one round fewer, and the oracle, whose time it is, sees one
content per round instead of two. The second call's content is then the first one's, shuffled, and
its answer is compared with the incumbent's."""
LIGHT_BYTES = 2**22
"""Below, the judge computes on one thread: several would only take the cores from the workers."""


class ProvesNothing(MachineError):
    """A case on which doing nothing would pass."""


@dataclass
class CaseChecks:
    """The rounds of one case in one dtype, and what outlives each of them."""

    folder: TargetFolder
    case: Case
    dtype: str
    engine: str
    layout: Layout
    _probes: Probes
    recorded: RecordedCall | None = None
    """If given, one content of each round, at a secret place, varies this call of training."""
    identical: bool = True
    """Whether every answer was, bit for bit, the incumbent's."""
    current: Round | None = None
    """The round that is running, or was last."""

    @classmethod
    def of(cls, folder: TargetFolder, case: Case, dtype: str, engine: str) -> CaseChecks:
        """Nothing checked yet."""
        layout = Layout.of(folder.target, case, dtype)
        return cls(folder, case, dtype, engine, layout, Probes.of(dtype))

    @classmethod
    def of_recorded(cls, folder: TargetFolder, call: RecordedCall, engine: str) -> CaseChecks:
        """Nothing checked yet of a call that training recorded."""
        probes = Probes.of(call.dtype)
        return cls(folder, call.case, call.dtype, engine, call.layout, probes, recorded=call)

    def again(self, case: Case) -> CaseChecks:
        """The same with nothing checked yet, of this case or one like it."""
        if self.recorded is not None:
            return self.of_recorded(self.folder, self.recorded, self.engine)
        return self.of(self.folder, case, self.dtype, self.engine)

    @cached_property
    def compared(self) -> Compared:
        """What was found so far."""
        return Compared(self.case.name, self.dtype, self.layout)

    @property
    def slots(self) -> int:
        """Calls per round."""
        return SLOTS

    @property
    def heavy(self) -> bool:
        """Whether the case is so large that the oracle's time counts."""
        return self.layout.slot_bytes > HEAVY_BYTES

    @property
    def taker(self) -> Taker:
        """What this case in this dtype can be dealt."""
        without = {family for one in self.folder.target.inputs for family in one.without}
        layout = self.layout
        return Taker(
            self.case,
            self.dtype,
            layout.differentiable,
            self.heavy,
            frozenset(without),
            self.recorded is not None,
        )

    def run(
        self, rounds: Sequence[Round], candidate: Session, incumbent: Session, pool: Executor
    ) -> None:
        """All rounds. Raises `Fault` for the candidate, `MachineError` for everything else."""
        with judge_threads(1 if self.layout.slot_bytes <= LIGHT_BYTES else None):
            candidate.arrange(self.layout, SLOTS)
            with incumbent_blamed(self.folder.id):
                incumbent.arrange(self.layout, SLOTS)
            random = inputs.generator()
            for self.current in rounds:
                self._round(self.current, random, candidate, incumbent, pool)
        if self._probes.unrefuted:
            raise ProvesNothing(
                f"{self.folder.id}, case {self.case.name}, {self.dtype}: "
                f"{', '.join(sorted(self._probes.unrefuted))} would pass, so the case proves "
                "nothing",
                f"Change the case in {self.folder.path / 'target.py'}.",
            )

    def _contents(self, one: Round, random: Generator) -> list[Content]:
        """What the oracle will see in a round: where its contents come from."""
        contents = [
            inputs.draw(self.folder.target, self.case, self.dtype, random, one.family)
            for _ in range(1 if self.heavy and not self.recorded else SLOTS - 1)
        ]
        if self.recorded:
            contents[random.integers(len(contents))] = self.recorded.varied(random)
        return contents

    def _given(self, contents: Sequence[Content], random: Generator) -> torch.Tensor:
        """The bytes of all slots: the last repeats the first, the second differs."""
        given = inputs.pack(self.layout, [contents[0], contents[-1], contents[0]])
        if len(contents) == 1:
            variations.shuffle(self.layout, self.folder.target, given[1], random)
        return given

    def _round(
        self,
        one: Round,
        random: Generator,
        candidate: Session,
        incumbent: Session,
        pool: Executor,
    ) -> None:
        contents = self._contents(one, random)
        given = self._given(contents, random)
        theirs = pool.submit(_exchange, incumbent, given, one)
        ours = pool.submit(_exchange, candidate, given, one)
        expected = [oracle.evaluate(self.folder, content) for content in contents]
        wait([ours, theirs])
        answers = ours.result()
        with incumbent_blamed(self.folder.id):
            honest = theirs.result()
            forms.check_outputs(honest, self.layout, self.engine)
            forms.check_inputs(incumbent, honest, self.layout, given)
            if one.differentiate:
                forms.check_gradients(honest, self.layout, self.engine)
        self.identical = self.identical and same_bytes(answers, honest)

        forms.check_outputs(answers, self.layout, self.engine)
        outputs = self.compared.answered(answers, honest, expected, gradients=False)
        check_finite(outputs)
        forms.check_inputs(candidate, answers, self.layout, given)
        appeal = Appeal(self.folder, self.layout, incumbent, one.differentiate)
        self.compared.check_values(contents, outputs, appeal)
        shuffled = given[1] if len(contents) == 1 else None
        self.compared.check_shuffled(shuffled, answers, honest, outputs, appeal)
        gradients: list[Answered] = []
        if one.differentiate:
            forms.check_gradients(answers, self.layout, self.engine)
            gradients = self.compared.answered(answers, honest, expected, gradients=True)
            check_finite(gradients)
            self.compared.check_values(contents, gradients, appeal)
            self.compared.check_shuffled(shuffled, answers, honest, gradients, appeal)
        for slot, content in enumerate(contents):
            within = {tensor.name: tensor.within[slot] for tensor in (*outputs, *gradients)}
            self._probes.strike(content, within)


def _exchange(session: Session, given: torch.Tensor, one: Round) -> Answers:
    """Of a round with gradients. Where content is as the target draws it, in the order of training:
    who keeps something for the backward where the next call finds it too is wrong there alone."""
    if one.differentiate and one.family == "drawn":
        return forms.exchange_as_in_training(session, given)
    return forms.exchange(session, given, one.differentiate)


def same_bytes(ours: Answers, theirs: Answers) -> bool:
    """Whether two workers gave the same answers, bit for bit."""
    import torch

    return torch.equal(ours.results, theirs.results)


@contextmanager
def judge_threads(count: int | None) -> Iterator[None]:
    """The judge's own torch on so many threads (None: as it is); put back afterwards."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(count or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)
