"""Commands that judge the lab and its machine, not a candidate: doctor, self-test, calibrate-noise.

`lab.cli` takes them in beside its own.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from lab import render
from lab.commandline import PATH, command, leave

if TYPE_CHECKING:
    from lab.context import Lab


@click.group()
def checks() -> None:
    """Holds the commands; never called itself."""


@command(checks)
def doctor(lab: Lab, as_json: bool) -> None:
    """What this machine can do, and how to get what is missing."""
    from lab.doctor import examine

    health = examine(lab)
    render.show(health, as_json)
    leave(0 if health.works else 3)


@command(checks, name="self-test")
@click.option("--only", help="One category: its letter, its name, 'own', 'honest' or 'copies'.")
@click.option("--quick", is_flag=True, help="Nothing that is timed, no cheats of the targets.")
@click.option("--output", type=PATH, help="Also write the scorecard here, as .md or .json.")
def self_test(lab: Lab, only: str | None, quick: bool, output: Path | None, as_json: bool) -> None:
    """Is the harness fooled, and is it fair? A scorecard."""
    from lab.selftest.run import run

    with render.progress() as progress:
        scorecard = run(lab.engine, only, quick, progress)
    if output:
        output.write_bytes(scorecard.file(output.suffix))
    render.show(scorecard, as_json)
    leave(0 if scorecard.works else 1)


@command(checks, name="calibrate-noise")
@click.option("--target", help="Whose incumbent is copied. [default: by engine]")
@click.option("--preset", help="Whose shapes, and what to train. [default: by engine]")
@click.option("--data", default="stdlib", show_default=True, help="Which data set.")
@click.option("--quick", is_flag=True, help="Only what the gate asks for: a few minutes.")
def calibrate_noise(
    lab: Lab, target: str | None, preset: str | None, data: str, quick: bool, as_json: bool
) -> None:
    """What the lab sees here of slow-downs that are known."""
    from lab.calibrate import Plan, calibrate
    from lab.gate_calibration import trouble

    plan = Plan.quick() if quick else Plan.full()
    with render.progress() as progress:
        record = calibrate(
            *(lab, plan),
            target=target,
            preset=preset,
            data=data,
            progress=progress,
            say=render.note,
        )
    render.show(record, as_json)
    leave(3 if trouble(record) else 0)
