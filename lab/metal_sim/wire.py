"""What a worker asks of the simulator's process, what it answers, and what it tells the judge.

A frame is 4 bytes of magic, 4 bytes of length, JSON, and then the arrays' bytes, one after the
other, in C order. `lab/harness/metal_shim.py` has its own copy of the asking side, as it imports
nothing of ours. Everything that arrives is decoded strictly: what is not exactly a `Request` with
as many bytes as it says is `Broken`.

A `Launched` is one line of JSON in a file that only the simulator's process and the judge hold.
"""

from __future__ import annotations

import math
import struct
from typing import Literal

import msgspec
import numpy as np

from lab.metal_sim.dtypes import METAL_NAMES, Array, Bfloat16, Input, stored_dtype
from lab.metal_sim.errors import BadLaunch
from lab.metal_sim.kernel import MOST_BYTES, Call, MetalKernel, TemplateValue, checked_call

MAGIC = b"KLAB"
HEADER = struct.Struct(">4sI")
LONGEST = 2**22
"""Bytes of JSON: a source of a megabyte at the most, in quotes."""

Reason = Literal["", "metal_source", "metal_launch", "metal_finding", "unavailable", "protocol"]
Sizes = tuple[int, ...]
SENT = (*METAL_NAMES, "float64", "complex64")
"""Dtypes that arrays of MLX have; what Metal or the simulator lacks of them is told as such."""


class Broken(Exception):
    """What no honest worker sends."""


class _Message(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Strict about what it reads."""


class Given(_Message, frozen=True, kw_only=True):
    """One array: as many bytes follow the frame as its elements have. `strides` (bytes) says how
    they lie in memory, where that is not C order."""

    dtype: str
    shape: Sizes
    strides: Sizes | None = None

    @property
    def bytes(self) -> int:
        """How many follow. `Broken` for what no array has."""
        if self.dtype not in SENT or any(extent < 0 for extent in self.shape):
            raise Broken(f"an array of {self.dtype} {self.shape}")
        return math.prod(self.shape) * stored_dtype(self.dtype).itemsize


class Request(_Message, frozen=True, kw_only=True):
    """One launch: the arguments of `mx.fast.metal_kernel` and of the call."""

    name: str
    input_names: tuple[str, ...]
    output_names: tuple[str, ...]
    source: str
    header: str
    ensure_row_contiguous: bool
    atomic_outputs: bool
    math_mode: str
    inputs: tuple[Given, ...]
    output_shapes: tuple[Sizes, ...]
    output_dtypes: tuple[str, ...]
    grid: Sizes
    threadgroup: Sizes
    template: tuple[tuple[str, bool | int | str], ...]
    init_value: str | None
    """As text, since JSON knows no infinity."""

    def kernel(self) -> MetalKernel:
        """Raises `BadLaunch`."""
        return MetalKernel(
            name=self.name,
            input_names=self.input_names,
            output_names=self.output_names,
            source=self.source,
            header=self.header,
            ensure_row_contiguous=self.ensure_row_contiguous,
            atomic_outputs=self.atomic_outputs,
            math_mode=self.math_mode,
        )

    def call(self, payload: memoryview) -> Call:
        """With the arrays that followed the frame. Raises `BadLaunch`."""
        inputs: list[Input] = []
        for given in self.inputs:
            inputs.append(_array(given, payload[: given.bytes]))
            payload = payload[given.bytes :]
        template: list[tuple[str, TemplateValue]] = list(self.template)
        try:
            init_value = None if self.init_value is None else float(self.init_value)
        except ValueError:
            raise BadLaunch(f"init_value is a number, not {self.init_value}.") from None
        return checked_call(
            self.kernel(),
            inputs=inputs,
            output_shapes=self.output_shapes,
            output_dtypes=self.output_dtypes,
            grid=self.grid,
            threadgroup=self.threadgroup,
            template=template,
            init_value=init_value,
        )


class Reply(_Message, frozen=True, kw_only=True):
    """What a launch gave: its outputs follow, or it says what was wrong."""

    outputs: tuple[Given, ...] = ()
    reason: Reason = ""
    problem: str = ""


class Found(_Message, frozen=True, kw_only=True):
    """One finding, as records hold it."""

    kind: str
    severity: Literal["error", "warning", "note"]
    message: str
    part: str = ""
    line: int = 0
    thread: tuple[int, int, int] | None = None
    times: int = 1


class Launched(_Message, frozen=True, kw_only=True):
    """One launch, as the judge is told of it."""

    kernel: str
    runs: int = 0
    """Under how many schedules; 0 if it was answered from memory."""
    elements: int = 0
    """Of its largest output."""
    bytes_moved: int = 0
    """Read from and written to device memory."""
    bytes_least: int = 0
    """If each input were read once and each output written once."""
    findings: tuple[Found, ...] = ()
    reason: Reason = ""
    problem: str = ""


def payload_bytes(request: Request) -> int:
    """How much follows a request. `BadLaunch` where the simulator would not take it anyway."""
    size = sum(given.bytes for given in request.inputs)
    if size > MOST_BYTES:
        raise BadLaunch(f"inputs take {size} bytes; the simulator takes {MOST_BYTES}.")
    return size


def stored(array: Array) -> np.ndarray:
    """The elements as they are sent."""
    return np.ascontiguousarray(array.bits if isinstance(array, Bfloat16) else array)


def _array(given: Given, data: memoryview) -> Input:
    """In C order, or laid out as `strides` says, with zeros in the gaps."""
    dtype = stored_dtype(given.dtype)
    array = np.frombuffer(data, dtype=dtype).reshape(given.shape)
    if given.strides is not None:
        array = _laid_out(array, given.strides)
    return Bfloat16(array) if given.dtype == "bfloat16" else array


def _laid_out(array: np.ndarray, strides: Sizes) -> np.ndarray:
    if len(strides) != array.ndim or any(stride % array.itemsize for stride in strides):
        raise BadLaunch(f"strides {strides} do not fit the shape {array.shape}.")
    if not array.size:
        return array
    spans = [(extent - 1) * stride for extent, stride in zip(array.shape, strides, strict=True)]
    before = -sum(span for span in spans if span < 0)
    size = before + sum(span for span in spans if span > 0) + array.itemsize
    if size > MOST_BYTES:
        raise BadLaunch(f"an input spans {size} bytes; the simulator takes {MOST_BYTES}.")
    whole = np.zeros(size, np.uint8)
    found = np.ndarray(array.shape, array.dtype, whole.data, before, strides)
    found[...] = array
    return found
