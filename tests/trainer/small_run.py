"""A run small enough for a test: a few kilobytes of text, a narrow model, one thread."""

from __future__ import annotations

import json
import random
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import torch

import train
from prepare import prepare
from trainer.command import run_command
from trainer.config import PRESETS, TrainConfig
from trainer.data import Batches, Prepared
from trainer.engines.torch.engine import TorchEngine
from trainer.ops import OpTable, resolve

SMALL = TrainConfig(
    depth=3,
    aspect_ratio=12,
    head_dim=16,
    sequence=32,
    window_pattern="SSL",
    device_batch_size=2,
    total_batch_size=128,
)
"""Three layers of width 48, two with a value embedding, two windowed; two micro-batches a step."""

VOCAB = 300
WORDS = ("the", "of", "and", "to", "in", "is", "it", "you", "that", "he", "was", "for")


def small_data(folder: Path) -> Prepared:
    """Twenty prepared text files, the same ones every time; the cache lies in `folder` too."""
    generator = random.Random(0)
    text = folder / "text"
    text.mkdir(parents=True)
    for number in range(20):
        words = generator.choices(WORDS, k=400)
        (text / f"{number:02}.txt").write_text(" ".join(words))
    return prepare(str(text), vocab_size=VOCAB, cache=folder / "cache")


def small_stream(prepared: Prepared, config: TrainConfig = SMALL) -> Batches:
    """The training batches of a run."""
    return Batches(prepared, "train", config.device_batch_size, config.sequence, config.seed)


def incumbents() -> OpTable:
    """The ops that nothing was promoted over."""
    return resolve("", "")


def small_engine(prepared: Prepared, config: TrainConfig = SMALL) -> TorchEngine:
    """A fresh engine on the CPU."""
    torch.set_num_threads(1)
    return TorchEngine("cpu", config, prepared.vocab, incumbents(), compile_model=False)


SIZES = [
    f"--{name.replace('_', '-')}={value}"
    for name, value in asdict(SMALL).items()
    if value != getattr(PRESETS["tour"], name)
]
SHORT = ["--engine=cpu", "--preset=tour", "--steps=2", "--eval-tokens=64", *SIZES]
"""Flags of train.py for two steps of `SMALL`."""


def run_train(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    """Exit code, stdout, stderr."""
    code = run_command(train.command, arguments)
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def result(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    """What a run prints with --json, which has to be all that is on stdout."""
    code, out, err = run_train(capsys, "--json", *arguments)
    assert code == 0, err
    assert len(out.splitlines()) == 1
    return dict(json.loads(out))


def write_op(path: Path, name: str, body: str) -> str:
    """Writes an op and returns the flag that forces it."""
    path.write_text(f"import torch\n\n\ndef {name}(*inputs):\n    {body}\n")
    return f"--op={name}={path}"
