"""The outputs of timed calls: all of them are checked, after the clocks have stopped.

    outputs = TimedOutputs(folder, layout)
    outputs.check(given, candidate_answers, incumbent_answers, incumbent_session)
    outputs.check_changing(changes, given, fresh, candidate_session, incumbent_session)

The oracle is slower than what it judges, so it sees one call of a round; the others are compared
with the incumbent's, as closely as that one call showed two right implementations to agree. Times
are never seen here.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from lab.harness import forms, inputs, oracle, tolerances, words
from lab.harness.appeal import Appeal, incumbent_blamed
from lab.harness.checking import LIGHT_BYTES
from lab.harness.faults import Fault
from lab.harness.forms import Answers
from lab.harness.inputs import Layout
from lab.harness.midway import TOO_EARLY, Change
from lab.harness.protocol import Span
from lab.harness.session import Session

if TYPE_CHECKING:
    import torch

    from kernels.spec import TargetFolder

HEAVY_ORACLE_EVERY = 4
"""The oracle of a large case is slow, so it sees one call in a random quarter of the rounds."""
Wrong = Literal["numeric", "gradient"]


@dataclass
class TimedOutputs:
    """The checks of one case, over all its rounds."""

    folder: TargetFolder
    layout: Layout
    _agreements: dict[str, tolerances.Agreement] = field(default_factory=dict)
    """How far two implementations may differ, by tensor."""

    def check(
        self, given: torch.Tensor, ours: Answers, theirs: Answers, incumbent: Session
    ) -> None:
        """One call of the round against the oracle, all of them against the incumbent's.

        The oracle has the last word: a call that only disagrees with the incumbent goes to it.
        Raises `Fault`.
        """
        layout = self.layout
        appeal = Appeal(self.folder, layout, incumbent, layout.differentiable)
        light = layout.slot_bytes <= LIGHT_BYTES
        chosen = secrets.randbelow(len(given))
        if light or not self._agreements or secrets.randbelow(HEAVY_ORACLE_EVERY) == 0:
            self._ask_oracle(appeal, given, chosen, ours, theirs)
        for name, span in self._spans():
            pairs = zip(ours.tensors(span), theirs.tensors(span), strict=True)
            for slot, (found, honest) in enumerate(pairs):
                if not self._agreements[name].holds(found, honest):
                    self._ask_oracle(appeal, given, slot, ours, theirs)

    def check_changing(
        self,
        changes: Iterable[Change],
        given: torch.Tensor,
        fresh: torch.Tensor,
        candidate: Session,
        incumbent: Session,
    ) -> int:
        """A block of the candidate's in which parts of `given`, which follows, are replaced by what
        is `fresh` (midway.py). Returns how many calls were given something else in time; their
        answers are checked. On a CPU only. Raises `Fault`.
        """
        layout = self.layout
        ours, clear = forms.exchange_changing(candidate, changes, given, fresh)
        forms.check_form(ours, layout, "cpu")
        forms.check_inputs(candidate, ours, layout, given)
        if not clear:
            return 0
        with incumbent_blamed(self.folder.id):
            theirs = forms.exchange(incumbent, given, layout.differentiable)
            forms.check_form(theirs, layout, "cpu")
        judged = sorted(clear)
        try:
            self.check(given[judged], ours.of(judged), theirs.of(judged), incumbent)
        except Fault as fault:
            raise Fault(fault.reason, f"{fault.detail}; {TOO_EARLY}") from None
        return len(judged)

    def _ask_oracle(
        self, appeal: Appeal, given: torch.Tensor, slot: int, ours: Answers, theirs: Answers
    ) -> None:
        """One call's results against the oracle; learns how far two implementations may differ."""
        layout = self.layout
        content = inputs.unpack(layout, given[slot])
        expected = oracle.evaluate(self.folder, content)
        for index, (name, span) in enumerate(self._spans()):
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

    def _spans(self) -> Iterable[tuple[str, Span]]:
        layout = self.layout
        names = (*layout.output_names, *layout.gradient_names)
        return zip(names, (*layout.outputs, *layout.gradients), strict=True)
