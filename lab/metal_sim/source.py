"""The source that MLX generates around a custom kernel, piece by piece.

    built = generate(kernel, call)
    built.text                     # what `mx.fast.metal_kernel(..., verbose=True)` prints

The rules are those of mlx/backend/common/metal_kernel.cpp (0.32): parameters for an input's shape,
strides and dimensions, and for each attribute, appear where their names occur in the body as
substrings; an input of fewer than eight elements is `constant`, one without dimensions a reference.
tests/lab/metal_sim/test_metal_source.py holds them against what MLX itself exports.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple, TypeAlias

from lab.metal_sim.dtypes import METAL_NAMES, as_array
from lab.metal_sim.kernel import Call, MetalKernel, TemplateValue

ATTRIBUTES = {
    "dispatch_quadgroups_per_threadgroup": "uint",
    "dispatch_simdgroups_per_threadgroup": "uint",
    "dispatch_threads_per_threadgroup": "uint3",
    "grid_origin": "uint3",
    "grid_size": "uint3",
    "quadgroup_index_in_threadgroup": "uint",
    "quadgroups_per_threadgroup": "uint",
    "simdgroup_index_in_threadgroup": "uint",
    "simdgroups_per_threadgroup": "uint",
    "thread_execution_width": "uint",
    "thread_index_in_quadgroup": "uint",
    "thread_index_in_simdgroup": "uint",
    "thread_index_in_threadgroup": "uint",
    "thread_position_in_grid": "uint3",
    "thread_position_in_threadgroup": "uint3",
    "threadgroup_position_in_grid": "uint3",
    "threadgroups_per_grid": "uint3",
    "threads_per_grid": "uint3",
    "threads_per_simdgroup": "uint",
    "threads_per_threadgroup": "uint3",
}
CONSTANT_BELOW = 8
"""Elements from which on an input is `device` memory."""

Role: TypeAlias = Literal["input", "shape", "strides", "ndim", "output"]


class Parameter(NamedTuple):
    """One buffer of the signature: for what, of which input or output, and how it is passed."""

    role: Role
    of: str
    metal_type: str
    by_reference: bool


@dataclass(frozen=True)
class KernelSource:
    """The pieces of the text, and what the signature takes."""

    name: str
    header: str
    signature: str
    body: str
    instantiation: str
    parameters: tuple[Parameter, ...]
    attributes: tuple[str, ...]
    template: tuple[str, ...]
    fast_math: bool

    @property
    def text(self) -> str:
        """As MLX hands it to Metal, after its own preamble."""
        return f"{self.header}{self.signature}{self.body}\n}}\n{self.instantiation}"


def generate(kernel: MetalKernel, call: Call) -> KernelSource:
    """The source of one kernel for one call's dtypes, shapes and template."""
    values = tuple(_template_value(value) for _, value in call.template)
    name = _function_name(kernel, call, values)
    inputs = _inputs(kernel, call)
    outputs = _outputs(kernel, call)
    attributes = tuple(attribute for attribute in ATTRIBUTES if attribute in kernel.source)
    kinds = ", ".join(f"{_template_kind(value)} {given}" for given, value in call.template)
    head = f"template <{kinds}>\n" if kinds else ""
    # MLX counts arrays here, not parameters: with shapes and no attribute the list ends early.
    arrays = len(kernel.input_names) + len(kernel.output_names)
    lines = [_input_line(index, *parameter) for index, parameter in enumerate(inputs)]
    for index, parameter in enumerate(outputs, start=len(inputs)):
        end = _end(index < arrays - 1 or bool(attributes))
        lines.append(f"  device {parameter.metal_type}* {parameter.of} [[buffer({index})]]{end}")
    for attribute in attributes:
        end = _end(attribute != attributes[-1])
        lines.append(f"  {ATTRIBUTES[attribute]} {attribute} [[{attribute}]]{end}")
    return KernelSource(
        name=name,
        header=kernel.header,
        signature=f"{head}[[kernel]] void {name}(\n{''.join(lines)}",
        body=kernel.source,
        instantiation=_instantiation(name, values),
        parameters=(*(parameter for parameter, _ in inputs), *outputs),
        attributes=attributes,
        template=values,
        fast_math=kernel.math_mode == "fast",
    )


def _input_line(index: int, parameter: Parameter, space: str) -> str:
    sign = "&" if parameter.by_reference else "*"
    suffix = "" if parameter.role == "input" else f"_{parameter.role}"
    shown = f"{parameter.metal_type}{sign} {parameter.of}{suffix}"
    return f"  const {space} {shown} [[buffer({index})]],\n"


def _outputs(kernel: MetalKernel, call: Call) -> list[Parameter]:
    kinds = (METAL_NAMES[dtype] for dtype in call.output_dtypes)
    form = "atomic<{}>" if kernel.atomic_outputs else "{}"
    return [
        Parameter("output", name, form.format(kind), by_reference=False)
        for name, kind in zip(kernel.output_names, kinds, strict=True)
    ]


def _end(more: bool) -> str:
    return ",\n" if more else ") {\n"


def _inputs(kernel: MetalKernel, call: Call) -> list[tuple[Parameter, str]]:
    """Each with its address space."""
    listed: list[tuple[Parameter, str]] = []
    for name, given in zip(kernel.input_names, call.inputs, strict=True):
        dtype, array = as_array(given)
        space = "constant" if array.size < CONSTANT_BELOW else "device"
        scalar = array.ndim == 0
        listed.append((Parameter("input", name, METAL_NAMES[dtype], scalar), space))
        if scalar:
            continue
        wanted: tuple[tuple[Role, str], ...] = (
            ("shape", "int"),
            ("strides", "int64_t"),
            ("ndim", "int"),
        )
        for role, kind in wanted:
            if f"{name}_{role}" in kernel.source:
                listed.append((Parameter(role, name, kind, role == "ndim"), "constant"))
    return listed


def _template_kind(value: TemplateValue) -> str:
    if isinstance(value, bool):
        return "bool"
    return "int" if isinstance(value, int) else "typename"


def _template_value(value: TemplateValue) -> str:
    return METAL_NAMES[value] if isinstance(value, str) else str(int(value))


def _function_name(kernel: MetalKernel, call: Call, values: tuple[str, ...]) -> str:
    """The name that MLX makes of the kernel's, the template's values and the dtypes."""
    name = f"custom_kernel_{kernel.name}"
    if values:
        name += "__" + "_".join(value.replace("-", "_") for value in values)
    for given in call.inputs:
        dtype, array = as_array(given)
        mark = "s" if array.ndim == 0 else "c" if array.size < CONSTANT_BELOW else ""
        name += f"_{METAL_NAMES[dtype]}{mark}"
    return name + "".join(f"_{METAL_NAMES[dtype]}" for dtype in call.output_dtypes)


def _instantiation(name: str, values: tuple[str, ...]) -> str:
    if not values:
        return ""
    function = f"{name}<{', '.join(values)}>"
    return f'\ntemplate [[host_name("{name}")]] [[kernel]] decltype({function}) {function};\n'
