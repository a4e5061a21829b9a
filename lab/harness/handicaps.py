"""Copies of an op that are slower by a known share: what a bench and an A/B must be able to see.

    text = slowed_op(incumbent, "rmsnorm", 0.05)      # each call takes 5% longer, for the bench
    text = slowed_step(incumbent, "rmsnorm", 0.05)    # each step takes 5% longer, for the A/B
    text = exact_copy(incumbent)                      # the same but for a comment, for the A/A

A slowed copy computes exactly what the incumbent computes and then waits for a share of the time
that it has just measured itself: the slow-down is true by construction, whatever the machine does.

`slowed_op` measures each forward pass and, for the first calls of a shape, the backward pass,
between two marks in the graph; after that it waits in the forward pass for the share of both,
without the marks, which cost 30 microseconds. On CUDA, where calls return before they are done, all
times are those of the first calls, and the wait is queued on the device; for MLX see
`lab.harness.handicaps_mlx`. `slowed_step` stretches
whatever lies between two of its calls, and so a training step, however often the op is called.

These are strings for workers to run. Nothing here is ever called in the judge's process.
"""

from __future__ import annotations

from typing import Literal

from lab.harness import handicaps_mlx

Framework = Literal["torch", "mlx"]

_COPY = "\n\n# An exact copy of the incumbent, for the A/A of a calibration.\n"

_CLOCK = '''

# ---- slowed by {slowed_by} for a calibration ----------------------------------------------------

import time as _time

import torch as _torch

_SLOWED_BY = {slowed_by}
_incumbent = {op}


def _now_ns(values=()):
    """The clock, once the devices of these tensors are done."""
    kinds = {{v.device.type for v in values if isinstance(v, _torch.Tensor)}}
    if "cuda" in kinds:
        _torch.cuda.synchronize()
    if "mps" in kinds:
        _torch.mps.synchronize()
    return _time.perf_counter_ns()


def _wait_until(end_ns):
    while _time.perf_counter_ns() < end_ns:
        pass
'''

_STEP = """

_last_ns = 0


def {op}(*arguments):
    global _last_ns
    now = _now_ns(arguments)
    if _last_ns:
        _wait_until(now + int(_SLOWED_BY * (now - _last_ns)))
    _last_ns = _time.perf_counter_ns()
    return _incumbent(*arguments)
"""

_OP = '''

_LEARN = 5
_learning_times = {{}}
_learnt = {{}}
"""By shape, dtype and whether gradients are wanted: nanoseconds of forward and backward."""
_cycles_per_ns = 0.0


class _Before(_torch.autograd.Function):
    """Before the op's inputs, so the last that its backward pass comes to."""

    @staticmethod
    def forward(ctx, times, *inputs):
        ctx.times = times
        return tuple(x.view_as(x) for x in inputs)

    @staticmethod
    def backward(ctx, *gradients):
        end = _now_ns(gradients)
        ctx.times["backward"].append(end - ctx.times.pop("began", end))
        return (None, *gradients)


class _After(_torch.autograd.Function):
    """After the op's outputs, so the first that its backward pass comes to."""

    @staticmethod
    def forward(ctx, times, *outputs):
        ctx.times = times
        return tuple(y.view_as(y) for y in outputs)

    @staticmethod
    def backward(ctx, *gradients):
        ctx.times["began"] = _now_ns(gradients)
        return (None, *gradients)


def {op}(*arguments):
    entered = _time.perf_counter_ns()
    first = arguments[0]
    differentiate = first.requires_grad and _torch.is_grad_enabled()
    key = (first.shape, first.dtype, differentiate)
    learnt = _learnt.get(key)
    if learnt is None:
        return _learning(arguments, key)
    forward, backward = learnt
    if first.is_cuda:
        result = _incumbent(*arguments)
        _queue_wait(_SLOWED_BY * (forward + backward))
        return result
    start = _time.perf_counter_ns()
    result = _incumbent(*arguments)
    if first.is_mps:
        _torch.mps.synchronize()
    took = _time.perf_counter_ns() - start
    _wait_until(entered + took + int(_SLOWED_BY * (took + backward)))
    return result


def _learning(arguments, key):
    """A call between two marks, which tell how long it takes; it is not slowed."""
    differentiate = key[-1]
    times = _learning_times.setdefault(key, {{"forward": [], "backward": []}})
    if len(times["backward" if differentiate else "forward"]) == _LEARN:
        _learnt[key] = (min(times["forward"]), min(times["backward"], default=0))
        return {op}(*arguments)
    marked = list(arguments)
    if differentiate:
        places = [i for i, a in enumerate(marked) if getattr(a, "requires_grad", False)]
        for i, x in zip(places, _Before.apply(times, *(marked[i] for i in places))):
            marked[i] = x
    start = _now_ns(arguments)
    result = _incumbent(*marked)
    times["forward"].append(_now_ns(arguments) - start)
    if not differentiate:
        return result
    if isinstance(result, (tuple, list)):
        return type(result)(_After.apply(times, *result))
    return _After.apply(times, result)[0]


def _queue_wait(wait_ns):
    """Keeps the CUDA device busy for so long, after what was queued before."""
    global _cycles_per_ns
    if not _cycles_per_ns:
        for cycles in (10**6, 10**8):  # the first is for warming up
            start = _now_ns((_torch.empty(1, device="cuda"),))
            _torch.cuda._sleep(cycles)
            _cycles_per_ns = cycles / (_now_ns((_torch.empty(1, device="cuda"),)) - start)
    _torch.cuda._sleep(int(wait_ns * _cycles_per_ns))
'''


def exact_copy(source: str) -> str:
    """The source with a comment behind it: another hash, the same op."""
    return source + _COPY


def slowed_op(source: str, op: str, slowed_by: float, framework: Framework = "torch") -> str:
    """The source, its op slower by that share of its own time."""
    text = _CLOCK + _OP if framework == "torch" else handicaps_mlx.CLOCK + handicaps_mlx.OP
    return _appended(source, op, slowed_by, text)


def slowed_step(source: str, op: str, slowed_by: float, framework: Framework = "torch") -> str:
    """The source, everything between two calls of its op slower by that share."""
    clock = _CLOCK if framework == "torch" else handicaps_mlx.CLOCK
    return _appended(source, op, slowed_by, clock + _STEP)


def _appended(source: str, op: str, slowed_by: float, text: str) -> str:
    if slowed_by <= 0:
        return exact_copy(source)
    return source + text.format(op=op, slowed_by=slowed_by)
