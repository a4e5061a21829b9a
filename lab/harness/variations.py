"""New contents from old ones, where drawing anew would take longer than what is judged.

    near = nudged(content, random)                     every float a rounding away
    shuffle(layout, target, slot, random)              a few elements change places
    mix(layout, target, slots, random)                 every row is made of two rows, in all slots

Values stay those that the target drew. Never runs candidate code.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from lab.harness.inputs import Content, Layout, view

if TYPE_CHECKING:
    import torch
    from numpy.random import Generator

    from kernels.spec import Target
    from lab.harness.protocol import Span

SHUFFLED = 128
NUDGE = 2.0
OFFSETS = 4096
"""A slot's pattern of chance starts at one of so many places in what all slots share."""


def nudged(content: Content, random: Generator) -> Content:
    """The same content, but every float up to `NUDGE` spacings of its dtype away."""
    import torch

    def nudge(values: torch.Tensor) -> torch.Tensor:
        if not values.is_floating_point():
            return values
        spacing = torch.finfo(values.dtype).eps
        apart = torch.from_numpy(random.uniform(-NUDGE, NUDGE, size=tuple(values.shape)))
        return (values.double() * (1 + spacing * apart)).to(values.dtype)

    inputs, incoming = tuple(map(nudge, content.inputs)), tuple(map(nudge, content.incoming))
    return Content(inputs, incoming, content.scalars)


def shuffle(layout: Layout, target: Target, given: torch.Tensor, random: Generator) -> None:
    """Makes the content of a slot's given bytes new, in place, at little cost.

    One element in `SHUFFLED` (at least 8) of every input that is drawn per element changes places
    with another. The sum and most fingerprints stay the same; a result that is reused from before
    is wrong in all the rows concerned.
    """
    import torch

    for span in _drawn_by_element(layout, target):
        tensor = view(given, span)
        count = min(tensor.numel(), max(8, tensor.numel() // SHUFFLED))
        places = torch.from_numpy(random.integers(tensor.numel(), size=count)).unique()
        order = torch.from_numpy(random.permutation(places.numel()))
        at = torch.unravel_index(places, tensor.shape)
        tensor[at] = tensor[tuple(axis[order] for axis in at)]


def mix(layout: Layout, target: Target, given: torch.Tensor, random: Generator) -> None:
    """Makes the contents of all slots new, in place: uint8 [slots, given_bytes].

    Each element of an input that is drawn per element stays, by chance, or is replaced by one of
    another slot, some rows away. What was kept of a slot is then right for half of each row, at
    places that only a comparison shows. Costs two or three passes over the bytes, as much as
    `shuffle` and a quarter of drawing anew.
    """
    import torch

    for span in _drawn_by_element(layout, target):
        tensors = [view(slot, span) for slot in given]
        size, shape = tensors[0].numel(), tensors[0].shape
        stays = torch.frombuffer(bytearray(random.bytes(size + OFFSETS)), dtype=torch.uint8) < 128
        rows = shape[:-1] if len(shape) > 1 else shape
        axis = rows.index(max(rows))
        order = random.permutation(len(tensors))
        for number, other in zip(order, (*order[1:], order[0]), strict=True):
            at = int(random.integers(OFFSETS))
            away = 1 + int(random.integers(max(1, shape[axis] - 1)))
            one = stays[at : at + size].view(shape)
            tensors[number].copy_(tensors[number].where(one, tensors[other].roll(away, axis)))


def floats_drawn_by_element(layout: Layout, target: Target) -> list[Span]:
    """Where the float inputs are that may change without losing their sense."""
    found = _drawn_by_element(layout, target)
    return [span for span in found if span.dtype != "int64" and span not in layout.incoming]


def _drawn_by_element(layout: Layout, target: Target) -> Iterator[Span]:
    """Where the inputs are that may change without losing their sense, and incoming gradients."""
    for span, one in zip(layout.arguments, target.inputs, strict=True):
        if one.scaled or one.kind == "index":
            yield span
    yield from layout.incoming
