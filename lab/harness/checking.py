"""One case in one dtype: several rounds of fresh inputs in the same storage, every answer checked.

Each round writes new content into the very storage of the round before, so an answer that was
remembered by address, tensor or number of calls is found out. Within a round the first content
comes back in the last slot, which shows whether the candidate is deterministic. The order of the
checks is that of records.FailureReason; the first failure ends it with a `Fault`.

The case itself is on trial too: if zeros, a constant or a copy of an input would pass, it proves
nothing and `MachineError` says so.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor, wait
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from lab.errors import MachineError
from lab.harness import forms, inputs, oracle, tolerances, words
from lab.harness.forms import Answers
from lab.harness.inputs import Content, Family, Layout
from lab.harness.judge import Fault, Session
from lab.harness.tolerances import Bounds, Distance
from lab.records import TensorCheck

if TYPE_CHECKING:
    import torch
    from numpy.random import Generator

    from kernels.spec import Case, TargetFolder
    from lab.harness.recording import RecordedCall

TRAINING_ROUNDS: tuple[tuple[Family, bool], ...] = (
    ("drawn", True),
    ("drawn", False),
    ("spiked", True),
    ("drawn", True),
)
"""(how inputs are drawn, with gradients). Without, it runs under no_grad, as evaluation does."""
PLAIN_ROUNDS: tuple[tuple[Family, bool], ...] = (
    ("drawn", False),
    ("spiked", False),
    ("drawn", False),
)
"""For targets without gradients."""
RECORDED_ROUNDS: tuple[tuple[Family, bool], ...] = (("drawn", True), ("drawn", False))
RECORDED_PLAIN_ROUNDS: tuple[tuple[Family, bool], ...] = (("drawn", False), ("drawn", False))
"""For calls that training recorded: a new variation of the call in each, beside drawn content."""
HEAVY_BYTES = 2**25
"""Cases whose slot is larger have one content per round instead of two, and only the first three
rounds: the oracle is the cost."""
LIGHT_BYTES = 2**22
"""Below, the judge computes on one thread: several would only take the cores from the workers."""
LARGEST = float(2**1023)
PROBES = ("zeros", "constant", "copy")
NEIGHBOURS = 6
"""How often the incumbent is asked again before a candidate is refused. Of 600 checks of an honest
but twice less accurate Polar Express on 127 x 33 matrices, none were refused; without, 5."""


@dataclass(frozen=True)
class Answered:
    """One tensor of every slot of a round: what was found and what is allowed there."""

    name: str
    index: int
    """Its place among `oracle.Expected.tensors`."""
    is_gradient: bool
    found: Sequence[torch.Tensor]
    within: Sequence[Bounds]


@dataclass
class CaseChecks:
    """The rounds of one case in one dtype, and what outlives each of them."""

    folder: TargetFolder
    case: Case
    dtype: str
    engine: str
    layout: Layout
    recorded: RecordedCall | None = None
    """If given, one content of each round, at a secret place, varies this call of training."""
    deterministic: bool = True
    _worst: dict[str, tuple[float, TensorCheck]] = field(default_factory=dict)
    _right: dict[str, set[bytes]] = field(default_factory=dict)
    """By tensor, digests of answers that were right in earlier rounds, for other content."""
    _unrefuted: set[str] = field(default_factory=lambda: set(PROBES))
    _constants: dict[str, float] = field(default_factory=dict)

    @classmethod
    def of(cls, folder: TargetFolder, case: Case, dtype: str, engine: str) -> CaseChecks:
        """Nothing checked yet."""
        return cls(folder, case, dtype, engine, Layout.of(folder.target, case, dtype))

    @classmethod
    def of_recorded(cls, folder: TargetFolder, call: RecordedCall, engine: str) -> CaseChecks:
        """Nothing checked yet of a call that training recorded."""
        return cls(folder, call.case, call.dtype, engine, call.layout, recorded=call)

    @property
    def checks(self) -> tuple[TensorCheck, ...]:
        """For each tensor the check that came nearest to its bounds, or passed them."""
        return tuple(check for _, check in self._worst.values())

    @property
    def slots(self) -> int:
        """Calls per round; the last repeats the first."""
        return 2 if self.heavy else 3

    @property
    def heavy(self) -> bool:
        """Whether the case is so large that the oracle's time counts."""
        return self.layout.slot_bytes > HEAVY_BYTES

    def run(self, candidate: Session, incumbent: Session, pool: Executor) -> None:
        """All rounds. Raises `Fault` for the candidate, `MachineError` for everything else."""
        with judge_threads(1 if self.layout.slot_bytes <= LIGHT_BYTES else None):
            self._run(candidate, incumbent, pool)

    def _run(self, candidate: Session, incumbent: Session, pool: Executor) -> None:
        candidate.arrange(self.layout, self.slots)
        with incumbent_blamed(self.folder.id):
            incumbent.arrange(self.layout, self.slots)
        random = inputs.generator()
        for family, differentiate in self._rounds():
            contents = self._contents(random, family)
            self._round(contents, differentiate, candidate, incumbent, pool)
        if self._unrefuted:
            raise MachineError(
                f"{self.folder.id}, case {self.case.name}, {self.dtype}: "
                f"{', '.join(sorted(self._unrefuted))} would pass, so the case proves nothing",
                f"Change the case in {self.folder.path / 'target.py'}.",
            )

    def _rounds(self) -> tuple[tuple[Family, bool], ...]:
        if self.recorded:
            return RECORDED_ROUNDS if self.layout.differentiable else RECORDED_PLAIN_ROUNDS
        rounds = TRAINING_ROUNDS if self.layout.differentiable else PLAIN_ROUNDS
        return rounds[:3] if self.heavy else rounds

    def _contents(self, random: Generator, family: Family) -> list[Content]:
        """The contents of a round, all new."""
        contents = [
            inputs.draw(self.folder.target, self.case, self.dtype, random, family)
            for _ in range(self.slots - 1)
        ]
        if self.recorded:
            contents[random.integers(len(contents))] = self.recorded.varied(random)
        return contents

    def _round(
        self,
        contents: Sequence[Content],
        differentiate: bool,
        candidate: Session,
        incumbent: Session,
        pool: Executor,
    ) -> None:
        given = inputs.pack(self.layout, [*contents, contents[0]])
        theirs = pool.submit(forms.exchange, incumbent, given, differentiate)
        ours = pool.submit(forms.exchange, candidate, given, differentiate)
        expected = [oracle.evaluate(self.folder, content) for content in contents]
        wait([ours, theirs])
        answers = ours.result()
        with incumbent_blamed(self.folder.id):
            honest = theirs.result()
            forms.check_outputs(honest, self.layout, self.engine)
            forms.check_inputs(incumbent, self.layout, given)
            if differentiate:
                forms.check_gradients(honest, self.layout, self.engine)

        forms.check_outputs(answers, self.layout, self.engine)
        outputs = self._answered(answers, honest, expected, gradients=False)
        _check_finite(outputs)
        forms.check_inputs(candidate, self.layout, given)
        appeal = Appeal(self.folder, self.layout, incumbent, differentiate)
        self._check_values(contents, outputs, appeal)
        gradients: list[Answered] = []
        if differentiate:
            forms.check_gradients(answers, self.layout, self.engine)
            gradients = self._answered(answers, honest, expected, gradients=True)
            _check_finite(gradients)
            self._check_values(contents, gradients, appeal)
        self._probe(contents, [*outputs, *gradients])

    def _answered(
        self,
        answers: Answers,
        honest: Answers,
        expected: Sequence[oracle.Expected],
        gradients: bool,
    ) -> list[Answered]:
        """Outputs or gradients of a round with their bounds, from the incumbent's answers."""
        layout = self.layout
        names = layout.gradient_names if gradients else layout.output_names
        spans = layout.gradients if gradients else layout.outputs
        found = []
        first = len(layout.outputs) if gradients else 0
        for index, (name, span) in enumerate(zip(names, spans, strict=True)):
            theirs = honest.tensors(span)
            right = [e.gradients[index] if gradients else e.outputs[index] for e in expected]
            within = [
                tolerances.bounds(oracle, theirs[slot], span.dtype)
                for slot, oracle in enumerate(right)
            ]
            within.append(within[0])
            tensors = answers.tensors(span)
            found.append(Answered(name, first + index, gradients, tensors, within))
        return found

    def _check_values(
        self, contents: Sequence[Content], tensors: Sequence[Answered], appeal: Appeal
    ) -> None:
        """Reasons stale_output, then numeric or gradient."""
        for one in tensors:
            answers = [digest(found) for found in one.found]
            self.deterministic &= answers[0] == answers[-1]
            distances = [
                appeal.distance(content, one.index, found, within)
                for content, found, within in zip(
                    contents, one.found[:-1], one.within[:-1], strict=True
                )
            ]
            distances.append(
                distances[0]
                if answers[0] == answers[-1]
                else appeal.distance(contents[0], one.index, one.found[-1], one.within[-1])
            )
            for away, within in zip(distances, one.within, strict=True):
                self._remember(one.name, away, within)
            right = self._right.setdefault(one.name, set())
            right |= {d for d, away in zip(answers, distances, strict=True) if away.ok}
            for answer, away in zip(answers, distances, strict=True):
                if not away.ok and answer in right:
                    raise Fault("stale_output", words.stale(one.name))
            for away in distances:
                if not away.ok:
                    detail = words.too_far(one.name, away, one.within[0].dtype)
                    raise Fault("gradient" if one.is_gradient else "numeric", detail)

    def _remember(self, name: str, distance: Distance, within: Bounds) -> None:
        if name in self._worst and distance.excess <= self._worst[name][0]:
            return
        check = TensorCheck(
            case=self.case.name,
            dtype=self.dtype,
            tensor=name,
            max_error=min(distance.max_error, LARGEST),  # records hold no infinity
            rms_error=min(distance.rms_error, LARGEST),
            allowed_max=distance.allowed_max,
            allowed_rms=distance.allowed_rms,
            incumbent_max=within.incumbent_max,
            incumbent_rms=within.incumbent_rms,
        )
        self._worst[name] = (distance.excess, check)

    def _probe(self, contents: Sequence[Content], tensors: Sequence[Answered]) -> None:
        """Strikes off each probe that one tensor's bounds refuse on one content."""
        import torch

        for slot, content in enumerate(contents):
            for one in tensors:
                within = one.within[slot]
                right = within.oracle
                constant = self._constants.setdefault(one.name, float(right.mean()))
                guesses = {
                    "zeros": [torch.zeros_like(right)],
                    "constant": [torch.full_like(right, constant)],
                    "copy": [
                        t.double().reshape(right.shape)
                        for t in content.inputs
                        if t.numel() == right.numel()
                    ],
                }
                for name in sorted(self._unrefuted):
                    if not any(tolerances.distance(g, within).ok for g in guesses[name]):
                        self._unrefuted.discard(name)
                if not self._unrefuted:
                    return


