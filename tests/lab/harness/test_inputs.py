"""Inputs: fresh, secret, poisoned all around, and laid out as training lays them out."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from kernels.spec import Case, Cost, Input, Output, Target, TargetFolder, normal
from lab.harness import inputs
from lab.harness.inputs import GUARD, Layout, draw, generator, pack, unpack, view
from lab.harness.variations import nudged


def draw_index(random: np.random.Generator, dims: object, shape: tuple[int, ...]) -> np.ndarray:
    return random.integers(0, 50, size=shape)


TARGET = Target(
    summary="two inputs, an index and a table",
    inputs=(
        Input("x", ("batch", "rows", "width")),
        Input("which", ("rows",), draw=draw_index, differentiable=False, kind="index"),
        Input("table", ("rows", "width"), differentiable=False, scaled=False),
    ),
    outputs=(Output("y", ("batch", "rows", "width")), Output("loss", ("rows",), dtype="float32")),
    train_cases=lambda shape: (),
    odd_cases=(),
    cost=lambda dims, itemsize: Cost(1, 1),
    scalars={"eps": 0.5},
)
DIMS = {"batch": 2, "rows": 3, "width": 40}
CASE = Case("case", DIMS)
INTEGER = {2: torch.int16, 4: torch.int32, 8: torch.int64}
STRIDED = Case("strided", DIMS, layout="strided")


@pytest.mark.parametrize("case", [CASE, STRIDED], ids=["contiguous", "strided"])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_what_is_packed_is_read_back_and_everything_else_is_poison(case: Case, dtype: str) -> None:
    """A byte that is neither input nor poison would hide a read or write out of bounds."""
    layout = Layout.of(TARGET, case, dtype)
    content = draw(TARGET, case, dtype, generator())
    slot = pack(layout, [content])[0]
    given = (*content.inputs, *content.incoming)
    spans = (*layout.arguments, *layout.incoming)
    for span, tensor in zip(spans, given, strict=True):
        assert torch.equal(view(slot, span), tensor)
        view(slot, span).view(INTEGER[tensor.element_size()]).fill_(-1)
    assert bool((slot == inputs.POISON).all())


def test_a_scalar_of_the_case_reaches_oracle_and_worker() -> None:
    """Constants are the target's; a window differs from case to case and stays a whole number."""
    target = dataclasses.replace(TARGET, scalars={"eps": 0.5, "rows": None})
    for rows in (3, 7):
        case = Case("case", {**DIMS, "rows": rows})
        layout = Layout.of(target, case, "float32")
        content = draw(target, case, "float32", generator())
        near, given = nudged(content, generator()), pack(layout, [content])[0]
        told = layout.question(1).scalars
        for scalars in (told, content.scalars, near.scalars, unpack(layout, given).scalars):
            assert scalars == (0.5, rows)
            assert isinstance(scalars[1], int)


def test_buffers_never_touch_and_have_guards_on_both_sides() -> None:
    """An off-by-one write lands in a guard, not in the next tensor."""
    for case in (CASE, STRIDED):
        layout = Layout.of(TARGET, case, "bfloat16")
        given = (*layout.arguments, *layout.incoming)
        results = (*layout.outputs, *layout.gradients)
        for spans, size in ((given, layout.given_bytes), (results, layout.result_bytes)):
            end = 0
            for span in spans:
                assert span.offset - end >= GUARD
                extent = 1 + sum((n - 1) * s for n, s in zip(span.shape, span.strides, strict=True))
                end = span.offset + extent * inputs.ITEMSIZE[span.dtype]
            assert size - end >= GUARD
            assert size % inputs.ALIGNMENT == 0


def test_strided_inputs_have_gaps_between_rows_and_odd_pitch() -> None:
    """Slices of larger tensors occur in training; a kernel that assumes density must be caught."""
    layout = Layout.of(TARGET, STRIDED, "float32")
    x, which = layout.arguments[:2]
    assert x.strides[-1] == 1
    assert x.strides[-2] > DIMS["width"]
    assert x.strides[-2] % 2 == 1
    assert which.strides == (1,), "indices come densely"


def test_only_float_inputs_that_ask_for_it_have_gradients() -> None:
    """A gradient for a table or an index would be demanded of no honest kernel."""
    layout = Layout.of(TARGET, CASE, "float32")
    assert layout.gradient_names == ("dx",)
    assert [a.leaf for a in layout.arguments] == [True, False, False]
    assert [s.dtype for s in layout.outputs] == ["float32", "float32"]
    assert [s.dtype for s in Layout.of(TARGET, CASE, "bfloat16").outputs] == ["bfloat16", "float32"]


def test_a_target_without_gradients_has_none() -> None:
    """Muon's op runs under no_grad; nothing may be differentiated there."""
    plain = dataclasses.replace(TARGET, inputs=(Input("x", ("rows",), differentiable=False),))
    layout = Layout.of(plain, CASE, "float32")
    assert layout.incoming == layout.gradients == ()
    assert not layout.differentiable
    assert draw(plain, CASE, "float32", generator()).incoming == ()


def test_every_draw_is_different() -> None:
    """Inputs that repeat, or that follow from a public seed, can be prepared for."""
    first, second = (draw(TARGET, CASE, "float32", generator()) for _ in range(2))
    assert not torch.equal(first.inputs[0], second.inputs[0])
    assert not torch.equal(first.incoming[0], second.incoming[0])


def test_scale_applies_to_scaled_floats_only() -> None:
    """A scaled table of cosines, or a scaled index, would test nothing real."""
    case = Case("large", DIMS, scale=1e6, gradient_scale=1e-9)
    content = draw(TARGET, case, "float32", generator())
    x, which, table = content.inputs
    assert 1e4 < float(x.abs().max()) < 1e8
    assert which.dtype == torch.int64
    assert int(which.max()) < 50
    assert float(table.abs().max()) < 10
    assert float(content.incoming[0].abs().max()) < 1e-7


def test_a_draw_of_the_wrong_shape_is_an_error() -> None:
    """A target that draws something else than its case says must not be verified on it."""

    def wrong(random: np.random.Generator, dims: object, shape: tuple[int, ...]) -> np.ndarray:
        return normal(random, {}, shape)[:1]

    target = dataclasses.replace(TARGET, inputs=(Input("x", ("rows", "width"), draw=wrong),))
    with pytest.raises(ValueError, match="draw gave"):
        draw(target, CASE, "float32", generator())


def test_inputs_are_rounded_before_the_oracle_sees_them(toy: TargetFolder) -> None:
    """The oracle judges the op, not the rounding of its inputs."""
    content = draw(toy.target, toy.target.odd_cases[0], "bfloat16", generator())
    assert content.inputs[0].dtype == torch.bfloat16
