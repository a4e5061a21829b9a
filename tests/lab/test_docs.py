"""Docs are tested: every command stands in them, and every example in them is a real command."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import click
import pytest

from lab.cli import cli

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", ROOT / "program.md", ROOT / "AGENTS.md", *ROOT.glob("docs/*.md")]
PAGES += [ROOT / "kernels" / "README.md"]
FRONT = ("kernel-lab ", "uv run kernel-lab.py ")


def examples() -> list[tuple[str, str]]:
    """Every command line in a code block or in backticks, with its page."""
    found = []
    for page in PAGES:
        text = page.read_text()
        blocks = re.findall(r"^```\w*\n(.*?)^```", text, flags=re.S | re.M)
        lines = [line.strip() for block in blocks for line in block.splitlines()]
        lines += re.findall(r"`((?:uv run )?kernel-lab(?:\.py)? [^`]+)`", text)
        for line in lines:
            words = line.split(" && ")[-1].split("  ")[0]
            if words.startswith(FRONT):
                found.append((page.name, words))
    return found


def parse(line: str) -> None:
    """Parses a command line as click would, running nothing. Raises `click.UsageError`."""
    words = shlex.split(line)
    words = words[words.index("kernel-lab.py") + 1 :] if "kernel-lab.py" in words else words[1:]
    group: click.Command = cli
    context = cli.make_context("kernel-lab", [w for w in words], resilient_parsing=False)
    while isinstance(group, click.Group):
        rest = (
            [*context.protected_args, *context.args]
            if hasattr(context, "protected_args")
            else (context.args)
        )
        name, group, rest = group.resolve_command(context, rest)
        assert group is not None, name
        context = group.make_context(name, rest, parent=context)


def names(group: click.Group, prefix: str = "") -> list[str]:
    found = []
    for name, command in group.commands.items():
        nested = isinstance(command, click.Group)
        found += names(command, f"{prefix}{name} ") if nested else [prefix + name]
    return found


@pytest.mark.parametrize(("page", "line"), examples())
def test_every_example_is_a_real_command(page: str, line: str) -> None:
    """A flag that was renamed must not live on in docs."""
    if any(word in line for word in ("TARGET", "VERB", "FILE", "…", "NAME")):
        line = re.sub(r"\s*\[.*?\]|…", "", line)
    if "VERB" not in line:
        parse(line)


@pytest.mark.parametrize("name", names(cli))
def test_every_command_stands_in_the_docs(name: str) -> None:
    """A command that nobody can find might as well not be there."""
    text = "\n".join(page.read_text() for page in PAGES)
    assert re.search(rf"kernel-lab(\.py)?( --engine \w+)? {re.escape(name)}\b", text), name


def test_links_between_pages_lead_somewhere() -> None:
    """A dead link on the front page is the first impression."""
    for page in PAGES:
        for link in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text()):
            if "://" not in link:
                assert (page.parent / link).exists(), f"{page.name}: {link}"
