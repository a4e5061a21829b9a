"""Starting candidates against incumbents: forward and backward at the shapes of a preset.

Run with `uv run pytest tests/benchmarks/test_candidate_speed.py --benchmark-enable`; the groups of
the table are the ops. `kernel-lab bench` is the judge, with interleaved arms and intervals.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from pytest_benchmark.fixture import BenchmarkFixture

from kernels.spec import Case, TargetFolder, discover, load_module
from trainer.config import preset, training_shape

PRESET, VOCAB = "tour", 8192
ARMS = [
    (folder, arm, path)
    for folder in discover().values()
    for arm, path in (
        ("incumbent", folder.incumbent("torch")),
        ("candidate", folder.path / "candidates" / "torch.py"),
    )
]


def largest_training_case(folder: TargetFolder) -> Case:
    """The training case with the most arithmetic."""
    cases = folder.target.train_cases(training_shape(preset(PRESET), VOCAB))
    return max(cases, key=lambda case: folder.target.cost(case.dims, 4).flops)


@pytest.mark.parametrize(
    ("folder", "arm", "path"), ARMS, ids=[f"{folder.id}-{arm}" for folder, arm, _ in ARMS]
)
def test_forward_and_backward(
    benchmark: BenchmarkFixture, folder: TargetFolder, arm: str, path: Path
) -> None:
    """One call as training makes it, in float32."""
    benchmark.group = folder.id
    target, case = folder.target, largest_training_case(folder)
    generator = np.random.default_rng(0)
    inputs = []
    for one in target.inputs:
        values = torch.from_numpy(one.draw(generator, case.dims, case.shape(one.shape)))
        inputs.append(values if one.kind == "index" else values.float())
        inputs[-1].requires_grad_(one.differentiable)
    leaves = [tensor for tensor in inputs if tensor.requires_grad]
    incoming = [torch.randn(case.shape(output.shape)) for output in target.outputs]
    function, scalars = getattr(load_module(path), folder.id), target.scalars_of(case.dims)

    def once() -> None:
        result = function(*inputs, *scalars)
        if leaves:
            torch.autograd.grad(result, leaves, incoming)

    benchmark(once)
