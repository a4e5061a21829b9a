"""Correct kernels that look wrong to a careless checker, and two that are taken for wrong.

Each runs on 64 threads in threadgroups of 64 unless it says otherwise, with `inp` (64 floats) and
`out` (64 floats). `expected` is what numpy makes of `inp`. `raises` are the kinds of its findings,
none of which may be an error. In FALSE_ALARMS they are errors: Metal allows what these kernels do.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

HERE = "uint i = thread_position_in_grid.x;\n"
SHARED = f"threadgroup float shared[64];\n{HERE}shared[i] = inp[i];\n"
BARRIER = "threadgroup_barrier(mem_flags::mem_threadgroup);\n"
DEVICE = "threadgroup_barrier(mem_flags::mem_device);\n"
WITHIN = "simdgroup_barrier(mem_flags::mem_threadgroup);\n"
ALL_OF_IT = "simdgroup_barrier(mem_flags::mem_device);\n"
RELAXED = "memory_order_relaxed"


# Each simdgroup's first byte is read by lane 0, then by lane 1, 2 and 3.
IN_TURN = (
    SHARED + "uint lane = thread_index_in_simdgroup, first = i - lane;\nfloat seen = 0;\n"
    f"for (uint r = 0; r < 4; r++) {{ {WITHIN} if (lane == r) seen = shared[first]; }}\n{WITHIN}"
)


def sums_of(size: int) -> Callable[[np.ndarray], np.ndarray]:
    return lambda x: np.repeat(x.reshape(-1, size).sum(1), size)


@dataclass(frozen=True, eq=False)
class Tricky:
    """One kernel."""

    name: str
    body: str
    expected: Callable[[np.ndarray], np.ndarray]
    raises: set[str] = field(default_factory=set)
    grid: int = 64
    threadgroup: int = 64
    init_value: float | None = None
    atomic_outputs: bool = False


TRICKY = (
    Tricky(
        "a read outside whose value is not chosen",
        HERE + "float next = inp[i + 1]; out[i] = i < 63 ? next : 0.0f;",
        lambda x: np.append(x[1:], 0),
    ),
    Tricky(
        "a read outside that is masked to no bits",
        HERE + "uint next = as_type<uint>(inp[i + 1]);\n"
        "out[i] = as_type<float>(next & (0u - (uint)(i < 63)));",
        lambda x: np.append(x[1:], 0),
        {"out_of_bounds_read"},
    ),
    Tricky(
        "an index that is clamped",
        HERE + "out[i] = inp[min(i + 1, 63u)] + inp[max((int)i - 1, 0)];",
        lambda x: np.append(x[1:], x[-1]) + np.append(x[0], x[:-1]),
    ),
    Tricky(
        "a flag that many threads set",
        "threadgroup int found;\n" + HERE + f"if (i == 0) found = 0;\n{BARRIER}"
        f"if (inp[i] > 1.5f) found = 1;\n{BARRIER}out[i] = found;",
        lambda x: np.full(64, (x > 1.5).any()),
        {"same_value_race"},
    ),
    Tricky(
        "a tree within a simdgroup",
        SHARED + "uint lane = thread_index_in_simdgroup;\n"
        f"for (uint s = 16; s > 0; s /= 2) {{ {WITHIN} if (lane < s) shared[i] += shared[i + s]; }}"
        f"{WITHIN} out[i] = shared[i - lane];",
        sums_of(32),
    ),
    Tricky(
        "lanes read a place in turn, the last of them writes it",
        IN_TURN + f"if (lane == 3) shared[first] = seen + 1;\n{WITHIN}out[i] = shared[first];",
        lambda x: np.repeat(x[::32] + 1, 32),
    ),
    Tricky(
        "lanes read a place in turn, the first of them writes it",
        IN_TURN + f"if (lane == 0) shared[first] = seen + 1;\n{WITHIN}out[i] = shared[first];",
        lambda x: np.repeat(x[::32] + 1, 32),
    ),
    Tricky(
        "a simdgroup reads a place at once, then one lane writes it, twice",
        HERE + "uint first = i & 32u;\nout[i] = inp[i];\n"
        f"for (uint r = 0; r < 2; r++) {{\n{ALL_OF_IT}float all = out[first];\n{ALL_OF_IT}"
        f"if (i == first + 7) out[first] = all + 1;\n}}\n{ALL_OF_IT}out[i] = out[i];",
        lambda x: np.where(np.arange(64) % 32 == 0, x + 2, x),
    ),
    Tricky(
        "a butterfly of shuffles",
        HERE + "float sum = inp[i];\n"
        "for (ushort m = 1; m < 32; m *= 2) sum += simd_shuffle_xor(sum, m);\nout[i] = sum;",
        sums_of(32),
    ),
    Tricky(
        "two buffers, one barrier a step",
        f"threadgroup float two[2][64];\n{HERE}float sum = 0;\nfor (uint r = 0; r < 4; r++) {{\n"
        f"two[r & 1][i] = inp[i] + r;\n{BARRIER}sum += two[r & 1][63 - i];\n}}\nout[i] = sum;",
        lambda x: 4 * x[::-1] + 6,
    ),
    Tricky(
        "a scan between two buffers",
        f"threadgroup float two[2][64];\n{HERE}two[0][i] = inp[i];\nuint from = 0;\n{BARRIER}"
        "for (uint s = 1; s < 64; s *= 2) {\n"
        "two[1 - from][i] = two[from][i] + (i >= s ? two[from][i - s] : 0.0f);\n"
        f"from = 1 - from;\n{BARRIER}}}\nout[i] = two[from][i];",
        np.cumsum,
    ),
    Tricky(
        "one value for all, several times",
        f"threadgroup float one;\n{HERE}float sum = 0;\nfor (uint r = 0; r < 3; r++) {{\n"
        f"if (i == r) one = inp[r];\n{BARRIER}sum += one;\n{BARRIER}}}\nout[i] = sum;",
        lambda x: np.full(64, x[:3].sum()),
    ),
    Tricky(
        "barriers as often as a buffer says",
        SHARED + f"for (int r = 0; r < (int)inp[0]; r++) {{ {BARRIER} }} out[i] = shared[63 - i];",
        lambda x: x[::-1],
    ),
    Tricky(
        "a barrier in a branch that a whole group takes",
        f"threadgroup float shared[32];\n{HERE}uint t = thread_index_in_threadgroup;\n"
        "shared[t] = inp[i];\nif (threadgroup_position_in_grid.x == 1) {\n"
        f"{BARRIER}out[i] = shared[31 - t];\n}} else out[i] = shared[t];",
        lambda x: np.append(x[:32], x[:31:-1]),
        threadgroup=32,
    ),
    Tricky(
        "a group that returns as a whole",
        f"threadgroup float shared[32];\n{HERE}uint t = thread_index_in_threadgroup;\n"
        "out[i] = 0;\nif (threadgroup_position_in_grid.x == 0) return;\n"
        f"shared[t] = inp[i];\n{BARRIER}out[i] = shared[31 - t];",
        lambda x: np.append(np.zeros(32), x[:31:-1]),
        threadgroup=32,
    ),
    Tricky(
        "a simdgroup that returns as a whole",
        HERE + "out[i] = 0;\nif (simdgroup_index_in_threadgroup == 0) return;\n"
        "out[i] = simd_sum(inp[i]);",
        lambda x: np.repeat([0, x[32:].sum()], 32),
    ),
    Tricky(
        "lanes that part and meet again",
        HERE + "float x = inp[i];\nif (i & 1) x *= 2; else x += 1;\nout[i] = simd_sum(x);",
        lambda x: np.repeat((x.reshape(2, 16, 2) * [1, 2] + [1, 0]).sum((1, 2)), 32),
    ),
    Tricky(
        "a branch by a vote",
        HERE + "out[i] = inp[i];\nif (simd_any(i == 40)) out[i] = simd_max(inp[i]);",
        lambda x: np.append(x[:32], np.full(32, x[32:].max())),
    ),
    Tricky(
        "places from a vote",
        f"threadgroup float kept[64];\n{HERE}kept[i] = 0;\n{WITHIN}"
        "bool keep = inp[i] > 1.5f;\nuint first = i & 32u;\n"
        f"uint at = simd_prefix_exclusive_sum((uint)keep);\nif (keep) kept[first + at] = inp[i];\n"
        f"{WITHIN}out[i] = kept[i];",
        lambda x: np.concatenate([np.append(h[h > 1.5], 0 * h[h <= 1.5]) for h in np.split(x, 2)]),
    ),
    Tricky(
        "quads of pixels",
        HERE + "out[i] = quad_shuffle_xor(inp[i], 1) - inp[i] + quad_sum(inp[i]);",
        lambda x: x.reshape(-1, 2)[:, ::-1].reshape(-1) - x + sums_of(4)(x),
    ),
    Tricky(
        "the largest float by exchange",
        HERE + "device atomic_uint* most = (device atomic_uint*)out;\n"
        f"uint seen = atomic_load_explicit(most, {RELAXED});\n"
        "while (as_type<float>(seen) < inp[i] && !atomic_compare_exchange_weak_explicit(\n"
        f"most, &seen, as_type<uint>(inp[i]), {RELAXED}, {RELAXED})) {{}}",
        lambda x: np.append(x.max(), np.zeros(63)),
        init_value=0.0,
    ),
    Tricky(
        "an atomic counter set and read plainly",
        f"threadgroup atomic_uint count;\n{HERE}if (i == 0) *(threadgroup uint*)&count = 0;\n"
        f"{BARRIER}if (inp[i] > 1.5f) atomic_fetch_add_explicit(&count, 1, {RELAXED});\n"
        f"{BARRIER}out[i] = *(threadgroup uint*)&count;",
        lambda x: np.full(64, (x > 1.5).sum()),
    ),
    Tricky(
        "stored as vectors, read as scalars",
        f"threadgroup float shared[64];\n{HERE}if (i < 16) ((threadgroup float4*)shared)[i] = "
        f"((const device float4*)inp)[i];\n{BARRIER}out[i] = shared[63 - i];",
        lambda x: x[::-1],
    ),
    Tricky(
        "one array for two things, one after the other",
        SHARED + f"{BARRIER}float other = shared[63 - i];\n{BARRIER}"
        f"((threadgroup uint*)shared)[i] = i;\n{BARRIER}"
        "out[i] = other + ((threadgroup uint*)shared)[63 - i];",
        lambda x: x[::-1] + np.arange(64)[::-1],
    ),
    Tricky(
        "a part of threadgroup memory for each thread",
        f"threadgroup float mine[64][4];\n{HERE}"
        "for (uint k = 0; k < 4; k++) mine[i][k] = inp[i] * k;\n"
        "float sum = 0;\nfor (uint k = 0; k < 4; k++) sum += mine[i][k];\nout[i] = sum;",
        lambda x: 6 * x,
    ),
    Tricky(
        "an output that its own thread reads again",
        HERE + "out[i] = inp[i];\nfor (uint k = 0; k < 3; k++) out[i] += out[i];",
        lambda x: 8 * x,
    ),
    Tricky(
        "pairs that are swapped in place",
        HERE + "uint j = 63 - i; out[i] = inp[i]; out[j] = inp[j];\n"
        "float x = out[i]; out[i] = out[j]; out[j] = x;",
        lambda x: x[::-1],
        grid=32,
        threadgroup=32,
    ),
    Tricky(
        "a loop over a grid that is too small",
        HERE + "for (uint k = i; k < 64; k += threads_per_grid.x) out[k] = inp[k] * 2;",
        lambda x: 2 * x,
        grid=20,
        threadgroup=8,
    ),
    Tricky(
        "smaller groups at the edge",
        f"threadgroup float shared[24];\n{HERE}uint t = thread_index_in_threadgroup;\n"
        f"shared[t] = inp[i];\n{BARRIER}out[i] = shared[threads_per_threadgroup.x - 1 - t];",
        lambda x: np.concatenate([x[:24][::-1], x[24:48][::-1], x[48:][::-1]]),
        threadgroup=24,
    ),
    Tricky(
        "simd functions in a part of a simdgroup",
        HERE + "out[i] = simd_sum(inp[i]);",
        lambda x: np.concatenate([np.full(len(h), h.sum()) for h in np.split(x, [24, 48])]),
        threadgroup=24,
    ),
    Tricky(
        "unused threadgroup memory that is masked",
        f"threadgroup float shared[64];\n{HERE}if (i < 40) shared[i] = inp[i];\n{BARRIER}"
        "float other = shared[63 - i];\nout[i] = i > 23 ? other : 0.0f;",
        lambda x: np.append(np.zeros(24), x[39::-1]),
    ),
    Tricky(
        "rounds through device memory",
        f"{HERE}out[i] = inp[i];\n{DEVICE}for (uint r = 0; r < 2; r++) {{\n"
        f"float other = out[(i + 1) & 63];\n{DEVICE}out[i] = other;\n{DEVICE}}}",
        lambda x: np.roll(x, -2),
    ),
    Tricky(
        "a matrix of each simdgroup's own",
        f"threadgroup float tiles[2][64];\n{HERE}uint own = simdgroup_index_in_threadgroup;\n"
        "simdgroup_float8x8 m; simdgroup_load(m, inp, 8);\n"
        f"simdgroup_store(m, tiles[own], 8);\n{WITHIN}out[i] = tiles[own][i];",
        lambda x: x,
    ),
    Tricky(
        "numbers that wrap and shifts by a mask",
        HERE + "uint x = (i - 1u) * 2654435761u; int by = (int)i - 70;\n"
        "out[i] = (x << (by & 31)) >> (by & 31) == x ? inp[i] : inp[i];",
        lambda x: x,
    ),
    Tricky(
        "infinities and NaN",
        HERE + "float x = i ? -INFINITY : NAN;\n"
        "out[i] = metal::max(x, inp[i]) + (i == 5 ? NAN : 0);",
        lambda x: np.where(np.arange(64) == 5, np.nan, x),
    ),
    Tricky(
        "a loop that all leave by one flag",
        f"threadgroup int stop;\n{HERE}int rounds = 0;\nfor (;;) {{\n"
        f"if (i == 0) stop = ++rounds > 2; else rounds++;\n{BARRIER}if (stop) break;\n{BARRIER}}}\n"
        "out[i] = rounds;",
        lambda x: np.full(64, 3),
    ),
)
FALSE_ALARMS = (
    Tricky(
        "the last group adds up, ordered by a fence",
        f"threadgroup uint last;\n{HERE}uint t = thread_index_in_threadgroup;\n"
        "device float* parts = (device float*)out;\n"
        "device atomic_uint* done = (device atomic_uint*)out + 4;\n"
        "float sum = simd_sum(inp[i]);\nif (t == 0) parts[threadgroup_position_in_grid.x] = sum;\n"
        "atomic_thread_fence(mem_flags::mem_device, memory_order_seq_cst, thread_scope_device);\n"
        f"if (t == 0) last = atomic_fetch_add_explicit(done, 1, {RELAXED});\n{BARRIER}"
        "if (last == 1 && t == 0) parts[2] = parts[0] + parts[1];",
        lambda x: np.array([x[:32].sum(), x[32:].sum(), x.sum()]),
        {"race"},
        threadgroup=32,
        init_value=0.0,
    ),
    Tricky(
        "threads that write different bytes of one element",
        HERE + "for (uint k = 0; k < 4; k++) {\n"
        "uint at = k * 64 + i; ((device uchar*)out)[at] = ((const device uchar*)inp)[at]; }",
        lambda x: x,
        {"race"},
    ),
)
