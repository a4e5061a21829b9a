"""The form of what a call gave back: number, kind, shape, dtype, device; and inputs left alone.

Each check raises `Fault` with its own reason. What is looked at is the worker's description of its
results (which only counts against it: a description that is too good leads to bytes that are not
there) and the judge's own copy of the shared memory.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from lab.harness import inputs, words
from lab.harness.clocks import Block
from lab.harness.faults import Fault
from lab.harness.inputs import Layout
from lab.harness.midway import Change
from lab.harness.protocol import Call, Returned, Span
from lab.harness.session import Session, Timed

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Answers:
    """What one worker gave back in one round: its words on each call, and the results' bytes."""

    calls: tuple[Call, ...]
    results: torch.Tensor
    timed: Timed
    fetch_ns: int
    """All that the exchange took besides the timed block: bringing inputs, handing over results."""
    fetch_cpu_ns: int = 0
    """CPU time of the worker's whole tree while it handed over."""
    touched: tuple[int, int] | None = None
    """The slot and the first byte of what was given that was another between forward and
    backward."""
    left: torch.Tensor | None = None
    """What was given, as the calls had left it, where it was taken back before the hand-over."""

    def tensors(self, span: Span) -> list[torch.Tensor]:
        """One result of every call."""
        return [inputs.view(slot, span) for slot in self.results]

    def block(self) -> Block:
        """What the clocks said."""
        timed = self.timed
        return Block(
            judge_ns=timed.judge_ns,
            host_ns=timed.host_ns,
            device_ns=timed.device_ns,
            fetch_ns=self.fetch_ns,
            cpu_ns=timed.cpu_ns,
            fetch_cpu_ns=self.fetch_cpu_ns,
            usual_ns=timed.usual_ns,
        )

    def of(self, slots: Sequence[int]) -> Answers:
        """Those of some calls only, of a worker that was not timed."""
        calls = tuple(self.calls[slot] for slot in slots)
        return Answers(calls, self.results[list(slots)], self.timed, self.fetch_ns)


def exchange(session: Session, given: torch.Tensor, differentiate: bool) -> Answers:
    """Writes, runs, fetches and reads."""
    session.write(given)
    return _handed_over(session, session.run(len(given), differentiate), len(given))


def exchange_timed(session: Session, given: torch.Tensor, differentiate: bool) -> Answers:
    """As `exchange`, but once the calls are answered all inputs are taken back."""
    session.write(given)
    timed = session.run(len(given), differentiate)
    return _handed_over(session, timed, len(given), session.take_back(len(given)))


def exchange_one_by_one(session: Session, given: torch.Tensor, differentiate: bool) -> Answers:
    """As `exchange_timed`, but no input is there before the call before it was answered."""
    timed = session.run_one_by_one(given, differentiate)
    return _handed_over(session, timed, len(given), session.take_back(len(given)))


def exchange_changing(
    session: Session, changes: Iterable[Change], given: torch.Tensor, fresh: torch.Tensor
) -> tuple[Answers, set[int]]:
    """As `exchange_timed`, while parts of `given`, which follows, are replaced by what is `fresh`;
    and the calls that were changed in time."""
    session.write(given)
    with session.changing(changes, given, fresh) as made:
        timed = session.run(len(given), session.layout.differentiable)
    return _handed_over(session, timed, len(given), session.take_back(len(given))), made.clear


def _handed_over(
    session: Session, timed: Timed, slots: int, left: torch.Tensor | None = None
) -> Answers:
    start = time.perf_counter_ns()
    calls = session.fetch(slots)
    fetch_ns = timed.load_ns + time.perf_counter_ns() - start
    results = session.read_results(slots)
    if left is not None:
        _fill_in(session.layout, calls, results, left)
    return Answers(calls, results, timed, fetch_ns, session.hand_over_cpu_ns, left=left)


def _fill_in(
    layout: Layout, calls: Sequence[Call], results: torch.Tensor, left: torch.Tensor
) -> None:
    """Results that lie in what was given were taken back with it: an incoming gradient that is the
    gradient of an input, too. The worker says where, and the bytes are the judge's own copy."""
    for slot, call in zip(results, calls, strict=True):
        pairs = (
            *zip(layout.outputs, call.outputs, strict=False),
            *zip(layout.gradients, call.gradients, strict=False),
        )
        for span, returned in pairs:
            if returned is None or returned.given is None:
                continue
            found = inputs.within(left.view(-1), span, returned.given)
            if found is not None:
                inputs.view(slot, span).copy_(found)


