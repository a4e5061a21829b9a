"""Workspaces: sealed, found by short names, and judged by stored copies."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from lab import workspace as workspaces
from lab.errors import CandidateError, CommandError
from lab.ledger import Ledger
from lab.records import Machine, Opened
from lab.workspace import Seal, Workspace

MACHINE = Machine(hardware="a chip", system="Linux", python="3.11", frameworks={})


def seal(name: str = "rmsnorm-cpu-torch-0001") -> Seal:
    return Seal(
        name=name,
        target="rmsnorm",
        engine="cpu",
        language="torch",
        preset="tour",
        vocab=8192,
        target_sha256="1" * 64,
        harness_sha256="2" * 64,
        policy_sha256="3" * 64,
    )


def opened(ledger: Ledger, folder: Path, **changes: str) -> Workspace:
    """Creates a workspace and records it, as `open` does."""
    space, digest = workspaces.create(folder, seal(folder.name), "x = 1\n", "the task\n")
    ledger.append(
        Opened(
            machine=MACHINE,
            target="rmsnorm",
            engine="cpu",
            language="torch",
            workspace=folder.name,
            candidate_sha256="4" * 64,
            harness_sha256="2" * 64,
            target_sha256="1" * 64,
            seal_sha256=digest,
            **changes,
        )
    )
    return space


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(tmp_path / "ledger.jsonl")


def test_a_workspace_comes_back_as_it_was_sealed(tmp_path: Path, ledger: Ledger) -> None:
    """Otherwise a stage would judge another task than the one that was opened."""
    made = opened(ledger, tmp_path / "w" / "rmsnorm-cpu-torch-0001")
    assert workspaces.load(made.folder, ledger).seal == made.seal
    names = {p.name for p in made.folder.iterdir()}
    assert names == {"candidate.py", "TASK.md", "notes.md", "workspace.json"}


def test_an_edited_seal_is_refused_and_nothing_is_lost(tmp_path: Path, ledger: Ledger) -> None:
    """An agent could otherwise point its candidate at an easier preset."""
    made = opened(ledger, tmp_path / "w" / "rmsnorm-cpu-torch-0001")
    file = made.folder / workspaces.SEALED
    file.chmod(0o644)
    file.write_text(file.read_text().replace('"tour"', '"m5-tiny"'))
    with pytest.raises(CommandError, match="changed after it was sealed") as caught:
        workspaces.load(made.folder, ledger)
    assert "--candidate" in caught.value.hint
    assert made.candidate_file.read_text() == "x = 1\n"


@pytest.mark.parametrize("text", ["", "{", '{"name": 3}', "null"])
def test_a_seal_that_is_no_seal_is_refused(tmp_path: Path, ledger: Ledger, text: str) -> None:
    """A truncated file must not end in a traceback."""
    made = opened(ledger, tmp_path / "w" / "rmsnorm-cpu-torch-0001")
    file = made.folder / workspaces.SEALED
    file.chmod(0o644)
    file.write_text(text)
    with pytest.raises(CommandError):
        workspaces.load(made.folder, ledger)


def test_a_workspace_of_another_ledger_is_told_apart_from_an_edited_one(
    tmp_path: Path, ledger: Ledger
) -> None:
    """The fix is another one: name the right ledger."""
    made = opened(ledger, tmp_path / "w" / "rmsnorm-cpu-torch-0001")
    with pytest.raises(CommandError, match="not opened in this ledger"):
        workspaces.load(made.folder, Ledger(tmp_path / "other.jsonl"))


def test_opening_never_overwrites(tmp_path: Path, ledger: Ledger) -> None:
    """An hour of work in candidate.py would be gone."""
    made = opened(ledger, tmp_path / "w" / "rmsnorm-cpu-torch-0001")
    made.candidate_file.write_text("an hour of work")
    with pytest.raises(CommandError, match="not empty"):
        workspaces.create(made.folder, seal(), "x", "t")
    assert made.candidate_file.read_text() == "an hour of work"


def test_short_names(tmp_path: Path, ledger: Ledger) -> None:
    """Nobody types `rmsnorm-cpu-torch-0001` twice."""
    root = tmp_path / "w"
    for name in ("rmsnorm-cpu-torch-0001", "rmsnorm-cpu-torch-0002", "relu_squared-cpu-torch-0003"):
        opened(ledger, root / name)
    assert workspaces.find("0002", root).name == "rmsnorm-cpu-torch-0002"
    assert workspaces.find("relu", root).name == "relu_squared-cpu-torch-0003"
    assert workspaces.find(str(root / "rmsnorm-cpu-torch-0001"), root).name.endswith("0001")
    with pytest.raises(CommandError, match="fits 2 workspaces"):
        workspaces.find("rmsnorm", root)
    with pytest.raises(CommandError, match="Did you mean 'rmsnorm-cpu-torch-0001'"):
        workspaces.find("rmsnrm-cpu-torch-0001", root)


def test_the_store_keeps_what_was_judged(tmp_path: Path) -> None:
    """Verify A, edit to B, promote B must be impossible."""
    source = tmp_path / "candidate.py"
    source.write_text("A")
    first = workspaces.store(source, tmp_path / "store")
    source.write_text("B")
    second = workspaces.store(source, tmp_path / "store")
    assert first.path.read_text() == "A"
    assert first.sha256 == hashlib.sha256(b"A").hexdigest()
    assert second.path.read_text() == "B"
    assert second.path != first.path


@pytest.mark.parametrize(
    ("data", "says"),
    [(None, "missing"), (b"\xff\xfe", "UTF-8"), (b"#" * (1 << 20) + b"#", "1,048,577 bytes")],
)
def test_candidates_that_cannot_be_judged(tmp_path: Path, data: bytes | None, says: str) -> None:
    """A clear message instead of a traceback from the worker."""
    source = tmp_path / "candidate.py"
    if data is not None:
        source.write_bytes(data)
    with pytest.raises(CandidateError, match=says):
        workspaces.store(source, tmp_path / "store")
