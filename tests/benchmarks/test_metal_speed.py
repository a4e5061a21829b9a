"""The Metal simulator: threads per second in fast and in check mode (one schedule), compile times.

Run with `uv run pytest tests/benchmarks/test_metal_speed.py --benchmark-enable -s`. It prints one
line per kernel and mode; a fresh process for each launch is included, the compiler is not.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from lab.metal_sim import Builds, Call, MetalKernel, Schedule, checked_call, simulate
from lab.metal_sim.simulate import compiled

EXPONENTIAL = "uint i = thread_position_in_grid.x; out[i] = metal::exp(inp[i]);"
RMS_NORM = """
    threadgroup float partial[32];
    uint row = threadgroup_position_in_grid.x, t = thread_index_in_threadgroup;
    float4 x = ((const device float4*)(inp + row * 512))[t];
    float sum = simd_sum(dot(x, x));
    if (thread_index_in_simdgroup == 0) partial[simdgroup_index_in_threadgroup] = sum;
    threadgroup_barrier(mem_flags::mem_threadgroup);
    uint lane = thread_index_in_simdgroup;
    sum = simd_sum(lane < simdgroups_per_threadgroup ? partial[lane] : 0.0f);
    ((device float4*)(out + row * 512))[t] = x * metal::precise::rsqrt(sum / 512 + 1e-5f);
"""
MATMUL = """
    uint2 tile = threadgroup_position_in_grid.xy * 8;
    simdgroup_float8x8 sum = make_filled_simdgroup_matrix<float, 8, 8>(0.0f), a, b;
    for (uint k = 0; k < 256; k += 8) {
      simdgroup_load(a, inp + tile.y * 256 + k, 256);
      simdgroup_load(b, inp + k * 256 + tile.x, 256);
      simdgroup_multiply_accumulate(sum, a, b, sum);
    }
    simdgroup_store(sum, out + tile.y * 256 + tile.x, 256);
"""
KERNELS = {
    "exp": (EXPONENTIAL, (1 << 20,), (1 << 20, 1, 1), (256, 1, 1)),
    "rmsnorm": (RMS_NORM, (4096, 512), (4096 * 128, 1, 1), (128, 1, 1)),
    "simdgroup matmul": (MATMUL, (256, 256), (32 * 32, 32, 1), (32, 1, 1)),
}


def case(name: str) -> tuple[MetalKernel, Call]:
    body, shape, grid, threadgroup = KERNELS[name]
    kernel = MetalKernel("timed", ("inp",), ("out",), body)
    values = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    return kernel, checked_call(
        kernel,
        inputs=[values],
        output_shapes=[shape],
        output_dtypes=["float32"],
        grid=grid,
        threadgroup=threadgroup,
    )


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Builds:
    return Builds(tmp_path_factory.mktemp("metal_sim"))


@pytest.mark.parametrize("mode", ["fast", "check"])
@pytest.mark.parametrize("name", KERNELS)
def test_threads_per_second(
    benchmark: BenchmarkFixture, kept: Builds, name: str, mode: str
) -> None:
    kernel, call = case(name)
    benchmark.group = name
    once = [Schedule("in_order")]
    report = simulate(kernel, call, mode=mode, schedules=once, builds=kept)  # type: ignore[arg-type]
    assert report.passed, report.findings
    benchmark.pedantic(
        simulate, (kernel, call), {"mode": mode, "schedules": once, "builds": kept}, rounds=3
    )
    if benchmark.stats is not None:
        seconds = benchmark.stats.stats.min
        rate = math.prod(call.grid) / seconds / 1e6
        print(f"\n{name} {mode}: {seconds:.2f} s, {rate:.2f} million threads a second")


@pytest.mark.parametrize("name", KERNELS)
def test_compiling(benchmark: BenchmarkFixture, kept: Builds, name: str) -> None:
    """Each round another text, with the headers compiled beforehand."""
    kernel, call = case(name)
    compiled(kernel, call, kept)
    benchmark.group = "compile, checked"
    rounds = iter(range(1000))

    def another() -> None:
        body = f"{kernel.source}// {next(rounds)}\n"
        compiled(MetalKernel("timed", ("inp",), ("out",), body), call, kept)

    benchmark.pedantic(another, rounds=3)


@pytest.mark.parametrize("name", KERNELS)
def test_finding_it_compiled(benchmark: BenchmarkFixture, kept: Builds, name: str) -> None:
    """The same text again: its hash, and what lies in the cache."""
    kernel, call = case(name)
    compiled(kernel, call, kept)
    benchmark.group = "compiled before"
    build = benchmark.pedantic(compiled, (kernel, call, kept), rounds=10)
    assert build.cached
