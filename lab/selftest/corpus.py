"""The corpora as files: what an attack or an honest candidate says about itself.

    tests/attacks/a_replay/keyed_by_id.py       category "A replay"
    tests/honest/rmsnorm/by_chunks.py           category "honest"
    kernels/rmsnorm/cheats/zeros.py             category "own cheats"

The docstring's first line says what it tries. Of an attack, four more follow: `Target:`, `Stage:`,
`Expected:` (several joined by `or` where chance decides) and `Notes:` (its kin in the literature).
Reads the files, never runs them.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from kernels.spec import discover
from lab.errors import CommandError
from lab.places import ROOT

HONEST = "honest"
OWN_CHEATS = "own cheats"
STAGES = ("verify", "bench", "seal", "ledger", "gate")
KNOWN_HOLES = "known_holes.txt"


@dataclass(frozen=True)
class Entry:
    """One file of a corpus."""

    name: str
    """Category folder and stem, which is unique."""
    category: str
    path: Path
    summary: str
    target: str
    stage: str
    expected: tuple[str, ...]
    known_hole: str = ""
    """Why it gets through today, where it does."""


def attacks(root: Path = ROOT) -> list[Entry]:
    """Every attack, in order of category. Raises `CommandError` where there is no corpus."""
    folder = root / "tests" / "attacks"
    holes = _known_holes(folder / KNOWN_HOLES)
    found = [
        _attack(path, holes.pop(f"{path.parent.name}/{path.stem}", ""))
        for path in _files(folder, "[a-f]_*/*.py")
    ]
    if holes:
        raise CommandError(f"{KNOWN_HOLES} names no attack: {', '.join(holes)}", "Take it out.")
    return found


def honest(root: Path = ROOT) -> list[Entry]:
    """Every honest candidate, by target."""
    return [
        Entry(
            name=f"{path.parent.name}/{path.stem}",
            category=HONEST,
            path=path,
            summary=_docstring(path).partition("\n")[0],
            target=path.parent.name,
            stage="verify",
            expected=("passed",),
        )
        for path in _files(root / "tests" / "honest", "*/*.py")
    ]


def own_cheats() -> list[Entry]:
    """What each target brings along to be refused."""
    found = []
    for folder in discover().values():
        for path in folder.cheats:
            text = _docstring(path)
            reason = re.search(r"Expected: (\w+)", text)
            found.append(
                Entry(
                    name=f"{folder.id}/{path.stem}",
                    category=OWN_CHEATS,
                    path=path,
                    summary=text.partition(" Expected:")[0],
                    target=folder.id,
                    stage="verify",
                    expected=(reason[1] if reason else "",),
                )
            )
    return found


def _files(folder: Path, pattern: str) -> Iterator[Path]:
    found = sorted(folder.glob(pattern))
    if not found:
        raise CommandError(
            f"there is no corpus in {folder}",
            "self-test needs the checkout's tests: run it from a clone, not from a wheel.",
        )
    yield from found


def _attack(path: Path, known_hole: str) -> Entry:
    text = _docstring(path)
    folder = path.parent.name
    stage = _field(path, text, "Stage")
    if stage not in STAGES:
        raise CommandError(f"{path}: no stage '{stage}'", f"Stages are {', '.join(STAGES)}.")
    return Entry(
        name=f"{folder}/{path.stem}",
        category=f"{folder[0].upper()} {folder[2:].replace('_', ' ')}",
        path=path,
        summary=text.partition("\n")[0],
        target=_field(path, text, "Target"),
        stage=stage,
        expected=tuple(_field(path, text, "Expected").split(" or ")),
        known_hole=known_hole,
    )


def _docstring(path: Path) -> str:
    """Of the file, parsed and not run; of one that does not parse, what its quotes hold."""
    source = path.read_text(encoding="utf-8")
    try:
        return ast.get_docstring(ast.parse(source)) or ""
    except (SyntaxError, ValueError):
        return source.split('"""')[1]


def _field(path: Path, text: str, name: str) -> str:
    found = re.search(rf"^{name}: (.+)$", text, re.M)
    if not found:
        raise CommandError(f"{path} does not say its {name}", f"Add a line '{name}: …'.")
    return found[1].strip()


def _known_holes(path: Path) -> dict[str, str]:
    """Attack by attack why it gets through; lines of `#` are comments."""
    if not path.is_file():
        return {}
    lines = [line for line in path.read_text().splitlines() if line and line[0] != "#"]
    return {name.strip(): why.strip() for name, _, why in (line.partition(":") for line in lines)}
