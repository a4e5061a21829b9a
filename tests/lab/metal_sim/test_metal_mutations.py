"""Whole kernels are clean and right; each mutation of them is found, or is listed as one that only
the outputs show.

`found` is the finding that must be among those of `severity`. With `found=""` the checks see
nothing, since every access is a legal one: only comparing outputs tells.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest

from lab.metal_sim import Report

Run = Callable[..., Report]
DRAW = np.random.default_rng(0)
LEFT = DRAW.standard_normal((24, 26)).astype(np.float32)
RIGHT = DRAW.standard_normal((26, 20)).astype(np.float32)
ROWS = DRAW.standard_normal((3, 333)).astype(np.float32)
INDEX = DRAW.integers(0, 5, 64).astype(np.int32)
UPDATES = DRAW.standard_normal((64, 8)).astype(np.float32)

MATMUL = """
    threadgroup float left[16][16];
    threadgroup float right[16][17];
    uint2 t = thread_position_in_threadgroup.xy, corner = threadgroup_position_in_grid.xy * 16;
    uint rows = a_shape[0], inner = a_shape[1], columns = b_shape[1];
    uint row = corner.y + t.y, column = corner.x + t.x;
    float sum = 0;
    for (uint k = 0; k < inner; k += 16) {
      left[t.y][t.x] = row < rows && k + t.x < inner ? a[row * inner + k + t.x] : 0;
      right[t.y][t.x] = k + t.y < inner && column < columns ? b[(k + t.y) * columns + column] : 0;
      threadgroup_barrier(mem_flags::mem_threadgroup);
      for (uint i = 0; i < 16; i++) sum += left[t.y][i] * right[i][t.x];
      threadgroup_barrier(mem_flags::mem_threadgroup); // before the next tile
    }
    if (row < rows && column < columns) out[row * columns + column] = sum;
"""
SOFTMAX = """
    threadgroup float maxima[32];
    threadgroup float sums[32];
    uint row = threadgroup_position_in_grid.x, t = thread_index_in_threadgroup;
    uint n = threads_per_threadgroup.x, width = inp_shape[1], lane = thread_index_in_simdgroup;
    uint simdgroup = simdgroup_index_in_threadgroup, simdgroups = simdgroups_per_threadgroup;
    const device float* x = inp + row * width;
    float most = -INFINITY, sum = 0;
    for (uint i = t; i < width; i += n) {
      float next = max(most, x[i]);
      sum = sum * metal::exp(most - next) + metal::exp(x[i] - next);
      most = next;
    }
    float whole = simd_max(most);
    sum = simd_sum(sum * metal::exp(most - whole));
    if (lane == 0) { maxima[simdgroup] = whole; sums[simdgroup] = sum; }
    threadgroup_barrier(mem_flags::mem_threadgroup); // partial results
    if (simdgroup == 0) {
      float mine = lane < simdgroups ? maxima[lane] : -INFINITY;
      float all = simd_max(mine);
      float total = simd_sum(lane < simdgroups ? sums[lane] * metal::exp(mine - all) : 0.0f);
      if (lane == 0) { maxima[0] = all; sums[0] = total; }
    }
    threadgroup_barrier(mem_flags::mem_threadgroup); // the result
    float scale = 1 / sums[0];
    for (uint i = t; i < width; i += n) out[row * width + i] = metal::exp(x[i] - maxima[0]) * scale;
"""
SCATTER = """
    uint i = thread_position_in_grid.x;
    uint to = index[i / 8] * 8 + i % 8;
    atomic_fetch_add_explicit(&out[to], inp[i], memory_order_relaxed);
