"""The command line: each command parses, makes one call and renders.

    kernel-lab [--engine auto|mlx|cuda|mps|cpu] [--results DIR] [--ledger FILE] VERB …

Data goes to stdout, progress to stderr; every command takes --json. Exit codes: 0 done, 1 your
candidate (a verdict of hold or reject included), 2 your command, 3 the lab or machine, 130 Ctrl-C.
Imports nothing heavy until a command needs it.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from lab import render
from lab.cli_checks import checks
from lab.cli_ledger import ledger
from lab.cli_workspaces import workspaces
from lab.commandline import PATH, Commands, command, leave
from lab.errors import CommandError

if TYPE_CHECKING:
    from lab.context import Lab
    from lab.records import Profiled

UNCONFINED = """warning: no sandbox. Candidate code can do on this machine whatever you can, to the
ledger and the judge as well; what is measured now is recorded with isolation 'none' and never
promotes."""


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--engine", default="auto", show_default=True, help="mlx, cuda, mps, cpu or auto.")
@click.option("--results", type=PATH, help="Folder of results. [default: results]")
@click.option("--ledger", type=PATH, help="The ledger. [default: RESULTS/ledger.jsonl]")
@click.option("--registry", type=PATH, help="Promotions. [default: trainer/promoted.toml]")
@click.option("--no-sandbox", is_flag=True, help="Run candidates unconfined; never promotes.")
@click.version_option(package_name="kernel-lab")
@click.pass_context
def cli(
    ctx: click.Context,
    engine: str,
    results: Path | None,
    ledger: Path | None,
    registry: Path | None,
    no_sandbox: bool,
) -> None:
    """Find the op that costs a trainer the most, write a faster one, prove it, promote it.

    profile → open → verify → bench → ab → gate → promote. Start with: kernel-lab tour
    """
    from lab.context import Lab
    from lab.isolation import forgone, without_sandbox
    from lab.places import places

    if no_sandbox:
        ctx.with_resource(without_sandbox())
    if forgone():
        render.note(UNCONFINED)
    ctx.obj = Lab(places(results, ledger, registry), engine)


@command(cli)
@click.option("--fresh", is_flag=True, help="Start over instead of going on.")
@click.option("--promote", is_flag=True, help="If the verdict allows it, promote in the checkout.")
def tour(lab: Lab, fresh: bool, promote: bool, as_json: bool) -> None:
    """The main job, on an embedded default, to its verdict.

    Under three minutes on two cores. Goes on where it was interrupted.
    """
    from lab.tour import run

    with render.progress() as progress:
        ended = run(lab, fresh=fresh, promote=promote, progress=progress, say=render.note)
    render.show(ended, as_json)


for _command in checks.commands.values():
    cli.add_command(_command)


@command(cli)
def targets(lab: Lab, as_json: bool) -> None:
    """The ops that can be replaced."""
    from lab.orchestrate import catalogue

    render.show(catalogue(), as_json)


@command(cli)
@click.option("--preset", help="Which model. [default: by engine]")
@click.option("--data", default="stdlib", show_default=True, help="Which data set.")
@click.option("--steps", default=8, show_default=True, help="Steps to trace.")
@click.option("--ablate/--no-ablate", default=True, help="Time steps without each target, too.")
@click.option("--top-k", type=int, help="Print only the first K rows.")
@click.option("--output", type=PATH, help="Also write the profile to this JSON file.")
def profile(
    lab: Lab,
    preset: str | None,
    data: str,
    steps: int,
    ablate: bool,
    top_k: int | None,
    output: Path | None,
    as_json: bool,
) -> None:
    """The trainer's hot ops, and what each could gain."""
    from lab.stages import profile as measure

    with render.progress() as progress:
        found = measure(lab, preset, data, steps, output, progress, ablate=ablate)
    render.show(_top(found, top_k), as_json)


for _command in workspaces.commands.values():
    cli.add_command(_command)


@command(cli)
@click.argument("workspace")
@click.option("--no-recording", is_flag=True, help="Leave out the calls recorded in training.")
@click.option("--simulate", is_flag=True, help="On a Mac: in the Metal simulator, too.")
def verify(lab: Lab, workspace: str, no_recording: bool, simulate: bool, as_json: bool) -> None:
    """Is the candidate correct, with every gradient?"""
    from lab import stages
    from lab.outcomes import Failed
    from lab.simulated import ways

    recorded = not no_recording
    with render.progress() as progress:
        space = lab.workspace(workspace)
        found = [
            stages.verify(lab, space, progress, recorded=recorded, simulate=way)
            for way in ways(space.seal, simulate)
        ]
    for record in found:
        render.show(record, as_json)
    leave(1 if any(isinstance(record.outcome, Failed) for record in found) else 0)


