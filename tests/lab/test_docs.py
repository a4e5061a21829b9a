"""Docs are tested: every command stands in them, and every example in them is a real command."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

import prepare
import train
from lab.cli import cli

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", ROOT / "program.md", ROOT / "AGENTS.md", *ROOT.glob("docs/*.md")]
PAGES += [ROOT / "kernels" / "README.md"]
PROGRAMS = {
    "kernel-lab": cli,
    "kernel-lab.py": cli,
    "train.py": train.command,
    "prepare.py": prepare.main,
}


def program(line: str) -> str:
    """Which of our programs a command line starts, if any."""
    words = line.removeprefix("uv run ").split()
    return words[0] if words and words[0] in PROGRAMS else ""


def examples() -> list[tuple[str, str]]:
    """Every command line in a code block or in backticks, with its page."""
    found = []
    for page in PAGES:
        text = page.read_text()
        blocks = re.findall(r"^```\w*\n(.*?)^```", text, flags=re.S | re.M)
        lines = [line.strip() for block in blocks for line in block.splitlines()]
        lines += re.findall(r"`((?:uv run )?(?:kernel-lab|\w+\.py) [^`]+)`", text)
        for line in lines:
            words = line.split(" && ")[-1].split("  ")[0]
            if program(words):
                found.append((page.name, words))
    return found


@pytest.fixture
def parse(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], str]:
    """Parses a command line as the real one does, but runs nothing; returns what click says."""
    monkeypatch.setattr(click.Command, "invoke", lambda command, context: None)

    def parsed(line: str) -> str:
        words = shlex.split(line.removeprefix("uv run "), comments=True)
        answer = CliRunner().invoke(PROGRAMS[words[0]], words[1:])
        return answer.output if answer.exit_code else ""

    return parsed


def names(group: click.Group, prefix: str = "") -> list[str]:
    found = []
    for name, command in group.commands.items():
        nested = isinstance(command, click.Group)
        found += names(command, f"{prefix}{name} ") if nested else [prefix + name]
    return found


@pytest.mark.parametrize(("page", "line"), examples())
def test_every_example_is_a_real_command(page: str, line: str, parse: Callable[[str], str]) -> None:
    """A flag that was renamed must not live on in docs. A verb alone may be named in passing."""
    said = parse(line)
    assert not said or "Missing argument" in said, f"{page}: {line}\n{said}"


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
