"""`kernel-lab ledger …`: read the evidence, check its chain, take it elsewhere."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lab import render
from lab.commandline import PATH, command, leave
from lab.errors import CommandError

if TYPE_CHECKING:
    from lab.chain import Head
    from lab.context import Lab


@click.group()
def ledger() -> None:
    """The evidence: show it, verify its chain, export it."""


def _pinned(text: str | None) -> Head | None:
    """The head written as LINES:SHA256."""
    from lab.chain import Head

    if text is None:
        return None
    lines, _, sha256 = text.partition(":")
    if not lines.isdigit() or len(sha256) != 64:
        raise CommandError(f"--head {text} is not LINES:SHA256", "See: kernel-lab ledger verify")
    return Head(lines=int(lines), sha256=sha256)


_file = click.option("--ledger", "file", type=PATH, help="[default: RESULTS/ledger.jsonl]")


def _of(lab: Lab, file: Path | None) -> Lab:
    """The lab with another ledger, if one is named."""
    return replace(lab, places=replace(lab.places, ledger=file.resolve())) if file else lab


@command(ledger)
@_file
@click.option("--kind", help="Only records of this kind, e.g. verified.")
@click.option("--target", help="Only records about this target.")
@click.option("--last", default=20, show_default=True, help="How many, newest last.")
def show(
    lab: Lab, file: Path | None, kind: str | None, target: str | None, last: int, as_json: bool
) -> None:
    """The records, one line each."""
    wanted: dict[str, Any] = {k: v for k, v in (("kind", kind), ("target", target)) if v}
    render.show_lines(_of(lab, file).ledger.newest(last, **wanted), as_json)


@command(ledger)
@_file
@click.option("--head", help="LINES:SHA256 as printed before: is the ledger still its extension?")
def verify(lab: Lab, file: Path | None, head: str | None, as_json: bool) -> None:
    """Is the chain intact? Finds any edited, removed or reordered line."""
    report = _of(lab, file).ledger.verify(_pinned(head))
    render.show(report, as_json)
    leave(0 if report.ok else 3)


@command(ledger)
@_file
@click.argument("workspace")
def evidence(lab: Lab, file: Path | None, workspace: str, as_json: bool) -> None:
    """The records that count for a workspace's present candidate, here and now."""
    from lab.context import evidence as collect
    from lab.context import subject

    here = _of(lab, file)
    space = here.workspace(workspace)
    _, stored = subject(here, space)
    found = collect(here, space, stored)
    render.show(found.records, as_json)


@command(ledger)
@_file
@click.argument("destination", type=PATH)
def export(lab: Lab, file: Path | None, destination: Path, as_json: bool) -> None:
    """All records as a Parquet file: a row each, with the body as JSON text."""
    rows = _of(lab, file).ledger.export_parquet(destination)
    render.show({"file": str(destination), "rows": rows}, as_json)
