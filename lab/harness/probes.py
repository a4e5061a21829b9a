"""Whether a case proves anything: answers that anyone can give without the op must be refused.

    probes = Probes.of("float32")
    probes.strike(content, {"y": within})    after each checked content
    probes.unrefuted                         what would still pass

`zeros`; `constant` (the mean of the first right answer); `copy` of an input, also one that is
scaled as well as can be; `scaled`, the right answer times 1.01 or 0.99. A probe is struck off as
soon as the bounds of one output or gradient refuse it on one content: a candidate that did it would
have failed there. What is left when a case ends would pass it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from lab.harness import tolerances
from lab.harness.inputs import Content
from lab.harness.tolerances import Bounds

if TYPE_CHECKING:
    import torch

PROBES = ("zeros", "constant", "copy", "scaled")
OFF = 0.01
"""How far the scaled probe is from right."""
COARSE = ("bfloat16",)
"""Dtypes without a scaled probe: two honest roundings to bfloat16 are as far off, and Polar Express
in bfloat16 is off by a tenth."""


@dataclass
class Probes:
    """The probes of one case in one dtype that nothing has refused yet."""

    unrefuted: set[str]
    _constants: dict[str, float] = field(default_factory=dict)

    @classmethod
    def of(cls, dtype: str) -> Probes:
        """All that a case in `dtype` must refuse."""
        return cls({name for name in PROBES if name != "scaled" or dtype not in COARSE})

    def strike(self, content: Content, tensors: Mapping[str, Bounds]) -> None:
        """Strikes off what the bounds of one tensor of this content refuse."""
        for name, within in tensors.items():
            if not self.unrefuted:
                return
            right = within.oracle
            constant = self._constants.setdefault(name, float(right.mean()))
            for probe in sorted(self.unrefuted):
                guesses = _guesses(probe, content, within, constant)
                if not any(tolerances.distance(guess, within).ok for guess in guesses):
                    self.unrefuted.discard(probe)


def _guesses(probe: str, content: Content, within: Bounds, constant: float) -> list[torch.Tensor]:
    import torch

    right = within.oracle
    if probe == "zeros":
        return [torch.zeros_like(right)]
    if probe == "constant":
        return [torch.full_like(right, constant)]
    if probe == "scaled":
        return [right * (1 + OFF), right * (1 - OFF)]
    copies = [t.double().reshape(right.shape) for t in content.inputs if t.numel() == right.numel()]
    return [*copies, *(copy * _fit(copy, right) for copy in copies)]


def _fit(copy: torch.Tensor, right: torch.Tensor) -> float:
    """The factor that brings a copy nearest to the right answer."""
    size = float(copy.square().sum())
    return float((copy * right).sum()) / size if size > 0 else 0.0
