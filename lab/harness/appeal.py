"""Before a candidate is refused: the incumbent is asked again, on inputs a rounding away.

    away = Appeal(folder, layout, incumbent, True).distance(content, 0, found, within)

The incumbent's error in a nearly singular direction is one draw, and it may have been lucky. Its
algorithm may also be luckier than others of the field, which the target's reference names as peers
(oracle.py). The widest bounds found on the neighbouring inputs count (tolerances.py). A candidate's
results are never asked for again, so there is nothing to win by failing.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lab.errors import MachineError
from lab.harness import forms, inputs, oracle, tolerances, variations
from lab.harness.faults import Fault
from lab.harness.inputs import Content, Layout
from lab.harness.session import Session
from lab.harness.tolerances import Bounds, Distance

if TYPE_CHECKING:
    import torch

    from kernels.spec import TargetFolder

NEIGHBOURS = 6
"""How often the incumbent is asked again before a candidate is refused. Of 600 checks of an honest
but twice less accurate Polar Express on 127 x 33 matrices, none were refused; without, 5."""
CLOSE, MORE_NEIGHBOURS = 1.5, 24
"""What is still wrong, but less than 1.5 times, is looked at with so many more: attention in MLX
that streams over the keys was refused at 1.08 times its bounds in 1 of 16 verifications, and with
them in none of 30."""


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
        away = tolerances.distance(found, within)
        if away.ok:
            return away
        near = list(self._near(content, index, NEIGHBOURS))
        away = tolerances.distance(found, tolerances.widest(within, near))
        if away.ok or away.excess > CLOSE:
            return away
        near += self._near(content, index, MORE_NEIGHBOURS)
        return tolerances.distance(found, tolerances.widest(within, near))

    def _near(self, content: Content, index: int, count: int) -> Iterator[Bounds]:
        """Bounds on neighbouring inputs, from the results of the incumbent and its peers there."""
        span = (*self.layout.outputs, *self.layout.gradients)[index]
        random = inputs.generator()
        for _ in range(count):
            near = variations.nudged(content, random)
            given = inputs.pack(self.layout, [near])
            with incumbent_blamed(self.folder.id):
                honest = forms.exchange(self.incumbent, given, self.differentiate)
            right = oracle.evaluate(self.folder, near).tensors[index]
            yield tolerances.bounds(right, honest.tensors(span)[0], span.dtype)
            for peer in oracle.peers(self.folder, near):
                yield tolerances.bounds(right, peer.tensors[index], span.dtype)


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