"""
BARRIER = "threadgroup_barrier(mem_flags::mem_threadgroup);"
ATOMIC_ADD = "atomic_fetch_add_explicit(&out[to], inp[i], memory_order_relaxed)"
LOAD_AND_STORE = (
    "atomic_store_explicit(&out[to], atomic_load_explicit(&out[to], memory_order_relaxed) + inp[i],"
    " memory_order_relaxed)"
)


def matmul(run: Run, body: str = MATMUL) -> tuple[Report, np.ndarray]:
    how = {"grid": (32, 32, 1), "threadgroup": (16, 16, 1)}
    outputs = {"out": ((24, 20), "float32")}
    return run(body, {"a": LEFT, "b": RIGHT}, outputs, **how), LEFT @ RIGHT


def softmax(run: Run, body: str = SOFTMAX) -> tuple[Report, np.ndarray]:
    powers = np.exp(ROWS - ROWS.max(1, keepdims=True))
    outputs = {"out": (ROWS.shape, "float32")}
    report = run(body, {"inp": ROWS}, outputs, grid=3 * 96, threadgroup=96)
    return report, powers / powers.sum(1, keepdims=True)


def scatter(run: Run, body: str = SCATTER) -> tuple[Report, np.ndarray]:
    expected = np.zeros((5, 8), np.float32)
    np.add.at(expected, INDEX, UPDATES)
    report = run(
        body, {"index": INDEX, "inp": UPDATES}, {"out": ((5, 8), "float32")}, grid=512,
        threadgroup=64, init_value=0.0, atomic_outputs=True,
    )  # fmt: skip
    return report, expected


KERNELS = {"matmul": (matmul, MATMUL), "softmax": (softmax, SOFTMAX), "scatter": (scatter, SCATTER)}


@dataclass(frozen=True)
class Mutation:
    """`old` is replaced by `new` in the kernel."""

    kernel: str
    name: str
    old: str
    new: str
    found: str
    severity: str = "error"


MUTATIONS = (
    Mutation("matmul", "first barrier dropped", f"{BARRIER}\n", "\n", "race"),
    Mutation("matmul", "second barrier dropped", f"{BARRIER} // before", "// before", "race"),
    Mutation("matmul", "first flag none", f"mem_threadgroup);\n{' ' * 6}for",
             f"mem_none);\n{' ' * 6}for", "race"),
    Mutation("matmul", "second flag device", "mem_threadgroup); // before",
             "mem_device); // before", "race"),
    Mutation("matmul", "no guard of the inner tail", "row < rows && k + t.x < inner ?",
             "row < rows ?", "out_of_bounds_read"),
    Mutation("matmul", "no guard of the rows read", "row < rows && k + t.x < inner ?",
             "k + t.x < inner ?", "out_of_bounds_read", "warning"),
    Mutation("matmul", "no guard of the rows written", "if (row < rows && column", "if (column",
             "out_of_bounds_write"),
    Mutation("matmul", "a column of padding forgotten", "right[16][17]", "right[16][15]",
             "array_index"),
    Mutation("matmul", "return before the barriers", "float sum = 0;",
             "float sum = 0; if (column >= columns) return;", "divergent_barrier"),
    Mutation("matmul", "a loop of its own length for each thread", "k < inner;",
             "k < inner + t.x;", "divergent_barrier"),
    Mutation("matmul", "a tile indexed the wrong way round", "left[t.y][i]", "left[i][t.y]", ""),
    Mutation("matmul", "a sum that starts from nothing", "float sum = 0;", "float sum;", ""),
    Mutation("matmul", "one product too few", "i < 16;", "i < 15;", ""),
    Mutation("softmax", "first barrier dropped", f"{BARRIER} // partial", "// partial", "race"),
    Mutation("softmax", "second barrier dropped", f"{BARRIER} // the", "// the", "race"),
    Mutation("softmax", "simdgroup barrier for a threadgroup's", f"{BARRIER} // the",
             "simdgroup_barrier(mem_flags::mem_threadgroup); // the", "race"),
    Mutation("softmax", "barrier moved into the branch", f"}}\n    {BARRIER} // the",
             f"{BARRIER} }} // the", "divergent_barrier"),
    Mutation("softmax", "no guard of unused maxima", "lane < simdgroups ? maxima[lane] : -INFINITY",
             "maxima[lane]", "uninitialised_threadgroup"),
    Mutation("softmax", "every lane writes its part", "if (lane == 0) { maxima[simdgroup]",
             "{ maxima[simdgroup]", "same_value_race", "warning"),
    Mutation("softmax", "one too many read", "i < width; i += n) {", "i <= width; i += n) {",
             "out_of_bounds_read"),
    Mutation("softmax", "one too many written", "i < width; i += n) out", "i <= width; i += n) out",
             "out_of_bounds_write"),
    Mutation("softmax", "a wrong row length", "out[row * width + i]", "out[row * n + i]", "race"),
    Mutation("softmax", "a tail not written", "i < width; i += n) out",
             "i + 1 < width; i += n) out", "unwritten_output"),
    Mutation("softmax", "simd_max by half of the lanes", "float whole = simd_max(most);",
             "float whole = most; if (lane < 16) whole = simd_max(most);", "divergent_simd",
             "warning"),
    Mutation("scatter", "atomic made plain", ATOMIC_ADD, "((device float*)out)[to] += inp[i]",
             "race"),
    Mutation("scatter", "atomic add made load and store", ATOMIC_ADD, LOAD_AND_STORE,
             "schedule_difference", "warning"),
    Mutation("scatter", "index off by one", "index[i / 8]", "(index[i / 8] + 1)",
             "out_of_bounds_write"),
    Mutation("scatter", "index before the start", "index[i / 8]", "(index[i / 8] - 1)",
             "wild_access"),
)  # fmt: skip


@pytest.mark.parametrize("name", KERNELS)
def test_a_whole_kernel_is_right_and_clean(run: Run, name: str) -> None:
    report, expected = KERNELS[name][0](run)
    assert report.passed, [str(finding) for finding in report.findings]
    assert not report.of("warning"), [str(finding) for finding in report.findings]
    assert np.allclose(report.outputs[0], expected, atol=1e-4)


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda each: f"{each.kernel}: {each.name}")
def test_a_mutation_is_found(run: Run, mutation: Mutation) -> None:
    simulated, body = KERNELS[mutation.kernel]
    assert body.count(mutation.old) == 1
    report, expected = simulated(run, body.replace(mutation.old, mutation.new))
    if mutation.found:
        kinds = {finding.kind for finding in report.of(mutation.severity)}
        assert mutation.found in kinds, [str(finding) for finding in report.findings]
    else:
        assert not report.findings, [str(finding) for finding in report.findings]
        assert not np.allclose(report.outputs[0], expected, atol=1e-4)
