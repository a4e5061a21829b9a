"""The registry of promotions (`trainer/promoted.toml`) as the lab writes it; see `lab.promote`.

`add` copies the judged bytes to `kernels/<target>/promoted/<hash>.py` and enters them, `remove`
takes the entry out. Writes nothing but those two files. Never runs candidate code.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

from lab.errors import CommandError
from lab.workspace import Candidate, put
from trainer.ops import Promotion, read_registry

_HEADER = """\
# Promotions: which candidate replaced which op, on which engine and hardware, and on what evidence.
# Written by `kernel-lab promote` and `kernel-lab demote`; read by trainer/ops.py at every start.
"""


def promoted_file(registry: Path, kernels: Path, target: str, candidate_sha256: str) -> Path:
    """Where a promoted candidate's copy goes: beside its target, or beside a scratch registry."""
    if registry.parent == kernels.parent / "trainer":
        return kernels / target / "promoted" / f"{candidate_sha256[:12]}.py"
    return registry.parent / "promoted" / target / f"{candidate_sha256[:12]}.py"


def add(registry: Path, file: Path, candidate: Candidate, entry: Promotion) -> Promotion:
    """Copies the candidate to `file` and enters it in the registry in place of its forerunner."""
    put(candidate.path.read_bytes(), file)
    relative = Path(*_relative(file, registry.parent))
    entry = replace(entry, file=relative.as_posix())
    kept = [p for p in read_registry(registry) if _key(p) != _key(entry)]
    _write(registry, [*kept, entry])
    return entry


def remove(registry: Path, target: str, engine: str, hardware: str) -> Promotion:
    """Takes the promotion of `target` out of the registry. Raises `CommandError` if there is none.

    The candidate's file stays: older runs and records name it.
    """
    entries = read_registry(registry)
    gone = [p for p in entries if _key(p) == (target, engine, hardware)]
    if not gone:
        here = ", ".join(f"{p.op} ({p.engine}, {p.hardware})" for p in entries) or "none"
        raise CommandError(
            f"{target} has no promotion for engine {engine} on {hardware}", f"Promoted: {here}."
        )
    _write(registry, [p for p in entries if p not in gone])
    return gone[0]


def _key(promotion: Promotion) -> tuple[str, str, str]:
    return promotion.op, promotion.engine, promotion.hardware


def _relative(file: Path, folder: Path) -> list[str]:
    ups = 0
    while not file.is_relative_to(folder):
        folder, ups = folder.parent, ups + 1
    return [".."] * ups + list(file.relative_to(folder).parts)


def _write(registry: Path, entries: list[Promotion]) -> None:
    """The registry as TOML; JSON's strings and lists of strings are TOML's."""
    lines = [_HEADER]
    for entry in sorted(entries, key=_key):
        lines.append("[[promotion]]")
        for name in ("op", "engine", "hardware", "candidate_sha256", "file", "ledger_ids"):
            lines.append(f"{name} = {json.dumps(getattr(entry, name), ensure_ascii=False)}")
        lines.append("")
    put("\n".join(lines).encode(), registry)
    registry.chmod(0o644)
