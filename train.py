"""Trains the language model once on a fixed budget and prints how good it became (val_bpb).

    uv run train.py                                    # the knobs below, 300 seconds
    uv run train.py --preset tour --steps 100          # reproducible: a number of steps
    uv run train.py --op rmsnorm=my_kernel.py          # with an op of your own

What an experiment edits stands first. Every knob is also a flag, and a flag wins. Importing this
file starts nothing.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import Field, fields
from pathlib import Path
from typing import Any

import click

from trainer.bpb import EVAL_TOKENS, evaluation_tokens
from trainer.command import INTERRUPTED, run_command
from trainer.config import PRESETS, TrainConfig, override, preset
from trainer.errors import UsageError
from trainer.hardware import ENGINES
from trainer.ops import REGISTRY
from trainer.output import Output
from trainer.recording import Plan, read_plan
from trainer.run import Settings, run
from trainer.schedule import DEFAULT_SECONDS, Budget, SecondsBudget, StepBudget

# ---- KNOBS: what an experiment edits ------------------------------------------------------------

PRESET = "tour"
"""Where a configuration starts; `trainer/config.py` has them all. `tour` suits two CPU cores."""

OVERRIDES: dict[str, object] = {
    # Any field of trainer.config.TrainConfig, for example:
    # "depth": 4,                 layers; the width follows as depth * aspect_ratio
    # "window_pattern": "SSSL",   S sees half the sequence, L all of it
    # "total_batch_size": 4096,   tokens of one optimizer step
    # "matrix_lr": 0.04,          Muon, for the matrices of the blocks
    # "embedding_lr": 0.6,        AdamW, for token and value embeddings
    # "warmdown_ratio": 0.5,      last part of the budget over which the rates fall to zero
}

DATA = "stdlib"
ENGINE = "auto"

# ---- the command line ---------------------------------------------------------------------------

ROOT = Path(__file__).resolve().parent

FIELD_HELP = {
    "depth": "Layers; the width is depth x aspect_ratio, rounded up to whole heads.",
    "aspect_ratio": "Channels of width per layer.",
    "head_dim": "Channels of an attention head.",
    "sequence": "Tokens of context.",
    "window_pattern": "S: half the sequence, L: all of it; repeated, the last layer is L.",
    "softcap": "Logits are capped at this, softly.",
    "rotary_base": "Base of the rotary wavelengths.",
    "device_batch_size": "Sequences of one micro-batch; lower it if memory runs out.",
    "total_batch_size": "Tokens of one optimizer step.",
    "embedding_lr": "AdamW rate of token and value embeddings at width 768.",
    "unembedding_lr": "AdamW rate of the head at width 768.",
    "matrix_lr": "Muon rate of the blocks' matrices.",
    "scalar_lr": "AdamW rate of the embedding lambdas; residual lambdas take a hundredth.",
    "weight_decay": "Cautious weight decay of the matrices at the start; falls to zero.",
    "adam_beta1": "AdamW's first beta (embeddings and head).",
    "adam_beta2": "AdamW's second beta.",
    "adam_eps": "AdamW's epsilon (embeddings and head).",
    "scalar_eps": "AdamW's epsilon of the lambdas; upstream has 1e-10.",
    "muon_steps": "Polar Express iterations, at most 5.",
    "muon_beta2": "NorMuon's beta.",
    "muon_momentum_start": "Muon's momentum at step 0.",
    "muon_momentum_end": "Muon's momentum after the ramp.",
    "muon_momentum_ramp_steps": "Steps over which the momentum rises.",
    "warmup_ratio": "Share of the budget over which the rates rise from zero.",
    "warmdown_ratio": "Share of the budget over which the rates fall.",
    "final_lr_fraction": "Rates at the very end, relative to the level part.",
    "seed": "Seed of weights and data order.",
}


def config_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """One flag for every field of `TrainConfig`."""
    for one in reversed(fields(TrainConfig)):
        flag = f"--{one.name.replace('_', '-')}"
        command = click.option(flag, type=_type(one), help=FIELD_HELP[one.name])(command)
    return command


def _type(one: Field[Any]) -> type:
    return {"int": int, "float": float, "str": str}[str(one.type)]


@click.command(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.option("--engine", help=f"{', '.join(ENGINES)} or auto.  [{ENGINE}]")
@click.option("--preset", "preset_name", help=f"{', '.join(PRESETS)}.  [{PRESET}]")
@click.option("--data", help=f"A data set that prepare.py made, by name or path.  [{DATA}]")
@click.option("--time-budget", type=float, help=f"Training seconds.  [{DEFAULT_SECONDS:g}]")
@click.option("--steps", type=int, help="Optimizer steps, instead of seconds.")
@click.option("--op", "ops", multiple=True, metavar="NAME=FILE", help="Force an op; repeatable.")
@click.option("--registry", type=click.Path(path_type=Path), help="Promotions to use.")
@click.option(
    "--eval-rung",
    default="cheap",
    help=f"{', '.join(f'{name} ({size:,} tokens)' for name, size in EVAL_TOKENS.items())}.",
)
@click.option("--eval-tokens", type=int, help="Evaluate this many tokens instead of a rung.")
@click.option("--skip-eval", is_flag=True, help="Do not evaluate.")
@click.option(
    "--checkpoint",
    type=click.Path(path_type=Path),
    help="Folder to save to.  [results/checkpoints/last]",
)
@click.option("--no-checkpoint", is_flag=True, help="Save nothing.")
@click.option("--resume", type=click.Path(path_type=Path), help="Go on from this checkpoint.")
@click.option("--compile/--no-compile", "compile_model", default=None, help="Use torch.compile.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as one line of JSON.")
@click.option("--heartbeat", type=int, help="File descriptor to report every step on.")
@click.option("--record", type=int, help="File descriptor with a plan of op calls to record.")
@click.option("--turns", type=int, help="File descriptor to wait on for leave to do N steps.")
@click.option("--trace", type=click.Path(path_type=Path), help="Write a profiler trace; no result.")
@click.option("--trace-steps", type=int, default=3, show_default=True, help="Steps to trace.")
@click.option("--ablate", is_flag=True, help="With --trace: also time steps without each op.")
@config_options
def command(as_json: bool, **flags: Any) -> int:
    """Trains once on a fixed budget, saves a checkpoint, evaluates, prints the result."""
    report = run(settings_from(flags), Output(stdout_is_json=as_json))
    if report is None:
        return 0
    click.echo(report.as_json() if as_json else report.text())
    return INTERRUPTED if report.interrupted else 0


def settings_from(flags: dict[str, Any]) -> Settings:
    """The run's settings from knobs and flags. Raises `UsageError`."""
    plan = None if flags["record"] is None else read_plan(flags["record"])
    return Settings(
        config=_config(flags),
        preset=flags["preset_name"] or PRESET,
        data=flags["data"] or DATA,
        engine=flags["engine"] or ENGINE,
        budget=_budget(flags["steps"], flags["time_budget"]),
        ops=_forced_ops(flags["ops"]),
        registry=flags["registry"] or REGISTRY,
        evaluation=_evaluation(flags),
        checkpoint=_checkpoint(flags),
        resume=flags["resume"],
        compile_model=_compile(flags, plan),
        heartbeat=flags["heartbeat"],
        turns=_turns(flags),
        trace=flags["trace"],
        trace_steps=flags["trace_steps"],
        ablate=_ablate(flags),
        record=plan,
    )


