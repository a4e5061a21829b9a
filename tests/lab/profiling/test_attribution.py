"""Who gets the time. Every trace here has an answer that can be added up by hand (milliseconds)."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from synthetic_trace import AUTOGRAD, Events

from lab.errors import MachineError
from lab.profiling.attribution import Attribution, attribute
from lab.profiling.segments import UNATTRIBUTED, Owner, claim, flatten
from lab.profiling.trace import Event


def times(attribution: Attribution, step: int = 0) -> dict[str, tuple[float, float]]:
    """(forward, backward) of every op that took time."""
    return {
        op: (pytest.approx(time.forward_ms), pytest.approx(time.backward_ms))
        for op, time in attribution.steps[step].ops.items()
        if time.total_ms > 1e-9
    }


@pytest.mark.parametrize("old", [False, True])
def test_forward_backward_and_the_rest(make_events: Callable[[bool], Events], old: bool) -> None:
    """The basic case, in both generations of names: 2 + 3 ms are `mlp_up`'s, 1 ms nobody's."""
    events = make_events(old)
    events.step(0, 10)
    events.scope("mlp_up", 0, 2)
    events.operator("aten::mm", 0.5, 1.5, sequence=7)
    events.scope("adamw", 6, 10)
    events.node("MmBackward0", 3, 6, sequence=7)
    attribution = attribute(events.trace())
    assert times(attribution) == {"mlp_up": (2, 3), "adamw": (4, 0), UNATTRIBUTED: (1, 0)}
    assert attribution.covered == pytest.approx(0.9)


def test_a_nested_scope_takes_its_time_from_the_outer_one(events: Events) -> None:
    """Otherwise the orthogonalisation would be counted twice, and the step be longer than it is."""
    events.step(0, 10)
    events.scope("muon_update", 0, 10)
    events.scope("muon_orthogonalize", 2, 5)
    events.scope("muon_orthogonalize", 6, 7)
    attribution = attribute(events.trace())
    assert times(attribution) == {"muon_update": (6, 0), "muon_orthogonalize": (4, 0)}
    assert attribution.steps[0].ops["muon_orthogonalize"].calls == 2


def test_the_last_operator_with_a_number_made_the_node(events: Events) -> None:
    """Operators that make no node carry the number of the next one: `rmsnorm` is innocent here."""
    events.step(0, 10)
    events.scope("rmsnorm", 0, 2)
    events.operator("aten::to", 1, 2, sequence=7)
    events.scope("mlp_up", 2, 4)
    events.operator("aten::linear", 2, 4, sequence=7)
    events.operator("aten::t", 2.5, 3, sequence=7)
    events.node("TBackward0", 4, 10, sequence=7)
    assert times(attribute(events.trace())) == {"rmsnorm": (2, 0), "mlp_up": (2, 6)}


def test_a_python_function_is_matched_like_any_operator(events: Events) -> None:
    """Candidates are autograd.Functions: their backward must not vanish from the profile."""
    events.step(0, 10)
    events.scope("relu_squared", 0, 4)
    events.operator("SquaredRelu", 1, 3, sequence=3)
    events.node("SquaredReluBackward", 4, 10, sequence=3)
    assert times(attribute(events.trace())) == {"relu_squared": (4, 6)}


def test_nodes_without_a_number_or_a_maker_stay_unattributed(events: Events) -> None:
    """Guessing an owner would be worse than saying that there is none."""
    events.step(0, 10)
    events.operator("aten::mul", 0, 2, sequence=4)
    events.node("MulBackward0", 2, 4, sequence=4)
    events.node("NoNumberBackward", 4, 5)
    events.node("ElsewhereBackward", 5, 6, sequence=99)
    events.scope("adamw", 6, 10)
    attribution = attribute(events.trace())
    assert times(attribution) == {"adamw": (4, 0), UNATTRIBUTED: (6, 0)}
    assert attribution.leftovers == pytest.approx(
        {
            "aten::mul": 2,
            "MulBackward0": 2,
            "NoNumberBackward": 1,
            "ElsewhereBackward": 1,
        }
    )


def test_adding_gradients_has_a_row_of_its_own(events: Events) -> None:
    """With many micro-batches it is real work that no op's kernel can remove."""
    events.step(0, 4)
    events.node("torch::autograd::AccumulateGrad", 0, 3)
    attribution = attribute(events.trace())
    assert times(attribution) == {"gradient_accumulation": (0, 3), UNATTRIBUTED: (1, 0)}
    assert attribution.steps[0].ops["gradient_accumulation"].calls == 1


def test_what_a_node_calls_belongs_to_the_node(events: Events) -> None:
    """A backward that runs autograd itself, and one that recomputes its forward (checkpointing)."""
    events.step(0, 10)
    events.scope("attention", 0, 1)
    events.operator("Outer", 0, 1, sequence=1)
    events.scope("mlp_up", 1, 2)
    events.operator("aten::mm", 1, 2, sequence=2)
    events.span("autograd::engine::evaluate_function: OuterBackward", 2, 10, **_numbers(1))
    events.node("MmBackward0", 4, 6, sequence=2)
    events.scope("rmsnorm", 6, 7)
    assert times(attribute(events.trace())) == {
        "attention": (1, 7),
        "mlp_up": (1, 0),
        "rmsnorm": (0, 1),
    }


def _numbers(sequence: int) -> dict[str, int]:
    return {"Sequence number": sequence, "Fwd thread id": 1}


