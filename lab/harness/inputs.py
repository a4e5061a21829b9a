"""Fresh secret inputs for every check, and the bytes in which they cross to a worker.

    layout = Layout.of(target, case, dtype)          what lies where in a slot
    content = draw(target, case, dtype, generator)   inputs and incoming gradients of one call
    given = pack(layout, [content])                  their bytes, poisoned (NaN) all around

Every buffer is surrounded by NaN: who reads beyond an input gets NaN, who writes beyond it is seen.
Seeds come from the system's random source and stay in this process. Never runs candidate code.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import msgspec

from lab.harness import families
from lab.harness.families import Family
from lab.harness.protocol import Argument, Arrange, Given, Span

if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.random import Generator

    from kernels.spec import Case, Input, Target

ALIGNMENT = 256
"""Bytes. Allocators give 64 on the CPU, 256 or more on CUDA; wide loads rely on it."""
GUARD = 256
"""Poisoned bytes between any two buffers."""
POISON = 0xFF
"""Repeated, NaN in every float type and -1 in every integer type."""
GAP = (8, 5)
"""Elements before and after each row of a strided tensor. Odd in sum, so rows lose alignment."""

ITEMSIZE = {"float32": 4, "bfloat16": 2, "float16": 2, "float64": 8, "int64": 8}
"""Known without torch: layouts are made while the workers import it."""


def generator() -> Generator:
    """A generator with a fresh secret seed of 256 bits."""
    import numpy as np

    return np.random.default_rng(secrets.randbits(256))


@dataclass(frozen=True)
class Content:
    """One call's inputs and incoming gradients, rounded to their dtypes, and its scalars."""

    inputs: tuple[torch.Tensor, ...]
    incoming: tuple[torch.Tensor, ...]
    scalars: tuple[float, ...]


@dataclass(frozen=True)
class Layout:
    """Where the tensors of one call lie, in bytes from the start of its part of a slot."""

    arguments: tuple[Argument, ...]
    incoming: tuple[Span, ...]
    outputs: tuple[Span, ...]
    gradients: tuple[Span, ...]
    given_bytes: int
    result_bytes: int
    scalars: tuple[float, ...]
    given_names: tuple[str, ...]
    """Of the arguments, then of the incoming gradients."""
    output_names: tuple[str, ...]
    gradient_names: tuple[str, ...]

    @classmethod
    def of(cls, target: Target, case: Case, dtype: str) -> Layout:
        """The layout of `case` in `dtype`. Gradients exist only for differentiable targets."""
        end = GUARD
        strided = case.layout == "strided"
        leaves = [i for i in target.inputs if is_leaf(i)]
        arguments = []
        for one in target.inputs:
            kind = dtype_of(one, dtype)
            gaps = strided and one.kind == "float"
            span, end = _span(end, kind, case.shape(one.shape), gaps)
            arguments.append(
                Argument(
                    offset=span.offset,
                    dtype=kind,
                    shape=span.shape,
                    strides=span.strides,
                    leaf=is_leaf(one),
                )
            )
        incoming, outputs, gradients = [], [], []
        kinds = [output_dtype(o.dtype, dtype) for o in target.outputs]
        for kind, output in zip(kinds, target.outputs, strict=True):
            if leaves:
                span, end = _span(end, kind, case.shape(output.shape), strided)
                incoming.append(span)
        given_bytes, end = end, GUARD
        for kind, output in zip(kinds, target.outputs, strict=True):
            span, end = _span(end, kind, case.shape(output.shape), False)
            outputs.append(span)
        for leaf in leaves:
            span, end = _span(end, dtype_of(leaf, dtype), case.shape(leaf.shape), False)
            gradients.append(span)
        return cls(
            arguments=tuple(arguments),
            incoming=tuple(incoming),
            outputs=tuple(outputs),
            gradients=tuple(gradients),
            given_bytes=given_bytes,
            result_bytes=end,
            scalars=target.scalars_of(case.dims),
            given_names=(
                *(one.name for one in target.inputs),
                *(f"the incoming gradient of {o.name}" for o in target.outputs if leaves),
            ),
            output_names=tuple(o.name for o in target.outputs),
            gradient_names=tuple(f"d{leaf.name}" for leaf in leaves),
        )

    def question(self, slots: int) -> Arrange:
        """What the worker is told."""
        return Arrange(
            slots=slots,
            given_bytes=self.given_bytes,
            result_bytes=self.result_bytes,
            arguments=self.arguments,
            scalars=self.scalars,
            incoming=self.incoming,
            outputs=self.outputs,
            gradients=self.gradients,
        )

    @property
    def slot_bytes(self) -> int:
        """What one call needs of the shared memory."""
        return self.given_bytes + self.result_bytes

    @cached_property
    def differentiable(self) -> bool:
        """Whether the target has gradients at all."""
        return bool(self.gradients)


def is_leaf(one: Input) -> bool:
    """Whether a gradient of this input is asked for."""
    return one.differentiable and one.kind == "float"