def _config(flags: dict[str, Any]) -> TrainConfig:
    changes = {one.name: flags[one.name] for one in fields(TrainConfig)}
    given = [name for name in ("preset_name", "data", *changes) if flags[name] is not None]
    if flags["resume"] and given:
        names = ", ".join(f"--{name.removesuffix('_name').replace('_', '-')}" for name in given)
        raise UsageError(
            f"a resumed run keeps the settings of its checkpoint; {names} cannot change them",
            "Leave them out. The budget may change: --steps or --time-budget.",
        )
    return override(override(preset(flags["preset_name"] or PRESET), OVERRIDES), changes)


def _budget(steps: int | None, seconds: float | None) -> Budget | None:
    if steps is not None and seconds is not None:
        raise UsageError("--steps and --time-budget exclude each other", "Give one of them.")
    if steps is not None:
        return StepBudget(steps)
    return None if seconds is None else SecondsBudget(seconds)


def _forced_ops(given: tuple[str, ...]) -> dict[str, Path]:
    forced = {}
    for text in given:
        name, separator, file = text.partition("=")
        if not separator or not Path(file).is_file():
            raise UsageError(
                f"--op {text}: " + (f"there is no file {file}" if separator else "no '='"),
                "Give an op and the file that defines it: --op rmsnorm=path/to/candidate.py",
            )
        forced[name] = Path(file)
    return forced


def _evaluation(flags: dict[str, Any]) -> str | int | None:
    size = flags["eval_rung"] if flags["eval_tokens"] is None else flags["eval_tokens"]
    evaluation_tokens(size)  # a misspelt rung must not come out after the training
    return None if flags["skip_eval"] else size


def _checkpoint(flags: dict[str, Any]) -> Path | None:
    if flags["checkpoint"] and flags["no_checkpoint"]:
        raise UsageError("--checkpoint and --no-checkpoint exclude each other", "Give one of them.")
    if flags["no_checkpoint"] or flags["trace"]:
        return None
    return flags["checkpoint"] or results_folder() / "checkpoints" / "last"


def results_folder() -> Path:
    """`KERNEL_LAB_RESULTS`, else `results/` in the checkout."""
    return Path(os.environ.get("KERNEL_LAB_RESULTS") or ROOT / "results")


def _turns(flags: dict[str, Any]) -> int | None:
    if flags["turns"] is not None and flags["heartbeat"] is None:
        raise UsageError("--turns needs --heartbeat", "Whoever gives turns must see them end.")
    return flags["turns"]


def _ablate(flags: dict[str, Any]) -> bool:
    if flags["ablate"] and not flags["trace"]:
        raise UsageError("--ablate needs --trace", "What it measures is written beside the trace.")
    return bool(flags["ablate"])


def _compile(flags: dict[str, Any], plan: Plan | None) -> bool | None:
    if not (flags["trace"] or plan):
        return flags["compile_model"]
    if flags["compile_model"]:
        flag = "--trace" if flags["trace"] else "--record"
        raise UsageError(f"{flag} cannot see into a compiled model", "Leave out --compile.")
    return False


if __name__ == "__main__":
    sys.exit(run_command(command))
