"""Builds are kept by content, several processes can make them at once, none is ever half there."""

from __future__ import annotations

import multiprocessing
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from lab.metal_sim import Builds, MetalKernel, Report, Unavailable, checked_call, simulate
from lab.metal_sim.compiler import find_compiler
from lab.metal_sim.simulate import compiled

BODY = "uint i = thread_position_in_grid.x; out[i] = inp[i] + {number};"


def kernel_and_call(number: int) -> tuple:
    kernel = MetalKernel("kept", ("inp",), ("out",), BODY.replace("{number}", str(number)))
    call = checked_call(
        kernel,
        inputs=[np.arange(8, dtype=np.float32)],
        output_shapes=[(8,)],
        output_dtypes=["float32"],
        grid=(8, 1, 1),
        threadgroup=(8, 1, 1),
    )
    return kernel, call


def test_a_kernel_is_compiled_once_for_its_content(builds: Builds) -> None:
    number = time.time_ns() % 10**6  # the folder may be kept from an earlier run
    first = compiled(*kernel_and_call(number), builds)
    again = compiled(*kernel_and_call(number), Builds(builds.folder))
    other = compiled(*kernel_and_call(number + 10**6), builds)
    unchecked = compiled(*kernel_and_call(number), builds, checked=False)
    assert (first.cached, again.cached, other.cached) == (False, True, False)
    assert len({first.path, other.path, unchecked.path}) == 3
    assert again.path == first.path
    assert again.image == first.image


def _simulated(folder: Path) -> list[float]:
    report = simulate(*kernel_and_call(77), builds=Builds(folder))
    assert report.outputs is not None
    return report.outputs[0].tolist()


def test_processes_that_build_the_same_at_once(builds: Builds) -> None:
    assert builds.runtime.exists()
    with multiprocessing.get_context("spawn").Pool(3) as pool:
        results = pool.map(_simulated, [builds.folder] * 3)
    assert results == [[77.0 + at for at in range(8)]] * 3
    assert not list(builds.folder.glob("work-*"))


def test_without_a_compiler_it_is_unavailable_and_never_a_pass(
    builds: Builds, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(
        "importlib.util.find_spec", lambda name: None if name == "ziglang" else object()
    )
    with pytest.raises(Unavailable, match="no compiler") as caught:
        simulate(*kernel_and_call(1))
    assert "--extra sim" in caught.value.hint


def test_an_old_clang_is_not_accepted(
    builds: Builds, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    old = tmp_path / "clang"
    old.write_text("#!/bin/sh\necho clang version 16.0.6\n")
    old.chmod(0o755)
    monkeypatch.setenv("KERNEL_LAB_METAL_CLANG", str(old))
    with pytest.raises(Unavailable, match="18 or later"):
        find_compiler()


def test_elsewhere_than_linux_it_is_unavailable(monkeypatch: pytest.MonkeyPatch) -> None:
    from lab.metal_sim import compiler

    compiler._check_machine.cache_clear()
    monkeypatch.setattr(sys, "platform", "darwin")
    with pytest.raises(Unavailable, match="Linux"):
        find_compiler()


def test_a_kernel_can_use_no_system_call(run: Callable[..., Report], builds: Builds) -> None:
    """The source is not refused here: what a compiled kernel could do is what counts."""
    from lab.metal_sim.launch import Schedule, launch
    from lab.metal_sim.memory import buffers
    from lab.metal_sim.source import generate
    from lab.metal_sim.translate import executable

    kernel, call = kernel_and_call(5)
    source = generate(kernel, call)
    # Harmless, and neither read, write, exit nor the return from a signal.
    text = 'extern "C" int getppid();\n' + executable(source)
    text = text.replace("uint i =", "getppid(); uint i =")
    build = builds.kernel("hostile", text, checked=False)
    result = launch(
        build, builds.runtime, call, buffers(kernel, call, source), Schedule("in_order"),
        checked=False, poison=0xFF, time_limit_s=5,
    )  # fmt: skip
    assert not result.ended
    assert "died with status -9" in result.complaint
