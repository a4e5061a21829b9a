"""The language: what a kernel computes against numpy."""

from __future__ import annotations

from collections.abc import Callable

import mlx.core as mx
import numpy as np
import pytest

from lab.metal_sim import Bfloat16, Report
from lab.metal_sim.dtypes import values_of

Run = Callable[..., Report]
HERE = "uint i = thread_position_in_grid.x;\n"


def listed(run: Run, values: dict[str, object], inp: np.ndarray, before: str = "") -> dict:
    """Evaluates expressions of Metal in one kernel; {expression: value}."""
    lines = "".join(f"out[{at}] = float({text});\n" for at, text in enumerate(values))
    report = run(before + lines, {"inp": inp}, {"out": ((len(values),), "float32")}, mode="fast")
    assert report.passed, [str(finding) for finding in report.findings]
    return dict(zip(values, report.outputs[0].tolist(), strict=True))


def test_vectors_swizzles_packed_types_and_matrices(run: Run) -> None:
    before = """
        float4 v = float4(inp[0], inp[1], float2(inp[2], inp[3]));
        v.xy += v.zw;
        v.x++;
        float3 w = v.bgr;
        w.yz = float2(7, 8);
        packed_float3 p = packed_float3(w);
        float3 q = p;
        q *= 2;
        int2 s = int2(1, 2) << int2(3, 1);
        bool4 c = v > float4(2);
        half4 h = half4(v);
        float2x2 m = float2x2(float2(1, 2), float2(3, 4));
        float4x4 diagonal(5);
    """
    expected = {
        "v.x": 5, "v.y": 6, "v.w": 4, "w.x": 3, "w.z": 8, "q.y": 14, "p.z": 8, "s.x": 8, "s.y": 4,
        "any(c)": 1, "all(c)": 1, "h.wx.y": 5, "(m * float2(1, 1)).x": 4, "(m * m)[1].y": 22,
        "transpose(m)[0].y": 3, "diagonal[3].w": 5, "diagonal[3].x": 0, "determinant(m)": -2,
        "sizeof(float3)": 16, "sizeof(packed_float3)": 12, "sizeof(half4)": 8,
        "(v.xy * 2.0f).y": 12, "dot(v.xyz, v.zyx)": 66, "length(float2(3, 4))": 5,
        "cross(float3(1, 0, 0), float3(0, 1, 0)).z": 1, "uchar4(250, 1, 2, 3).x": 250,
        "vec<float, 3>(v.xw, 1).y": 4, "select(float2(1), float2(2), bool2(true, false)).x": 2,
    }  # fmt: skip
    assert listed(run, expected, np.array([1, 2, 3, 4], np.float32), before) == expected


def test_integers_bits_and_conversions(run: Run) -> None:
    expected = {
        "popcount(0xffu)": 8, "clz(1u)": 31, "ctz(8)": 3, "clz((uchar)0)": 8, "absdiff(3, 7)": 4,
        "rotate(0x80000001u, 1u)": 3, "mulhi(0x80000000u, 4u)": 2, "reverse_bits((uchar)1)": 128,
        "extract_bits(0xabcdu, 4, 8)": 0xBC, "insert_bits(0u, 3u, 4, 2)": 48,
        "addsat((uchar)250, (uchar)10)": 255, "subsat((short)-32768, (short)1)": -32768,
        "hadd(3, 4)": 3, "rhadd(3, 4)": 4, "max3(1, 2, 3)": 3, "median3(3, 1, 2)": 2,
        "abs(-5)": 5, "as_type<uint>(1.0f) == 0x3f800000u": 1,
        "as_type<ushort2>(0x00020001u).y": 2, "numeric_limits<half>::max()": 65504,
        "(int)2.9f": 2, "sizeof(long)": 8, "is_same_v<decltype(1.0), float>": 1,
        "0.1 == 0.1f": 1, "half(1.0h)": 1, "ushort(70000)": 4464,
    }  # fmt: skip
    assert listed(run, expected, np.zeros(1, np.float32)) == expected


