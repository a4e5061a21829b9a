"""Exact bits per byte on the validation split.

    python -m trainer.evaluate --checkpoint DIR [--checkpoint DIR2 ...] --data NAME --rung cheap

As a command it is the clean evaluation: a process of its own that takes weights from safetensors
and computes with the incumbent ops only, whatever was promoted or forced in training. It prints one
JSON object, {"results": [{"checkpoint", "val_bpb", "tokens", "bytes", "step", "config"}, ...]}.
`config` is what the checkpoint claims to be; a judge compares it with what it ordered. With one
`--beside DIR` for each checkpoint, another run's of the same seed, a result also has "apart", how
far the two lie from one another (`trainer.apart`), and the "compute_dtype" they were trained in.

Rows come in order from the start of the validation split, so that every run sees the same ones.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any

import click

from trainer import checkpoint
from trainer.apart import apart
from trainer.bpb import EVAL_TOKENS, BitsPerByte, evaluation_tokens
from trainer.command import run_command
from trainer.config import TrainConfig
from trainer.data import Prepared, open_prepared, validation_batches
from trainer.engines import build
from trainer.errors import DataError, UsageError
from trainer.hardware import ENGINES, resolve_engine
from trainer.loop import Engine
from trainer.ops import resolve
from trainer.threads import share_cores

BATCH_TOKENS = 16_384
"""A batch has no more tokens than this, nor than a training micro-batch: evaluation must not need
more memory than training did."""

OnTokens = Callable[[int, int], None]
"""Told how many tokens are done and how many were asked for."""


@dataclass(frozen=True)
class Evaluation:
    """Bits per byte, and over how much text."""

    rung: str | int
    val_bpb: float
    tokens: int
    bytes: int
    asked_tokens: int

    @property
    def note(self) -> str:
        """Says so where the split was smaller than the rung; else empty."""
        if self.tokens >= self.asked_tokens:
            return ""
        return (
            f"the validation split has {self.tokens:,} tokens in whole rows, fewer than the "
            f"{self.asked_tokens:,} asked for: all of them were evaluated"
        )


def evaluate(
    engine: Engine,
    prepared: Prepared,
    rung: str | int,
    on_tokens: OnTokens = lambda done, asked: None,
) -> Evaluation:
    """Evaluates the engine's model on a rung of `trainer.bpb.EVAL_TOKENS` or a number of tokens."""
    config = engine.config
    asked = max(1, evaluation_tokens(rung) // config.sequence) * config.sequence
    batch = max(1, min(config.device_batch_size, BATCH_TOKENS // config.sequence))
    score = BitsPerByte(prepared.token_bytes)
    for inputs, targets in validation_batches(prepared, batch, config.sequence, asked):
        score.add(engine.token_losses(inputs, targets), targets)
        on_tokens(score.tokens, asked)
    return Evaluation(rung, score.value, score.tokens, score.bytes, asked)


def evaluate_checkpoints(
    folders: tuple[Path, ...],
    data: str,
    rung: str | int,
    engine_name: str,
    beside: tuple[Path, ...] = (),
) -> Iterator[dict[str, Any]]:
    """One result per checkpoint, with the incumbent ops.

    `beside` holds none or as many checkpoints as `folders`, each of a run of the same seed.
    """
    share_cores()
    prepared = open_prepared(data)
    name = resolve_engine(engine_name).value
    # nothing is ever promoted for no hardware
    incumbents = resolve(engine=name, hardware="")
    engine: Engine | None = None
    for folder, other in zip_longest(folders, beside):
        state = checkpoint.load_state(folder)
        config = config_of(state, folder)
        if state.get("tokenizer_sha256") != prepared.tokenizer_sha256:
            raise DataError(
                f"{folder} was trained with another tokenizer than that of '{data}'",
                "Give the --data that the run was trained on.",
            )
        if engine is None or other or engine.config != config:
            engine = build(name, config, prepared.vocab, incumbents, compile_model=False)
        more = _beside(engine, other, folder) if other else {}
        engine.load(folder, with_optimizer=False)
        found = evaluate(engine, prepared, rung)
        yield {
            "checkpoint": str(folder),
            "val_bpb": found.val_bpb,
            "tokens": found.tokens,
            "bytes": found.bytes,
            "step": state.get("step"),
            "config": asdict(config),
            **more,
        }


def _beside(untrained: Engine, first: Path, second: Path) -> dict[str, Any]:
    """Of two checkpoints of the configuration, hence the seed, of an engine as it was built."""
    with tempfile.TemporaryDirectory(prefix="kernel-lab-") as scratch:
        initial = Path(scratch) / "initial"
        untrained.save(initial, {})
        found = apart(initial, first, second)
    return {"apart": asdict(found), "compute_dtype": untrained.notes["compute_dtype"].value}


def config_of(state: dict[str, Any], folder: Path) -> TrainConfig:
    """The configuration in a checkpoint's state. Raises `DataError` if it is not one."""
    try:
        return TrainConfig(**state["config"])
    except (KeyError, TypeError) as error:
        raise DataError(
            f"the checkpoint at {folder} has no configuration that this version knows: {error}",
            "Use the version that wrote it.",
        ) from error


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--checkpoint",
    "folders",
    multiple=True,
    required=True,
    type=click.Path(path_type=Path),
    help="A checkpoint's folder; give it several times for several.",
)
@click.option(
    "--beside",
    multiple=True,
    type=click.Path(path_type=Path),
    help="For each checkpoint another of the same seed: how far are they apart?",
)
@click.option("--data", default="stdlib", show_default=True, help="Data set, as prepared.")
@click.option(
    "--rung",
    default="cheap",
    show_default=True,
    help=f"How much to evaluate: {', '.join(f'{k} ({v:,})' for k, v in EVAL_TOKENS.items())}.",
)
@click.option("--eval-tokens", type=int, help="A number of tokens instead of a rung.")
@click.option("--engine", default="auto", show_default=True, help=f"{', '.join(ENGINES)} or auto.")
def command(
    folders: tuple[Path, ...],
    beside: tuple[Path, ...],
    data: str,
    rung: str,
    eval_tokens: int | None,
    engine: str,
) -> None:
    """Bits per byte of checkpoints, computed with the incumbent ops only."""
    if len(beside) not in (0, len(folders)):
        raise UsageError(
            f"{len(beside)} --beside for {len(folders)} --checkpoint", "Give one for each, or none."
        )
    size = rung if eval_tokens is None else eval_tokens
    results = list(evaluate_checkpoints(folders, data, size, engine, beside))
    click.echo(json.dumps({"results": results}))


if __name__ == "__main__":
    sys.exit(run_command(command))