def dtype_of(one: Input, dtype: str) -> str:
    """The dtype of an input in a case of `dtype`."""
    return "int64" if one.kind == "index" else output_dtype(one.dtype, dtype)


def output_dtype(kind: str, dtype: str) -> str:
    """The dtype of an output in a case of `dtype`."""
    return dtype if kind == "same" else kind


def torch_dtype(name: str) -> torch.dtype:
    """The torch dtype of that name."""
    import torch

    found = getattr(torch, name)
    assert isinstance(found, torch.dtype)
    return found


# ---- drawing ------------------------------------------------------------------------------------


def draw(
    target: Target,
    case: Case,
    dtype: str,
    random: Generator,
    family: Family = "drawn",
) -> Content:
    """One call's content, of a family as far as the case and its inputs take it."""
    inputs = []
    for one in target.inputs:
        shape = case.shape(one.shape)
        values = one.draw(random, case.dims, shape)
        if values.shape != shape:
            raise ValueError(f"{one.name}: draw gave {values.shape}, the case says {shape}")
        if one.kind == "float" and one.scaled:
            values = values * case.scale
            if case.scale == 1.0:
                values = families.of_input(family, values, random)
        inputs.append(_rounded(values, dtype_of(one, dtype)))
    incoming = []
    if any(is_leaf(one) for one in target.inputs):
        for output in target.outputs:
            values = random.standard_normal(case.shape(output.shape)) * case.gradient_scale
            if case.gradient_scale == 1.0:
                values = families.of_gradient(family, values, random)
            incoming.append(_rounded(values, output_dtype(output.dtype, dtype)))
    return Content(tuple(inputs), tuple(incoming), target.scalars_of(case.dims))


def _rounded(values: np.ndarray, dtype: str) -> torch.Tensor:
    import numpy as np
    import torch

    return torch.from_numpy(np.ascontiguousarray(values)).to(torch_dtype(dtype))


# ---- bytes --------------------------------------------------------------------------------------


def pack(layout: Layout, contents: Sequence[Content]) -> torch.Tensor:
    """The given bytes of one slot per content, uint8 [contents, given_bytes]; gaps are poison."""
    import torch

    slots = torch.full((len(contents), layout.given_bytes), POISON, dtype=torch.uint8)
    spans = (*layout.arguments, *layout.incoming)
    for slot, content in zip(slots, contents, strict=True):
        for span, tensor in zip(spans, (*content.inputs, *content.incoming), strict=True):
            view(slot, span).copy_(tensor)
    return slots


def view(slot: torch.Tensor, span: Span) -> torch.Tensor:
    """The tensor of a span within its part of a slot."""
    dtype = torch_dtype(span.dtype)
    extent = 1 + sum((n - 1) * s for n, s in zip(span.shape, span.strides, strict=True))
    flat = slot[span.offset : span.offset + extent * dtype.itemsize].view(dtype)
    return flat.as_strided(span.shape, span.strides)


def within(given: torch.Tensor, span: Span, place: Given) -> torch.Tensor | None:
    """What a worker says lies at a place in all given bytes, as a span's tensor; None where no such
    tensor can."""
    if len(place.strides) != len(span.shape) or min((place.offset, *place.strides)) < 0:
        return None
    itemsize = ITEMSIZE[span.dtype]
    extent = 1 + sum((n - 1) * s for n, s in zip(span.shape, place.strides, strict=True))
    if place.offset % itemsize or place.offset + extent * itemsize > given.numel():
        return None
    place_in_all = msgspec.structs.replace(span, offset=place.offset, strides=place.strides)
    return view(given, place_in_all)


def unpack(layout: Layout, given: torch.Tensor) -> Content:
    """The content of a slot's given bytes; views, no copies."""
    return Content(
        tuple(view(given, span) for span in layout.arguments),
        tuple(view(given, span) for span in layout.incoming),
        layout.scalars,
    )


def _aligned(position: int) -> int:
    return -(-position // ALIGNMENT) * ALIGNMENT


def _span(end: int, dtype: str, shape: Sequence[int], gaps: bool) -> tuple[Span, int]:
    """A span after `end`, and where the guard behind it ends."""
    itemsize = ITEMSIZE[dtype]
    before, after = GAP if gaps else (0, 0)
    strides = [1] * len(shape)
    for axis in range(len(shape) - 2, -1, -1):
        padding = before + after if axis == len(shape) - 2 else 0
        strides[axis] = strides[axis + 1] * (shape[axis + 1] + padding)
    if gaps and len(shape) == 1:
        strides = [2]
    offset = _aligned(end) + before * itemsize
    extent = 1 + sum((n - 1) * s for n, s in zip(shape, strides, strict=True))
    stop = offset + (extent + after) * itemsize
    span = Span(offset=offset, dtype=dtype, shape=tuple(shape), strides=tuple(strides))
    return span, _aligned(stop + GUARD)