def test_mathematics(run: Run) -> None:
    x = 0.37
    expected = {
        "metal::exp(x)": np.exp(x), "fast::log(x)": np.log(x), "metal::fast::exp2(x)": 2**x,
        "precise::sqrt(x)": np.sqrt(x), "metal::precise::rsqrt(x)": 1 / np.sqrt(x),
        "tanh(x)": np.tanh(x), "pow(x, 2.5f)": x**2.5, "fma(x, 2.0f, 1.0f)": 2 * x + 1,
        "clamp(x, 0.4f, 0.6f)": 0.4, "mix(1.0f, 2.0f, x)": 1 + x, "floor(x * 3)": 1,
        "ceil(x * 3)": 2, "round(-2.5f)": -3, "rint(2.5f)": 2, "fract(x * 3)": 3 * x - 1,
        "sign(-x)": -1, "step(0.5f, x)": 0, "saturate(x * 9)": 1,
        "atan2(x, 2.0f)": np.arctan2(x, 2),
        "fmod(x * 7, 2.0f)": (x * 7) % 2, "min(x, 0.5f)": x, "fmax(x, NAN)": x, "abs(-x)": x,
        "isnan(NAN)": 1, "isinf(INFINITY)": 1, "ldexp(x, 3)": 8 * x, "copysign(x, -1.0f)": -x,
        "sinpi(x)": np.sin(np.pi * x), "asinh(x)": np.arcsinh(x),
        "smoothstep(0.0f, 1.0f, x)": x * x * (3 - 2 * x), "exp(float2(x, 0)).x": np.exp(x),
        "log10(x)": np.log10(x), "trunc(-2.7f)": -2, "fdim(x, 1.0f)": 0, "M_PI_F": np.pi,
    }  # fmt: skip
    found = listed(run, expected, np.array([x], np.float32), "float x = inp[0];\n")
    for text, value in expected.items():
        assert found[text] == pytest.approx(value, rel=2e-6, abs=1e-6), text


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_every_float_is_computed_and_rounded_as_mlx_does(run: Run, dtype: str) -> None:
    values = np.linspace(-2, 3, 33).astype(np.float32)
    given = Bfloat16.of(values) if dtype == "bfloat16" else values.astype(dtype)
    body = HERE + "T x = inp[i]; T y = x * x + T(1); y += x; out[i] = x > T(0) ? y / T(3) : -y;"
    report = run(
        body, {"inp": given}, {"out": ((33,), dtype)}, grid=33, threadgroup=16,
        template=[("T", dtype)], mode="fast",
    )  # fmt: skip
    x = mx.array(values).astype(getattr(mx, dtype))
    y = x * x + 1 + x
    expected = np.array(mx.where(x > 0, y / 3, -y).astype(mx.float32))
    tolerance = {"float32": 1e-6, "float16": 2e-3, "bfloat16": 1.6e-2}[dtype]
    assert np.allclose(values_of(report.outputs[0]), expected, rtol=tolerance)


def test_simdgroup_functions(run: Run) -> None:
    x = np.arange(64, dtype=np.float32).reshape(2, 32)
    lanes = np.arange(32)
    quads = x.reshape(2, 8, 4)
    whole = np.ones((2, 32), np.float32)
    expected = {
        "simd_sum(x)": x.sum(1, keepdims=True) * whole,
        "simd_max(x)": x.max(1, keepdims=True) * whole,
        "simd_min(x)": x.min(1, keepdims=True) * whole,
        "simd_product(x > 3 ? 1.0f : 2.0f)": np.array([[16], [1]]) * whole,
        "simd_prefix_inclusive_sum(x)": np.cumsum(x, 1),
        "simd_prefix_exclusive_sum(x)": np.cumsum(x, 1) - x,
        "simd_shuffle(x, 5)": x[:, [5]] * whole,
        "simd_shuffle_xor(x, 3)": x[:, lanes ^ 3],
        "simd_shuffle_down(x, 3)": x[:, np.where(lanes + 3 < 32, lanes + 3, lanes)],
        "simd_shuffle_up(x, 3)": x[:, np.where(lanes >= 3, lanes - 3, lanes)],
        "simd_shuffle_rotate_down(x, 2)": x[:, (lanes + 2) % 32],
        "simd_shuffle_rotate_up(x, 2)": x[:, (lanes - 2) % 32],
        "simd_shuffle_and_fill_up(x, -1.0f, 2)": np.where(lanes >= 2, x[:, lanes - 2], -1),
        "simd_broadcast(x, 7)": x[:, [7]] * whole,
        "simd_broadcast_first(x)": x[:, [0]] * whole,
        "simd_any(x == 40)": np.array([[0], [1]]) * whole,
        "simd_all(x < 32)": np.array([[1], [0]]) * whole,
        "(uint)(simd_vote::vote_t)simd_ballot(x < 3)": np.array([[7], [0]]) * whole,
        "simd_and(lane | 8u)": 8 * whole,
        "simd_or(lane)": 31 * whole,
        "simd_sum(float2(x, 1)).y": 32 * whole,
        "quad_sum(x)": np.repeat(quads.sum(2), 4, 1),
        "quad_max(x)": np.repeat(quads.max(2), 4, 1),
        "quad_shuffle_xor(x, 1)": x[:, lanes ^ 1],
        "quad_broadcast(x, 2)": np.repeat(quads[:, :, 2], 4, 1),
        "quad_prefix_inclusive_sum(x)": np.cumsum(quads, 2).reshape(2, 32),
    }
    lines = "".join(f"out[{at} * 64 + i] = float({text});\n" for at, text in enumerate(expected))
    body = HERE + "float x = inp[i]; uint lane = thread_index_in_simdgroup;\n" + lines
    shape = (len(expected), 2, 32)
    report = run(body, {"inp": x.reshape(-1)}, {"out": (shape, "float32")}, grid=64)
    assert not report.findings, [str(finding) for finding in report.findings]
    for found, (text, wanted) in zip(report.outputs[0], expected.items(), strict=True):
        assert np.array_equal(found, wanted), text


