"""Stage 2: a workspace, one isolated folder that holds one candidate and its sealed task.

    candidate.py     the only file that its author edits
    TASK.md          the task in words
    notes.md         hypotheses before a run, outcomes after it
    workspace.json   sealed: its hash stands in the ledger's `opened` record, so an edit is found

`create` writes one, `load` reads it back and checks the seal, `find` turns a short name into a
folder. Stages never run `candidate.py` itself but a copy in the store of candidates, named by its
hash: what was judged can be neither edited afterwards nor lost. Never runs candidate code.
"""

from __future__ import annotations

import difflib
import hashlib
import os
import secrets
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from lab.errors import CandidateError, CommandError

if TYPE_CHECKING:
    from lab.ledger import Ledger
    from lab.records import Opened

SEALED = "workspace.json"
MAXIMUM_CANDIDATE_BYTES = 1 << 20


class Seal(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The content of workspace.json."""

    name: str
    target: str
    engine: str
    language: str
    preset: str
    vocab: int
    target_sha256: str
    harness_sha256: str
    policy_sha256: str


@dataclass(frozen=True)
class Workspace:
    """A workspace whose seal was found intact."""

    folder: Path
    seal: Seal

    @property
    def name(self) -> str:
        """The folder's name, which is what records call it."""
        return self.seal.name

    @property
    def candidate_file(self) -> Path:
        """The file that the author edits."""
        return self.folder / "candidate.py"


@dataclass(frozen=True)
class Candidate:
    """One candidate as it was when a stage read it: `path` is the stored copy of `sha256`."""

    path: Path
    sha256: str


def new_name(target: str, engine: str, language: str) -> str:
    """A name such as `rmsnorm-cuda-triton-7c1e`."""
    return f"{target}-{engine}-{language}-{secrets.token_hex(2)}"


def create(folder: Path, seal: Seal, candidate: str, task: str) -> tuple[Workspace, str]:
    """Writes a new workspace; returns it and the sha256 of its seal.

    The folder appears whole or not at all. Raises `CommandError` if it exists and is not empty.
    """
    if folder.exists() and any(folder.iterdir()):
        raise CommandError(f"{folder} is not empty", "Name a new folder with --workspace.")
    folder.parent.mkdir(parents=True, exist_ok=True)
    data = msgspec.json.format(msgspec.json.encode(seal), indent=2) + b"\n"
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".opening-") as half:
        staged = Path(half) / "workspace"
        staged.mkdir()
        (staged / SEALED).write_bytes(data)
        (staged / SEALED).chmod(0o444)
        (staged / "candidate.py").write_text(candidate)
        (staged / "TASK.md").write_text(task)
        (staged / "notes.md").write_text(
            f"# Notes on {seal.name}\n\nBefore a run: what you expect and why. "
            "After it: what came out.\n"
        )
        if folder.exists():
            folder.rmdir()
        os.rename(staged, folder)
    return Workspace(folder, seal), hashlib.sha256(data).hexdigest()


def load(folder: Path, ledger: Ledger) -> Workspace:
    """Reads a workspace and checks its seal against the ledger. Raises `CommandError`."""
    from lab.ledger_keys import Wanted

    path = folder / SEALED
    if not path.is_file():
        raise CommandError(
            f"{folder} is no workspace: it has no {SEALED}", "See: kernel-lab status"
        )
    data = path.read_bytes()
    found = hashlib.sha256(data).hexdigest()
    try:
        seal = msgspec.json.decode(data, type=Seal)
    except msgspec.MsgspecError as error:
        raise _broken_seal(path, str(error)) from error
    names = {seal.name, folder.name}
    opened: list[Opened] = list(
        ledger.find_any(*(Wanted(kind="opened", workspace=name) for name in names))
    )
    if any(r.seal_sha256 == found for r in opened):
        return Workspace(folder, seal)
    if opened:
        raise _broken_seal(path, "its hash is not the one in the ledger")
    raise CommandError(
        f"workspace '{seal.name}' was not opened in this ledger ({ledger.path})",
        "Name its ledger with --ledger, or open a new workspace here and start it from "
        f"this candidate: kernel-lab open {seal.target} --candidate {folder}/candidate.py",
    )


def _broken_seal(path: Path, detail: str) -> CommandError:
    return CommandError(
        f"{path} was changed after it was sealed: {detail}",
        "Nothing was recorded. Open a new workspace and start it from your candidate: "
        f"kernel-lab open TARGET --candidate {path.parent / 'candidate.py'}",
    )


def find(name: str, workspaces: Path) -> Path:
    """The folder of a workspace named by path, name, or any unambiguous part of its name."""
    as_path = Path(name)
    if as_path.is_dir():
        return as_path.resolve()
    names = sorted(p.parent.name for p in workspaces.glob(f"*/{SEALED}"))
    if name in names:
        return workspaces / name
    matching = [n for n in names if name in n]
    if len(matching) == 1:
        return workspaces / matching[0]
    if matching:
        raise CommandError(
            f"'{name}' fits {len(matching)} workspaces", f"Say which: {', '.join(matching)}."
        )
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    meant = f" Did you mean '{close[0]}'?" if close else ""
    listed = f"Open: {', '.join(names)}." if names else "None is open. Run: kernel-lab open TARGET"
    raise CommandError(f"no workspace '{name}'.{meant}", listed)


def store(source: Path, candidates: Path) -> Candidate:
    """Copies a candidate into the store under its sha256 and returns the copy.

    Raises `CandidateError` for a file that is missing, no text, or over 1 MiB.
    """
    if not source.is_file():
        raise CandidateError(f"{source} is missing", "Write the candidate there, or open anew.")
    data = source.read_bytes()
    if len(data) > MAXIMUM_CANDIDATE_BYTES:
        raise CandidateError(
            f"{source} has {len(data):,} bytes; a candidate may have {MAXIMUM_CANDIDATE_BYTES:,}"
        )
    try:
        data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise CandidateError(f"{source} is not UTF-8 text: {error}") from error
    digest = hashlib.sha256(data).hexdigest()
    return Candidate(put(data, candidates / f"{digest}.py"), digest)


def put(data: bytes, path: Path) -> Path:
    """Writes `data` to `path` in one step, read-only; a file that is there already is replaced."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, half = tempfile.mkstemp(dir=path.parent, prefix=".half-")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(half, 0o444)
        os.replace(half, path)
    except BaseException:
        Path(half).unlink(missing_ok=True)
        raise
    return path
