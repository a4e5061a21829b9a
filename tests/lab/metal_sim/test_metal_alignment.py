"""Metal wants every access at a multiple of its type's alignment; an x86 CPU does not mind."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from lab.metal_sim import Report

Run = Callable[..., Report]
HERE = "uint i = thread_position_in_grid.x;\n"
VECTORS = "((const device float4*)(inp + 1))"
SHARED = (
    f"threadgroup float shared[64];\n{HERE}shared[i] = inp[i];\n"
    "threadgroup_barrier(mem_flags::mem_threadgroup);\n"
)
PLANTED = {
    "a vector read": (HERE + f"float4 v = {VECTORS}[i];\nout[i] = v.x + v.w;", 16, "inp", 4),
    "one component of it": (HERE + f"out[i] = {VECTORS}[i].y;", 16, "inp", 4),
    "a vector by reference": (
        HERE + f"const device float4& v = {VECTORS}[i]; out[i] = v[2];", 16, "inp", 4,
    ),
    "a vector as an argument": (HERE + f"out[i] = dot(float4(1), {VECTORS}[i]);", 16, "inp", 4),
    "three components": (HERE + "out[i] = ((const device float3*)(inp + 3))[i].x;", 16, "inp", 12),
    "two halves": (
        HERE + "out[i] = (float)((const device half2*)((const device half*)inp + 1))[i].x;",
        4, "inp", 2,
    ),
    "a matrix": (
        HERE + "float2x2 m = *(const device float2x2*)(inp + 1 + 4 * i);\nout[i] = m[1].x;",
        8, "inp", 4,
    ),
    "a vector written": (
        HERE + "if (i == 5) *(device float4*)(out + 5) = float4(0);", 16, "out", 20,
    ),
    "a vector added to": (
        HERE + "if (i == 5) *(device float2*)(out + 5) += 0.0f;", 8, "out", 20,
    ),
    "a float between bytes": (
        HERE + "out[i] = *(const device float*)((const device uchar*)inp + 1);", 4, "inp", 1,
    ),
    "a vector of threadgroup memory": (
        SHARED + "out[i] = ((threadgroup float4*)(shared + 2))[i / 8].x;", 16,
        "threadgroup shared", 8,
    ),
}  # fmt: skip
ALIGNED = {
    "vectors": HERE + "out[i] = ((const device float4*)inp)[i].w;",
    "packed vectors": HERE + "out[i] = ((const device packed_float4*)(inp + 1))[i].w;",
    "three packed": HERE + "packed_float3 v = ((const device packed_float3*)inp)[i];\n"
    "out[i] = float3(v).z;",
    "half of a vector": HERE + "out[i] = ((const device float2*)(inp + 2))[i].x;",
    "bytes": HERE + "out[i] = ((const device uchar*)inp)[i + 1];",
    "components one by one": HERE + "const device float* x = inp + 1 + 4 * i;\n"
    "out[i] = dot(float4(x[0], x[1], x[2], x[3]), float4(1));",
    "vectors of threadgroup memory": SHARED + "out[i] = ((threadgroup float4*)shared)[i / 4].x;",
    "private vectors": HERE + "float4 kept[3];\nfor (uint k = 0; k < 3; k++)\n"
    "kept[k] = float4(inp[i + k]);\nout[i] = kept[i % 3].y + as_type<uint2>(kept[0].xy).x;",
}
UNION = "union Both { float4 vector; float each[4]; };"


def simulated(run: Run, body: str) -> Report:
    values = np.random.default_rng(3).uniform(1.0, 2.0, 300).astype(np.float32)
    return run(body, {"inp": values}, {"out": ((64,), "float32")}, grid=64, init_value=0.0)


@pytest.mark.parametrize(
    ("body", "alignment", "memory", "byte"), PLANTED.values(), ids=PLANTED.keys()
)
def test_a_misaligned_access_is_an_error(
    run: Run, body: str, alignment: int, memory: str, byte: int
) -> None:
    report = simulated(run, body)
    (finding,) = report.findings
    assert (finding.kind, finding.severity) == ("misaligned", "error")
    assert finding.message.startswith(
        f"an access that needs a multiple of {alignment} bytes, at byte {byte} of {memory}"
    )
    assert (finding.part, finding.line) == ("body", _line(body))


def _line(body: str) -> int:
    """Of the first cast to a wider type."""
    return body[: body.index("*)")].count("\n") + 1


@pytest.mark.parametrize("body", ALIGNED.values(), ids=ALIGNED.keys())
def test_an_aligned_access_raises_nothing(run: Run, body: str) -> None:
    report = simulated(run, body)
    assert not report.findings, [str(finding) for finding in report.findings]


def test_a_union_of_vectors_can_be_copied(run: Run) -> None:
    """Copies that are checked are no trivial ones, and C++ copies no union of such vectors: there
    whole vectors go unchecked, and components do not."""
    body = HERE + "Both a;\na.vector = float4(inp[i]);\nBoth b = a;\nout[i] = b.each[2];"
    values = np.random.default_rng(3).uniform(1.0, 2.0, 64).astype(np.float32)
    how = {"grid": 64, "init_value": 0.0, "header": UNION}
    report = run(body, {"inp": values}, {"out": ((64,), "float32")}, **how)
    assert not report.findings
    assert np.array_equal(report.outputs[0], values)
    component = run(
        f"{body}\nif (i < 8) out[i] += {VECTORS}[i].y;",
        {"inp": values},
        {"out": ((64,), "float32")},
        **how,
    )
    assert {finding.kind for finding in component.findings} == {"misaligned"}