@dataclass(frozen=True)
class Appeal:
    """Judges a result by its bounds, and once more by wider ones before it is refused."""

    folder: TargetFolder
    layout: Layout
    incumbent: Session
    differentiate: bool

    def distance(
        self, content: Content, index: int, found: torch.Tensor, within: Bounds
    ) -> Distance:
        """Of a result from the oracle; `index` is the tensor's place among `Expected.tensors`."""
        first = tolerances.distance(found, within)
        if first.ok:
            return first
        return tolerances.distance(found, tolerances.widest(within, self._near(content, index)))

    def _near(self, content: Content, index: int) -> Iterator[Bounds]:
        """Bounds on neighbouring inputs, from the incumbent's results there."""
        span = (*self.layout.outputs, *self.layout.gradients)[index]
        random = inputs.generator()
        for _ in range(NEIGHBOURS):
            near = inputs.nudged(content, random)
            given = inputs.pack(self.layout, [near])
            with incumbent_blamed(self.folder.id):
                honest = forms.exchange(self.incumbent, given, self.differentiate)
            right = oracle.evaluate(self.folder, near).tensors[index]
            yield tolerances.bounds(right, honest.tensors(span)[0], span.dtype)


def _check_finite(tensors: Sequence[Answered]) -> None:
    for one in tensors:
        for found, within in zip(one.found, one.within, strict=True):
            place = tolerances.not_finite(found, within)
            if place is not None:
                raise Fault("not_finite", words.not_finite(one.name, place))


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


@contextmanager
def incumbent_blamed(target: str) -> Iterator[None]:
    """A `Fault` in here is the incumbent's, hence the lab's: it becomes a `MachineError`."""
    try:
        yield
    except Fault as fault:
        raise MachineError(
            f"the incumbent of {target} failed: {fault.reason}: {fault.detail}",
            "Nothing can be judged against it. Mend it, or demote it if it was promoted.",
        ) from fault


def digest(tensor: torch.Tensor) -> bytes:
    """Of a tensor's bytes."""
    import torch

    data = tensor.contiguous().view(-1).view(torch.uint8).numpy().data
    return hashlib.blake2b(data, digest_size=16).digest()