def exchange_as_in_training(session: Session, given: torch.Tensor) -> Answers:
    """As `exchange` with gradients, but all calls come before the first backward.

    In between others read the inputs, so the judge looks at them then.
    """
    slots = len(given)
    session.write(given)
    session.run_forward(slots)
    touched = _first_difference(given, session.read_given(slots))
    timed = session.run_backward(slots)
    calls = session.fetch(slots)
    return Answers(calls, session.read_results(slots), timed, 0, touched=touched)


def check_form(answers: Answers, layout: Layout, engine: str) -> None:
    """Of outputs, and of gradients where there are any."""
    check_outputs(answers, layout, engine)
    if layout.differentiable:
        check_gradients(answers, layout, engine)


def check_outputs(answers: Answers, layout: Layout, engine: str) -> None:
    """Reasons arity, not_a_tensor, shape, dtype and device, in this order."""
    expected = len(layout.outputs)
    form = "one tensor" if expected == 1 else f"a tuple of {expected} tensors"
    for call in answers.calls:
        several = call.container == "several"
        if several != (expected > 1) or len(call.outputs) != expected:
            got = f"a tuple or list of {len(call.outputs)}" if several else "one value"
            raise Fault("arity", f"returned {got}, must return {form}")
        for name, span, output in zip(
            layout.output_names, layout.outputs, call.outputs, strict=True
        ):
            _check_tensor(name, span, output, engine)


def check_gradients(answers: Answers, layout: Layout, engine: str) -> None:
    """Reason gradient_missing, and those of `check_outputs` for a gradient's form."""
    for call in answers.calls:
        if len(call.gradients) != len(layout.gradients):
            raise Fault("protocol", "another number of gradients than was asked for")
        for name, span, gradient in zip(
            layout.gradient_names, layout.gradients, call.gradients, strict=True
        ):
            if gradient is None:
                raise Fault("gradient_missing", words.gradient_missing(name))
            _check_tensor(name, span, gradient, engine)


def check_inputs(session: Session, answers: Answers, layout: Layout, given: torch.Tensor) -> None:
    """Reason input_changed, if any given byte differs afterwards, gaps and guards included, or if
    an argument has another shape, other strides or other storage than it was given with."""
    for call in answers.calls:
        for name, moved in zip(layout.given_names, call.moved, strict=False):
            if moved:
                raise Fault("input_changed", words.input_moved(name))
    left = session.read_given(len(given)) if answers.left is None else answers.left
    changed = _first_difference(given, left)
    if changed is not None:
        raise Fault("input_changed", words.input_changed(*_locate(layout, changed[1])))
    if answers.touched is not None:
        raise Fault("input_changed", words.input_touched(*_locate(layout, answers.touched[1])))


def _check_tensor(name: str, span: Span, output: Returned, engine: str) -> None:
    if not output.plain or output.layout != "torch.strided":
        shown = output.layout if output.plain else output.type
        kind = "mlx.core.array" if engine == "mlx" else "dense torch.Tensor"
        raise Fault("not_a_tensor", f"{name} is a {shown}, must be a plain {kind}")
    compared: tuple[tuple[Literal["shape", "dtype", "device"], object, object], ...] = (
        ("shape", list(output.shape), list(span.shape)),
        ("dtype", output.dtype, span.dtype),
        ("device", output.device, engine),
    )
    for reason, got, expected in compared:
        if got != expected:
            raise Fault(reason, f"{name} has {reason} {got}, must be {expected}")


def _first_difference(given: torch.Tensor, after: torch.Tensor) -> tuple[int, int] | None:
    """Slot and byte where two copies of the given bytes differ first."""
    import numpy as np

    # In words of 8 bytes: 8 times fewer comparisons. All sizes are multiples of 256.
    if np.array_equal(given.numpy().view(np.int64), after.numpy().view(np.int64)):
        return None
    changed = given != after
    slot = int(changed.any(1).int().argmax())
    return slot, int(changed[slot].int().argmax())


def _locate(layout: Layout, offset: int) -> tuple[str, int]:
    """The buffer that an offset belongs to (or follows), and the bytes from its first element."""
    spans = (*layout.arguments, *layout.incoming)
    before = [(s.offset, n) for s, n in zip(spans, layout.given_names, strict=True)]
    start, name = max((e for e in before if e[0] <= offset), default=before[0])
    return name, offset - start
