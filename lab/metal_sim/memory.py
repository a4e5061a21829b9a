"""One launch's memory: a mapping that the child shares, with each buffer between poison and guards.

    memory = Memory(call, source, kernel, poison=0xFF)
    memory.file, memory.guards             # for the child
    memory.output("out")                   # afterwards

Around every buffer lie 64 KiB of poison, and beyond them a page that faults. A buffer begins and
ends exactly where its array does, so every access beside it falls into poison. All bits set is NaN
in every float and -1 or the largest in every integer.
"""

from __future__ import annotations

import ctypes
import math
import mmap
import os
from dataclasses import dataclass

import numpy as np

from lab.metal_sim import layout
from lab.metal_sim.dtypes import Bfloat16, as_array, stored_dtype
from lab.metal_sim.image import Image
from lab.metal_sim.kernel import Call, MetalKernel
from lab.metal_sim.source import KernelSource

POISON_BYTES = 65536
PAGE = mmap.PAGESIZE
FINDINGS = 256
"""Different findings that one run writes down; later ones are not told apart any more."""


@dataclass(frozen=True, eq=False)
class Buffer:
    """What one parameter of the signature is given."""

    name: str
    data: np.ndarray
    first: int
    dtype: str
    output: bool
    initialised: bool

    @property
    def grain(self) -> int:
        """Bytes that share an entry of race checking: one element, at most four bytes."""
        return min(self.data.dtype.itemsize, 4) if self.output else 1


def buffers(kernel: MetalKernel, call: Call, source: KernelSource) -> tuple[Buffer, ...]:
    """In the order of the signature."""
    inputs = {
        name: as_array(given) for name, given in zip(kernel.input_names, call.inputs, strict=True)
    }
    outputs = {
        name: (shape, dtype)
        for name, shape, dtype in zip(
            kernel.output_names, call.output_shapes, call.output_dtypes, strict=True
        )
    }
    made = []
    for parameter in source.parameters:
        if parameter.role == "output":
            shape, dtype = outputs[parameter.of]
            made.append(_output(parameter.of, shape, dtype, call.init_value))
            continue
        dtype, array = inputs[parameter.of]
        if kernel.ensure_row_contiguous and array.ndim:
            array = np.ascontiguousarray(array)
        if parameter.role == "input":
            data, first = _storage(array)
            made.append(Buffer(parameter.of, data, first, dtype, False, True))
        else:
            described = _described(parameter.role, array)
            name = f"{parameter.of}_{parameter.role}"
            made.append(Buffer(name, described, 0, described.dtype.name, False, True))
    return tuple(made)


def _output(name: str, shape: tuple[int, ...], dtype: str, init_value: float | None) -> Buffer:
    stored = stored_dtype(dtype)
    if init_value is None:
        return Buffer(name, np.zeros(shape, stored), 0, dtype, True, False)
    values = np.full(shape, init_value)
    data = Bfloat16.of(values).bits if dtype == "bfloat16" else values.astype(stored)
    return Buffer(name, data, 0, dtype, True, True)


def _described(role: str, array: np.ndarray) -> np.ndarray:
    if role == "shape":
        return np.array(array.shape, dtype=np.int32)
    if role == "ndim":
        return np.array([array.ndim], dtype=np.int32)
    return np.array([stride // array.itemsize for stride in array.strides], dtype=np.int64)


def _storage(array: np.ndarray) -> tuple[np.ndarray, int]:
    """The elements that a (strided) array spans, as bytes in their order in memory, and where its
    first element lies in them."""
    if array.flags.c_contiguous:
        return array, 0
    spans = [
        (extent - 1) * stride for extent, stride in zip(array.shape, array.strides, strict=True)
    ]
    before = -sum(span for span in spans if span < 0)
    size = before + sum(span for span in spans if span > 0) + array.itemsize
    whole = np.zeros(size, np.uint8)
    strided = np.ndarray(array.shape, array.dtype, whole.data, before, array.strides)
    strided[...] = array
    return whole, before


class Memory:
    """The mapping of one run. It is closed with the process that ran it."""

    def __init__(self, given: tuple[Buffer, ...], image: Image, poison: int) -> None:
        self.buffers = given
        self._poison = poison
        at = ctypes.sizeof(layout.Job)
        places = []
        for kind, count in (
            (layout.Region, len(given)),
            (layout.GroupVariable, len(image.group_variables)),
            (layout.Finding, FINDINGS),
        ):
            places.append(at)
            at += ctypes.sizeof(kind) * count
        self.starts: list[int] = []
        self.guards: list[int] = []
        at = _page(at)
        for buffer in given:
            self.guards.append(at)
            start = at + PAGE + POISON_BYTES
            self.starts.append(start)
            at = _page(start + buffer.data.nbytes + POISON_BYTES)
        self.guards.append(at)
        self.file = os.memfd_create("metal_sim")
        os.ftruncate(self.file, at + PAGE)
        self.mapping = mmap.mmap(self.file, at + PAGE)
        self.bytes = np.frombuffer(self.mapping, dtype=np.uint8)
        self.job = layout.Job.from_buffer(self.mapping)
        self.job.regions_at, self.job.group_variables_at, self.job.findings_at = places
        self.job.regions, self.job.findings_room = len(given), FINDINGS
        self.job.group_variables = len(image.group_variables)
        self.job.poison = poison
        self._fill(places, image)

    def _fill(self, places: list[int], image: Image) -> None:
        self.regions = (layout.Region * len(self.buffers)).from_buffer(self.mapping, places[0])
        for region, buffer, start in zip(self.regions, self.buffers, self.starts, strict=True):
            size = buffer.data.nbytes
            end = start + size
            self.bytes[start - POISON_BYTES : start] = self._poison
            self.bytes[end : _page(end + POISON_BYTES)] = self._poison
            if buffer.initialised:
                self.bytes[start:end] = np.ascontiguousarray(buffer.data).reshape(-1).view(np.uint8)
            else:
                self.bytes[start:end] = self._poison
            region.start, region.bytes, region.handed = start, size, start + buffer.first
            region.output, region.initialised = buffer.output, buffer.initialised
            region.grain = buffer.grain
        count = len(image.group_variables)
        variables = (layout.GroupVariable * count).from_buffer(self.mapping, places[1])
        for place, variable in zip(variables, image.group_variables, strict=True):
            place.start, place.bytes = variable.start, variable.bytes
        self._findings_at = places[2]

    def findings(self) -> list[layout.Finding]:
        """Copies of what the runtime wrote down."""
        count = min(int(self.job.findings), FINDINGS)
        return list((layout.Finding * count).from_buffer_copy(self.mapping, self._findings_at))

    def output(self, index: int) -> np.ndarray:
        """A copy of one buffer's elements."""
        buffer, start = self.buffers[index], self.starts[index]
        raw = self.bytes[start : start + buffer.data.nbytes].tobytes()
        return np.frombuffer(raw, dtype=buffer.data.dtype).reshape(buffer.data.shape)

    def overwritten(self) -> list[str]:
        """Names of buffers beside which the poison has changed."""
        names = []
        for buffer, start in zip(self.buffers, self.starts, strict=True):
            end = start + buffer.data.nbytes
            around = (
                self.bytes[start - POISON_BYTES : start],
                self.bytes[end : end + POISON_BYTES],
            )
            if any((side != self._poison).any() for side in around):
                names.append(buffer.name)
        return names

    def close(self) -> None:
        """Closes the file; the mapping goes with the last reference to this object's parts."""
        os.close(self.file)


def _page(at: int) -> int:
    return math.ceil(at / PAGE) * PAGE
