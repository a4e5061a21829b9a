"""The reader: a trace that is read wrongly, or not at all, sends people after the wrong op."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from synthetic_trace import Events

from lab.errors import MachineError
from lab.profiling.attribution import attribute
from lab.profiling.trace import read

RECORDED = Path(__file__).parent / "data" / "tiny_cpu.trace.json.gz"
"""One step of a tiny model, two micro-batches, recorded with torch 2.13 on a CPU. Operators that
autograd does not number were taken out to make it small."""


@pytest.mark.parametrize("old", [False, True])
def test_both_generations_of_names_are_read(
    make_events: Callable[[bool], Events], old: bool
) -> None:
    """A trace of an older torch would otherwise come out empty."""
    events = make_events(old)
    events.step(0, 10)
    events.scope("mlp_up", 1, 3)
    events.operator("aten::mm", 1, 2, sequence=5)
    events.kernel(1.5, 2, 4, correlation=9)
    trace = events.trace()
    assert [len(trace.steps), len(trace.scopes), len(trace.operators), len(trace.device)] == [1] * 4
    assert trace.operators[0].sequence == 5
    assert list(trace.launches) == [9]


def test_a_compressed_trace_is_read(events: Events) -> None:
    events.step(0, 10)
    assert read(events.write(compressed=True)).steps[0].dur == 10_000


def test_a_truncated_trace_is_an_error_with_the_fix(events: Events) -> None:
    """A full disk leaves half a file: a JSON traceback would tell the user nothing."""
    events.step(0, 10)
    path = events.write()
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(MachineError, match="not a whole Kineto trace") as caught:
        read(path)
    assert "run the profile again" in caught.value.hint


def test_a_truncated_compressed_trace_is_an_error(events: Events) -> None:
    events.step(0, 10)
    path = events.write(compressed=True)
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(MachineError, match="cannot be read"):
        read(path)


@pytest.mark.parametrize(
    "text", ["[]", "{}", '{"traceEvents": 3}', "", "null", '{"traceEvents": [1]}']
)
def test_json_that_is_no_trace_is_an_error(tmp_path: Path, text: str) -> None:
    path = tmp_path / "other.json"
    path.write_text(text)
    with pytest.raises(MachineError, match="not a whole Kineto trace"):
        read(path)


def test_a_missing_trace_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(MachineError, match="there is no trace"):
        read(tmp_path / "nothing.json")


def test_what_kineto_fails_to_escape_is_read_all_the_same(events: Events) -> None:
    """Kernel names with invalid UTF-8 or raw tabs occur; one bad name must not cost the profile."""
    events.step(0, 10)
    events.scope("mlp_up", 1, 3)
    events.operator("aten::NAME", 1, 2)
    path = events.write()
    path.write_bytes(path.read_bytes().replace(b"NAME", b"\xff\t"))
    trace = read(path)
    assert (len(trace.steps), len(trace.scopes), len(trace.operators)) == (1, 1, 1)


def test_a_launch_known_only_from_its_flow_is_found(events: Events) -> None:
    """Kineto leaves out some launch calls but keeps the arrow from host to device."""
    events.step(0, 10)
    events.kernel(1.5, 2, 4, correlation=9)
    launch = events.events.pop(1)
    flow = {"ph": "s", "cat": "ac2g", "name": "ac2g", "id": 9}
    events.events.append({**flow, **{key: launch[key] for key in ("pid", "tid", "ts")}})
    assert events.trace().launches[9].ts == 1500


def test_spans_come_in_order_of_time_and_the_outer_first(events: Events) -> None:
    """Everything downstream relies on it, and Kineto writes events in no fixed order."""
    events.operator("inner", 1, 2)
    events.operator("later", 3, 4)
    events.operator("outer", 1, 3)
    assert [event.name for event in events.trace().operators] == ["outer", "inner", "later"]


def test_the_recorded_trace_agrees_with_kinetos_own_arrows() -> None:
    """Kineto draws arrows from forward operators to backward nodes, which the reader does not use.

    Summing the nodes at their heads by the scope at their tails is an independent count of every
    op's backward time, up to nodes whose maker is a view (Kineto draws those too) or the engine.
    """
    import gzip

    raw = msgspec.json.decode(gzip.decompress(RECORDED.read_bytes()))["traceEvents"]
    spans = [e for e in raw if e["ph"] == "X"]
    scopes = [e for e in spans if e["name"].startswith("op:")]
    nodes = [e for e in spans if e["name"].startswith("autograd::engine::evaluate_function")]

    def around(ts: float, candidates: list[dict]) -> dict:
        return next(e for e in candidates if e["ts"] <= ts < e["ts"] + e["dur"])

    tails = {e["id"]: e["ts"] for e in raw if e["ph"] == "s"}
    expected: dict[str, float] = defaultdict(float)
    for head in (e for e in raw if e["ph"] == "f"):
        op = around(tails[head["id"]], scopes)["name"].removeprefix("op:")
        expected[op] += around(head["ts"], nodes)["dur"] / 1000
    step = attribute(read(RECORDED)).steps[0]
    found = {op: time.backward_ms for op, time in step.ops.items() if op in expected}
    assert len(expected) == 8
    assert found == pytest.approx(dict(expected), abs=1e-6)


def test_the_recorded_trace_divides_without_remainder() -> None:
    """Rows that do not add up to the step hide or invent time."""
    attribution = attribute(read(RECORDED))
    step = attribution.steps[0]
    assert sum(time.total_ms for time in step.ops.values()) == pytest.approx(step.wall_ms)
    assert {op: step.ops[op].calls for op in ("data", "relu_squared", "muon_orthogonalize")} == {
        "data": 1,
        "relu_squared": 2,
        "muon_orthogonalize": 2,
    }
    assert step.ops["gradient_accumulation"].calls == 8  # four weights, two micro-batches
    without_backward = ("data", "muon_update", "muon_orthogonalize", "zero_grad")
    assert not any(step.ops[op].backward_ms for op in without_backward)
    assert attribution.covered > 0.85  # a tiny model: much of its step is Python between the ops
