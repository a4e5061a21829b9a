"""A run small enough for a test: a few kilobytes of text, a narrow model, one thread."""

from __future__ import annotations

import random
from pathlib import Path

import torch

from prepare import prepare
from trainer.config import TrainConfig
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