def test_gaps_between_nodes_are_the_engines(events: Events) -> None:
    """On a CPU that is where big buffers are freed; it must not look like the trainer's Python."""
    events.step(0, 10)
    events.scope("mlp_up", 0, 1)
    events.operator("aten::mm", 0, 1, sequence=1)
    events.node("MmBackward0", 2, 4, sequence=1)
    events.node("torch::autograd::AccumulateGrad", 5, 6)
    events.scope("adamw", 7, 10)
    assert times(attribute(events.trace())) == {
        "mlp_up": (1, 2),
        "autograd_engine": (0, 1),
        "gradient_accumulation": (0, 1),
        "adamw": (3, 0),
        UNATTRIBUTED: (2, 0),
    }


def test_the_wait_between_two_backward_passes_is_not_the_engines(events: Events) -> None:
    """On a GPU autograd has its own thread, which idles during the next forward pass."""
    events.step(0, 10)
    events.scope("mlp_up", 0, 1)
    events.operator("aten::mm", 0, 1, sequence=1)
    events.node("MmBackward0", 1, 3, sequence=1, tid=AUTOGRAD)
    events.scope("mlp_up", 4, 5)
    events.operator("aten::mm", 4, 5, sequence=2)
    events.node("MmBackward0", 6, 10, sequence=2, tid=AUTOGRAD)
    assert times(attribute(events.trace())) == {"mlp_up": (2, 6), UNATTRIBUTED: (2, 0)}


def test_steps_are_summarised_by_their_median_and_range(events: Events) -> None:
    """One disturbed op in one step must not move any row, but its spread must be seen."""
    for number, (wall, busy) in enumerate([(10, 2), (10, 3), (100, 93)]):
        start = 100 * number
        events.step(start, start + wall)
        events.scope("mlp_up", start, start + busy)
        events.scope("adamw", start + busy, start + busy + 6)
    attribution = attribute(events.trace())
    adamw, mlp_up, rest = attribution.shares
    assert (adamw.op, mlp_up.op, rest.op) == ("adamw", "mlp_up", UNATTRIBUTED)
    assert (mlp_up.total, mlp_up.low, mlp_up.high) == pytest.approx((0.3, 0.2, 9.3))
    assert (adamw.total, adamw.low, adamw.high) == pytest.approx((0.6, 0.6, 0.6))
    assert attribution.covered == pytest.approx(0.9)


def test_what_happens_outside_of_steps_does_not_count(events: Events) -> None:
    """Start-up and the time between steps are no part of a step."""
    events.scope("data", 0, 10)
    events.step(10, 20)
    events.scope("mlp_up", 10, 20)
    events.scope("data", 20, 30)
    assert times(attribute(events.trace())) == {"mlp_up": (10, 0)}


def test_kernels_belong_to_whoever_launched_them(events: Events) -> None:
    """On a GPU the scope ends long before its kernel runs: host time would blame the wrong op."""
    events.step(0, 20)
    events.scope("mlp_up", 0, 1)
    events.operator("aten::mm", 0, 1, sequence=1)
    events.kernel(0.5, 2, 8, correlation=1)
    events.scope("rmsnorm", 1, 2)
    events.kernel(1.5, 8, 9, correlation=2)
    events.node("MmBackward0", 2, 3, sequence=1, tid=AUTOGRAD)
    events.kernel(2.5, 9, 19, correlation=3, tid=AUTOGRAD)
    # until 2 the device is idle and the step waits for the host; after 19 for nothing known
    assert times(attribute(events.trace())) == {
        "mlp_up": (1 + 6, 10),
        "rmsnorm": (1 + 1, 0),
        UNATTRIBUTED: (1, 0),
    }


def test_kernels_that_overlap_are_counted_once(events: Events) -> None:
    """Sums of kernel times can exceed the step; shares above 100% help nobody."""
    events.step(0, 10)
    events.scope("attention", 0, 1)
    events.kernel(0.1, 0, 6, correlation=1)
    events.kernel(0.2, 3, 10, correlation=2)
    events.kernel(0.3, 4, 5, correlation=3)
    assert times(attribute(events.trace())) == {"attention": (10, 0)}


def test_a_kernel_of_unknown_origin_is_nobodys(events: Events) -> None:
    """Its time is not given to the scope that the host happens to be in."""
    events.step(0, 10)
    events.scope("attention", 0, 10)
    events.span("gemm", 2, 6, "kernel", 7, correlation=77)
    assert times(attribute(events.trace())) == {"attention": (6, 0), UNATTRIBUTED: (4, 0)}


def test_a_trace_without_steps_is_an_error_with_the_fix(events: Events) -> None:
    events.scope("attention", 0, 10)
    with pytest.raises(MachineError, match="no span named 'step'") as caught:
        attribute(events.trace())
    assert "--trace-steps" in caught.value.hint


SPANS = st.lists(
    st.tuples(st.integers(0, 40), st.integers(1, 20), st.sampled_from("abc")), max_size=12
)


@given(SPANS, st.tuples(st.integers(0, 20), st.integers(20, 60)))
def test_every_instant_is_counted_exactly_once(
    spans: list[tuple[int, int, str]], window: tuple[int, int]
) -> None:
    """Whatever a trace looks like, even spans that cross: what is taken and left is the window."""
    found = [Event(name=name, ts=start, dur=length) for start, length, name in spans]
    found.sort(key=lambda event: (event.ts, -event.dur))
    segments = flatten(found, lambda event, _: Owner(event.name, False))
    assert all(s.start < s.end for s in segments)
    assert all(a.end <= b.start for a, b in pairwise(segments))
    taken, left = claim([window], segments)
    pieces = sorted([(s.start, s.end) for s in taken] + left)
    assert sum(end - start for start, end in pieces) == window[1] - window[0]
    assert all(a[1] == b[0] for a, b in pairwise(pieces))
    busy = set().union(*(range(s, s + length) for s, length, _ in spans))
    assert sum(s.end - s.start for s in taken) <= len(busy & set(range(*window)))
