"""The fingerprint decides which evidence counts: it must be there, cheap and honest."""

from __future__ import annotations

import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

from lab import machine

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def _forget() -> None:
    machine.fingerprint.cache_clear()


def commit_in(folder: Path) -> None:
    """A new repository with one committed file."""
    git = ["git", "-C", str(folder), "-c", "user.name=n", "-c", "user.email=e@example.org"]
    subprocess.run(["git", "init", "-q", str(folder)], check=True)
    (folder / "file").write_text("one")
    subprocess.run([*git, "add", "file"], check=True)
    subprocess.run([*git, "commit", "-q", "-m", "one"], check=True)


def test_the_fingerprint_names_what_evidence_depends_on() -> None:
    """Evidence from another torch or another core count must be told apart."""
    found = machine.fingerprint("cpu")
    assert found.frameworks["torch"] == metadata.version("torch")
    assert found.hardware.endswith(f"x{found.cores}")
    assert found.cores >= 1
    assert found.memory_gib > 0
    assert found == machine.fingerprint("cpu")


def test_the_cpu_fingerprint_imports_no_framework() -> None:
    """Every record needs one; `status` and `gate` must not pay seconds for importing torch."""
    code = (
        "import sys; from lab.machine import fingerprint; fingerprint('cpu'); "
        "print([name for name in ('torch', 'numpy', 'scipy') if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


def test_without_git_the_commit_is_empty(monkeypatch: pytest.MonkeyPatch) -> None:
    """A container without git must still be able to record."""
    monkeypatch.setenv("PATH", "")
    found = machine.fingerprint("cpu")
    assert (found.git_commit, found.git_dirty) == ("", False)


def test_outside_a_checkout_no_other_repository_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An installed copy inside some other repository must not carry that one's commit."""
    commit_in(tmp_path)
    inner = tmp_path / "site-packages"
    inner.mkdir()
    monkeypatch.setattr(machine, "ROOT", inner)
    assert machine.fingerprint("cpu").git_commit == ""


def test_a_commit_and_its_dirty_state_are_recorded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Numbers from an edited tree must be seen as such."""
    commit_in(tmp_path)
    monkeypatch.setattr(machine, "ROOT", tmp_path)
    clean = machine.fingerprint("cpu")
    assert len(clean.git_commit) == 40
    assert not clean.git_dirty
    machine.fingerprint.cache_clear()
    (tmp_path / "file").write_text("two")
    assert machine.fingerprint("cpu").git_dirty
