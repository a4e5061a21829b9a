"""The standard library name by name: what each function of Metal computes against numpy.

test_metal_language.py has the language and the functions that kernels use most; here is the rest.
Functions of one kind are evaluated in one kernel.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from lab.metal_sim import Report

Run = Callable[..., Report]
HERE = "uint i = thread_position_in_grid.x;\n"
X = 0.37


def evaluated(run: Run, values: dict[str, object], before: str = "") -> dict[str, float]:
    """{expression: what Metal makes of it}, in one thread."""
    lines = "".join(f"out[{at}] = float({text});\n" for at, text in enumerate(values))
    report = run(
        f"float x = inp[0];\n{before}{lines}",
        {"inp": np.array([X], np.float32)},
        {"out": ((len(values),), "float32")},
        mode="fast",
    )
    assert report.passed, [str(finding) for finding in report.findings]
    return dict(zip(values, report.outputs[0].tolist(), strict=True))


def test_every_function_of_one_float(run: Run) -> None:
    y = np.float32(X)
    expected = {
        "acos": np.arccos(y), "asin": np.arcsin(y), "atan": np.arctan(y), "acosh": np.nan,
        "asinh": np.arcsinh(y), "atanh": np.arctanh(y), "cos": np.cos(y), "cosh": np.cosh(y),
        "cospi": np.cos(np.pi * y), "sin": np.sin(y), "sinh": np.sinh(y), "tan": np.tan(y),
        "sinpi": np.sin(np.pi * y), "tanh": np.tanh(y), "tanpi": np.tan(np.pi * y),
        "exp": np.exp(y), "exp2": np.exp2(y), "exp10": 10**y, "log": np.log(y), "log2": np.log2(y),
        "log10": np.log10(y), "sqrt": np.sqrt(y), "rsqrt": 1 / np.sqrt(y), "ceil": 1, "floor": 0,
        "trunc": 0, "rint": 0, "round": 0, "fract": y, "fabs": y, "abs": y, "sign": 1,
        "saturate": y, "isfinite": 1, "isinf": 0, "isnan": 0, "isnormal": 1, "signbit": 0,
        "ilogb": -2,
    }  # fmt: skip
    texts = {
        f"{space}::{name}({kind}(x))": (name, kind)
        for name in expected
        for space, kind in (
            ("metal", "float"), ("metal::fast", "float"), ("precise", "float"), ("metal", "half"),
            ("metal", "bfloat"),
        )
    }  # fmt: skip
    texts |= {f"metal::{name}(float3(1, 2, x)).z": (name, "float") for name in expected}
    found = evaluated(run, dict.fromkeys(texts, 0))
    tolerance = {"float": 3e-6, "half": 2e-3, "bfloat": 2e-2}
    for text, (name, kind) in texts.items():
        close = pytest.approx(expected[name], rel=tolerance[kind], abs=1e-6, nan_ok=True)
        assert found[text] == close, text


def test_every_function_of_several_floats(run: Run) -> None:
    before = "float3 v = float3(1, 2, x); int e = 0, f = 0; float whole = 0, cosine = 0;\n"
    expected = {
        "atan2(x, 2.0f)": np.arctan2(X, 2), "copysign(v, float3(-1)).z": -X,
        "divide(x, 2.0f)": X / 2, "fdim(2.0f, x)": 2 - X, "fma(v, v, v).y": 6,
        "fmax(v, float3(1.5)).x": 1.5,
        "fmin(x, NAN)": X, "max3(1.0f, 3.0f, 2.0f)": 3, "fmax3(v, v + 1, v).x": 2,
        "fmin3(1.0f, 3.0f, 2.0f)": 1, "min3(v, v + 1, v - 1).x": 0, "fmedian3(3.0f, 1.0f, 2.0f)": 2,
        "median3(v, v + 1, v - 1).x": 1, "fmod(v, float3(0.75)).x": 0.25, "pow(v, float3(2)).y": 4,
        "powr(x, 2.0f)": X * X, "nextafter(1.0f, 2.0f) - 1": 2**-23, "ldexp(v, int3(3)).y": 16,
        "ilogb(float2(9, 0.5)).x": 3, "frexp(6.0f, e)": 0.75, "e": 3, "modf(2.75f, whole)": 0.75,
        "whole": 2, "sincos(x, cosine)": np.sin(X), "cosine": np.cos(X),
        "mix(v, v + 1, 0.5f).x": 1.5, "clamp(v, 1.2f, 1.5f).y": 1.5, "step(v, float3(1.5)).y": 0,
        "step(1.5f, v).y": 1,
        "smoothstep(0.0f, 2.0f, v).x": 0.5, "smoothstep(0.0h, 2.0h, 1.0h)": 0.5,
        "isordered(v, v).x": 1, "isunordered(v, float3(NAN)).x": 1, "isunordered(x, NAN)": 1,
        "select(v, -v, v > 1.5f).y": -2, "select(1, 2, true)": 2, "any(isnan(v))": 0,
        "all(bool3(v))": 1, "not(bool2(true, false)).y": 1, "distance(v.xy, float2(4, 6))": 5,
        "distance_squared(v.xy, float2(4, 6))": 25, "length_squared(v.xy)": 5,
        "normalize(float2(3, 4)).y": 0.8, "dot(half2(1, 2), half2(3, 4))": 11,
        "faceforward(v, float3(1), -float3(1)).x": 1, "reflect(float2(1, -1), float2(0, 1)).y": 1,
        "refract(float2(0, -1), float2(0, 1), 0.5f).y": -1, "max(half(1), half(2))": 2,
        "M_SQRT2_H": 2**0.5, "1.0bf + bfloat(x)": 1 + X, "1.5H": 1.5, "2.5BF": 2.5,
        "numeric_limits<bfloat>::max() > 3e38f": 1, "determinant(float4x4(2))": 16,
        "determinant(float3x3(2))": 8, "(float3(1) * float2x3(v, v)).x": 3 + X,
    }  # fmt: skip
    found = evaluated(run, expected, before)
    for text, value in expected.items():
        # 1.0bf + x and M_SQRT2_H are rounded to their types
        assert found[text] == pytest.approx(value, rel=4e-3 if "b" in text else 1e-3), text


def test_every_function_of_integers_and_their_vectors(run: Run) -> None:
    before = "int3 a = int3(-5, 6, 7), b = int3(2, -3, 4); uint2 u = uint2(0x80000000u, 12u);\n"
    expected = {
        "abs(a).x": 5, "min(a, b).x": -5, "max(a, b).y": 6, "min(a, 0).y": 0, "clamp(a, 0, 6).z": 6,
        "min3(a, b, a).y": -3, "max3(a, b, b + 9).x": 11, "median3(a, b, b + 9).y": 6,
        "absdiff(a, b).x": 7, "addsat(int2(2147483647), int2(1)).x == 2147483647": 1,
        "subsat(u, uint2(13)).y": 0, "hadd(a, b).y": 1, "rhadd(a, b).y": 2, "clz(u).y": 28,
        "ctz(u).y": 2, "popcount(u).y": 2, "mulhi(u, uint2(4)).x": 2, "madhi(u, u, u).y": 12,
        "mad24(a, b, a).x": -15, "mul24(a, b).x": -10, "reverse_bits(u).x": 1,
        "madsat((uchar)200, (uchar)2, (uchar)1)": 255, "madsat(a, b, b).x": -8,
        "rotate(u, uint2(1)).x": 1, "extract_bits(u, 2u, 2u).y": 3,
        "insert_bits(u, uint2(1), 0, 4).y": 1, "(a % b).x": -1,
        "(a & b).y": 4, "(u >> 2u).y": 3, "(~a).x": 4, "(a == int3(-5)).x": 1, "(-a).z": -7,
    }  # fmt: skip
    assert evaluated(run, expected, before) == expected


def test_packing(run: Run) -> None:
    before = "float4 v = float4(0, 0.5, 1, 2);\n"
    expected = {
        "pack_float_to_unorm4x8(v) == 0xffff8000u": 1,
        "pack_float_to_snorm4x8(-v) == 0x8181c000u": 1,
        "pack_float_to_unorm2x16(v.yz) == 0xffff8000u": 1,
        "pack_half_to_unorm4x8(half4(1)) + 1u": 0,
        "pack_half_to_snorm2x16(half2(0, 1)) == 0x7fff0000u": 1,
        "unpack_unorm4x8_to_float(0xff330000u).z": 0.2, "unpack_snorm4x8_to_half(0x80u).x": -1,
        "unpack_unorm2x16_to_float(0xffffu).x": 1, "unpack_snorm2x16_to_float(0x80010000u).y": -1,
    }  # fmt: skip
    found = evaluated(run, expected, before)
    assert found == pytest.approx(expected)


def test_the_other_simdgroup_and_quadgroup_functions(run: Run) -> None:
    x = np.arange(1, 65, dtype=np.float32).reshape(2, 32)
    lanes, quad = np.arange(32), x.reshape(2, 8, 4)
    place = np.arange(4)
    expected = {
        "simd_xor(lane)": 0 * x,
        "simd_prefix_exclusive_product(x < 3 ? x : 1)": np.where(x < 3, 1, 2) * (x < 33) + (x > 32),
        "simd_prefix_inclusive_product(x < 3 ? x : 1)": np.where(x < 2, 1, 2) * (x < 33) + (x > 32),
        "simd_is_first()": lanes + 0 * x == 0,
        "(ulong)simd_active_threads_mask() == 0xfffffffful": 0 * x + 1,
        "simd_shuffle_and_fill_down(x, -1.0f, 2)": np.where(lanes < 30, x + 2, -1),
        "simd_shuffle_and_fill_up(x, -1.0f, 1, 8)": np.where(lanes % 8, x - 1, -1),
        "quad_min(x)": quad[:, :, :1] + 0 * quad,
        "quad_product(x - x + 2)": 0 * x + 16,
        "quad_and(lane)": lanes // 4 * 4 + 0 * x,
        "quad_or(lane)": lanes // 4 * 4 + 3 + 0 * x,
        "quad_xor(lane)": 0 * x,
        "quad_any(x == 6)": (lanes // 4 == 1) * (x < 33),
        "quad_all(x < 7)": (lanes // 4 == 0) * (x < 33),
        "quad_ballot(x == 6).any()": (lanes // 4 == 1) * (x < 33),
        "(uint)quad_ballot(lane == 2)": 4 * (lanes // 4 == 0) + 0 * x,
        "quad_active_threads_mask().all()": 0 * x + 1,
        "quad_is_first()": lanes % 4 + 0 * x == 0,
        "quad_broadcast_first(x)": quad[:, :, :1] + 0 * quad,
        "quad_shuffle(x, 3)": quad[:, :, 3:] + 0 * quad,
        "quad_shuffle_down(x, 1)": quad[:, :, np.minimum(place + 1, 3)],
        "quad_shuffle_up(x, 1)": quad[:, :, np.maximum(place - 1, 0)],
        "quad_shuffle_rotate_down(x, 1)": quad[:, :, (place + 1) % 4],
        "quad_shuffle_rotate_up(x, 1)": quad[:, :, (place - 1) % 4],
        "quad_shuffle_and_fill_down(x, -1.0f, 1)": np.where(lanes % 4 < 3, x + 1, -1),
        "quad_shuffle_and_fill_up(x, -1.0f, 1)": np.where(lanes % 4, x - 1, -1),
        "quad_prefix_exclusive_sum(x)": np.cumsum(quad, 2) - quad,
        "simd_sum(half(x))": x.sum(1, keepdims=True) + 0 * x,
        "simd_max(bfloat(x))": x.max(1, keepdims=True) + 0 * x,
        "simd_shuffle(float4(x), 1).w": x[:, 1:2] + 0 * x,
    }
    lines = "".join(f"out[{at} * 64 + i] = float({text});\n" for at, text in enumerate(expected))
    body = HERE + "float x = inp[i]; uint lane = thread_index_in_simdgroup;\n" + lines
    report = run(body, {"inp": x}, {"out": ((len(expected), 64), "float32")}, grid=64)
    assert not report.findings, [str(finding) for finding in report.findings]
    for found, (text, wanted) in zip(report.outputs[0], expected.items(), strict=True):
        assert np.array_equal(found, np.reshape(wanted, -1)), text


def test_attributes_of_several_simdgroups(run: Run) -> None:
    """The ones that are 0 or 1 in a small group, and grid_origin: 70 threads in groups of 48."""
    place = np.arange(70) % 48
    whole = np.arange(70) < 48
    expected = {
        "thread_index_in_simdgroup": place % 32,
        "simdgroup_index_in_threadgroup": place // 32,
        "simdgroups_per_threadgroup": np.where(whole, 2, 1),
        "dispatch_simdgroups_per_threadgroup": np.full(70, 2),
        "thread_index_in_quadgroup": place % 4,
        "quadgroup_index_in_threadgroup": place // 4,
        "quadgroups_per_threadgroup": np.where(whole, 12, 6),
        "dispatch_quadgroups_per_threadgroup": np.full(70, 12),
        "thread_position_in_threadgroup.y": np.zeros(70),
        "grid_origin.x": np.zeros(70),
    }
    lines = "".join(
        f"out[{at} * 70 + thread_position_in_grid.x] = {name};\n"
        for at, name in enumerate(expected)
    )
    outputs = {"out": ((len(expected), 70), "int32")}
    report = run(lines, {"inp": 0}, outputs, grid=70, threadgroup=48)
    assert not report.findings, [str(finding) for finding in report.findings]
    for found, (name, wanted) in zip(report.outputs[0], expected.items(), strict=True):
        assert np.array_equal(found, wanted), name


@pytest.mark.parametrize("dtype", ["int32", "uint32"])
def test_every_atomic_operation(run: Run, dtype: str) -> None:
    expected = {
        "fetch_add": 5 + 3, "fetch_sub": 5 - 3, "fetch_and": 5 & 3, "fetch_or": 5 | 3,
        "fetch_xor": 5 ^ 3, "fetch_max": 5, "fetch_min": 3, "exchange": 3, "store": 3,
    }  # fmt: skip
    lines = "".join(
        f"atomic_store_explicit(&out[{at}], 5, memory_order_relaxed);\n"
        f"atomic_{name}_explicit(&out[{at}], 3, memory_order_relaxed);\n"
        for at, name in enumerate(expected)
    )
    outputs = {"out": ((len(expected),), dtype)}
    report = run(lines, {"inp": 0}, outputs, init_value=0, atomic_outputs=True)
    assert not report.findings, [str(finding) for finding in report.findings]
    assert report.outputs[0].tolist() == list(expected.values())


def test_atomics_of_ulong_are_a_maximum_and_a_minimum(run: Run) -> None:
    body = (
        "ulong i = thread_position_in_grid.x;\n"
        "atomic_max_explicit(&out[0], (ulong)inp[i] << 33, memory_order_relaxed);\n"
        "atomic_min_explicit(&out[1], (ulong)inp[i], memory_order_relaxed);"
    )
    given = np.arange(9, 41, dtype=np.uint32)
    how = {"grid": 32, "init_value": 100, "atomic_outputs": True}
    report = run(body, {"inp": given}, {"out": ((2,), "uint64")}, **how)
    assert not report.findings, [str(finding) for finding in report.findings]
    assert report.outputs[0].tolist() == [40 << 33, 9]


def test_an_atomic_bool_of_a_threadgroup(run: Run) -> None:
    body = (
        "threadgroup atomic_bool seen;\n" + HERE + "if (i == 0) "
        "atomic_store_explicit(&seen, false, memory_order_relaxed);\n"
        "threadgroup_barrier(mem_flags::mem_threadgroup);\n"
        "if (inp[i] > 7) atomic_store_explicit(&seen, true, memory_order_relaxed);\n"
        "threadgroup_barrier(mem_flags::mem_threadgroup);\n"
        "out[i] = atomic_load_explicit(&seen, memory_order_relaxed);"
    )
    report = run(body, {"inp": np.arange(9)[1:].astype(np.int32)}, {"out": ((8,), "bool")}, grid=8)
    assert not report.findings, [str(finding) for finding in report.findings]
    assert report.outputs[0].all()


def test_a_simdgroup_matrix_by_its_other_operations(run: Run) -> None:
    """A diagonal, a product, transposed and shifted loads and stores."""
    body = """
        threadgroup float tile[80];
        simdgroup_float8x8 twice(2.0f), a, b;
        simdgroup_load(a, inp, 10, ulong2(2, 1));
        simdgroup_multiply(b, a, twice);
        simdgroup_store(b * twice, tile, 10, ulong2(1, 0), true);
        simdgroup_barrier(mem_flags::mem_threadgroup);
        simdgroup_load(b, tile + 1, 10);
        simdgroup_store(b, out);
    """
    given = np.arange(90, dtype=np.float32).reshape(9, 10)
    report = run(body, {"inp": given}, {"out": ((8, 8), "float32")}, grid=32)
    assert not report.findings, [str(finding) for finding in report.findings]
    assert np.array_equal(report.outputs[0], 4 * given[1:, 2:].T)
