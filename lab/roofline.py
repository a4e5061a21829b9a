"""The speed of light of this machine: how fast memory and matrix multiplication really are, now.

`measure(engine)` times torch kernels on this device and keeps the best of many short samples:
bandwidth by working set (caches answer small ones, main memory large ones) and matmul peak by
dtype. The result holds for this process only and is never stored: a machine that is busy or
throttled today has another roofline tomorrow.

`Roofline.floor_ms` is a lower bound on time, used twice: as the ceiling in a profile, and by bench
to refuse timings that cannot be true. So every choice here errs towards a lower floor: the fastest
of read, write and copy counts, part of the data may lie in a cache, and arithmetic counts at
matmul speed, which elementwise code cannot reach. What it cannot know is a neighbour that slowed
every sample; `target_floor_ms`, by which results are refused, leaves headroom.
"""

from __future__ import annotations

import functools
import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import cycle
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, TypeVar

from lab.errors import unknown
from trainer.hardware import computes_on_cpu

if TYPE_CHECKING:
    from kernels.spec import Case, Target

SMALLEST_BYTES = 2**18
"""Below 256 KiB the call itself takes longer than the memory traffic."""
LARGEST_BYTES = {"cpu": 2**28, "mps": 2**28, "cuda": 2**30}
"""Several times the last cache: tens of MiB of L3 on CPUs, 50 MiB of L2 on an H100."""
SAMPLE_BYTES = {"cpu": 2**24, "mps": 2**27, "cuda": 2**30}
"""Most traffic of one timed sample. On a CPU well under a scheduler's time slice, so that some
samples run undisturbed on a busy machine; on a GPU well above the cost of waiting for it."""
SAMPLE_CALLS = {"cpu": 8, "mps": 100, "cuda": 100}
"""Most calls of one sample, which make up the traffic where the working set is small."""
IN_A_ROW = 4
"""Samples of one working set before the next one's: the first finds nothing of it in a cache."""
ITEMSIZE = {"float32": 4, "bfloat16": 2}
"""Bytes of one element of each dtype that is measured."""
MATMUL_SIZES = {"cpu": (256, 512, 1024), "mps": (1024, 2048, 4096), "cuda": (2048, 4096, 8192)}
HEADROOM = 2.0
"""What a busy neighbour may have taken of the measured rates: of main memory above all, which every
process shares and no short sample has to itself."""
MATMUL_LIMIT_S = 0.1
"""Larger products are not tried once one took this long: a dtype may be emulated."""


@dataclass(frozen=True)
class Roofline:
    """Measured rates of one device. GB/s and GFLOP/s count 10^9 per second."""

    bandwidth_gb_s: tuple[tuple[int, float], ...]
    """(working set in bytes, best GB/s there), by rising working set. Bytes read + written."""
    peak_gflop_s: Mapping[str, float]
    """Best matmul rate by dtype; on cuda, float32 with TF32 allowed."""

    @property
    def memory_gb_s(self) -> float:
        """Bandwidth of the largest working set: main memory."""
        return self.bandwidth_gb_s[-1][1]

    def peak(self, dtype: str) -> float:
        """The fastest way to multiply at `dtype`'s precision or better, GFLOP/s.

        A bfloat16 op may compute in float32, but a float32 op that computes in bfloat16 fails
        verification. Dtypes that were not measured get the best of all.
        """
        if dtype == "float32":
            return self.peak_gflop_s["float32"]
        return max(self.peak_gflop_s.values())

    def floor_ms(
        self, bytes_moved: float, flops: float, dtype: str, working_set_bytes: float | None = None
    ) -> float:
        """No kernel that moves so many bytes and does so many FLOPs takes less, in milliseconds.

        `bytes_moved` counts every byte that must be read or written, `working_set_bytes` the
        distinct ones among them (by default all). Traffic and arithmetic may overlap, so the
        slower of the two decides.
        """
        working_set = bytes_moved if working_set_bytes is None else working_set_bytes
        traffic_ms = bytes_moved / (1e6 * self.attainable_gb_s(working_set))
        return max(traffic_ms, flops / (1e6 * self.peak(dtype)))

    def attainable_gb_s(self, working_set_bytes: float) -> float:
        """An upper bound on the bandwidth over a working set.

        Whoever wrote the data (a judge, the op before) may have left any part of it in a cache.
        So for every measured size up to the working set, that much is taken at the rate of that
        size and the rest at main memory's; the fastest such split is the bound. A rate counts for
        all smaller sizes too: what keeps a measurement of them slower is the cost of the call.
        """
        envelope = _envelope(self.bandwidth_gb_s)
        within = [point for point in envelope if point[0] <= working_set_bytes]
        if not within:
            return envelope[0][1]
        main_memory = envelope[-1][1]
        fastest = working_set_bytes / within[-1][1]
        for size, rate in within:
            fastest = min(fastest, size / rate + (working_set_bytes - size) / main_memory)
        return working_set_bytes / fastest


def _envelope(points: tuple[tuple[int, float], ...]) -> list[tuple[int, float]]:
    """For each size the best rate there or beyond, by rising size."""
    best, envelope = 0.0, []
    for size, rate in reversed(points):
        best = max(best, rate)
        envelope.append((size, best))
    return envelope[::-1]


