"""Recordings made by the trainer's own recorder, from calls made here instead of in a training."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from kernels.spec import TargetFolder, TrainingShape, load_module
from lab.harness import inputs
from lab.harness.recording import Recording, load, parse
from trainer.engines.torch.recording import take, write
from trainer.recording import Record

ABOUT: dict[str, Any] = {
    "preset": "tour",
    "engine": "cpu",
    "vocab": 97,
    "data_sha256": "d" * 64,
    "tokenizer_sha256": "7" * 64,
    "steps": 9,
    "ops": {},
}
SHAPE = TrainingShape(
    batch=3,
    sequence=16,
    width=64,
    heads=2,
    head_dim=32,
    vocab=97,
    layers=2,
    matrices=((3, 64, 64), (2, 128, 32)),
    windows=(8, 16),
)
SIZE, GRADIENT_SIZE = 0.01, 1e-6
"""Of inputs and of incoming gradients: neither is what a case draws."""


def write_recording(
    folder: TargetFolder,
    path: Path,
    function: Callable[..., Any] | None = None,
    steps: Sequence[int] = (2, 9),
    limit_bytes: int = 2**22,
    shape: TrainingShape = SHAPE,
    which_case: int = 0,
    **about: Any,
) -> Path:
    """A file as `train.py` writes it, of calls of `function` (the incumbent) on small inputs."""
    target = folder.target
    function = function or getattr(load_module(folder.incumbent("torch")), folder.id)
    case, random = target.train_cases(shape)[which_case], inputs.generator()
    records = []
    for step in steps:
        record = Record(target, step, 1, 4, 0.7, limit_bytes)
        content = inputs.draw(target, case, "float32", random)
        given = [
            (tensor * SIZE if one.scaled and one.kind == "float" else tensor).requires_grad_(
                one.differentiable
            )
            for one, tensor in zip(target.inputs, content.inputs, strict=True)
        ]
        result = take(record, function, (*given, *content.scalars))
        outputs = result if isinstance(result, tuple) else (result,)
        if content.incoming:
            torch.autograd.backward(outputs, [g * GRADIENT_SIZE for g in content.incoming])
        records.append(record)
    write(path, records, {**ABOUT, "op": folder.id, **about})
    return path


def recording(folder: TargetFolder, path: Path, **how: Any) -> Recording:
    """The same, read back."""
    return parse(load(write_recording(folder, path, **how)), folder, SHAPE)