ATTRIBUTES = {
    "thread_position_in_grid.x": lambda x, y: x,
    "thread_position_in_grid.y": lambda x, y: y,
    "thread_position_in_threadgroup.x": lambda x, y: x % 4,
    "threadgroup_position_in_grid.x": lambda x, y: x // 4,
    "threadgroup_position_in_grid.y": lambda x, y: y // 2,
    "threads_per_grid.x": lambda x, y: 10,
    "grid_size.y": lambda x, y: 3,
    "threadgroups_per_grid.x": lambda x, y: 3,
    "threadgroups_per_grid.y": lambda x, y: 2,
    "threads_per_threadgroup.x": lambda x, y: 2 if x >= 8 else 4,
    "threads_per_threadgroup.y": lambda x, y: 1 if y == 2 else 2,
    "dispatch_threads_per_threadgroup.x": lambda x, y: 4,
    "thread_index_in_threadgroup": lambda x, y: y % 2 * (2 if x >= 8 else 4) + x % 4,
    "simdgroups_per_threadgroup": lambda x, y: 1,
    "simdgroup_index_in_threadgroup": lambda x, y: 0,
    "threads_per_simdgroup": lambda x, y: 32,
    "thread_execution_width": lambda x, y: 32,
    "quadgroups_per_threadgroup": lambda x, y: -(-(2 if x >= 8 else 4) * (1 if y == 2 else 2) // 4),
}


def test_attributes_with_smaller_groups_at_the_edges(run: Run) -> None:
    lines = "".join(
        f"out[({at} * 3 + thread_position_in_grid.y) * 10 + thread_position_in_grid.x] = {name};\n"
        for at, name in enumerate(ATTRIBUTES)
    )
    outputs = {"out": ((len(ATTRIBUTES), 3, 10), "int32")}
    report = run(lines, {"inp": 0}, outputs, grid=(10, 3, 1), threadgroup=(4, 2, 1))
    assert not report.findings, [str(finding) for finding in report.findings]
    for found, (name, of) in zip(report.outputs[0], ATTRIBUTES.items(), strict=True):
        wanted = [[of(x, y) for x in range(10)] for y in range(3)]
        assert found.tolist() == wanted, name


MATMUL = """
    uint2 tile = threadgroup_position_in_grid.xy * 8;
    simdgroup_matrix<float, 8, 8> sum = make_filled_simdgroup_matrix<float, 8, 8>(0.0f);
    simdgroup_matrix<T, 8, 8> a, b;
    for (uint k = 0; k < K; k += 8) {
      simdgroup_load(a, lhs + tile.y * K + k, K);
      simdgroup_load(b, rhs + tile.x * K + k, K, ulong2(0), true);
      simdgroup_multiply_accumulate(sum, a, b, sum);
    }
    simdgroup_store(sum, out + tile.y * N + tile.x, N);
"""


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_simdgroup_matrices_multiply(run: Run, dtype: str) -> None:
    draw = np.random.default_rng(0).standard_normal
    sides = [Bfloat16.of(draw((16, 24)).astype(np.float32)) for _ in range(2)]
    given = sides if dtype == "bfloat16" else [side.float32().astype(dtype) for side in sides]
    report = run(
        MATMUL,
        {"lhs": given[0], "rhs": given[1]},
        {"out": ((16, 16), "float32")},
        grid=(64, 2, 1),
        threadgroup=(32, 1, 1),
        template=[("T", dtype), ("K", 24), ("N", 16)],
    )
    assert not report.findings, [str(finding) for finding in report.findings]
    expected = sides[0].float32() @ sides[1].float32().T
    assert np.allclose(report.outputs[0], expected, atol=1e-2 if dtype == "float16" else 1e-4)


def test_atomics_on_device_and_threadgroup_memory(run: Run) -> None:
    body = """
        uint i = thread_position_in_grid.x, t = thread_index_in_threadgroup;
        threadgroup atomic_uint found[4];
        if (t < 4) atomic_store_explicit(&found[t], 0, memory_order_relaxed);
        threadgroup_barrier(mem_flags::mem_threadgroup);
        atomic_fetch_add_explicit(&found[inp[i]], 1, memory_order_relaxed);
        atomic_fetch_max_explicit(&largest[0], inp[i] * 3, memory_order_relaxed);
        uint seen = 0;
        do {} while (!atomic_compare_exchange_weak_explicit(
            &sum[0], &seen, seen + inp[i], memory_order_relaxed, memory_order_relaxed));
        threadgroup_barrier(mem_flags::mem_threadgroup);
        if (t < 4) {
          uint count = atomic_load_explicit(&found[t], memory_order_relaxed);
          atomic_fetch_add_explicit(&counts[t], count, memory_order_relaxed);
        }
    """
    values = np.random.default_rng(1).integers(0, 4, 96).astype(np.uint32)
    outputs = {"counts": ((4,), "uint32"), "largest": ((1,), "uint32"), "sum": ((1,), "uint32")}
    report = run(
        body, {"inp": values}, outputs, grid=96, threadgroup=32, init_value=0, atomic_outputs=True
    )
    assert not report.findings, [str(finding) for finding in report.findings]
    counts, largest, total = (output.tolist() for output in report.outputs)
    assert counts == np.bincount(values, minlength=4).tolist()
    assert largest == [9]
    assert total == [int(values.sum())]


RMS_NORM = """
    threadgroup float partial[32];
    uint row = threadgroup_position_in_grid.x, t = thread_index_in_threadgroup;
    uint lane = thread_index_in_simdgroup, width = inp_shape[1];
    const device T* x = inp + row * width;
    float sum = 0;
    for (uint k = t; k < width; k += threads_per_threadgroup.x) sum += float(x[k]) * float(x[k]);
    sum = simd_sum(sum);
    if (lane == 0) partial[simdgroup_index_in_threadgroup] = sum;
    threadgroup_barrier(mem_flags::mem_threadgroup);
    sum = simd_sum(lane < simdgroups_per_threadgroup ? partial[lane] : 0.0f);
    float scale = metal::precise::rsqrt(sum / width + eps);
    for (uint k = t; k < width; k += threads_per_threadgroup.x)
      out[row * width + k] = T(float(x[k]) * scale);
"""


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_a_whole_kernel_is_clean_and_right(run: Run, dtype: str) -> None:
    values = np.random.default_rng(0).standard_normal((5, 300)).astype(np.float32)
    given = Bfloat16.of(values) if dtype == "bfloat16" else values.astype(dtype)
    report = run(
        RMS_NORM,
        {"inp": given, "eps": 1e-5},
        {"out": ((5, 300), dtype)},
        grid=5 * 96,
        threadgroup=96,
        template=[("T", dtype)],
    )
    assert not report.findings, [str(finding) for finding in report.findings]
    x = values_of(given).astype(np.float64)
    expected = x / np.sqrt((x**2).mean(1, keepdims=True) + 1e-5)
    tolerance = {"float32": 1e-6, "float16": 1e-3, "bfloat16": 8e-3}[dtype]
    assert np.allclose(values_of(report.outputs[0]), expected, rtol=tolerance, atol=1e-6)
    assert report.threadgroup_bytes == 128


@pytest.mark.parametrize("contiguous", [True, False])
def test_strided_inputs(run: Run, contiguous: bool) -> None:
    whole = np.arange(60, dtype=np.float32).reshape(6, 10)
    view = whole[::-2, 1:8:3].T
    body = HERE + "uint at = elem_to_loc(i, inp_shape, inp_strides, inp_ndim); out[i] = inp[at];"
    report = run(
        body.replace("uint at", "long at").replace("elem_to_loc(i", "elem_to_loc((long)i"),
        {"inp": view},
        {"out": (view.shape, "float32")},
        grid=view.size,
        ensure_row_contiguous=contiguous,
    )
    assert not report.findings, [str(finding) for finding in report.findings]
    assert np.array_equal(report.outputs[0], view)


def test_headers_of_mlx(run: Run) -> None:
    header = "".join(
        f'#include "mlx/backend/metal/kernels/{name}.h"\n'
        for name in ("erf", "expm1f", "atomic", "softmax", "steel/gemm/gemm")
    )
    body = HERE + "out[i] = erf(inp[i]) + expm1f(inp[i]) + ceildiv(7, 2);"
    values = np.linspace(-2, 2, 16).astype(np.float32)
    report = run(
        body, {"inp": values}, {"out": ((16,), "float32")}, header=header, grid=16, mode="fast"
    )
    x = mx.array(values)
    assert np.allclose(report.outputs[0], np.array(mx.erf(x) + mx.expm1(x) + 4), rtol=1e-5)


def test_the_headers_that_mlx_builds_its_own_kernels_from(run: Run) -> None:
    """In the order of MLX's sources, since they are not whole by themselves."""
    names = (
        *("atomic", "defines", "unary_ops", "binary_ops", "ternary_ops", "reduction/ops", "reduce"),
        *("indexing/indexing", "indexing/scatter", "sort", "scan", "logsumexp", "sdpa_vector"),
        *("steel/gemm/gemm", "steel/conv/conv", "quantized_utils", "quantized", "fp4", "fp8"),
    )
    header = "".join(f'#include "mlx/backend/metal/kernels/{name}.h"\n' for name in names)
    body = """
        uint i = thread_position_in_grid.x;
        float rounded = fp8_e4m3(inp[i]);
        bfloat narrow = fp8_e4m3(inp[i]);
        out[i] = Sigmoid()(inp[i]);
        out[16 + i] = Remainder()(inp[i], 0.75f);
        out[32 + i] = narrow == bfloat(rounded) ? rounded : NAN;
    """
    values = np.linspace(-9, 500, 16).astype(np.float32)
    report = run(
        body, {"inp": values}, {"out": ((3, 16), "float32")}, header=header, grid=16, mode="fast"
    )
    x = mx.array(values)
    expected = (mx.sigmoid(x), mx.remainder(x, 0.75), mx.from_fp8(mx.to_fp8(x), mx.float32))
    assert np.allclose(report.outputs[0], np.array(mx.stack(expected)), rtol=1e-5, atol=1e-4)


def test_constants_functions_and_macros_of_a_header(run: Run) -> None:
    header = """
        #define SHARED(NAME, SIZE) threadgroup float NAME[SIZE]
        constant float table[3] = {0.5, 1.5, 2.5};
        template <typename T>
        inline T twice(const device T* from, uint at) { return from[at] * 2.; }
        inline void put(threadgroup float* to, uint at, thread const float& x) { to[at] = x; }
    """
    body = (
        HERE
        + """
        SHARED(shared, 16);
        put(shared, i, twice(inp, i) + table[i % 3]);
        threadgroup_barrier(mem_flags::mem_threadgroup);
        out[i] = shared[15 - i];
    """
    )
    values = np.arange(16, dtype=np.float32)
    report = run(body, {"inp": values}, {"out": ((16,), "float32")}, header=header, grid=16)
    assert not report.findings, [str(finding) for finding in report.findings]
    expected = values * 2 + np.array([0.5, 1.5, 2.5], np.float32)[np.arange(16) % 3]
    assert np.array_equal(report.outputs[0], expected[::-1])
