"""Planted bugs are found, with their line and gravity; correct kernels raise nothing."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from metal_planted import BUGS, REVERSED, SHARED, Planted

from lab.metal_sim import Report, Schedule
from lab.metal_sim.findings import KINDS

INPUT = np.random.default_rng(3).uniform(1.0, 2.0, 64).astype(np.float32)
OUT = {"out": ((64,), "float32")}
BARRIER = "threadgroup_barrier(mem_flags::mem_threadgroup);"


@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.name)
def test_a_planted_bug_is_found(run: Callable[..., Report], bug: Planted) -> None:
    report = run(
        bug.body,
        {"inp": INPUT},
        OUT,
        grid=bug.grid,
        threadgroup=bug.threadgroup,
        init_value=bug.init_value,
        atomic_outputs=bug.atomic_outputs,
        time_limit_s=0.5,
    )
    found = [finding for finding in report.of(bug.severity) if finding.kind == bug.found]
    lines = {finding.line for finding in found}
    assert bug.line in lines if bug.line else found, [str(each) for each in report.findings]
    assert report.passed == (bug.severity != "error")


CLEAN = {
    "shared by a barrier": REVERSED.format(barrier=BARRIER),
    "two rounds with both barriers": SHARED
    + f"float sum = 0;\nfor (int r = 0; r < 2; r++) {{ shared[i] = inp[i] + r; {BARRIER} "
    f"sum += shared[63 - i]; {BARRIER} }} out[i] = sum;",
    "device memory behind its flag": "uint i = thread_position_in_grid.x; out[i] = inp[i];"
    "threadgroup_barrier(mem_flags::mem_device); float other = out[63 - i];"
    "threadgroup_barrier(mem_flags::mem_device); out[i] += other;",
    "both flags": SHARED + "out[i] = inp[i]; shared[i] = inp[i];"
    "threadgroup_barrier(mem_flags::mem_threadgroup | mem_flags::mem_device);"
    "float both = shared[63 - i] + out[63 - i];"
    "threadgroup_barrier(mem_flags::mem_device); out[i] = both;",
    "within a simdgroup by its barrier": SHARED
    + "shared[i] = inp[i]; simdgroup_barrier(mem_flags::mem_threadgroup);"
    "out[i] = shared[i ^ 1];",
    "early return without a barrier behind it": "uint i = thread_position_in_grid.x;"
    "out[i] = inp[i]; if (i & 1) return; out[i] = simd_sum(inp[i]);",
    "a loop that all leave at once": SHARED
    + f"shared[i] = inp[i]; for (uint s = 32; s > 0; s /= 2) {{ {BARRIER}"
    f"if (i < s) shared[i] += shared[i + s]; }} {BARRIER} out[i] = shared[0];",
}


@pytest.mark.parametrize("body", CLEAN.values(), ids=CLEAN.keys())
def test_a_correct_kernel_raises_nothing(run: Callable[..., Report], body: str) -> None:
    report = run(body, {"inp": INPUT}, OUT, grid=64)
    assert not report.findings, [str(finding) for finding in report.findings]
    assert report.passed
    assert report.schedules == ("in_order", "reverse", "random", "preempting")


def test_sums_in_another_order_are_a_note(run: Callable[..., Report]) -> None:
    body = "atomic_fetch_add_explicit(out, inp[thread_position_in_grid.x], memory_order_relaxed);"
    values = np.random.default_rng(0).standard_normal(64).astype(np.float32)
    report = run(
        body, {"inp": values}, {"out": ((1,), "float32")}, grid=64, init_value=0.0,
        atomic_outputs=True,
    )  # fmt: skip
    assert report.passed
    assert [finding.kind for finding in report.findings] == ["schedule_rounding"]
    assert report.findings[0].severity == "note"


def test_right_numbers_do_not_hide_a_race(run: Callable[..., Report]) -> None:
    """A wrong flag changes no result on a CPU: only the checks can tell."""
    body = REVERSED.format(barrier="threadgroup_barrier(mem_flags::mem_none);")
    unchecked = run(body, {"inp": INPUT}, OUT, grid=64, mode="fast")
    assert np.array_equal(unchecked.outputs[0], INPUT[::-1])
    assert unchecked.passed
    checked = run(body, {"inp": INPUT}, OUT, grid=64, schedules=[Schedule("in_order")])
    assert "race" in {finding.kind for finding in checked.of("error")}


def test_a_finding_names_thread_address_and_the_other_thread(run: Callable[..., Report]) -> None:
    report = run(
        SHARED + "shared[i] = inp[i];\nout[i] = shared[i ^ 40];", {"inp": INPUT}, OUT, grid=64
    )
    race = next(finding for finding in report.of("error") if finding.kind == "race")
    assert race.part == "body"
    assert race.line in (3, 4)
    assert "threadgroup shared" in race.message
    assert re.search(r"the other is thread \(\d+, 0, 0\) of the same threadgroup", race.message)
    assert race.thread is not None


def test_an_access_outside_names_the_buffer_and_its_size(run: Callable[..., Report]) -> None:
    report = run("out[0] = 0;\nout[70] = 1;", {"inp": INPUT}, OUT, init_value=0.0)
    (finding,) = report.of("error")
    assert str(finding) == (
        "error: body:2: out_of_bounds_write: writes 4 bytes at byte 280 of out, which has 256 "
        "[thread (0, 0, 0), lane 0]"
    )


def test_fast_mode_sees_writes_beside_a_buffer(run: Callable[..., Report]) -> None:
    body = "out[thread_position_in_grid.x] = 1; out[64] = 2;"
    report = run(body, {"inp": INPUT}, OUT, grid=64, mode="fast")
    assert [finding.kind for finding in report.findings] == ["out_of_bounds_write"]
    assert not report.passed


@pytest.mark.parametrize(
    "body",
    [
        "for (;;) {}",
        "for (;;) threadgroup_barrier(mem_flags::mem_none);",
        "uint x = 0; while (x < 2) x = simd_min(x); out[0] = x;",
    ],
)
def test_a_loop_without_memory_ends_too(run: Callable[..., Report], body: str) -> None:
    report = run(body, {"inp": INPUT}, OUT, grid=64, init_value=0.0, time_limit_s=0.3)
    assert report.outputs is None
    assert {finding.kind for finding in report.of("error")} == {"time_out"}


def test_an_empty_output_and_an_empty_input_are_no_fault(run: Callable[..., Report]) -> None:
    report = run("", {"inp": np.zeros(0, np.float32)}, {"out": ((0,), "float32")})
    assert report.passed
    assert report.outputs[0].shape == (0,)


@pytest.mark.parametrize("mode", ["fast", "check"])
def test_an_endless_kernel_ends_and_has_no_outputs(run: Callable[..., Report], mode: str) -> None:
    body = "out[0] = 0;\nfor (;;) {\nif (out[0] > 1) break;\n}"
    report = run(body, {"inp": INPUT}, OUT, mode=mode, time_limit_s=0.3)
    assert report.outputs is None
    assert not report.passed
    (finding,) = report.of("error")
    assert finding.kind == "time_out"
    assert finding.line in ((3,) if mode == "check" else (0, 2, 3))


def test_bytes_moved_are_counted(run: Callable[..., Report]) -> None:
    body = "uint i = thread_position_in_grid.x; out[i] = inp[i] + inp[i ^ 1];"
    report = run(body, {"inp": INPUT}, OUT, grid=64)
    moved = {
        traffic.buffer: (traffic.bytes_read, traffic.bytes_written) for traffic in report.traffic
    }
    assert moved == {"inp": (512, 0), "out": (0, 256)}


def test_inputs_are_left_as_they_are(run: Callable[..., Report]) -> None:
    before = INPUT.copy()
    run("((device float*)inp)[0] = 7; out[0] = 0;", {"inp": INPUT}, OUT)
    assert np.array_equal(INPUT, before)


def test_kinds_are_numbered_as_in_the_runtime(checkout: Path) -> None:
    text = (checkout / "lab" / "metal_sim" / "runtime" / "layout.h").read_text()
    listed = re.search(r"enum Kind : uint32_t \{[^\n]*\n(.*?)\};", text, re.S)
    assert listed is not None
    names = [name.split("=")[0].strip() for name in listed[1].split(",") if name.strip()]
    assert len(names) == len(KINDS) == max(KINDS)
    same = {name for number, name in enumerate(names, start=1) if KINDS[number].name == name}
    assert same >= {"out_of_bounds_read", "array_index", "wild_shift", "time_out", "inactive_lane"}
