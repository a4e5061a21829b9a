"""Small kernels with one planted bug each, and what must be found in them.

Each runs on 64 threads in threadgroups of 64 unless it says otherwise, with `inp` (64 floats) and
`out` (64 floats). `found` is the finding that must be among the errors (or the warnings, where
`severity` says so); the kernel's `line` is where it must be; 0 is anywhere.
"""

from __future__ import annotations

from dataclasses import dataclass

SHARED = "threadgroup float shared[64];\nuint i = thread_position_in_grid.x;\n"
REVERSED = SHARED + "shared[i] = inp[i];\n{barrier}\nout[i] = shared[63 - i];\n"
READ_BY_TWO = (
    SHARED + "shared[i] = inp[i];\nthreadgroup_barrier(mem_flags::mem_threadgroup);\n"
    "out[i] = shared[0];\n"
)
WITHIN = "simdgroup_barrier(mem_flags::mem_threadgroup);\n"


@dataclass(frozen=True)
class Planted:
    """One bug."""

    name: str
    body: str
    found: str
    line: int
    severity: str = "error"
    grid: int = 64
    threadgroup: int = 64
    init_value: float | None = None
    atomic_outputs: bool = False


BUGS = (
    Planted("barrier dropped", REVERSED.format(barrier=""), "race", 5),
    Planted(
        "barrier with flag none",
        REVERSED.format(barrier="threadgroup_barrier(mem_flags::mem_none);"),
        "race",
        5,
    ),
    Planted(
        "barrier with the device flag",
        REVERSED.format(barrier="threadgroup_barrier(mem_flags::mem_device);"),
        "race",
        5,
    ),
    Planted(
        "simdgroup barrier where two simdgroups share",
        REVERSED.format(barrier="simdgroup_barrier(mem_flags::mem_threadgroup);"),
        "race",
        5,
    ),
    Planted(
        "read by two simdgroups, written behind a simdgroup's barrier",
        READ_BY_TWO + WITHIN + "if (i == 40) shared[0] = 0;",
        "race",
        7,
    ),
    Planted(
        "read by two simdgroups in turn, written by a third lane",
        SHARED + "shared[i] = inp[i];\nthreadgroup_barrier(mem_flags::mem_threadgroup);\n"
        "float seen = 0;\nfor (uint r = 0; r < 4; r++) {\n"
        + WITHIN
        + "if (thread_index_in_simdgroup == r) seen = shared[0];\n}\n"
        + WITHIN
        + "if (i == 36) shared[0] = 0;\nout[i] = seen;",
        "race",
        11,
    ),
    Planted(
        "read by a simdgroup, written behind no barrier",
        SHARED
        + "shared[i] = inp[i];\nthreadgroup_barrier(mem_flags::mem_threadgroup);\n"
        + "if (i < 32) out[i] = shared[0];\nelse out[i] = 0;\nif (i == 7) shared[0] = 0;",
        "race",
        7,
    ),
    Planted(
        "second barrier dropped",
        SHARED
        + "float sum = 0;\nfor (int r = 0; r < 2; r++) {\nshared[i] = inp[i] + r;\n"
        + "threadgroup_barrier(mem_flags::mem_threadgroup);\nsum += shared[63 - i];\n}\n"
        + "out[i] = sum;",
        "race",
        5,
    ),
    Planted(
        "device memory behind a threadgroup flag",
        "uint i = thread_position_in_grid.x;\nout[i] = inp[i];\n"
        "threadgroup_barrier(mem_flags::mem_threadgroup);\nout[i] += out[63 - i];",
        "race",
        4,
    ),
    Planted(
        "threadgroups share an output",
        "uint i = thread_position_in_grid.x;\nout[i] = inp[i];\nout[i ^ 32] = 2 * inp[i];",
        "race",
        3,
        threadgroup=32,
    ),
    Planted(
        "sum without an atomic",
        "uint i = thread_position_in_grid.x;\nout[i] = 0;\nout[0] += inp[i];",
        "race",
        3,
    ),
    Planted(
        "atomic made plain",
        "uint i = thread_position_in_grid.x;\n"
        "if (i) atomic_fetch_add_explicit(&out[0], inp[i], memory_order_relaxed);\n"
        "else *(device float*)out = inp[0];",
        "mixed_atomic",
        3,
        init_value=0.0,
        atomic_outputs=True,
    ),
    Planted(
        "all threads write one value",
        "uint i = thread_position_in_grid.x;\nout[i] = i > 62 ? 1 : inp[i];\n"
        "if (i < 2) out[63] = 1;",
        "same_value_race",
        3,
        severity="warning",
    ),
    Planted(
        "one behind the end is read",
        "uint i = thread_position_in_grid.x;\nout[i] = inp[i] + inp[i + 1];",
        "out_of_bounds_read",
        2,
    ),
    Planted(
        "one before the start is read",
        "uint i = thread_position_in_grid.x;\nout[i] = inp[(int)i - 1];",
        "out_of_bounds_read",
        2,
    ),
    Planted(
        "a masked read outside",
        "uint i = thread_position_in_grid.x;\nuint next = as_type<uint>(inp[i + 1]);\n"
        "out[i] = as_type<float>(next & (0u - (uint)(i < 63)));",
        "out_of_bounds_read",
        2,
        severity="warning",
    ),
    Planted(
        "one behind the end is written",
        "uint i = thread_position_in_grid.x;\nout[i] = inp[i];\nif (i == 63) out[i + 1] = 0;",
        "out_of_bounds_write",
        3,
    ),
    Planted(
        "no tail guard",
        "uint i = thread_position_in_grid.x;\nout[i] = 1;",
        "out_of_bounds_write",
        2,
        grid=96,
        threadgroup=32,
    ),
    Planted(
        "an address far away",
        "uint i = thread_position_in_grid.x;\nout[i] = inp[i * 100000000];",
        "wild_access",
        2,
    ),
    Planted(
        "an input is written",
        "uint i = thread_position_in_grid.x;\nout[i] = inp[i];\n((device float*)inp)[i] = 0;",
        "write_to_input",
        3,
    ),
    Planted(
        "a threadgroup array runs over into the next",
        "threadgroup float a[32];\nthreadgroup float b[32];\nuint i = thread_position_in_grid.x;\n"
        "threadgroup float* p = a;\np[i] = inp[i];\nb[i & 31] = 0;\n"
        "threadgroup_barrier(mem_flags::mem_threadgroup);\nout[i] = p[i] + b[i & 31];",
        "out_of_bounds_write",
        5,
    ),
    Planted(
        "a private array runs over",
        "uint i = thread_position_in_grid.x;\nfloat kept[4];\n"
        "for (uint k = 0; k <= 4; k++) kept[k] = inp[i];\nout[i] = kept[i & 3];",
        "array_index",
        3,
    ),
    Planted(
        "threadgroup memory is read before it is written",
        SHARED + "if (i < 32) shared[i] = inp[i];\n"
        "threadgroup_barrier(mem_flags::mem_threadgroup);\nout[i] = shared[63 - i];",
        "uninitialised_threadgroup",
        5,
    ),
    Planted(
        "unused threadgroup memory is read",
        SHARED + "if (i < 32) shared[i] = inp[i];\n"
        "threadgroup_barrier(mem_flags::mem_threadgroup);\n"
        "uint other = as_type<uint>(shared[63 - i]);\n"
        "out[i] = as_type<float>(other & (0u - (uint)(i >= 32)));",
        "uninitialised_threadgroup",
        5,
        severity="warning",
    ),
    Planted(
        "an output adds to what is not there",
        "uint i = thread_position_in_grid.x;\nout[i] += inp[i];",
        "uninitialised_output",
        2,
    ),
    Planted(
        "a tail is not written",
        "uint i = thread_position_in_grid.x;\nif (i < 60) out[i] = inp[i];",
        "unwritten_output",
        0,
    ),
    Planted(
        "the grid is too small",
        "uint i = thread_position_in_grid.x;\nout[i] = inp[i];",
        "unwritten_output",
        0,
        grid=32,
        threadgroup=32,
    ),
    Planted(
        "barrier under a condition",
        SHARED + "shared[i] = inp[i];\n"
        "if (i < 32) threadgroup_barrier(mem_flags::mem_threadgroup);\nout[i] = shared[i];",
        "divergent_barrier",
        4,
    ),
    Planted(
        "two different barriers",
        SHARED + "shared[i] = inp[i];\nif (i < 32)\n"
        "threadgroup_barrier(mem_flags::mem_threadgroup);\nelse\n"
        "threadgroup_barrier(mem_flags::mem_threadgroup);\nout[i] = shared[63 - i];",
        "divergent_barrier",
        7,
    ),
    Planted(
        "return before a barrier",
        SHARED + "shared[i] = inp[i];\nout[i] = 0;\nif (i >= 60) return;\n"
        "threadgroup_barrier(mem_flags::mem_threadgroup);\nout[i] = shared[i];",
        "divergent_barrier",
        6,
    ),
    Planted(
        "simd_sum by half of the lanes",
        "uint i = thread_position_in_grid.x;\nfloat sum = 0;\n"
        "if (i & 1)\nsum = simd_sum(inp[i]);\nout[i] = simd_sum(sum);",
        "divergent_simd",
        4,
        severity="warning",
    ),
    Planted(
        "shuffle from a lane that has ended",
        "uint i = thread_position_in_grid.x;\nout[i] = inp[i];\nif (i & 1) return;\n"
        "out[i] = simd_shuffle_xor(inp[i], 1);",
        "inactive_lane",
        4,
        severity="warning",
    ),
    Planted(
        "matrix by half of a simdgroup",
        "uint i = thread_position_in_grid.x;\nout[i] = inp[i];\nif (i & 1) return;\n"
        "simdgroup_float8x8 a;\nsimdgroup_load(a, inp, 8);\nout[i] = a.thread_elements()[0];",
        "partial_matrix",
        5,
    ),
    Planted(
        "division by zero",
        "uint i = thread_position_in_grid.x;\nint by = (int)inp[i];\nout[i] = 7 / (by - by);",
        "division_by_zero",
        3,
    ),
    Planted(
        "shift by a whole width",
        "uint i = thread_position_in_grid.x;\nout[i] = 1 << (31 + (i & 1));",
        "wild_shift",
        2,
    ),
    Planted(
        "too much threadgroup memory",
        "threadgroup float big[8193];\nuint i = thread_position_in_grid.x;\nbig[i] = inp[i];\n"
        "threadgroup_barrier(mem_flags::mem_threadgroup);\nout[i] = big[63 - i];",
        "threadgroup_memory",
        0,
    ),
    Planted(
        "too much private memory",
        "uint i = thread_position_in_grid.x;\nvolatile float mine[100000];\n"
        "mine[0] = inp[i];\nmine[99999] = 1;\nout[i] = mine[0];",
        "stack_overflow",
        0,
    ),
    Planted(
        "an endless loop",
        "uint i = thread_position_in_grid.x;\nout[i] = inp[i];\n"
        "while (out[i] < 1e30f)\nout[i] = 0;",
        "time_out",
        0,
    ),
    Planted(
        "a result by order of arrival",
        "threadgroup atomic_uint next;\nuint i = thread_position_in_grid.x;\n"
        "if (i == 0) atomic_store_explicit(&next, 0, memory_order_relaxed);\n"
        "threadgroup_barrier(mem_flags::mem_threadgroup);\n"
        "out[atomic_fetch_add_explicit(&next, 1, memory_order_relaxed)] = inp[i];",
        "schedule_difference",
        0,
        severity="warning",
    ),
)
