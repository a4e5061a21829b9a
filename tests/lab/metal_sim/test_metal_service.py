"""The simulator's process: what it answers, what it tells, and what it refuses to read."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest

from lab.metal_sim import BadLaunch, Builds
from lab.metal_sim.service import MOST_KERNELS, Service
from lab.metal_sim.wire import Broken, Given, Request, payload_bytes

DOUBLED = "uint i = thread_position_in_grid.x; y[i] = 2 * x[i];"
VALUES = np.arange(64, dtype=np.float32)
LAUNCH = Request(
    name="doubled",
    input_names=("x",),
    output_names=("y",),
    source=DOUBLED,
    header="",
    ensure_row_contiguous=True,
    atomic_outputs=False,
    math_mode="safe",
    inputs=(Given(dtype="float32", shape=(64,)),),
    output_shapes=((64,),),
    output_dtypes=("float32",),
    grid=(64, 1, 1),
    threadgroup=(32, 1, 1),
    template=(),
    init_value=None,
)


def asked(**different: object) -> Request:
    """The launch with something different."""
    return msgspec.structs.replace(LAUNCH, **different)


def test_the_first_of_its_kind_runs_under_every_schedule_and_the_same_bytes_never_again(
    builds: Builds,
) -> None:
    """Else verify would take four times as long, or twice as long, for nothing."""
    service = Service(builds)
    for values, runs in ((VALUES, 4), (VALUES + 1, 1), (VALUES, 0)):
        reply, (y,), told = service.answer(LAUNCH, memoryview(values.tobytes()))
        assert (reply.problem, told.runs) == ("", runs)
        assert np.array_equal(y, 2 * values)


def test_what_a_kernel_moves_is_told_beside_the_least(builds: Builds) -> None:
    """One that reads its input twice moves half as much again; a shape is constant memory."""
    twice = "uint i = thread_position_in_grid.x; y[i] = x[i] + x[x_shape[0] - 1 - i];"
    for source, moved in ((DOUBLED, 512), (twice, 768)):
        told = Service(builds).answer(asked(source=source), memoryview(VALUES.tobytes()))[2]
        assert (told.elements, told.bytes_moved, told.bytes_least) == (64, moved, 512)


def test_what_depends_on_the_schedule_is_not_answered_from_memory(builds: Builds) -> None:
    """The judge repeats a call to see whether its answer changes."""
    sums = asked(
        source="atomic_fetch_add_explicit(&y[0], x[thread_position_in_grid.x] / 3, "
        "memory_order_relaxed);",
        atomic_outputs=True,
        output_shapes=((1,),),
        init_value="0.0",
    )
    service = Service(builds)
    told = [service.answer(sums, memoryview(VALUES.tobytes()))[2] for _ in range(2)]
    assert [found.kind for found in told[0].findings] == ["schedule_rounding"]
    assert [one.runs for one in told] == [4, 1]


def test_after_an_error_nothing_runs_any_more(builds: Builds) -> None:
    """Whoever swallows the exception gains nothing by it."""
    service = Service(builds)
    payload = memoryview(VALUES.tobytes())
    reply, outputs, told = service.answer(asked(source="y[0] = x[64];"), payload)
    assert (reply.reason, told.reason, outputs) == ("metal_finding", "metal_finding", [])
    assert "out_of_bounds_read" in reply.problem
    later, outputs, told = service.answer(LAUNCH, payload)
    assert (later.problem, outputs, told.runs) == (reply.problem, [], 0)


def test_strides_reach_the_kernel(builds: Builds) -> None:
    """With `ensure_row_contiguous=False` a kernel reads the array as it lies."""
    transposed = asked(
        source="uint i = thread_position_in_grid.x; y[i] = x[i % 8 * x_strides[0] + i / 8];",
        inputs=(Given(dtype="float32", shape=(8, 8), strides=(4, 32)),),
        ensure_row_contiguous=False,
        output_shapes=((64,),),
    )
    found = VALUES.reshape(8, 8)
    _, (y,), told = Service(builds).answer(transposed, memoryview(found.tobytes()))
    assert told.problem == ""
    # x_strides[0] is one element; what lies at i is found.T in C order.
    assert np.array_equal(y, found.T.reshape(-1)[np.arange(64) % 8 + np.arange(64) // 8])


def test_sources_without_end_are_told_so(builds: Builds) -> None:
    """Each takes memory of the simulator's process."""
    service = Service(builds)
    service._sources.update((str(number), "") for number in range(MOST_KERNELS))
    reply, _, _ = service.answer(LAUNCH, memoryview(VALUES.tobytes()))
    assert reply.reason == "metal_launch"
    assert f"over {MOST_KERNELS} different sources" in reply.problem


@pytest.mark.parametrize(
    "given",
    [Given(dtype="object", shape=(1,)), Given(dtype="float32", shape=(-1,))],
    ids=["python_objects", "negative"],
)
def test_what_no_array_is_ends_it(given: Given) -> None:
    """numpy would make objects of bytes, or a size of a negative number."""
    with pytest.raises(Broken):
        payload_bytes(asked(inputs=(given,)))


def test_more_than_the_simulator_takes_is_not_read() -> None:
    """A frame may say any size; nothing is allocated for it."""
    with pytest.raises(BadLaunch, match="the simulator takes"):
        payload_bytes(asked(inputs=(Given(dtype="float32", shape=(2**40,)),)))


@pytest.mark.parametrize(
    ("different", "says"),
    [
        ({"init_value": "nought"}, "init_value is a number"),
        ({"inputs": (Given(dtype="float32", shape=(64,), strides=(3,)),)}, "do not fit the shape"),
        ({"inputs": (Given(dtype="float32", shape=(64,), strides=(2**40,)),)}, "spans"),
    ],
    ids=["init_value", "odd_strides", "wide_strides"],
)
def test_what_does_not_fit_is_told(builds: Builds, different: dict[str, object], says: str) -> None:
    """A launch that only a hostile worker sends is no reason to fall over either."""
    reply, _, _ = Service(builds).answer(asked(**different), memoryview(VALUES.tobytes()))
    assert reply.reason == "metal_launch"
    assert says in reply.problem
