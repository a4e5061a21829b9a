"""Commands that open workspaces, by name, by rank or all that are worth it.

`lab.cli` takes them in between its own.
"""

from __future__ import annotations

import shlex
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from lab import render
from lab.commandline import PATH, command
from lab.errors import CommandError

if TYPE_CHECKING:
    from lab.context import Lab
    from lab.records import Profiled


@click.group()
def workspaces() -> None:
    """Holds the commands; never called itself."""


@command(workspaces, name="open")
@click.argument("target")
@click.option("--language", help="What to write it in. [default: by engine]")
@click.option("--workspace", type=PATH, help="Folder. [default: RESULTS/workspaces/NAME]")
@click.option("--preset", help="Whose shapes count. [default: by engine]")
@click.option("--candidate", type=PATH, help="Start from this file instead of the target's own.")
def open_(
    lab: Lab,
    target: str,
    language: str | None,
    workspace: Path | None,
    preset: str | None,
    candidate: Path | None,
    as_json: bool,
) -> None:
    """A workspace for TARGET: a candidate and its sealed task."""
    _open(lab, as_json, target, language, workspace, preset, candidate)


@command(workspaces)
@click.option("--target", required=True)
@click.option("--language", help="What to write it in. [default: by engine]")
@click.option("--workspace", type=PATH, required=True)
def init(lab: Lab, target: str, language: str | None, workspace: Path, as_json: bool) -> None:
    """The same as open TARGET --workspace DIR."""
    _open(lab, as_json, target, language, workspace, None, None)


@command(workspaces)
@click.option("--profile", "source", type=PATH, required=True, help="A file that profile wrote.")
@click.option("--rank", default=1, show_default=True, help="Which of its targets.")
@click.option("--language", help="What to write it in. [default: by engine]")
@click.option("--workspace", type=PATH, required=True)
def extract(
    lab: Lab, source: Path, rank: int, language: str | None, workspace: Path, as_json: bool
) -> None:
    """A workspace for the target at a rank of a profile."""
    from lab.profiling import load

    profiled = load(source)
    ranked = [op.op for op in sorted(profiled.targets, key=lambda op: -op.ceiling_roofline)]
    if not 1 <= rank <= len(ranked):
        raise CommandError(f"--rank {rank}: {source} has {len(ranked)} targets", f"{ranked}")
    _open(lab, as_json, ranked[rank - 1], language, workspace, profiled.preset, None)


@command(workspaces)
@click.option("--profile", "source", type=PATH, help="A file that profile wrote. [default: newest]")
@click.option("--workspace-root", type=PATH, help="Where. [default: RESULTS/workspaces]")
@click.option("--agent", help="Run this shell command in each workspace, then verify and bench.")
def orchestrate(
    lab: Lab, source: Path | None, workspace_root: Path | None, agent: str | None, as_json: bool
) -> None:
    """Open what is worth working on; say each next step."""
    from lab.orchestrate import plan

    root = workspace_root.resolve() if workspace_root else None
    made = plan(lab, _profile(lab, source), root)
    if agent:
        for step in made.steps:
            _run_agent(lab, agent, Path(step.folder))
        made = plan(lab, _profile(lab, source), root)
    render.show(made, as_json)


def _open(
    lab: Lab,
    as_json: bool,
    target: str,
    language: str | None,
    folder: Path | None,
    preset: str | None,
    candidate: Path | None,
) -> None:
    from lab import stages

    workspace, record = stages.open_workspace(
        lab, target, language=language, folder=folder, preset=preset, candidate=candidate
    )
    render.show(record, as_json)
    render.note(f"{workspace.folder}\nNext: read TASK.md, then: kernel-lab verify {workspace.name}")


def _profile(lab: Lab, source: Path | None) -> Profiled:
    from lab.context import latest_profile
    from lab.profiling import load

    found = load(source) if source else latest_profile(lab, lab.engine)
    if found is None:
        raise CommandError(
            f"no profile of engine {lab.engine} yet", "Run: kernel-lab profile, or name --profile."
        )
    return found


def _run_agent(lab: Lab, agent: str, folder: Path) -> None:
    """Runs the agent's command in a workspace, then what the lab can do by itself."""
    from lab.next_step import advance

    render.note(f"{folder.name}: {agent}")
    finished = subprocess.run(shlex.split(agent), cwd=folder, stdout=sys.stderr)
    if finished.returncode != 0:
        render.note(f"{folder.name}: the agent ended with {finished.returncode}")
    with render.progress() as progress:
        advance(lab, lab.workspace(str(folder)), progress)