@functools.cache
def measure(engine: str, seconds: float = 2.5) -> Roofline:
    """Measures `engine` for about `seconds`, once per process; mlx by torch on the same device.

    The samples are many, short and spread over that time, so that other work on the machine spoils
    some of them and not all. Raises `CommandError` for an engine without a torch device.
    """
    if engine == "mlx":
        return measure("cpu" if computes_on_cpu(engine) else "mps", seconds)
    if engine not in LARGEST_BYTES:
        raise unknown("engine", engine, LARGEST_BYTES)
    with _every_core(engine):
        clock = _clock(engine)
        bandwidth = _best_rates(_transfers(engine), clock, seconds * 2 / 3)
        peak = _best_rates(_products(engine, clock), clock, seconds / 3)
    return Roofline(tuple(sorted(bandwidth.items())), peak)


Key = TypeVar("Key")
Clock = Callable[[Callable[[], Any], int], float]
"""Seconds of one call, averaged over so many calls in a row."""


class _Sample(NamedTuple, Generic[Key]):
    """One timed call: what it counts for, how many units (bytes, FLOPs) a call has."""

    key: Key
    units: int
    call: Callable[[], Any]
    repeats: int


def _best_rates(samples: list[_Sample[Key]], clock: Clock, seconds: float) -> dict[Key, float]:
    """The best rate in 10^9 units per second for each key; every sample is timed at least once."""
    best: dict[Key, float] = {}
    deadline = time.perf_counter() + seconds
    for number, sample in enumerate(cycle(samples)):
        if number >= len(samples) and time.perf_counter() > deadline:
            break
        rate = sample.units / clock(sample.call, sample.repeats) / 1e9
        best[sample.key] = max(best.get(sample.key, 0.0), rate)
    return best


def _transfers(engine: str) -> list[_Sample[int]]:
    """Reads, writes and copies over every working set, all within one buffer."""
    import psutil
    import torch

    largest = min(LARGEST_BYTES[engine], psutil.virtual_memory().available // 8)
    buffer = torch.ones(max(largest, SMALLEST_BYTES) // 4, device=engine)
    sample_bytes = SAMPLE_BYTES[engine]
    blocks = []
    size = SMALLEST_BYTES
    while size <= 4 * len(buffer):
        repeats = max(1, min(SAMPLE_CALLS[engine], sample_bytes // size))
        length = min(size, sample_bytes)
        # a large working set is walked through in parts, each cold again when its turn comes
        parts = buffer[: size // 4].split(length // 4)
        calls: list[Callable[[], Any]] = [part.sum for part in parts]
        calls += [part.zero_ for part in parts]
        calls += [partial(half.copy_, other) for half, other in (part.chunk(2) for part in parts)]
        found = [_Sample(size, length, call, repeats) for call in calls]
        turns = max(1, largest // max(size, sample_bytes) // IN_A_ROW)
        blocks.append((turns, found * min(IN_A_ROW, turns)))
        size *= 2
    # about as many samples of a small working set as a large one has parts, but spread over time
    most = max(turns for turns, _ in blocks)
    taking_turns = [block for turn in range(most) for turns, block in blocks if turn < turns]
    return [sample for block in taking_turns for sample in block]


def _products(engine: str, clock: Clock) -> list[_Sample[str]]:
    """Square matrix products of every dtype, up to the largest that is not too slow."""
    import torch

    samples = []
    for dtype in ITEMSIZE:
        for size in MATMUL_SIZES[engine]:
            left = torch.randn(size, size, device=engine).to(getattr(torch, dtype))
            call = partial(torch.mm, left, left.clone())
            sample = _Sample(dtype, 2 * size**3, call, 1)
            # short ones more often: on a busy machine they are the ones that run undisturbed
            samples += [sample] * (MATMUL_SIZES[engine][-1] // size) ** 2
            if clock(call, 1) > MATMUL_LIMIT_S:
                break
    return samples


@contextmanager
def _every_core(engine: str) -> Iterator[None]:
    """All usable cores, and TF32 on cuda: whatever could make a kernel faster than the incumbent.

    Puts the process's own settings back.
    """
    import torch

    from trainer.hardware import usable_cores

    threads, precision = torch.get_num_threads(), torch.get_float32_matmul_precision()
    torch.set_num_threads(usable_cores())
    if engine == "cuda":
        torch.set_float32_matmul_precision("high")
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        torch.set_float32_matmul_precision(precision)


def _clock(engine: str) -> Clock:
    """How `engine` is timed: the host's clock between two points where the device has finished."""
    import torch

    finish: Callable[[], None] = {
        "cuda": torch.cuda.synchronize,
        "mps": torch.mps.synchronize,
    }.get(engine, _nothing)

    def clock(call: Callable[[], Any], repeats: int) -> float:
        finish()
        started = time.perf_counter()
        for _ in range(repeats):
            call()
        finish()
        return (time.perf_counter() - started) / repeats

    return clock


def _nothing() -> None:
    """A CPU has finished when the call returns."""


def target_floor_ms(roofline: Roofline, target: Target, case: Case, dtype: str) -> float:
    """What forward and backward of `target` at `case` cannot take less than, in milliseconds.

    The two passes are separate kernels, so each has its own floor. A pass works on its inputs and
    outputs (backward: on their gradients too) and on no more than its least traffic. The rates
    count `HEADROOM` times: a faster result is refused, so this must never be above the truth.
    """
    itemsize = ITEMSIZE[dtype]
    cost = target.cost(case.dims, itemsize)
    shapes = [*(i.shape for i in target.inputs), *(o.shape for o in target.outputs)]
    tensors = itemsize * sum(math.prod(case.shape(names)) for names in shapes)
    forward = roofline.floor_ms(
        cost.bytes_forward, cost.flops_forward, dtype, min(cost.bytes_forward, tensors)
    )
    backward = roofline.floor_ms(
        cost.bytes_backward, cost.flops_backward, dtype, min(cost.bytes_backward, 2 * tensors)
    )
    return (forward + backward) / HEADROOM
