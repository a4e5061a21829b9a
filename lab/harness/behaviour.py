"""Is a candidate the incumbent, or the reference, called again? Seen by what it does.

    behaviour = Behaviour()
    behaviour.look(checks, candidate, incumbent)    after each case that was passed
    behaviour.of                                    "incumbent", "reference" or ""

The incumbent: on every training shape and dtype the very same bits, from the same sequence of the
framework's operators on the same shapes, strides and constants. The reference: that sequence alone,
as it never runs in a worker. Sequences are recorded in one extra call that nobody times.

A telling, not a barrier: the worker's word is taken. What cannot be seen through is not told
either: compiled code, Triton, custom operators, and memory that something other than an operator of
the framework may have filled.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kernels.spec import load_module
from lab.harness import inputs
from lab.harness.appeal import incumbent_blamed
from lab.harness.operators import recorder
from lab.harness.sameness import Known
from lab.harness.session import Session

if TYPE_CHECKING:
    from lab.harness.checking import CaseChecks


@dataclass
class Behaviour:
    """What has not been told apart yet. Nothing is, until a training shape was looked at."""

    _looked: bool = False
    _incumbent: bool = True
    _reference: bool = True

    @property
    def of(self) -> Known:
        """Whose behaviour it is, after all cases."""
        if not self._looked:
            return ""
        if self._incumbent:
            return "incumbent"
        return "reference" if self._reference else ""

    def look(self, checks: CaseChecks, candidate: Session, incumbent: Session) -> None:
        """Compares on one case, which both sessions are still laid out for."""
        self._incumbent = self._incumbent and checks.identical
        if checks.case.purpose != "train" or not (self._incumbent or self._reference):
            return
        self._looked = True
        differentiate = checks.layout.differentiable
        ours = candidate.trace(differentiate)
        if not transparent(ours):
            self._incumbent = self._reference = False
        if self._reference:
            given = candidate.read_given(1)[0]
            self._reference = ours == trace_of_reference(
                checks, inputs.unpack(checks.layout, given)
            )
        if self._incumbent:
            with incumbent_blamed(checks.folder.id):
                self._incumbent = ours == incumbent.trace(differentiate)


def transparent(operators: Sequence[str]) -> bool:
    """Whether a sequence of operators accounts for all that was computed."""
    return all(
        one.startswith("aten.") and "empty" not in one.partition("(")[0] for one in operators
    )


def trace_of_reference(checks: CaseChecks, content: inputs.Content) -> tuple[str, ...]:
    """The operators of the reference on this content, in the case's dtype and layout."""
    import torch
    from torch.autograd.graph import _engine_run_backward

    target = checks.folder.target
    arguments = [
        tensor.detach().requires_grad_(inputs.is_leaf(one))
        for one, tensor in zip(target.inputs, content.inputs, strict=True)
    ]
    function = getattr(load_module(checks.folder.reference), checks.folder.id)
    with torch.set_grad_enabled(checks.layout.differentiable), recorder(torch) as operators:
        result = function(*arguments, *content.scalars)
        if checks.layout.differentiable:
            outputs = result if isinstance(result, tuple) else (result,)
            leaves = tuple(one for one in arguments if one.requires_grad)
            # As the worker does it; torch.autograd.grad would import sympy and more, for seconds.
            _engine_run_backward(
                outputs, content.incoming, False, False, leaves, True, accumulate_grad=False
            )
    return tuple(operators.seen)
