"""Runs a click command so that a user's mistake ends in a message and an exit code.

Exit codes: 0 done, 2 wrong usage, 3 machine, data or a diverged run, 130 stopped with Ctrl-C.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

import click

from trainer.errors import TrainerError

INTERRUPTED = 130


def run_command(command: click.Command, arguments: Sequence[str] | None = None) -> int:
    """Runs `command` on the process's arguments or the given ones; returns the exit code."""
    try:
        code = command.main(
            args=None if arguments is None else list(arguments), standalone_mode=False
        )
        sys.stdout.flush()
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except TrainerError as error:
        tell(error)
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        print("stopped", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        # the reader went away (| head); nothing more can be said, not even at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    return code if isinstance(code, int) else 0


def tell(error: TrainerError) -> None:
    """Prints an error and what to do about it."""
    print(f"error: {error.message}", file=sys.stderr)
    if error.hint:
        print(f"  {error.hint}", file=sys.stderr)
