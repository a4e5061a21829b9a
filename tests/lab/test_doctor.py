"""Doctor looks at the ledger in no time, and says how much of it it looked at."""

from __future__ import annotations

from pathlib import Path

import pytest
from ledger_files import filled, lines_of

from lab import doctor
from lab.context import Lab
from lab.places import places

COUNT = 9


@pytest.fixture(name="here")
def _here(tmp_path: Path) -> Lab:
    filled(tmp_path, COUNT)
    return Lab(places(tmp_path), "cpu")


def edit(lab: Lab, number: int) -> None:
    lines = lines_of(lab.ledger)
    lines[number - 1] = lines[number - 1].replace(b"rmsnorm", b"RMSNORM")
    lab.places.ledger.write_bytes(b"".join(lines))


def test_a_short_ledger_is_verified_whole(here: Lab) -> None:
    assert doctor._ledger(here).detail == "9 records, chain intact"
    edit(here, 2)
    found = doctor._ledger(here)
    assert not found.ok
    assert "BROKEN" in found.detail


def test_of_a_long_ledger_it_verifies_the_end_and_says_so(
    here: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Seven seconds for a million records are too long for a look at the machine."""
    last_four = sum(map(len, lines_of(here.ledger)[-4:]))
    monkeypatch.setattr(doctor, "LEDGER_BYTES", last_four + 10)
    edit(here, 2)
    found = doctor._ledger(here)
    assert found.ok
    assert found.detail == (
        "9 records, chain intact over the last 4; for all: kernel-lab ledger verify"
    )
    edit(here, 7)
    found = doctor._ledger(here)
    assert not found.ok
    assert "BROKEN over the last 4" in found.detail


def test_an_end_that_is_no_ledger_is_no_sound_one(
    here: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever overwrote the file would otherwise learn of it at the next append."""
    monkeypatch.setattr(doctor, "LEDGER_BYTES", 50)
    here.places.ledger.write_bytes(b"something else\n" * 20)
    assert not doctor._ledger(here).ok
