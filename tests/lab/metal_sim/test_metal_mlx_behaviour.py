"""What MLX's own tests of custom kernels expect of a kernel, expected of the simulator.

The behaviours are those of the `test_custom_kernel_*` tests in python/tests/test_fast.py of
ml-explore/mlx (MIT licence, read at 0017d3c3), each of them with a test here; kernels and numbers
are our own. MLX runs them on a Mac only. Here MLX's CPU operations are what is compared with.
"""

from __future__ import annotations

from collections.abc import Callable

import mlx.core as mx
import numpy as np
import pytest

from lab.metal_sim import BadLaunch, Bfloat16, Builds, MetalKernel, Report, checked_call, simulate

Run = Callable[..., Report]
HERE = "uint i = thread_position_in_grid.x;\n"
DRAW = np.random.default_rng(5)


def clean(report: Report) -> list[np.ndarray]:
    assert not report.findings, [str(finding) for finding in report.findings]
    assert report.outputs is not None
    return list(report.outputs)  # type: ignore[arg-type]


def called(builds: Builds, kernel: MetalKernel, given: np.ndarray) -> np.ndarray:
    """One input and an output like it, a thread for each element."""
    call = checked_call(
        kernel, inputs=[given], output_shapes=[given.shape], output_dtypes=[given.dtype],
        grid=(given.size, 1, 1), threadgroup=(given.size, 1, 1),
    )  # fmt: skip
    return clean(simulate(kernel, call, builds=builds))[0]


def test_basic_an_array_of_two_dimensions_is_one_of_elements(run: Run) -> None:
    given = DRAW.standard_normal((3, 4)).astype(np.float32)
    body = HERE + "out[i] = -inp[i];"
    report = run(body, {"inp": given}, {"out": ((3, 4), "float32")}, grid=12, threadgroup=5)
    assert np.array_equal(clean(report)[0], -given)


def test_args_of_every_kind_at_once(run: Run) -> None:
    """Arrays of three dtypes (one of them in constant memory), a number, and three templates."""
    rows = DRAW.standard_normal((4, 5)).astype(np.float32)
    few, narrow = np.array([7, 8], np.int32), np.array([0.5, -2.0], np.float32)
    body = HERE + (
        "U wide = rows[0];\nif (TAKEN) first[i] = rows[2] + few[1] + float(narrow[1]) + BY + by;\n"
        "else first[i] = wide;\nsecond[i] = few[0] * BY + (int)by;"
    )
    report = run(
        body,
        {"rows": rows, "few": few, "narrow": Bfloat16.of(narrow), "by": 2.25},
        {"first": ((2, 3), "float32"), "second": ((6,), "int32")},
        grid=6,
        threadgroup=4,
        template=[("TAKEN", True), ("BY", -3), ("U", mx.float16)],
    )
    first, second = clean(report)
    assert np.allclose(first, np.full((2, 3), rows[0, 2] + 8 - 2 - 3 + 2.25))
    assert second.tolist() == [-19] * 6


@pytest.mark.parametrize("contiguous", [True, False])
def test_strides_copied_or_handed_on(run: Run, contiguous: bool) -> None:
    """Of a view with a step and a broadcast axis, as MLX's expand and slice make them."""
    whole = DRAW.standard_normal((6, 4)).astype(np.float32)
    view = np.broadcast_to(whole[1::2, None, ::2], (3, 2, 2))
    at = "i" if contiguous else "elem_to_loc(i, inp_shape, inp_strides, inp_ndim)"
    report = run(
        f"{HERE}out[i] = metal::precise::exp(inp[{at}]) * threads_per_simdgroup;",
        {"inp": view},
        {"out": (view.shape, "float32")},
        grid=view.size,
        threadgroup=256,
        ensure_row_contiguous=contiguous,
    )
    assert np.allclose(clean(report)[0], np.array(mx.exp(mx.array(view)) * 32), rtol=1e-6)


def test_helper_a_function_of_the_header(run: Run) -> None:
    given = DRAW.standard_normal(10).astype(np.float32)
    report = run(
        HERE + "out[i] = logistic(inp[i]);",
        {"inp": given},
        {"out": ((10,), "float32")},
        header="template <typename T> T logistic(T x) { return 1 / (1 + metal::exp(-x)); }",
        grid=10,
    )
    assert np.allclose(clean(report)[0], np.array(mx.sigmoid(mx.array(given))), rtol=1e-6)


def test_attributes_by_their_own_names(run: Run) -> None:
    body = "out[thread_position_in_grid.x] = threads_per_threadgroup.x * 100 + threads_per_grid.x;"
    given = {"inp": np.zeros((1, 1), np.float32)}
    report = run(body, given, {"out": ((9,), "uint32")}, grid=9, threadgroup=3)
    assert clean(report)[0].tolist() == [309] * 9


def test_caching_one_name_with_two_sources(builds: Builds) -> None:
    """Also in one batch (MLX issue 3832): each kernel runs its own code, whatever its name."""
    given = np.arange(32, dtype=np.float32)
    bodies = (HERE + "out[i] = inp[i] * 3;", HERE + "out[i] = inp[i] - 1;")
    kernels = [MetalKernel("same", ("inp",), ("out",), body) for body in bodies]
    found = [called(builds, kernel, given) for kernel in (*kernels, *kernels)]
    for output, expected in zip(found, (given * 3, given - 1) * 2, strict=True):
        assert np.array_equal(output, expected)


def test_math_mode_is_checked_and_seen_by_the_kernel(builds: Builds) -> None:
    with pytest.raises(BadLaunch, match="math_mode is safe, relaxed or fast"):
        MetalKernel("mode", ("inp",), ("out",), "", math_mode="exact")
    body = HERE + "#ifdef __FAST_MATH__\nout[i] = 1;\n#else\nout[i] = 0;\n#endif"
    given = np.zeros(4, np.float32)
    for mode, expected in {"safe": 0, "fast": 1}.items():
        kernel = MetalKernel("mode", ("inp",), ("out",), body, math_mode=mode)
        assert called(builds, kernel, given).tolist() == [expected] * 4


def test_mixed_dtypes_of_one_kernel(builds: Builds) -> None:
    kernel = MetalKernel("twice", ("inp",), ("out",), HERE + "out[i] = inp[i] + inp[i];")
    for dtype in (np.float16, np.float32, np.int32):
        given = np.full(8, 3, dtype)
        output = called(builds, kernel, given)
        assert output.dtype == dtype
        assert output.tolist() == [6] * 8
