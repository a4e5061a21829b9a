"""The bounds: honest variants pass, every loss of precision and every shortcut fails."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lab.harness import tolerances
from lab.harness.tolerances import Agreement, bounds, distance, not_finite

EPS = 2.0**-23


def norm(x: torch.Tensor) -> torch.Tensor:
    return x * (x.square().mean(-1, keepdim=True) + EPS).rsqrt()


def norm_gradient(x: torch.Tensor, g: torch.Tensor) -> torch.Tensor:
    scale = (x.square().mean(-1, keepdim=True) + EPS).rsqrt()
    y = x * scale
    return (g - y * (g * y).mean(-1, keepdim=True)) * scale


def other_order(x: torch.Tensor) -> torch.Tensor:
    """The same norm with its sum in another order, and a division for the root."""
    total = torch.zeros(x.shape[:-1], dtype=x.dtype)
    for column in torch.arange(x.shape[-1] - 1, -1, -1):
        total = total + x[..., column].square()
    return x / (total / x.shape[-1] + EPS).sqrt().unsqueeze(-1)


def to_tf32(x: torch.Tensor) -> torch.Tensor:
    """Rounded to the 10 bits of mantissa that tensor cores read of a float32."""
    bits = x.float().view(torch.int32)
    return ((bits + 0x1000) & ~0x1FFF).view(torch.float32)


def draw(seed: int, rows: int, width: int, scale: float = 1.0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(rows, width, generator=generator) * scale


SHAPES = st.tuples(st.integers(0, 2**31), st.integers(1, 9), st.sampled_from([1, 2, 7, 33, 257]))
SCALES = st.sampled_from([1e-6, 1e-2, 1.0, 1e4])


@settings(max_examples=40, deadline=None)
@given(SHAPES, SCALES, st.sampled_from(["float32", "bfloat16"]))
def test_another_order_of_the_same_sum_passes(
    shape: tuple[int, int, int], scale: float, dtype: str
) -> None:
    """An honest kernel that adds in its own order must not be told that it is wrong."""
    kind = getattr(torch, dtype)
    x = draw(*shape, scale).to(kind)
    within = bounds(norm(x.double()), norm(x.float()).to(kind), dtype)
    assert distance(other_order(x.float()).to(kind), within).ok


@settings(max_examples=40, deadline=None)
@given(SHAPES, st.sampled_from([1e-30, 1e-12, 1.0, 1e6]))
def test_zeros_constants_and_copies_fail_however_small_the_gradient(
    shape: tuple[int, int, int], scale: float
) -> None:
    """Late in training gradients are tiny; an absolute tolerance would let a zero gradient pass."""
    seed, rows, width = shape
    x, g = draw(seed, rows + 1, width + 1), draw(seed + 1, rows + 1, width + 1, scale)
    oracle = norm_gradient(x.double(), g.double())
    within = bounds(oracle, norm_gradient(x, g), "float32")
    for probe in (torch.zeros_like(x), torch.full_like(x, float(oracle.mean())), g, x):
        assert not distance(probe, within).ok


@pytest.mark.parametrize("rounded", [to_tf32, lambda x: x.bfloat16().float()])
@pytest.mark.parametrize("width", [7, 128, 1024])
def test_float32_computed_in_less_fails(
    rounded: Callable[[torch.Tensor], torch.Tensor], width: int
) -> None:
    """TF32 or bfloat16 inside a float32 op is faster and must not look equally good."""
    x, weight = draw(1, 16, width), draw(2, width, 48)
    oracle = x.double() @ weight.double()
    within = bounds(oracle, x @ weight, "float32")
    assert distance(x @ weight, within).excess < 0.5
    found = distance(rounded(x) @ rounded(weight), within)
    assert found.excess > 5


def test_bfloat16_may_be_computed_in_more_but_not_in_less() -> None:
    """Higher precision inside is no fault; eight-bit floats inside are."""
    x = draw(3, 8, 256).bfloat16()
    oracle = norm(x.double())
    within = bounds(oracle, norm(x), "bfloat16")
    assert distance(norm(x.float()).bfloat16(), within).ok
    eight_bits = x.to(torch.float8_e4m3fn).bfloat16()
    assert not distance(norm(eight_bits.float()).bfloat16(), within).ok


def test_one_wrong_row_is_seen_beside_rows_a_thousand_times_larger() -> None:
    """A masked last row must not hide behind the magnitude of the others."""
    x = draw(4, 64, 128)
    x[:-1] *= 1000
    oracle = x.double().square()
    answer = x.square()
    within = bounds(oracle, answer.clone(), "float32")
    answer[-1] *= 1.001
    assert distance(answer, within).index[0] == 63
    assert not distance(answer, within).ok


def test_the_small_part_of_a_softmax_gradient_is_not_hidden_by_the_target() -> None:
    """In bfloat16 the rounding of the one large element is larger than all the others are."""
    logits, target = draw(5, 32, 8192, 0.1).double(), torch.arange(32)
    oracle = torch.softmax(logits, -1)
    oracle[torch.arange(32), target] -= 1
    oracle *= torch.linspace(0.5, 2.0, 32, dtype=torch.float64).unsqueeze(-1)
    incumbent = oracle.float().bfloat16()
    within = bounds(oracle, incumbent, "bfloat16")
    assert distance(incumbent, within).ok
    cheat = torch.zeros_like(incumbent)
    cheat[torch.arange(32), target] = incumbent[torch.arange(32), target]
    assert (cheat.double() - oracle).abs().max() == (incumbent.double() - oracle).abs().max()
    assert not distance(cheat, within).ok


def test_a_bound_grows_with_the_incumbents_own_error_and_no_further() -> None:
    """Where training itself is inaccurate a candidate may be, up to the stated factor."""
    oracle = draw(6, 40, 64).double()
    noise = draw(7, 40, 64).double() * 1e-4
    within = bounds(oracle, (oracle + noise).float(), "float32")
    assert distance((oracle - noise).float(), within).ok
    assert not distance((oracle + 20 * noise).float(), within).ok


def test_nan_is_never_close() -> None:
    """NaN compares as neither larger nor smaller, and has fooled checkers before."""
    oracle = draw(8, 3, 40).double()
    within = bounds(oracle, oracle.float(), "float32")
    answer = oracle.float()
    answer[1, 2] = torch.nan
    assert not_finite(answer, within) == (1, 2)
    assert not distance(answer, within).ok
    assert not_finite(oracle.float(), within) is None


def test_an_incumbent_with_nan_does_not_widen_the_bounds() -> None:
    """A broken incumbent must not turn every answer into a right one."""
    oracle = draw(9, 3, 40).double()
    broken = oracle.float()
    broken[0, 0] = torch.nan
    within = bounds(oracle, broken, "float32")
    assert not distance(torch.zeros(3, 40), within).ok
    assert distance(oracle.float(), within).ok


def test_overflow_is_right_only_where_the_oracle_overflows() -> None:
    """A square of 1e30 has no float32; a finite answer there would be wrong."""
    oracle = torch.tensor([[1.0, 1e60, -1e60, 2.0] * 10], dtype=torch.float64)
    right = oracle.float()
    within = bounds(oracle, right, "float32")
    assert not_finite(right, within) is None
    assert distance(right, within).ok
    wrong = right.clone()
    wrong[0, 1] = 3e38
    assert not distance(wrong, within).ok


def test_a_timed_output_must_agree_with_the_incumbents() -> None:
    """A cache that misses one changed row is found without an oracle of every call."""
    x = draw(10, 6, 64).reshape(2, 3, 64)
    within = bounds(norm(x[0].double()), norm(x[0]), "float32")
    agreement = Agreement.like(within)
    ours = torch.stack([other_order(x[0]), other_order(x[1])])
    assert agreement.holds(ours, norm(x))
    ours[1, 2] *= 1.001
    assert not agreement.holds(ours, norm(x))
    unwritten = norm(x)
    unwritten[0, 0, 5] = torch.nan
    assert not agreement.holds(unwritten, norm(x))


def test_a_second_look_is_as_wide_as_any_neighbour_and_half_as_wide_again() -> None:
    """An incumbent that was lucky once must not condemn an honest candidate."""
    x = draw(12, 4, 40)
    oracle = norm(x.double())
    lucky = bounds(oracle, oracle.float(), "float32")
    usual = bounds(oracle, (oracle * (1 + 40 * EPS)).float(), "float32")
    honest = (oracle * (1 + 100 * EPS)).float()
    assert not distance(honest, lucky).ok
    assert distance(honest, tolerances.widest(lucky, [usual])).ok
    again = tolerances.widest(usual, [lucky]).allowed
    assert torch.equal(again, usual.allowed * tolerances.SECOND_LOOK)
    assert not distance(to_tf32(norm(x)), tolerances.widest(lucky, [usual])).ok


def test_the_stated_number_of_spacings_is_needed() -> None:
    """The constant is meant for naive sums: one of 8192 terms must fit, with room."""
    x = draw(11, 4, 8192)
    total = torch.zeros(4)
    for column in range(8192):
        total = total + x[:, column].square()
    relative = ((total.double() / x.double().square().sum(-1)) - 1).abs().max() / EPS
    assert relative < tolerances.ACCUMULATION
