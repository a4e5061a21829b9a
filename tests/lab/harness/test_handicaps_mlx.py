"""Copies of incumbents in MLX that are slower by a known share: true by construction, or not."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import pytest

from kernels.spec import Target, discover, load_module
from lab.harness import handicaps
from trainer.config import preset, training_shape

SMALL = training_shape(preset("tour-mlx"), 256)
IN_MLX = [name for name, folder in discover().items() if folder.incumbent("mlx").is_file()]


class Clock:
    """A clock that only ever moves when it is asked, or told."""

    def __init__(self) -> None:
        self.now_ns = 0

    def perf_counter_ns(self) -> int:
        self.now_ns += 1
        return self.now_ns


def loaded(text: str, folder: Path) -> Any:
    path = folder / f"copy_{len(list(folder.iterdir()))}.py"
    path.write_text(text)
    return load_module(path)


def results(function: Any, arguments: list[Any], places: list[int]) -> list[mx.array]:
    """Outputs, and gradients of those arguments."""

    def of_leaves(*leaves: mx.array) -> list[mx.array]:
        given = list(arguments)
        for place, leaf in zip(places, leaves, strict=True):
            given[place] = leaf
        found = function(*given)
        return list(found) if isinstance(found, (tuple, list)) else [found]

    if not places:
        return of_leaves()
    incoming = [mx.ones_like(y) for y in of_leaves(*(arguments[i] for i in places))]
    outputs, gradients = mx.vjp(of_leaves, [arguments[i] for i in places], incoming)
    return [*outputs, *gradients]


def arguments_of(target: Target) -> list[Any]:
    case = next(c for c in target.cases(SMALL) if c.purpose == "odd")
    generator = np.random.default_rng(1)
    found: list[Any] = []
    for one in target.inputs:
        shape = case.shape(one.shape)
        is_index = one.kind == "index"
        values = np.zeros(shape, np.int64) if is_index else generator.random(shape, np.float32)
        found.append(mx.array(values))
    return [*found, *target.scalars_of(case.dims)]


@pytest.mark.parametrize("name", IN_MLX)
@pytest.mark.parametrize("make", [handicaps.slowed_op, handicaps.slowed_step])
def test_a_slowed_copy_computes_exactly_what_the_incumbent_does(
    name: str, make: Any, tmp_path: Path
) -> None:
    """Bit for bit and with its gradients, while it learns its time and after that."""
    folder = discover()[name]
    source = folder.incumbent("mlx").read_text()
    slow = getattr(loaded(make(source, name, 0.05, "mlx"), tmp_path), name)
    incumbent = getattr(load_module(folder.incumbent("mlx")), name)
    arguments = arguments_of(folder.target)
    places = [i for i, one in enumerate(folder.target.inputs) if one.differentiable]
    expected = results(incumbent, arguments, places)
    for _ in range(8):
        found = results(slow, arguments, places)
        assert all(mx.array_equal(a, b) for a, b in zip(found, expected, strict=True))


TIMED = """
import mlx.core as mx

clock = None


def timed(x):
    @mx.custom_function
    def double(x):
        clock.now_ns += 300_000
        return 2 * x

    @double.vjp
    def gradient(x, incoming, result):
        clock.now_ns += 700_000
        return 2 * incoming

    return double(x)
"""


def test_an_op_is_slowed_by_the_share_of_forward_and_backward(tmp_path: Path) -> None:
    """The handicap must be true by construction, or finding it would prove nothing."""
    module = loaded(handicaps.slowed_op(TIMED, "timed", 0.05, "mlx"), tmp_path)
    clock = Clock()
    module._time, module.clock = clock, clock
    x = mx.ones(3)
    took = []
    for _ in range(8):
        start = clock.now_ns
        mx.eval(mx.vjp(lambda x: [module.timed(x)], [x], [x]))
        took.append(clock.now_ns - start)
    assert took[0] == pytest.approx(1_000_000, abs=20)
    assert took[2] == pytest.approx(1_050_000, abs=20)
    assert took[-1] == pytest.approx(1_050_000, abs=20)


def test_a_step_is_slowed_by_the_share_of_all_of_it(tmp_path: Path) -> None:
    """However often a step calls the op: what lies between two calls is stretched."""
    module = loaded(handicaps.slowed_step("def op(x):\n    return x\n", "op", 0.1, "mlx"), tmp_path)
    clock = Clock()
    module._time = clock
    ends = []
    for _ in range(4):
        for part_ns in (500_000, 20_000, 480_000):
            clock.now_ns += part_ns
            module.op(mx.ones(1))
        ends.append(clock.now_ns)
    steps = [later - earlier for earlier, later in itertools.pairwise(ends)]
    assert steps == pytest.approx([1_100_000] * 3, abs=20)
