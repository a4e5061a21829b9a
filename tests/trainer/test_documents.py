"""What is held out, how text is cut, and when a fingerprint may be remembered."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trainer.documents import Fingerprints, cut_text, held_out
from trainer.errors import DataError


def test_unchanged_files_are_not_read_again(tmp_path: Path) -> None:
    """Hashing hundreds of gigabytes at each start would take longer than the run."""
    path, memory = tmp_path / "a.parquet", tmp_path / "fingerprints.json"
    path.write_bytes(b"one")
    os.utime(path, (1_000_000_000, 1_000_000_000))
    known = Fingerprints(memory)
    first = known.of(path)
    known.save()
    path.write_bytes(b"two")
    os.utime(path, (1_000_000_000, 1_000_000_000))
    assert Fingerprints(memory).of(path) == first
    os.utime(path, (1_000_000_001, 1_000_000_001))
    assert Fingerprints(memory).of(path) != first


def test_a_file_that_just_changed_is_not_remembered(tmp_path: Path) -> None:
    """Within one tick of the clock it may change again without a trace."""
    path, memory = tmp_path / "a.parquet", tmp_path / "fingerprints.json"
    path.write_bytes(b"one")
    known = Fingerprints(memory)
    first = known.of(path)
    known.save()
    status = path.stat()
    path.write_bytes(b"two")
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert Fingerprints(memory).of(path) != first


def test_a_damaged_memory_of_fingerprints_costs_nothing_but_time(tmp_path: Path) -> None:
    """It is a shortcut and must never stop a run."""
    path, memory = tmp_path / "a.txt", tmp_path / "fingerprints.json"
    path.write_bytes(b"one")
    expected = Fingerprints(tmp_path / "other.json").of_text(path)
    for content in ("", "{", "[]", f'{{"{path}": 3}}', f'{{"{path}": [1]}}'):
        memory.write_text(content)
        assert Fingerprints(memory).of_text(path) == expected


@given(keys=st.lists(st.text(max_size=3), max_size=40))
def test_holding_out_never_leaves_a_side_empty_and_keeps_equals_together(keys: list[str]) -> None:
    """Whatever the texts are."""
    if len(set(keys)) < 2:
        with pytest.raises(DataError):
            held_out(keys)
        return
    held = held_out(keys)
    assert 0 < sum(held) < len(keys)
    assert len(set(zip(keys, held, strict=True))) == len(set(keys))


def test_about_one_in_eight_is_held_out() -> None:
    """Enough to evaluate on, without taking much from training."""
    held = held_out([f"document {index}" for index in range(4000)])
    assert 0.11 < sum(held) / 4000 < 0.14


@settings(deadline=None)
@given(text=st.text("ab\n", max_size=200), characters=st.integers(1, 30))
def test_cutting_a_text_loses_nothing(text: str, characters: int) -> None:
    """Pieces end at a line end where there is one near enough."""
    pieces = list(cut_text(text, characters))
    assert "".join(pieces) == text
    assert all(0 < len(piece) <= 3 * characters for piece in pieces)
    for piece in pieces[:-1]:
        assert len(piece) >= characters
        assert piece.endswith("\n") or len(piece) == characters
