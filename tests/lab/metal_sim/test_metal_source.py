"""The generated source against MLX's own, which its Linux wheel prints when a call is exported."""

from __future__ import annotations

import random
from pathlib import Path

import mlx.core as mx
import numpy as np
import pytest

from lab.metal_sim import BadLaunch, Bfloat16, MetalKernel, checked_call
from lab.metal_sim.source import ATTRIBUTES, generate

DTYPES = {
    "float32": mx.float32,
    "float16": mx.float16,
    "bfloat16": mx.bfloat16,
    "int32": mx.int32,
    "uint8": mx.uint8,
    "int64": mx.int64,
    "bool": mx.bool_,
}
SHAPES = ((), (1,), (7,), (8,), (3, 5), (2, 2, 3))


def made(name: str, shape: tuple[int, ...]) -> tuple[object, object]:
    """The same zeros for us and for MLX."""
    if name == "bfloat16":
        return Bfloat16(np.zeros(shape, np.uint16)), mx.zeros(shape, mx.bfloat16)
    return np.zeros(shape, name), mx.zeros(shape, DTYPES[name])


@pytest.mark.parametrize("seed", range(60))
def test_generates_what_mlx_generates(
    seed: int, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    choose = random.Random(seed)
    inputs = [f"in{at}" for at in range(choose.randint(1, 4))]
    outputs = [f"out{at}" for at in range(choose.randint(1, 3))]
    words = [f"{name}_{what};" for name in inputs for what in ("shape", "strides", "ndim")]
    body = "\n".join(choose.sample(words, choose.randint(0, len(words))))
    body += "\n".join(choose.sample(list(ATTRIBUTES), choose.randint(0, 6)))
    given = [made(choose.choice(list(DTYPES)), choose.choice(SHAPES)) for _ in inputs]
    if choose.random() < 0.5:
        number = choose.choice([2, 0.5, True])
        given[0] = (number, number)
    dtypes = [choose.choice(list(DTYPES)) for _ in outputs]
    kinds = [("T", "float16"), ("N", -3), ("M", 4), ("B", True), ("C", False)]
    template = choose.sample(kinds, choose.randint(0, len(kinds)))
    header = choose.choice(["", "// a header\n"])
    how = {
        "name": "tried",
        "input_names": inputs,
        "output_names": outputs,
        "source": body,
        "header": header,
        "atomic_outputs": choose.random() < 0.3,
    }
    call = {"grid": (4, 1, 1), "threadgroup": (4, 1, 1), "output_shapes": [(4,)] * len(outputs)}

    theirs = mx.fast.metal_kernel(**how)

    def exported(*arrays: mx.array) -> list[mx.array]:
        rest = iter(arrays)
        values = [next(rest) if isinstance(value, mx.array) else value for _, value in given]
        return theirs(
            inputs=values,
            template=[(n, DTYPES[v] if isinstance(v, str) else v) for n, v in template],
            output_dtypes=[DTYPES[name] for name in dtypes],
            verbose=True,
            **call,
        )

    arrays = [value for _, value in given if isinstance(value, mx.array)]
    capfd.readouterr()
    mx.export_function(str(tmp_path / "kernel.mlxfn"), exported, *arrays)
    printed = capfd.readouterr().out
    start = printed.index("```\n") + 4
    expected = printed[start : printed.rindex("```")]

    how = how | {"input_names": tuple(inputs), "output_names": tuple(outputs)}
    ours = MetalKernel(**how)  # type: ignore[arg-type]
    source = generate(
        ours,
        checked_call(
            ours,
            inputs=[value for value, _ in given],  # type: ignore[misc]
            template=template,
            output_dtypes=[DTYPES[name] for name in dtypes],
            **call,
        ),
    )
    assert source.text.rstrip() == expected.rstrip()


ONE = np.zeros(4, np.float32)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"grid": (0, 1, 1)}, "at least 1"),
        ({"threadgroup": (4, 0, 1)}, "at least 1"),
        ({"grid": (4, 1)}, "three numbers"),
        ({"grid": (2048, 1, 1), "threadgroup": (2048, 1, 1)}, "Metal allows 1024"),
        ({"grid": (64, 64, 1), "threadgroup": (64, 64, 1)}, "Metal allows 1024"),
        ({"inputs": []}, "has 1 inputs"),
        ({"output_dtypes": []}, "has 1 outputs"),
        ({"output_dtypes": ["float64"]}, "no double"),
        ({"output_dtypes": ["complex64"]}, "does not cover complex"),
        ({"inputs": [np.zeros(4, np.complex64)]}, "does not cover complex"),
        ({"inputs": ["four"]}, "array or a number"),
        ({"inputs": [2**40]}, "array or a number"),
        ({"output_shapes": [(-1,)]}, "negative"),
        ({"output_shapes": [(2_500_000_000,)]}, "the simulator takes"),
        ({"inputs": [np.broadcast_to(np.float32(0), (2_500_000_000,))]}, "the simulator takes"),
        ({"inputs": [np.zeros(4)]}, "no double"),
        ({"inputs": [np.array([None])]}, "dtype object"),
        ({"inputs": [ONE.astype(">f4")]}, "byte order"),
        ({"inputs": [[1.0, 2.0]]}, "array or a number, not list"),
        ({"inputs": [None]}, "array or a number, not NoneType"),
        ({"grid": 4}, "whole numbers"),
        ({"grid": (4.5, 1, 1)}, "whole numbers"),
        ({"grid": (2**31, 1, 1)}, "has over"),
        ({"output_shapes": [4]}, "whole numbers"),
        ({"init_value": "zero"}, "must be a number"),
        ({"template": [("T", "quaternion")]}, "a bool, an int or a dtype"),
        ({"template": [("T", 2**31)]}, "32 bits"),
        ({"template": [("T", 1), ("T", 2)]}, "given twice"),
        ({"template": [("T T", 1)]}, "not a name"),
        ({"template": [("T",)]}, "a pair"),
    ],
)
def test_arguments_that_metal_or_mlx_would_not_take(changed: dict, said: str) -> None:
    kernel = MetalKernel("tried", ("inp",), ("out",), "out[0] = inp[0];")
    call = {
        "inputs": [ONE],
        "output_shapes": [(4,)],
        "output_dtypes": ["float32"],
        "grid": (4, 1, 1),
        "threadgroup": (4, 1, 1),
    }
    with pytest.raises(BadLaunch, match=said):
        checked_call(kernel, **(call | changed))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("tried", ("a",), (), ""), "at least one output"),
        (("tried", ("a", "a"), ("out",), ""), "stands twice"),
        (("tried", ("a b",), ("out",), ""), "not a name"),
        (("tried", ("a",), ("out",), None), "source must be text"),
        (("tried", ("a",), ("out",), "", "\ud800"), "header must be text"),
    ],
)
def test_kernels_that_mlx_would_not_take(arguments: tuple, said: str) -> None:
    with pytest.raises(BadLaunch, match=said):
        MetalKernel(*arguments)


def test_a_threadgroup_is_never_larger_than_the_grid() -> None:
    kernel = MetalKernel("tried", ("inp",), ("out",), "")
    call = checked_call(
        kernel,
        inputs=[ONE],
        output_shapes=[(4,)],
        output_dtypes=[np.float32],
        grid=(4, 2, 1),
        threadgroup=(1024, 1, 1),
    )
    assert call.threads == (4, 1, 1)


def test_bfloat16_is_rounded_to_even_and_keeps_nan() -> None:
    values = np.array([1.0, 1.00390625, 1.01171875, 3.4e38, np.nan, -0.0], np.float32)
    expected = np.array(mx.array(values).astype(mx.bfloat16).astype(mx.float32))
    assert np.array_equal(Bfloat16.of(values).float32(), expected, equal_nan=True)
