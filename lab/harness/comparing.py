"""What a case's answers are held to: finite, right by the oracle's bounds, and of their own call.

    compared = Compared(case.name, dtype, layout)
    tensors = compared.answered(answers, honest, expected, gradients=False)
    compared.check_values(contents, tensors, appeal)     raises Fault
    compared.checks                                      what came nearest to its bounds

Knows results and bounds only; what is run, and when, is checking.py's.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from lab.harness import inputs, oracle, tolerances, words
from lab.harness.appeal import Appeal
from lab.harness.faults import Fault
from lab.harness.forms import Answers
from lab.harness.inputs import Content, Layout
from lab.harness.tolerances import Agreement, Bounds, Distance
from lab.outcomes import TensorCheck

if TYPE_CHECKING:
    import torch

LARGEST = float(2**1023)
"""The largest error that a record holds: JSON knows no infinity."""


@dataclass(frozen=True)
class Answered:
    """One tensor of a round's slots that the oracle saw: what was found, what is allowed there."""

    name: str
    index: int
    """Its place among `oracle.Expected.tensors`."""
    is_gradient: bool
    found: Sequence[torch.Tensor]
    within: Sequence[Bounds]


@dataclass
class Compared:
    """The answers of one case in one dtype, over all of its rounds."""

    case: str
    dtype: str
    layout: Layout
    deterministic: bool = True
    _worst: dict[str, tuple[float, TensorCheck]] = field(default_factory=dict)
    _right: dict[str, set[bytes]] = field(default_factory=dict)
    """By tensor, digests of answers that were right in earlier rounds, for other content."""

    @property
    def checks(self) -> tuple[TensorCheck, ...]:
        """For each tensor the check that came nearest to its bounds, or passed them."""
        return tuple(check for _, check in self._worst.values())

    def answered(
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
            tensors = answers.tensors(span)
            seen = [*tensors[: len(expected)], tensors[-1]]
            found.append(Answered(name, first + index, gradients, seen, [*within, within[0]]))
        return found

    def check_values(
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
                    raise wrong(one, away)

    def check_shuffled(
        self,
        given: torch.Tensor | None,
        answers: Answers,
        honest: Answers,
        tensors: Sequence[Answered],
        appeal: Appeal,
    ) -> None:
        """The second call of a heavy round, where `given` is not None. Whoever disagrees with the
        incumbent is heard by the oracle, which has the last word."""
        if given is None:
            return
        spans = (*self.layout.outputs, *self.layout.gradients)
        for one in tensors:
            found, theirs = (a.tensors(spans[one.index])[1] for a in (answers, honest))
            if Agreement.like(one.within[0]).holds(found, theirs):
                continue
            content = inputs.unpack(self.layout, given)
            right = oracle.evaluate(appeal.folder, content).tensors[one.index]
            within = tolerances.bounds(right, theirs, spans[one.index].dtype)
            check_finite([Answered(one.name, one.index, one.is_gradient, [found], [within])])
            away = appeal.distance(content, one.index, found, within)
            self._remember(one.name, away, within)
            if not away.ok and digest(found) in self._right[one.name]:
                raise Fault("stale_output", words.stale(one.name))
            if not away.ok:
                raise wrong(one, away)

    def _remember(self, name: str, distance: Distance, within: Bounds) -> None:
        if name in self._worst and distance.excess <= self._worst[name][0]:
            return
        check = tensor_check(self.case, self.dtype, name, distance, within)
        self._worst[name] = (distance.excess, check)


def tensor_check(case: str, dtype: str, tensor: str, away: Distance, within: Bounds) -> TensorCheck:
    """What the record keeps of how far a tensor is from the oracle."""
    return TensorCheck(
        case=case,
        dtype=dtype,
        tensor=tensor,
        max_error=min(away.max_error, LARGEST),
        rms_error=min(away.rms_error, LARGEST),
        allowed_max=away.allowed_max,
        allowed_rms=away.allowed_rms,
        incumbent_max=within.incumbent_max,
        incumbent_rms=within.incumbent_rms,
    )


def wrong(one: Answered, away: Distance) -> Fault:
    """The fault of a tensor that is further from the oracle than allowed."""
    detail = words.too_far(one.name, away, one.within[0].dtype)
    return Fault("gradient" if one.is_gradient else "numeric", detail)


def check_finite(tensors: Sequence[Answered]) -> None:
    """Reason not_finite."""
    for one in tensors:
        for found, within in zip(one.found, one.within, strict=True):
            place = tolerances.not_finite(found, within)
            if place is not None:
                raise Fault("not_finite", words.not_finite(one.name, place))


def digest(tensor: torch.Tensor) -> bytes:
    """Of a tensor's bytes."""
    import torch

    data = tensor.contiguous().view(-1).view(torch.uint8).numpy().data
    return hashlib.blake2b(data, digest_size=16).digest()
