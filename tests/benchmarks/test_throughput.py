"""The trainer's step against the same model and optimizer written plainly in torch.

    uv run pytest tests/benchmarks/test_throughput.py --benchmark-enable -s

Both arms do whole optimizer steps on the CPU in processes of their own (so that the trainer's
allocator setting is its own, too), taking turns, so that other work on the machine meets both. The
ratio is plain time / trainer time of each pair; above 1 the trainer is faster.
"""

from __future__ import annotations

import multiprocessing
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from trainer.config import TrainConfig, preset

VOCAB = 8192
PAIRS = 9
TINY = TrainConfig(
    depth=2, aspect_ratio=32, head_dim=32, sequence=32, device_batch_size=2, total_batch_size=128
)
"""Checks that the benchmark runs where benchmarks are disabled."""

MicroBatch = tuple[np.ndarray, np.ndarray]


def trainer_step(config: TrainConfig, vocab: int) -> tuple[int, Callable[[list[MicroBatch]], None]]:
    """The trainer's number of weights and its step."""
    from trainer.engines.torch.engine import TorchEngine
    from trainer.ops import resolve
    from trainer.schedule import rates_at

    engine = TorchEngine("cpu", config, vocab, resolve("", ""), compile_model=False)
    rates = rates_at(config, 0, 0.0)
    return engine.parameters, lambda batches: (engine.step(batches, rates).wait(), None)[1]


def plain_step(config: TrainConfig, vocab: int) -> tuple[int, Callable[[list[MicroBatch]], None]]:
    """The plain implementation's."""
    import torch

    sys.path.insert(0, str(Path(__file__).parents[1] / "trainer"))
    from plain_upstream import PlainGPT, PlainOptimizer

    model = PlainGPT(vocab, config.depth, config.heads, config.head_dim, list(config.windows))
    optimizer = PlainOptimizer(model)

    def step(batches: list[MicroBatch]) -> None:
        for inputs, targets in batches:
            loss = model(torch.from_numpy(inputs), torch.from_numpy(targets))
            (loss / len(batches)).backward()
        optimizer.step(0, 0.0)

    return sum(p.numel() for p in model.parameters()), step


def work(pipe: Connection, is_trainer: bool, config: TrainConfig, vocab: int) -> None:
    """An arm: says how many weights it has, then times one step for every message."""
    from trainer.threads import share_cores

    share_cores()  # for both: else a busy machine meets the plain arm tenfold
    weights, step = (trainer_step if is_trainer else plain_step)(config, vocab)
    generator = np.random.default_rng(0)
    shape = (config.accumulation, 2, config.device_batch_size, config.sequence)
    batches = [tuple(pair) for pair in generator.integers(0, vocab, shape)]
    for _ in range(2):
        step(batches)
    pipe.send(weights)
    while pipe.recv():
        began = time.perf_counter()
        step(batches)
        pipe.send(time.perf_counter() - began)


@contextmanager
def arm(is_trainer: bool, config: TrainConfig, vocab: int) -> Iterator[Connection]:
    """A process that does steps on request."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=work, args=(theirs, is_trainer, config, vocab))
    process.start()
    theirs.close()
    try:
        yield ours
        ours.send(False)
    finally:
        process.join(10)
        process.kill()
        process.join()
        ours.close()


def timed(pipe: Connection) -> float:
    """Seconds of one step, by the arm's own clock."""
    pipe.send(True)
    return float(pipe.recv())


@pytest.mark.parametrize("name", ["tour", "m5-tiny"])
def test_trainer_against_plain_torch(benchmark: BenchmarkFixture, name: str) -> None:
    """Not slower: the op seam, the scopes and the bookkeeping must cost less than they save."""
    is_on = benchmark.enabled
    if not is_on and name != "tour":
        pytest.skip("where benchmarks are disabled, one preset shows that this one runs")
    config, vocab, pairs = (preset(name), VOCAB, PAIRS) if is_on else (TINY, 64, 1)
    plain: list[float] = []
    trainer: list[float] = []
    with arm(True, config, vocab) as ours, arm(False, config, vocab) as theirs:
        assert ours.recv() == theirs.recv()
        benchmark.pedantic(
            lambda: trainer.append(timed(ours)),
            setup=lambda: plain.append(timed(theirs)),
            rounds=pairs,
        )
    assert len(plain) >= pairs
    ratios = [slow / fast for slow, fast in zip(plain, trainer, strict=False)]
    speed = config.total_batch_size / statistics.median(trainer)
    benchmark.extra_info.update(ratio=statistics.median(ratios), tokens_per_second=speed)
    if is_on:
        print(
            f"\n{name}: {speed:,.0f} tokens/s, {statistics.median(ratios):.2f} times plain torch "
            f"(pairs from {min(ratios):.2f} to {max(ratios):.2f})"
        )
