"""The roofline: if it is too low, honest kernels are called liars; too high, and lies pass."""

from __future__ import annotations

from itertools import pairwise
from types import MappingProxyType

import pytest
import torch

from kernels.spec import Case, Cost, Input, Output, Target
from lab import roofline
from lab.errors import CommandError
from lab.roofline import Roofline

MIB = 2**20

MACHINE = Roofline(
    bandwidth_gb_s=((MIB // 4, 80.0), (MIB, 200.0), (16 * MIB, 160.0), (256 * MIB, 20.0)),
    peak_gflop_s=MappingProxyType({"float32": 100.0, "bfloat16": 300.0}),
)
"""Caches up to 16 MiB, and a call so slow to start that 256 KiB look slower than 1 MiB."""


def test_the_slower_of_memory_and_arithmetic_decides() -> None:
    """256 MiB at 20 GB/s take 13.4 ms; 2 GFLOP at 100 GFLOP/s take 20 ms."""
    assert MACHINE.floor_ms(0, 2e9, "float32") == pytest.approx(20.0)
    assert MACHINE.floor_ms(1e9, 0, "float32", 1e12) == pytest.approx(50.0, rel=1e-3)
    assert MACHINE.floor_ms(1e9, 2e9, "float32", 1e12) == pytest.approx(50.0, rel=1e-3)


def test_nothing_to_do_takes_no_time() -> None:
    assert MACHINE.floor_ms(0, 0, "float32") == 0.0


def test_a_small_working_set_gets_the_best_rate_of_any_size_above_it() -> None:
    """What slows the smallest sizes is the call, which a faster kernel need not pay."""
    assert MACHINE.attainable_gb_s(1000) == 200.0
    assert MACHINE.attainable_gb_s(MIB // 2) == 200.0


def test_part_of_a_large_working_set_may_lie_in_a_cache() -> None:
    """The judge has just written the inputs: of 64 MiB, 16 may come at the cache's 160 GB/s."""
    seconds = 16 * MIB / 160e9 + 48 * MIB / 20e9
    assert MACHINE.attainable_gb_s(256 * MIB) > 20.0
    assert MACHINE.attainable_gb_s(1e12) == pytest.approx(20.0, rel=1e-3)
    assert MACHINE.attainable_gb_s(64 * MIB) >= 64 * MIB / seconds / 1e9


@pytest.mark.parametrize("size", [MIB // 4, MIB, 16 * MIB, 256 * MIB])
def test_no_measured_rate_is_above_what_is_called_attainable(size: int) -> None:
    """The kernels of the measurement itself must never count as faster than light."""
    assert MACHINE.attainable_gb_s(size) >= dict(MACHINE.bandwidth_gb_s)[size]


def test_attainable_bandwidth_never_rises_with_the_working_set() -> None:
    rates = [MACHINE.attainable_gb_s(2**k) for k in range(10, 34)]
    assert rates == sorted(rates, reverse=True)


def test_bfloat16_may_be_computed_in_float32_but_not_the_reverse() -> None:
    """On CPUs that emulate bfloat16, its own matmul peak would be far too low a bound."""
    emulated = Roofline(MACHINE.bandwidth_gb_s, {"float32": 100.0, "bfloat16": 2.0})
    assert emulated.peak("bfloat16") == 100.0
    assert MACHINE.peak("float32") == 100.0
    assert MACHINE.peak("float16") == 300.0


def test_a_targets_floor_counts_both_passes_apart() -> None:
    """Forward bound by memory and backward by arithmetic add up; one maximum would hide one."""
    target = Target(
        summary="",
        inputs=(Input("x", ("rows", "width")),),
        outputs=(Output("y", ("rows", "width")),),
        train_cases=lambda shape: (),
        odd_cases=(),
        cost=lambda dims, itemsize: Cost(
            bytes_forward=2 * dims["rows"] * dims["width"] * itemsize,
            flops_forward=0,
            bytes_backward=0,
            flops_backward=10**9,
        ),
    )
    case = Case("train", {"rows": 2**17, "width": 2**10}, "train")
    working_set = 2 * 2**27 * 4
    traffic = working_set / (1e6 * MACHINE.attainable_gb_s(working_set))
    single = roofline.target_floor_ms(MACHINE, target, case, "float32")
    assert single == pytest.approx((traffic + 10.0) / roofline.HEADROOM)
    half = roofline.target_floor_ms(MACHINE, target, case, "bfloat16")
    assert half == pytest.approx((traffic / 2 + 10.0 / 3) / roofline.HEADROOM, rel=0.02)


def test_an_engine_without_a_roofline_is_told() -> None:
    with pytest.raises(CommandError, match="Did you mean 'cuda'"):
        roofline.measure("cud")


def test_this_machine_is_measured_once_and_left_as_it_was() -> None:
    """A measurement that left another number of threads behind would change every later timing."""
    threads, precision = torch.get_num_threads(), torch.get_float32_matmul_precision()
    measured = roofline.measure("cpu", seconds=0.2)
    assert roofline.measure("cpu", seconds=0.2) is measured
    assert (torch.get_num_threads(), torch.get_float32_matmul_precision()) == (threads, precision)
    sizes = [size for size, _ in measured.bandwidth_gb_s]
    assert sizes[0] == roofline.SMALLEST_BYTES
    assert all(b == 2 * a for a, b in pairwise(sizes))
    assert measured.memory_gb_s == measured.bandwidth_gb_s[-1][1] > 0
    assert set(measured.peak_gflop_s) == {"float32", "bfloat16"}


def test_rates_are_the_best_of_all_samples() -> None:
    """Other work on the machine only ever makes a sample slower."""
    seconds = iter([4.0, 2.0, 8.0])
    samples = [roofline._Sample("x", 10**9, int, 1)] * 3
    best = roofline._best_rates(samples, lambda call, repeats: next(seconds), -1.0)
    assert best == {"x": 0.5}
