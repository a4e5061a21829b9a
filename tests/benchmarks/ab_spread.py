"""How far the pairs of an A/B of the incumbent against itself lie apart, with and without turns.

    uv run python tests/benchmarks/ab_spread.py                 # 8 pairs of each
    uv run python tests/benchmarks/ab_spread.py --pairs 3 --steps 40

The standard deviation of the pairs' log step-time ratio decides how small a gain three, five
or eight pairs can show. Pairs with turns and pairs one after the other alternate, so that both meet
the same machine. Nothing is evaluated: val_bpb does not depend on the order of the runs.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import statistics
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from lab.arm import Arm
from lab.context import target_folder
from lab.outcomes import Arm as ArmRecord
from lab.outcomes import Pair
from lab.paired import log_speedups, whole_log_speedups
from lab.training_run import Run, Settings, Task
from lab.turns import Order, Which, train_pair
from trainer.hardware import hardware_key
from trainer.ops import REGISTRY, select

OP = "rmsnorm"


def control(folder: Path) -> Task:
    """A candidate that is the incumbent but for a comment."""
    source = select(target_folder(OP), "cpu", hardware_key("cpu"), REGISTRY)[0].read_text()
    copy = folder / "control.py"
    copy.write_text(f"{source}\n# the control\n")
    return Task(OP, "cpu", copy, hashlib.sha256(copy.read_bytes()).hexdigest())


def one_pair(task: Task, settings: Settings, place: Path, order: Order, turns: bool) -> Pair:
    """Both runs with one seed, as the A/B makes them."""

    def start(which: Which) -> Arm:
        folder = place.with_name(f"{place.name}{which}")
        return Arm(task, settings, folder, 1, settings.steps, candidate=which == "B")

    def record(run: Run) -> ArmRecord:
        step_ms = sum(run.turn_ms) / settings.steps
        return ArmRecord(
            step_ms=step_ms,
            wall_s=run.wall_s,
            steps=settings.steps,
            val_bpb=0.0,
            ops=run.ops,
            turn_ms=run.turn_ms,
        )

    runs = train_pair(start, order, settings.steps, turns)
    pair = Pair(seed=1, order=order, incumbent=record(runs["A"]), candidate=record(runs["B"]))
    print(
        f"  {'turns' if turns else 'one after the other'}, {order}: {log_speedups([pair])[0]:+.4f}"
    )
    for name, run in runs.items():
        print(
            f"    {name}: {len(run.turn_ms)} turns, {sum(run.turn_ms) / 1e3:.2f} s; CPU time "
            f"before {run.before_cpu_s:.2f} s, between {run.between_cpu_s:.4f} s, "
            f"after {run.after_cpu_s:.2f} s; {run.wall_s:.1f} s in all",
            flush=True,
        )
    return pair


def show(name: str, log_ratios: list[float]) -> None:
    """One row of the table in docs/ab.md."""
    each = " ".join(f"{x:+.4f}" for x in log_ratios)
    spread = statistics.stdev(log_ratios)
    print(f"| {name} | {spread:.4f} | {statistics.fmean(log_ratios):+.4f} | {each} |")


def measure(pairs: int, steps: int, preset: str) -> None:
    """Prints the spread of both kinds of pairs."""
    found: dict[bool, list[Pair]] = {True: [], False: []}
    with tempfile.TemporaryDirectory(prefix="kernel-lab-spread-") as name:
        folder = Path(name)
        settings = Settings(preset, "stdlib", steps, "cheap", REGISTRY)
        task = control(folder)
        for number in range(pairs):
            for turns, made in found.items():
                place = folder / f"pair{number}{turns}"
                order: Order = "AB" if number % 2 == 0 else "BA"
                made.append(one_pair(task, settings, place, order, turns))
    print(f"\n{pairs} pairs of {steps} steps of '{preset}', load now {os.getloadavg()[0]:.1f}\n")
    print("| pairs | standard deviation of the log ratio | mean | each |")
    print("|---|---|---|---|")
    show("one after the other", log_speedups(found[False]))
    show("taking turns", log_speedups(found[True]))
    show("taking turns, no turn left out", whole_log_speedups(found[True]))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--pairs", type=int, default=8)
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--preset", default="tour")
    given = parser.parse_args()
    measure(given.pairs, given.steps, given.preset)
