"""The text that slows an op in MLX by a known share: see `lab.harness.handicaps`.

MLX computes when somebody waits for a result, so nothing can be timed within a call. The first call
of a shape is marked, to learn which inputs have gradients; before the second the copy runs the
incumbent by itself a few times, as a worker does, and takes the median. From then on each call
waits for the share of that before it builds its graph; what the copy itself needs is part of it.
"""

CLOCK = '''

# ---- slowed by {slowed_by} for a calibration ----------------------------------------------------

import statistics as _statistics
import time as _time

import mlx.core as _mx

_SLOWED_BY = {slowed_by}
_incumbent = {op}


def _now_ns(values=()):
    """The clock; a step is computed between two calls, and nothing at one."""
    return _time.perf_counter_ns()


def _wait_until(end_ns):
    while _time.perf_counter_ns() < end_ns:
        pass
'''

OP = '''

_LEARN = 7
_wanted = {{}}
_learnt = {{}}
"""By shape and dtype: which inputs have gradients, and nanoseconds of forward and backward."""


def {op}(*arguments):
    entered = _time.perf_counter_ns()
    key = (arguments[0].shape, arguments[0].dtype)
    if key in _learnt:
        _wait_until(entered + _learnt[key])
        return _incumbent(*arguments)
    if key in _wanted:
        _learnt[key] = int(_SLOWED_BY * _measured(arguments, sorted(_wanted[key])))
        return _incumbent(*arguments)
    _wanted[key] = set()
    return _incumbent(*(_marked(a, i, _wanted[key]) for i, a in enumerate(arguments)))


def _marked(argument, place, wanted):
    """An alias that notes when a gradient comes to it."""
    if not isinstance(argument, _mx.array):
        return argument

    @_mx.custom_function
    def same(x):
        return x

    @same.vjp
    def backward(x, gradient, result):
        wanted.add(place)
        return gradient

    return same(argument)


def _measured(arguments, places):
    """Nanoseconds of one call of the incumbent with its gradients, until all is computed."""
    given = [_mx.stop_gradient(a) if isinstance(a, _mx.array) else a for a in arguments]

    def of_leaves(*leaves):
        inputs = list(given)
        for place, leaf in zip(places, leaves):
            inputs[place] = leaf
        found = _incumbent(*inputs)
        return list(found) if isinstance(found, (tuple, list)) else [found]

    leaves = [given[place] for place in places]
    incoming = [_mx.ones_like(y) for y in of_leaves(*leaves)]
    _mx.eval(leaves, incoming)
    times = []
    for _ in range(_LEARN):
        start = _time.perf_counter_ns()
        _mx.eval(_mx.vjp(of_leaves, leaves, incoming) if places else of_leaves())
        times.append(_time.perf_counter_ns() - start)
    return _statistics.median(times)
'''
