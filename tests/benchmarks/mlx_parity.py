"""Prints how far the MLX engine is from the torch engine, for docs/mlx.md.

    uv run python tests/benchmarks/mlx_parity.py [--steps 20] [--vocab 512] [--seeds 3] [--whole]

With --whole both engines run the larger ops as a whole and not in parts. At the sizes of the
`tour-mlx` preset with two micro-batches. What is measured, and what the noise of float32 means, is
said in tests/trainer/parity.py. Not collected by pytest; takes no times.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import click

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "trainer")]

from parity import FACTOR, groups, measure  # noqa: E402

from trainer.config import preset  # noqa: E402


@click.command()
@click.option("--steps", default=20, show_default=True)
@click.option("--vocab", default=512, show_default=True)
@click.option("--seeds", default=3, show_default=True, help="Sets of tokens; the worst is shown.")
@click.option("--whole", is_flag=True, help="The larger ops as a whole, not in parts.")
def command(steps: int, vocab: int, seeds: int, whole: bool) -> None:
    """One line per group of tensors: errors against float64, worst tensor of each."""
    config = replace(preset("tour-mlx"), total_batch_size=512)
    found = [dict(groups(measure(config, vocab, 10 + 40 * n, steps, whole))) for n in range(seeds)]
    print("| tensors | MLX's error | float32's noise | worst ratio |\n|---|---|---|---|")
    for group in found[0]:
        rows = [row for one in found for row in one[group]]
        ratio = max(row.error / row.noise for row in rows)
        error, noise = max(row.error for row in rows), max(row.noise for row in rows)
        print(f"| {group} | {error:.1e} | {noise:.1e} | {ratio:.1f} of {FACTOR} |")


if __name__ == "__main__":
    command()
