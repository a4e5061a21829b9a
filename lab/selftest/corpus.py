"""The corpora as files: what an attack or an honest candidate says about itself.

    tests/attacks/a_replay/keyed_by_id.py       category "A replay"
    tests/honest/rmsnorm/by_chunks.py           category "honest"
    kernels/rmsnorm/cheats/zeros.py             category "own cheats"
    kernels/rmsnorm/candidates/torch.py         category "honest in training"

The docstring's first line says what it tries. Of an attack, four more follow: `Target:`, `Stage:`,
`Expected:` (several joined by `or` where chance decides) and `Notes:` (its kin in the literature).
A file of either corpus that is not in torch has a line `Language:`.
Reads the files, never runs them.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from kernels.spec import discover
from lab.errors import CommandError
from lab.places import ROOT

HONEST, TRAINING = "honest", "honest in training"
FAIR = (HONEST, TRAINING)
"""What must not be refused."""
OWN_CHEATS = "own cheats"
STAGES = ("verify", "bench", "ab", "seal", "ledger", "gate")
KNOWN_HOLES = "known_holes.txt"
KNOWN_REFUSALS = "known_refusals.txt"


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
    """Why an attack gets through today, where it does, or an honest candidate does not."""
    language: str = "torch"


def attacks(root: Path = ROOT) -> list[Entry]:
    """Every attack, in order of category. Raises `CommandError` where there is no corpus."""
    folder = root / "tests" / "attacks"
    files = list(_files(folder, "[a-g]_*/*.py"))
    holes = _known(folder / KNOWN_HOLES, files)
    return [_attack(path, holes.get(_name(path), "")) for path in files]


def honest(root: Path = ROOT) -> list[Entry]:
    """Every honest candidate, by target."""
    folder = root / "tests" / "honest"
    files = list(_files(folder, "*/*.py"))
    refusals = _known(folder / KNOWN_REFUSALS, files)
    return [
        Entry(
            name=_name(path),
            category=HONEST,
            path=path,
            summary=_docstring(path).partition("\n")[0],
            target=path.parent.name,
            stage="verify",
            expected=("passed",),
            known_hole=refusals.get(_name(path), ""),
            language=_language(_docstring(path)),
        )
        for path in files
    ]


def starting_candidates() -> list[Entry]:
    """What each target starts with, to be trained with: an A/B of it must not break off."""
    candidates = {one.id: one.starting_candidate("torch") for one in discover().values()}
    return [
        Entry(
            name=f"{target}/candidate",
            category=TRAINING,
            path=path,
            summary=_docstring(path).partition("\n")[0],
            target=target,
            stage="ab",
            expected=("no_gain", "faster"),
        )
        for target, path in candidates.items()
        if path is not None
    ]


def own_cheats() -> list[Entry]:
    """What each target brings along to be refused."""
    found = []
    for folder in discover().values():
        for path in (*folder.cheats, *folder.mlx_cheats):
            in_mlx = path in folder.mlx_cheats
            text = _docstring(path)
            reason = re.search(r"Expected: (\w+)", text)
            found.append(
                Entry(
                    name=f"{folder.id}/{'mlx/' if in_mlx else ''}{path.stem}",
                    category=OWN_CHEATS,
                    path=path,
                    summary=text.partition(" Expected:")[0],
                    target=folder.id,
                    stage="verify",
                    expected=(reason[1] if reason else "",),
                    language="mlx" if in_mlx else "torch",
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
        name=_name(path),
        category=f"{folder[0].upper()} {folder[2:].replace('_', ' ')}",
        path=path,
        summary=text.partition("\n")[0],
        target=_field(path, text, "Target"),
        stage=stage,
        expected=tuple(_field(path, text, "Expected").split(" or ")),
        known_hole=known_hole,
        language=_language(text),
    )


def _language(text: str) -> str:
    found = re.search(r"^Language: (\w+)$", text, re.M)
    return found[1] if found else "torch"


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


def _name(path: Path) -> str:
    return f"{path.parent.name}/{path.stem}"


def _known(path: Path, files: Sequence[Path]) -> dict[str, str]:
    """File by file why it ends otherwise today; lines of `#` are comments."""
    if not path.is_file():
        return {}
    lines = [line for line in path.read_text().splitlines() if line and line[0] != "#"]
    known = {name.strip(): why.strip() for name, _, why in (line.partition(":") for line in lines)}
    gone = sorted(known.keys() - {_name(file) for file in files})
    if gone:
        raise CommandError(f"{path} names what is not there: {', '.join(gone)}", "Take it out.")
    return known
