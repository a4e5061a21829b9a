"""From MLX's source to what the compiler is given, and the rules where Metal is stricter.

    text = executable(source)             # with the function that the runtime starts
    diagnostics = strict_diagnostics(builds, source)

In the executable all address spaces are one memory, and float becomes bfloat unasked. What Metal's
compiler rejects of that is found by a second pass that checks syntax only, with address spaces of
clang. That pass knows no member functions in other spaces than a thread's own, so only complaints
about pointers, references and bfloat count; the rest is the first pass's business.
"""

from __future__ import annotations

import re

from lab.metal_sim.builds import Builds
from lab.metal_sim.diagnostics import with_notes
from lab.metal_sim.errors import Diagnostic
from lab.metal_sim.refused import refusals
from lab.metal_sim.rewrite import for_compiler
from lab.metal_sim.source import KernelSource, Parameter

_THREE = "uint3(at.{0}[0], at.{0}[1], at.{0}[2])"
ATTRIBUTE_VALUES = {
    "dispatch_quadgroups_per_threadgroup": "at.dispatched_quadgroups",
    "dispatch_simdgroups_per_threadgroup": "at.dispatched_simdgroups",
    "dispatch_threads_per_threadgroup": _THREE.format("dispatched_per_group"),
    "grid_origin": "uint3(0)",
    "grid_size": _THREE.format("threads_per_grid"),
    "quadgroup_index_in_threadgroup": "at.quadgroup",
    "quadgroups_per_threadgroup": "at.quadgroups",
    "simdgroup_index_in_threadgroup": "at.simdgroup",
    "simdgroups_per_threadgroup": "at.simdgroups",
    "thread_execution_width": "32u",
    "thread_index_in_quadgroup": "at.quad_lane",
    "thread_index_in_simdgroup": "at.lane",
    "thread_index_in_threadgroup": "at.thread_index",
    "thread_position_in_grid": _THREE.format("thread_in_grid"),
    "thread_position_in_threadgroup": _THREE.format("thread_in_group"),
    "threadgroup_position_in_grid": _THREE.format("group_in_grid"),
    "threadgroups_per_grid": _THREE.format("groups_per_grid"),
    "threads_per_grid": _THREE.format("threads_per_grid"),
    "threads_per_simdgroup": "32u",
    "threads_per_threadgroup": _THREE.format("threads_per_group"),
}
_METAL_REJECTS = re.compile(
    r"a threadgroup variable must be declared"  # one that rewrite.py did not recognise
    r"|changes address space|discards address space|address space .* mismatch"
    r"|cannot initialize .*[*&]'? with .*'.*\b(?:device|constant|threadgroup)\b"
    r"|cannot initialize .*\b(?:device|constant|threadgroup)\b.*[*&]' with"
    r"|binding reference .*(?:device|constant|threadgroup)"
    r"|assigning .*\b(?:device|constant|threadgroup)\b.*\*' (?:from|to)"
    r"|conversion between pointers .*address space|between address spaces"
    r"|Metal does not convert .* to bfloat by itself"
    r"|may not be qualified with an address space"
)


def refused_words(source: KernelSource) -> tuple[Diagnostic, ...]:
    """What refused.py says of the parts that a user wrote."""
    return (*refusals("header", source.header), *refusals("body", source.body))


def executable(source: KernelSource) -> str:
    """Signature and body in C++, and a function that calls them with a thread's position."""
    arguments = [_argument(*numbered) for numbered in enumerate(source.parameters)]
    arguments += [ATTRIBUTE_VALUES[attribute] for attribute in source.attributes]
    template = f"<{', '.join(source.template)}>" if source.template else ""
    return (
        f'{_kernel(source)}#line 1 "entry"\n'
        'extern "C" __attribute__((visibility("default"), no_sanitize("thread", "undefined")))\n'
        "void metal_sim_entry(void* const* buffers) {\n"
        "  const metal_sim_position& at = *metal_sim_here();\n"
        f"  {source.name}{template}({', '.join(arguments)});\n"
        "}\n"
    )


def strict_diagnostics(builds: Builds, source: KernelSource) -> tuple[Diagnostic, ...]:
    """What Metal would say about address spaces and bfloat."""
    said = builds.strict_errors(_kernel(source) + for_compiler(source.instantiation))
    if said is None:
        return ()
    return tuple(
        diagnostic
        for diagnostic, notes in with_notes(said)
        if _METAL_REJECTS.search(diagnostic.message)
        or (diagnostic.message.startswith("no matching function") and "address space" in notes)
    )


def _kernel(source: KernelSource) -> str:
    parts = (("header", source.header), ("signature", source.signature))
    marked = "".join(f'#line 1 "{part}"\n{for_compiler(text)}\n' for part, text in parts)
    mode = "#define __FAST_MATH__ 1\n" if source.fast_math else ""
    return f'{mode}{marked}#line 1 "body"\n{for_compiler(source.body)}\n}}\n'


def _argument(index: int, parameter: Parameter) -> str:
    qualifier = "" if parameter.role == "output" else "const "
    pointer = f"({qualifier}{parameter.metal_type}*)buffers[{index}]"
    return f"*{pointer}" if parameter.by_reference else pointer
