"""The right answers: a target's `reference.py`, in float64 on the CPU, with autograd's gradients.

It is evaluated on the exact values of the rounded inputs, so that what remains is the error of the
implementation alone. A reference may also name `PEERS`: other algorithms that the field uses for
the op, in the precision of training, whose own errors show what is honest (tolerances.py). Runs
only in the judge, on nothing but the target's own folder. Never sees a candidate.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from kernels.spec import TargetFolder, load_module
from lab.errors import MachineError
from lab.harness.inputs import Content, is_leaf

if TYPE_CHECKING:
    import torch

FLOAT64_COPIES = 12
"""Float64 tensors of the op's size that the oracle may hold at once, inputs and graph included."""


@dataclass(frozen=True)
class Expected:
    """Outputs and gradients in float64, in the target's order."""

    outputs: tuple[torch.Tensor, ...]
    gradients: tuple[torch.Tensor, ...]

    @property
    def tensors(self) -> tuple[torch.Tensor, ...]:
        """Outputs first, then gradients."""
        return (*self.outputs, *self.gradients)


def evaluate(folder: TargetFolder, content: Content) -> Expected:
    """The oracle on one content. Raises `MachineError` if the reference itself fails."""
    _check_memory(sum(value.numel() for value in content.inputs))
    reference = getattr(load_module(folder.reference), folder.id)
    return _called(folder, reference, content, wide=True)


def peers(folder: TargetFolder, content: Content) -> Iterator[Expected]:
    """What the reference's `PEERS` make of one content, in its own dtypes: the errors that other
    algorithms of the field have. Raises `MachineError` if one of them fails."""
    for peer in getattr(load_module(folder.reference), "PEERS", ()):
        yield _called(folder, peer, content, wide=False)


def _called(
    folder: TargetFolder, function: Callable[..., Any], content: Content, wide: bool
) -> Expected:
    """A function of the reference with autograd's gradients; `wide`: in float64."""
    import torch

    def own(value: torch.Tensor) -> torch.Tensor:
        return value.double() if wide and value.is_floating_point() else value.detach()

    values = [own(value) for value in content.inputs]
    leaves = [
        value.requires_grad_()
        for one, value in zip(folder.target.inputs, values, strict=True)
        if is_leaf(one)
    ]
    try:
        with torch.set_grad_enabled(bool(leaves)):
            result = function(*values, *content.scalars)
            outputs = result if isinstance(result, tuple) else (result,)
            gradients: tuple[torch.Tensor, ...] = ()
            if leaves:
                # The product with the incoming gradients, and not `grad_outputs`: with these,
                # torch imports sympy, which takes 1.5 s.
                incoming = [gradient.double() for gradient in content.incoming]
                total = sum((o * g).sum() for o, g in zip(outputs, incoming, strict=True))
                gradients = torch.autograd.grad(total, leaves)
    except Exception as error:  # whatever our own reference raises: it is the lab's fault
        raise MachineError(
            f"the reference of {folder.id} failed: {type(error).__name__}: {error}",
            f"Mend {folder.reference}.",
        ) from error
    return Expected(tuple(o.detach() for o in outputs), gradients)


def _check_memory(elements: int) -> None:
    import psutil

    needed = elements * 8 * FLOAT64_COPIES
    available = psutil.virtual_memory().available
    if needed > available:
        raise MachineError(
            f"the float64 oracle needs about {needed / 2**30:.0f} GiB for this case, "
            f"{available / 2**30:.0f} GiB are free",
            "Open the workspace on a smaller preset.",
        )
