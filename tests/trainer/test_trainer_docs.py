"""docs/trainer.md: its examples run, its flags and presets are those of the code."""

from __future__ import annotations

import re
import shlex
from dataclasses import fields

import pytest

import train
from trainer import evaluate
from trainer.config import PRESETS, TrainConfig, muon_matrices

PAGE = (train.ROOT / "docs" / "trainer.md").read_text()


@pytest.mark.parametrize(
    "line",
    re.findall(r"^uv run (?:train\.py|python -m trainer\.evaluate).*?(?=  #|$)", PAGE, flags=re.M),
)
def test_every_example_in_the_docs_parses(line: str) -> None:
    """A flag that was renamed must not live on in docs."""
    words = shlex.split(line)
    command = train.command if "train.py" in words else evaluate.command
    start = 3 if command is train.command else 5
    command.make_context("example", words[start:])


def test_every_flag_that_is_no_field_stands_in_the_docs() -> None:
    """Fields are in --help; what starts, ends and reports a run is explained."""
    named = {field.name for field in fields(TrainConfig)}
    flags = [
        option
        for parameter in train.command.params
        if parameter.name not in named
        for option in parameter.opts
    ]
    assert len(flags) > 15
    assert [flag for flag in flags if f"`{flag}" not in PAGE and f"{flag} " not in PAGE] == []


@pytest.mark.parametrize("name", PRESETS)
def test_the_docs_have_the_presets_as_they_are(name: str) -> None:
    """Somebody chooses by this table."""
    config = PRESETS[name]
    tables = 2 + sum(config.has_value_embedding(layer) for layer in range(config.depth))
    matrices = sum(count * rows * columns for count, rows, columns in muon_matrices(config))
    weights = (8192 * config.width * tables + matrices) / 1e6
    row = (
        f"| `{name}` | {config.depth} | {config.width} | {weights:.1f} | {config.sequence} | "
        f"{config.window_pattern} | {config.total_batch_size:,} | {config.accumulation} |"
    )
    assert row in PAGE
