"""The arguments of `mx.fast.metal_kernel` and of a call of what it returns, checked.

    kernel = MetalKernel("exp", ("inp",), ("out",), "out[...] = ...;")
    call = Call(inputs=(array,), output_shapes=((8,),), output_dtypes=("float32",),
                grid=(8, 1, 1), threadgroup=(8, 1, 1))

Both are frozen, with MLX's names and defaults. What MLX or Metal would not take is a `BadLaunch`
here, with what is allowed; nothing is compiled or run.
"""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

from lab.metal_sim.dtypes import Input, as_array, dtype_name, stored_dtype
from lab.metal_sim.errors import BadLaunch

TemplateValue: TypeAlias = bool | int | str
Size: TypeAlias = tuple[int, int, int]

MOST_THREADS = 1024
"""Of a threadgroup, on every Apple GPU (Metal feature set tables). A kernel that needs many
registers may get fewer; that cannot be seen here."""
MOST_GRID = 2**31 - 2
MOST_BYTES = 2**29
"""Of all inputs and outputs of a call: the simulator's own limit."""
_NAME = re.compile(r"[A-Za-z_]\w*\Z")
_SURROGATE = re.compile("[\ud800-\udfff]")
MOST_TEMPLATE = 2**31
"""A template's int is an `int` of Metal."""


@dataclass(frozen=True)
class MetalKernel:
    """What `mx.fast.metal_kernel` is given."""

    name: str
    input_names: tuple[str, ...]
    output_names: tuple[str, ...]
    source: str
    header: str = ""
    ensure_row_contiguous: bool = True
    atomic_outputs: bool = False
    math_mode: str = "safe"

    def __post_init__(self) -> None:
        if not self.output_names:
            raise BadLaunch(f"kernel '{self.name}': at least one output is needed.")
        for what, text in (("source", self.source), ("header", self.header)):
            if not isinstance(text, str) or _SURROGATE.search(text):
                raise BadLaunch(f"kernel '{self.name}': {what} must be text that UTF-8 can hold.")
        names = (*self.input_names, *self.output_names)
        for name in (self.name, *names):
            if not _NAME.match(name):
                raise BadLaunch(f"kernel '{self.name}': '{name}' is not a name.")
        if len(set(names)) < len(names):
            raise BadLaunch(f"kernel '{self.name}': a name stands twice among {', '.join(names)}.")
        if self.math_mode not in ("safe", "relaxed", "fast"):
            raise BadLaunch(f"math_mode is safe, relaxed or fast, not '{self.math_mode}'.")


@dataclass(frozen=True, eq=False)
class Call:
    """What the kernel is called with. Dtypes are names ("float16"); `template` is pairs of a name
    and a bool, an int or a dtype's name."""

    inputs: tuple[Input, ...]
    output_shapes: tuple[tuple[int, ...], ...]
    output_dtypes: tuple[str, ...]
    grid: Size
    threadgroup: Size
    template: tuple[tuple[str, TemplateValue], ...] = ()
    init_value: float | None = None

    def __post_init__(self) -> None:
        _check_size("grid", self.grid)
        _check_size("threadgroup", self.threadgroup)
        if math.prod(self.grid) > MOST_GRID:
            raise BadLaunch(f"grid {self.grid} has over {MOST_GRID} threads.")
        threads = math.prod(self.threads)
        if threads > MOST_THREADS:
            raise BadLaunch(
                f"threadgroup {self.threads} has {threads} threads; Metal allows {MOST_THREADS}."
            )
        if len(self.output_shapes) != len(self.output_dtypes):
            raise BadLaunch("output_shapes and output_dtypes differ in length.")
        if any(extent < 0 for shape in self.output_shapes for extent in shape):
            raise BadLaunch(f"an output shape is negative: {self.output_shapes}.")
        if self.bytes > MOST_BYTES:
            raise BadLaunch(
                f"inputs and outputs take {self.bytes} bytes; the simulator takes {MOST_BYTES}."
            )

    @property
    def threads(self) -> Size:
        """Of a whole threadgroup: MLX never dispatches more than the grid has in a direction."""
        x, y, z = (min(a, b) for a, b in zip(self.threadgroup, self.grid, strict=True))
        return x, y, z

    @property
    def bytes(self) -> int:
        """Of all inputs and outputs, once each: the least that a kernel of them all can move."""
        outputs = zip(self.output_shapes, self.output_dtypes, strict=True)
        written = sum(math.prod(shape) * stored_dtype(name).itemsize for shape, name in outputs)
        return written + sum(as_array(given)[1].nbytes for given in self.inputs)


