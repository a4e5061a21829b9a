"""Promotions: entered, used by the next run, taken back."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from kernels.spec import KERNELS, discover
from lab import registry
from lab.errors import CommandError
from lab.workspace import Candidate
from trainer.ops import Promotion, read_registry, resolve

SOURCE = "def relu_squared(x):\n    return x.clamp(min=0) ** 2\n"


def promotion(sha256: str, hardware: str = 'a "chip"') -> Promotion:
    return Promotion("relu_squared", "cpu", hardware, sha256, "", ("id1", "id2"))


@pytest.fixture
def candidate(tmp_path: Path) -> Candidate:
    path = tmp_path / "store" / "c.py"
    path.parent.mkdir()
    path.write_text(SOURCE)
    return Candidate(path, hashlib.sha256(SOURCE.encode()).hexdigest())


def enter(folder: Path, candidate: Candidate, hardware: str = 'a "chip"') -> Promotion:
    file = folder / "promoted.toml"
    copy = registry.promoted_file(file, KERNELS, "relu_squared", candidate.sha256)
    return registry.add(file, copy, candidate, promotion(candidate.sha256, hardware))


def test_the_next_run_uses_a_promotion_on_that_hardware_only(
    tmp_path: Path, candidate: Candidate
) -> None:
    """The point of the whole house; and a win on one chip is no win on another."""
    enter(tmp_path, candidate)
    file = tmp_path / "promoted.toml"
    op = resolve("cpu", 'a "chip"', registry=file)["relu_squared"]
    assert (op.sha256, op.reason) == (candidate.sha256, f"promoted {candidate.sha256[:12]}")
    assert resolve("cpu", "another", registry=file)["relu_squared"].reason == "incumbent"


def test_promoting_again_replaces_and_demoting_takes_back(
    tmp_path: Path, candidate: Candidate
) -> None:
    """Two entries for one op would make the choice a matter of order."""
    file = tmp_path / "promoted.toml"
    enter(tmp_path, candidate, "another")
    enter(tmp_path, candidate)
    entered = enter(tmp_path, candidate)
    assert len(read_registry(file)) == 2
    assert entered.ledger_ids == ("id1", "id2")
    registry.remove(file, "relu_squared", "cpu", 'a "chip"')
    assert [p.hardware for p in read_registry(file)] == ["another"]
    with pytest.raises(CommandError, match="no promotion"):
        registry.remove(file, "relu_squared", "cpu", 'a "chip"')


@pytest.mark.parametrize(
    ("change", "says"),
    [(lambda p: p.unlink(), "is gone"), (lambda p: p.write_text("x"), "was edited")],
)
def test_a_promotion_that_cannot_be_honoured_falls_back_aloud(
    tmp_path: Path, candidate: Candidate, change, says: str
) -> None:
    """Running other bytes than the gate let in would void the evidence."""
    entered = enter(tmp_path, candidate)
    copy = tmp_path / entered.file
    copy.chmod(0o644)
    change(copy)
    op = resolve("cpu", 'a "chip"', registry=tmp_path / "promoted.toml")["relu_squared"]
    assert op.path == discover()["relu_squared"].incumbent("torch")
    assert says in op.reason


def test_the_checkout_keeps_promoted_files_beside_their_target() -> None:
    """Reviewing a promotion is reading a diff of kernels/ and trainer/promoted.toml."""
    file = KERNELS.parent / "trainer" / "promoted.toml"
    copy = registry.promoted_file(file, KERNELS, "rmsnorm", "ab" * 32)
    assert copy == KERNELS / "rmsnorm" / "promoted" / ("ab" * 6 + ".py")
    assert read_registry(file) == ()
