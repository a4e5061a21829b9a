"""What every command shares: the group that turns errors into exit codes, --json, leaving.

See `lab.cli` for the verbs.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from lab import render
from lab.errors import LabError

PATH = click.Path(path_type=Path)


class Commands(click.Group):
    """A group that lists its verbs in the order of the work and turns errors into exit codes."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)

    def invoke(self, ctx: click.Context) -> Any:
        from trainer.errors import TrainerError

        try:
            return super().invoke(ctx)
        except (LabError, TrainerError) as error:
            render.error(error.message, error.hint)
            raise click.exceptions.Exit(error.exit_code) from None
        except KeyboardInterrupt:
            render.error("interrupted", "Run the same command again to go on.")
            raise click.exceptions.Exit(130) from None


def command(group: click.Group, **settings: Any) -> Callable[..., click.Command]:
    """A command that gets the lab and --json."""

    def wrap(function: Callable[..., None]) -> click.Command:
        flag = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
        return group.command(**settings)(flag(click.pass_obj(function)))

    return wrap


def leave(code: int) -> None:
    """Ends the command with this exit code."""
    if code:
        raise click.exceptions.Exit(code)
