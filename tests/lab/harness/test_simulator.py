"""Candidates in Metal are judged without Metal: their kernels run in the simulator, sandboxed."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from kernels.spec import discover
from lab.harness import VerifySettings, isolation, simulator, verify
from lab.isolation import confines
from lab.metal_sim import Unavailable
from lab.outcomes import Failed, Passed
from lab.selftest.arena import SHAPE

FOLDER = discover()["relu_squared"]
TRAIN = FOLDER.target.train_cases(SHAPE)
SETTINGS = VerifySettings(dtypes=("float32",), simulate=True)
FORWARD = "uint i = thread_position_in_grid.x; y[i] = x[i] > 0 ? x[i] * x[i] : 0;"
BACKWARD = "uint i = thread_position_in_grid.x; dx[i] = x[i] > 0 ? 2 * x[i] * dy[i] : 0;"
CANDIDATE = '''
import mlx.core as mx

_forward = mx.fast.metal_kernel("squares", ["x"], ["y"], """{forward}""")
_backward = mx.fast.metal_kernel("squares_vjp", ["x", "dy"], ["dx"], """{backward}""")


def relu_squared(x):
    launch = {{
        "grid": ({grid}, 1, 1),
        "threadgroup": ({threadgroup}, 1, 1),
        "output_shapes": [{shape}],
        "output_dtypes": [{dtype}],
        "init_value": {init_value},
    }}

    @mx.custom_function
    def squared(x):
        return _forward(inputs=[{given}], **launch)[0]

    @squared.vjp
    def gradient(x, dy, y):
        return _backward(inputs=[x, dy], **launch)[0]

    return squared(x)
'''
AS_IT_SHOULD_BE = {
    "forward": FORWARD,
    "backward": BACKWARD,
    "grid": "x.size",
    "threadgroup": "64",
    "shape": "x.shape",
    "dtype": "x.dtype",
    "given": "x",
    "init_value": "None",
}


@pytest.fixture
def judged(tmp_path: Path, kept_builds: None):  # type: ignore[no-untyped-def]
    """Judges a candidate that differs from a right one in what is named."""

    def judged(**different: str) -> Passed | Failed:
        file = tmp_path / "candidate.py"
        file.write_text(CANDIDATE.format(**{**AS_IT_SHOULD_BE, **different}))
        return verify(file, FOLDER, TRAIN, engine="mlx", settings=SETTINGS)

    return judged


def test_a_candidate_passes_and_the_record_says_what_ran(judged) -> None:  # type: ignore[no-untyped-def]
    """Gradients and laziness work as they do with Metal; repeated calls are not run again."""
    outcome = judged()
    assert isinstance(outcome, Passed), outcome
    assert outcome.simulated is not None
    assert outcome.simulated.launches.keys() == {"squares", "squares_vjp"}
    # The judge repeats calls, and those of the same bytes do not run again.
    assert 8 <= outcome.simulated.runs < 4 * sum(outcome.simulated.launches.values())
    assert outcome.simulated.findings == ()
    forward, _ = outcome.simulated.traffic
    assert (forward.kernel, forward.bytes_moved) == ("squares", forward.bytes_least)


def test_a_warning_is_kept_and_does_not_fail(judged) -> None:  # type: ignore[no-untyped-def]
    """Two threads that write one value are undefined in Metal, and change nothing."""
    flag = "threadgroup int flag[1]; flag[0] = int(threads_per_threadgroup.x);"
    flag += " threadgroup_barrier(mem_flags::mem_threadgroup);"
    outcome = judged(forward=f"{flag} {FORWARD} y[i] *= flag[0] > 0;")
    assert isinstance(outcome, Passed), outcome
    assert outcome.simulated is not None
    (found,) = outcome.simulated.findings
    assert (found.kernel, found.kind, found.severity) == ("squares", "same_value_race", "warning")
    assert (found.part, found.line) == ("body", 1)
    assert found.thread is not None


@pytest.mark.parametrize(
    ("different", "reason", "says"),
    [
        ({"forward": "y[0] = ;"}, "metal_source", "'squares' does not compile: body:1:8: expected"),
        ({"forward": "double d = 1; y[0] = d;"}, "metal_source", "Metal has no double"),
        ({"grid": "0"}, "metal_launch", "grid (0, 1, 1): each of the three must be at least 1"),
        ({"threadgroup": "2048", "grid": "4096"}, "metal_launch", "Metal allows 1024"),
        ({"given": "x, x"}, "metal_launch", "'squares' has 1 inputs; 2 were given"),
        ({"dtype": "mx.complex64"}, "metal_launch", "does not cover complex kernels"),
        ({"given": "x.astype(mx.complex64)"}, "metal_launch", "does not cover complex kernels"),
        ({"shape": "(5 * 2**29,)"}, "metal_launch", "the simulator takes 536870912"),
        ({"given": "mx.zeros((2**28,))"}, "metal_launch", "inputs take 1073741824 bytes"),
        ({"init_value": "'nought'"}, "raised", "could not convert string to float"),
        ({"given": "'x'"}, "raised", "Invalid type"),
        ({"grid": "x.size - 1"}, "metal_finding", "4 bytes of y were never written"),
        ({"shape": "(x.size,)"}, "shape", ""),
        ({"forward": FORWARD.replace("[i] >", "[i + 1] >")}, "metal_finding", "out_of_bounds_read"),
        ({"backward": "y[0] = 1;"}, "metal_source", "squares_vjp"),
    ],
    ids=[
        *("no_source", "double", "no_grid", "too_many_threads", "too_many_inputs", "complex_out"),
        *("complex_in", "ten_gigabytes_out", "a_gigabyte_in", "no_number", "no_array"),
        *("an_element_unwritten", "other_shape", "off_by_one", "backward_does_not_compile"),
    ],
)
def test_each_fault_has_its_own_reason(  # type: ignore[no-untyped-def]
    judged, different: dict[str, str], reason: str, says: str
) -> None:
    """An author has to know what to mend, without a Mac and without guessing."""
    outcome = judged(**different)
    assert isinstance(outcome, Failed)
    assert outcome.reason == reason, outcome.detail
    assert says in outcome.detail
    assert outcome.simulated is not None


def test_a_wrong_number_is_found_as_in_any_language(judged) -> None:  # type: ignore[no-untyped-def]
    """The simulator finds no fault in it; the oracle does."""
    outcome = judged(backward=BACKWARD.replace("2 *", "3 *"))
    assert isinstance(outcome, Failed)
    assert (outcome.reason, "dx" in outcome.detail) == ("gradient", True)


def test_without_a_compiler_nothing_passes(judged, monkeypatch: pytest.MonkeyPatch) -> None:  # type: ignore[no-untyped-def]
    """It says what is missing and how to get it, before anything runs."""
    monkeypatch.setenv("KERNEL_LAB_METAL_CLANG", "/nowhere/clang")
    with pytest.raises(Unavailable) as caught:
        judged()
    assert "/nowhere/clang" in caught.value.message
    assert "uv sync --extra sim" in caught.value.hint


PROBE = """
import json, os, socket, sys
root, report = sys.argv[1], int(sys.argv[4])
files = ["lab/metal_sim/service.py", "kernels/rmsnorm/reference.py", "lab/harness/tolerances.py"]
seen = [file for file in [*files, "tests", ".git"] if os.path.exists(os.path.join(root, file))]
try:
    socket.create_connection(("192.0.2.1", 9), timeout=0.2)
except OSError as error:
    seen.append(type(error).__name__)
said = {"kernel": "", "reason": "protocol", "problem": ", ".join(seen)}
os.write(report, json.dumps(said).encode() + b"\\n")
"""


def test_the_simulators_process_is_confined_and_sees_nothing_of_ours_but_itself(
    kept_builds: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A source that the compiler could be tricked with would find no oracle and no way out."""
    if not confines(isolation()):
        pytest.skip("no sandbox works on this machine")
    monkeypatch.setattr(simulator, "START", PROBE)
    started = simulator.Simulator(60.0)
    try:
        while started.problem is None:
            started.look()
            time.sleep(0.01)
    finally:
        started.handed_over()
        started.close()
    reason, seen = started.problem
    assert reason == "protocol"
    assert seen in (
        "lab/metal_sim/service.py, OSError",
        "lab/metal_sim/service.py, PermissionError",
    )