@command(cli)
@click.argument("workspace")
def bench(lab: Lab, workspace: str, as_json: bool) -> None:
    """Is it faster than the incumbent, at training's shapes?"""
    from lab import stages
    from lab.outcomes import Measured

    with render.progress() as progress:
        record = stages.bench(lab, lab.workspace(workspace), progress)
    render.show(record, as_json)
    leave(0 if isinstance(record.outcome, Measured) else 1)


@command(cli)
@click.argument("workspace")
@click.option("--pairs", default=8, show_default=True, help="At most; looks are after 3, 5, 8.")
@click.option("--preset", help="What to train. [default: the workspace's]")
@click.option("--data", default="stdlib", show_default=True, help="Which data set.")
@click.option("--steps", default=40, show_default=True, help="Optimizer steps of every run.")
@click.option("--eval-tokens", default="cheap", show_default=True, help="A rung or a number.")
@click.option("--fresh", is_flag=True, help="A new A/B on new seeds: confirms the one before.")
@click.option("--turns/--no-turns", default=None, help="Both runs at once, taking turns. [no]")
def ab(
    lab: Lab,
    workspace: str,
    pairs: int,
    preset: str | None,
    data: str,
    steps: int,
    eval_tokens: str,
    fresh: bool,
    turns: bool | None,
    as_json: bool,
) -> None:
    """Does training gain? Paired runs on step time and val_bpb."""
    from lab import stages
    from lab.context import run_settings
    from lab.outcomes import Compared

    space = lab.workspace(workspace)
    settings = run_settings(
        *(lab, preset or space.seal.preset, data, steps, eval_tokens), workspace=space, turns=turns
    )
    with render.progress() as progress:
        record = stages.ab(lab, space, settings, pairs=pairs, fresh=fresh, progress=progress)
    render.show(record, as_json)
    leave(0 if isinstance(record.outcome, Compared) else 1)


@command(cli)
@click.argument("workspace", required=False)
@click.option("--replay", "record", help="Judge anew, from the ledger alone, what RECORD judged.")
def gate(lab: Lab, workspace: str | None, record: str | None, as_json: bool) -> None:
    """The verdict on the evidence, with every reason."""
    if (workspace is None) == (record is None):
        raise CommandError("gate takes a workspace or --replay RECORD", "See: kernel-lab status")
    if record is not None:
        _replay(lab, record, as_json)
    else:
        _gate(lab, str(workspace), as_json)


@command(cli, name="promotion-check")
@click.argument("workspace")
def promotion_check(lab: Lab, workspace: str, as_json: bool) -> None:
    """The same as gate."""
    _gate(lab, workspace, as_json)


@command(cli)
@click.argument("workspace")
def promote(lab: Lab, workspace: str, as_json: bool) -> None:
    """Make the candidate the incumbent, if the gate lets it in."""
    from lab.promote import promote as enter
    from lab.stages import gate as judge

    space = lab.workspace(workspace)
    render.show(enter(lab, space, judge(lab, space)), as_json)


@command(cli)
@click.argument("target")
@click.option("--why", default="", help="Kept in the ledger.")
def demote(lab: Lab, target: str, why: str, as_json: bool) -> None:
    """Take a promotion back, on this engine and hardware."""
    from lab.promote import demote as take_back

    render.show(take_back(lab, target, why), as_json)


@command(cli)
def status(lab: Lab, as_json: bool) -> None:
    """Where every target stands."""
    from lab.orchestrate import status as read

    render.show(read(lab), as_json)


@command(cli)
@click.option("--output", type=PATH, help="Folder. [default: RESULTS/report]")
def report(lab: Lab, output: Path | None, as_json: bool) -> None:
    """report.html, progress.png, results.tsv, from the ledger."""
    from lab.report import write_report

    made = write_report(list(lab.ledger.read()), (output or lab.places.report).resolve())
    render.show(made, as_json)


def _gate(lab: Lab, workspace: str, as_json: bool) -> None:
    from lab import stages

    record = stages.gate(lab, lab.workspace(workspace))
    render.show(record, as_json)
    leave(0 if record.verdict.decision == "promote" else 1)


def _replay(lab: Lab, record: str, as_json: bool) -> None:
    from lab.replay import replay

    found = replay(lab.ledger, record)
    render.show(found, as_json)
    leave(0 if found.same else 1)


def _top(profiled: Profiled, top_k: int | None) -> Profiled:
    import msgspec

    return msgspec.structs.replace(profiled, ops=profiled.ops[:top_k])


cli.add_command(ledger)


def main() -> None:
    """The entry point of `kernel-lab`."""
    cli(prog_name="kernel-lab")
