"""The only printer: records and tables to stdout, progress to stderr, either as text or as JSON.

`show` prints any value that a command returns; `progress` gives stages their callback. Text is for
people and may change; `--json` is the records' own form.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import msgspec

from lab.progress import Progress

FILE_WIDTH = 160
"""Columns of tables in a file or a pipe, where no terminal says how many there are."""


def show(value: Any, as_json: bool) -> None:
    """Prints `value` to stdout."""
    if as_json:
        text = msgspec.json.format(msgspec.json.encode(value), indent=2)
        sys.stdout.buffer.write(text + b"\n")
        sys.stdout.flush()
        return
    from rich.console import Console

    from lab.describe_answers import describe

    console = Console(highlight=False, soft_wrap=True)
    if not console.is_terminal:
        console.width = FILE_WIDTH
    for part in describe(value):
        console.print(part)


def show_lines(found: Sequence[Any], as_json: bool) -> None:
    """Prints records to stdout, one line each: JSON lines, or when, what and about what."""
    from lab.describe import line

    for record in found:
        text = msgspec.json.encode(record).decode() if as_json else line(record)
        sys.stdout.write(text + "\n")


def error(message: str, hint: str = "") -> None:
    """One error on stderr: what is wrong, then what to do."""
    sys.stderr.write(f"error: {message}\n" + (f"  {hint}\n" if hint else ""))


def note(text: str) -> None:
    """One line on stderr."""
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


@contextmanager
def progress() -> Iterator[Progress]:
    """A callback that shows how far a stage is: a bar on a terminal, else a line now and then."""
    if sys.stderr.isatty():
        with _bars() as callback:
            yield callback
    else:
        yield _lines()


@contextmanager
def _bars() -> Iterator[Progress]:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bars:
        tasks: dict[str, Any] = {}

        def callback(label: str, done: int, total: int) -> None:
            if label not in tasks:
                tasks[label] = bars.add_task(label, total=total or None)
            bars.update(tasks[label], completed=done, total=total or None)

        yield callback


def _lines(every_s: float = 5.0) -> Progress:
    last: dict[str, float] = {}

    def callback(label: str, done: int, total: int) -> None:
        now = time.monotonic()
        if label not in last or now - last[label] >= every_s or (total and done == total):
            last[label] = now
            note(f"{label}: {done}/{total}" if total else f"{label}: {done}")

    return callback
