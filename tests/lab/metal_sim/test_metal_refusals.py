"""What does not compile, what is not covered, what tries to get out: told in the user's lines."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from lab.metal_sim import KernelError, Report
from lab.metal_sim.refused import refusals
from lab.metal_sim.rewrite import for_compiler

Run = Callable[..., Report]
INPUT = np.arange(8, dtype=np.float32)


def told(run: Run, body: str, header: str = "") -> list[str]:
    with pytest.raises(KernelError) as caught:
        run(body, {"inp": INPUT}, {"out": ((8,), "float32")}, header=header, mode="fast")
    return [str(diagnostic) for diagnostic in caught.value.diagnostics]


@pytest.mark.parametrize(
    ("body", "header", "expected"),
    [
        ("uint i = 0;\nout[i] = inp[i] +;", "", "body:2:18: expected expression"),
        ("\n\nout[0] = lost(1);", "", "body:3:10: use of undeclared identifier 'lost'"),
        ("out[0] = f(1);", "// one\nfloat f(int x) { return y; }", "header:2:25: use of"),
        ("half h = 1;\ndouble d = 1;", "", "body:2:1: 'double': Metal has no double"),
        ("out[0] = 1;", "[[odd]] void f() {}", "header:1:3: unknown attribute 'odd' ignored"),
        ("simdgroup_matrix<float, 4, 4> a;", "", "body:1:31: static assertion failed"),
        (
            "atomic_fetch_add_explicit((device atomic_ulong*)out, 1ul, memory_order_relaxed);",
            "",
            "body:1:1: static assertion failed due to requirement",
        ),
    ],
)
def test_errors_come_with_the_users_lines(run: Run, body: str, header: str, expected: str) -> None:
    assert any(line.startswith(expected) for line in told(run, body, header)), told(
        run, body, header
    )


@pytest.mark.parametrize(
    ("body", "header", "line"),
    [
        ("const float* p = inp;\nout[0] = p[0];", "", "body:1:14"),
        ("out[0] = 0;\ndevice float* p = inp;", "", "body:2:15"),
        ("threadgroup float s[4]; s[0] = 0;\ndevice float* p = s;", "", "body:2:15"),
        ("out[0] = f(inp);", "float f(const float* p) { return p[0]; }", "body:1:10"),
        ("thread float& x = out[0];\nx = 1;", "", "body:1:15"),
        ("alignas(16) threadgroup float s[4];\nout[0] = s[0];", "", "body:1:31"),
    ],
)
def test_address_spaces_do_not_mix(run: Run, body: str, header: str, line: str) -> None:
    lines = told(run, body, header)
    assert any(said.startswith(line) for said in lines), lines
    assert not any("address_space" in said for said in lines)


@pytest.mark.parametrize(
    "body", ["bfloat x = inp[0];", "bfloat x;\nx = inp[0] * 2.5f;", "bfloat4 v(inp[0]);"]
)
def test_float_does_not_become_bfloat_by_itself(run: Run, body: str) -> None:
    (line,) = told(run, body)
    assert "Metal does not convert float to bfloat by itself" in line


def test_bfloat_by_a_cast_and_half_without_one_are_no_error(run: Run) -> None:
    body = "bfloat x = bfloat(inp[0]); half h = inp[1]; x = x * x; out[0] = x + h; x = 3;"
    run(body, {"inp": INPUT}, {"out": ((8,), "float32")}, mode="fast")


@pytest.mark.parametrize(
    "body",
    [
        "const device float4* p = (const device float4*)inp; out[0] = p->y;",
        "threadgroup float s[4]; threadgroup float* p = s + 1; *p = 1; out[0] = *p;",
        "threadgroup float4 s[2]; s[1].xy = float2(1, 2); s[0] = s[1]; out[0] = s[0].y;",
        "device float4* o = (device float4*)out; o[0] = float4(inp[0]); o[1] += o[0];",
    ],
)
def test_address_spaces_used_rightly_are_no_error(run: Run, body: str) -> None:
    run(body, {"inp": INPUT}, {"out": ((8,), "float32")}, mode="fast")


@pytest.mark.parametrize(
    ("body", "covered"),
    [
        ("texture2d<float> t;", "textures and samplers"),
        ("mpp::tensor_ops::matmul2d_descriptor d;", "Metal 4 tensors"),
        ("simdgroup_event e;", "simdgroup_async_copy"),
        ('os_log log("a", "b");', "logging from a kernel"),
        ("complex64_t c;", "complex numbers"),
        ("constexpr sampler s;", "textures and samplers"),
        ("imageblock<float4> b;", "image blocks"),
        ("constant bool b [[function_constant(0)]];", "function constants and function tables"),
        ("raytracing::ray r;", "ray tracing"),
        ("simdgroup_async_copy_1d(0);", "simdgroup_async_copy"),
        ("compute_command c(0);", "indirect command buffers"),
        ("uint u = pack_float_to_unorm10a2(float4(0));", "packing of other forms"),
        ("bfloat b = bfloat(half(1));", "a cast between half and bfloat"),
        ("half h = static_cast<half>(bfloat(1));", "a cast between half and bfloat"),
    ],
)
def test_what_is_not_covered_is_said(run: Run, body: str, covered: str) -> None:
    assert f"the simulator does not cover {covered}" in told(run, body)[0]


@pytest.mark.parametrize(
    ("name", "covered"),
    [("steel/gemm/nax", "Metal 4 tensors"), ("gemv_masked", "overloads that differ in an address")],
)
def test_a_header_that_is_not_covered_is_told_at_its_include(
    run: Run, name: str, covered: str
) -> None:
    header = f'// one\n#include "mlx/backend/metal/kernels/{name}.h"\n'
    assert told(run, "out[0] = 1;", header)[0].startswith(
        f"header:2:1: the simulator does not cover {covered}"
    )


def test_the_documentation_lists_what_is_not_covered(checkout: Path) -> None:
    from lab.metal_sim.refused import NOT_COVERED

    page = (checkout / "docs" / "metal.md").read_text()
    assert not [what for what in NOT_COVERED.values() if what not in page]


@pytest.mark.parametrize(
    ("body", "header"),
    [
        ('asm volatile("syscall");', ""),
        ("out[0] = 1;", "__attribute__((constructor)) void f() {}"),
        ("out[0] = 1;", "#include </etc/passwd>"),
        ("out[0] = 1;", '#include "/etc/passwd"'),
        ("out[0] = 1;", "#  include\\\n </etc/passwd>"),
        ("out[0] = 1;", '#embed "/etc/passwd"'),
        ("out[0] = 1;", "#pragma clang system_header"),
        ("out[0] = __builtin_trap();", ""),
        ("out[0] = 1;", 'extern "C" int system(const char*);'),
        ("out[0] = 1;", "struct A { A(); int x; }; int g(); A::A() : x(g()) {} A a;"),
        ("std::abort();", ""),
        ('P(as, m)("nop");', "#define P(a, b) a##b"),
        ('as\\\nm("nop");', ""),
        ('int n = 1\'0; "\' /*"; asm("nop"); "*/";', ""),
        ('int n; "/*"; asm("nop"); "*/";', ""),
        ('R"x("/*)x"; asm("nop"); "*/";', ""),
        ("f();", '[[clang::no_sanitize("thread")]] void f() {}'),
        ("f();", '[[using clang: no_sanitize("thread")]] void f() {}'),
        ("auto f = [](int x) { return x; };", ""),
        ("out[0] = N<200000>::v;", "template <int I> struct N { enum { v = N<I - 1>::v }; };"),
        ('#line 7 "other"\nout[0] = 1;', ""),
    ],
)
def test_hostile_sources_do_not_compile(run: Run, body: str, header: str) -> None:
    lines = told(run, body, header)
    assert lines
    assert not any("root:" in line for line in lines)


def test_comments_and_macros_of_several_lines_are_no_offence() -> None:
    header = (
        "// asm in a comment, goto too\n/* double\n */\n#define ADD(a, b) \\\n  (a + \\\n   b)\n"
    )
    assert not refusals("header", header)


def test_an_include_pasted_past_the_list_finds_no_file_of_the_system(run: Run) -> None:
    lines = told(run, "out[0] = 1;", "#define H <stdio.h>\n#include H\n")
    assert lines


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("threadgroup float s[4];", "METAL_SIM_GROUP_VARIABLE float s[4];"),
        ("{ threadgroup vec<T, 4> s[4], t; }", "{ METAL_SIM_GROUP_VARIABLE vec<T, 4> s[4], t; }"),
        ("threadgroup float* p = s;", "threadgroup float* p = s;"),
        ("void f(threadgroup float& x);", "void f(threadgroup float& x);"),
        ("threadgroup_barrier(f);", "threadgroup_barrier(f);"),
        (
            "x = 1.5 + .5 + 2. + 1e3 + 1.5h + 3 + 0x1e3 + a1.x;",
            "x = 1.5f + .5f + 2.f + 1e3f + 1.5h + 3 + 0x1e3 + a1.x;",
        ),
        ("x = 1.5H + 1.bf + 2e3BF + 0x1bf;", "x = 1.5h + ((bfloat)1.f) + ((bfloat)2e3f) + 0x1bf;"),
        ('// 1.5 threadgroup float s;\n"1.5"', '// 1.5 threadgroup float s;\n"1.5"'),
        ("#define K 0.5\nx = K;", "#define K 0.5f\nx = K;"),
        ("uint i [[buffer(3)]], [[kernel]] [[mine]]", "uint i  ,   [[mine]]"),
    ],
)
def test_words_are_rewritten(source: str, expected: str) -> None:
    assert for_compiler(source) == expected