def checked_call(
    kernel: MetalKernel,
    *,
    inputs: Sequence[Input],
    output_shapes: Sequence[Sequence[int]],
    output_dtypes: Sequence[object],
    grid: Sequence[int],
    threadgroup: Sequence[int],
    template: Sequence[tuple[str, object]] | None = None,
    init_value: float | None = None,
) -> Call:
    """A `Call` from what MLX's users write: lists, numpy or MLX dtypes."""
    wanted = len(kernel.input_names)
    if len(inputs) != wanted:
        raise BadLaunch(f"kernel '{kernel.name}' has {wanted} inputs; {len(inputs)} were given.")
    if not len(output_shapes) == len(output_dtypes) == len(kernel.output_names):
        raise BadLaunch(
            f"kernel '{kernel.name}' has {len(kernel.output_names)} outputs; shapes for "
            f"{len(output_shapes)} and dtypes for {len(output_dtypes)} were given."
        )
    return Call(
        inputs=tuple(inputs),
        output_shapes=tuple(_numbers("an output shape", shape) for shape in output_shapes),
        output_dtypes=tuple(dtype_name(dtype) for dtype in output_dtypes),
        grid=_size("grid", grid),
        threadgroup=_size("threadgroup", threadgroup),
        template=_template(template or ()),
        init_value=_init_value(init_value),
    )


def _template(given: Sequence[tuple[str, object]]) -> tuple[tuple[str, TemplateValue], ...]:
    pairs: dict[str, TemplateValue] = {}
    for pair in given:
        if not isinstance(pair, Sequence) or len(pair) != 2:
            raise BadLaunch(f"a template argument is a pair of a name and a value, not {pair!r}.")
        name, value = pair
        if not isinstance(name, str) or not _NAME.match(name) or name in pairs:
            raise BadLaunch(f"template argument {name!r}: not a name, or given twice.")
        pairs[name] = _template_value(name, value)
    return tuple(pairs.items())


def _init_value(given: object) -> float | None:
    try:
        return None if given is None else float(given)  # type: ignore[arg-type]
    except (TypeError, ValueError) as error:
        raise BadLaunch(f"init_value must be a number, not {given!r}.") from error


def _template_value(name: str, value: object) -> TemplateValue:
    if isinstance(value, bool | int):
        if not -MOST_TEMPLATE <= value < MOST_TEMPLATE:
            raise BadLaunch(f"template argument {name}: {value} does not fit an int of 32 bits.")
        return value
    try:
        return dtype_name(value)
    except BadLaunch as error:
        raise BadLaunch(
            f"template argument {name} must be a bool, an int or a dtype: {error.message}"
        ) from error


def _size(what: str, given: Sequence[int]) -> Size:
    numbers = _numbers(what, given)
    if len(numbers) != 3:
        raise BadLaunch(f"{what} needs three numbers, not {len(numbers)}.")
    return numbers[0], numbers[1], numbers[2]


def _numbers(what: str, given: Sequence[int]) -> tuple[int, ...]:
    try:
        return tuple(operator.index(number) for number in given)
    except TypeError as error:
        raise BadLaunch(f"{what} must be a tuple of whole numbers, not {given!r}.") from error


def _check_size(what: str, size: Size) -> None:
    if min(size) < 1:
        raise BadLaunch(f"{what} {size}: each of the three must be at least 1.")
