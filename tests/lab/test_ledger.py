"""The ledger keeps what was appended, in order, and reads it back."""

from __future__ import annotations

import hashlib
import json
import os
import re
import time
from pathlib import Path

import msgspec
import pytest
from ledger_files import filled, lines_of
from made_records import CASES, MACHINE, benched, check, opened, tried, verified

from lab import ledger_file
from lab.chain import GENESIS, Head
from lab.errors import CommandError, MachineError
from lab.ledger import Ledger, new_id
from lab.outcomes import Failed, Passed
from lab.records import Opened, Verified


def test_what_was_appended_is_read_back_in_order(tmp_path: Path) -> None:
    """Every kind of outcome must survive the way to disk and back."""
    ledger = Ledger(tmp_path / "deep" / "er" / "ledger.jsonl")
    written = [ledger.append(record) for record in (opened(), verified(), benched(), tried())]
    assert list(ledger.read()) == written
    assert [type(record).__name__ for record in ledger.read()] == [
        *("Opened", "Verified", "Benched", "Tried")
    ]
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\dT[\d:.]+Z", record.time_utc) for record in written)


def test_the_chain_can_be_checked_with_ordinary_tools(tmp_path: Path) -> None:
    """The documented recipe: the sha256 of a line, newline included, stands in the next one."""
    lines = lines_of(filled(tmp_path, 3))
    named = [json.loads(line)["previous_sha256"] for line in lines]
    assert named == [GENESIS, *(hashlib.sha256(line).hexdigest() for line in lines[:-1])]


def test_a_ledger_that_does_not_exist_is_empty_and_sound(tmp_path: Path) -> None:
    """`ledger show` and `status` on a fresh clone must work, and must not make files."""
    ledger = Ledger(tmp_path / "results" / "ledger.jsonl")
    assert list(ledger.read()) == []
    assert ledger.verify().ok
    assert ledger.head() == Head(lines=0, sha256=GENESIS)
    assert not ledger.path.parent.exists()


def test_ids_sort_in_the_order_of_the_chain_even_when_the_clock_jumps_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A laptop whose clock is set back must not write ids that sort before older ones."""
    ledger = Ledger(tmp_path / "ledger.jsonl")
    clock = iter([2_000_000_000, 2_000_000_001, 1_000_000_000, 1_000_000_000, 2_000_000_002])
    monkeypatch.setattr(time, "time_ns", lambda: next(clock) * 10**9)
    ids = [ledger.append(opened()).id for _ in range(5)]
    assert ids == sorted(ids)
    assert len(set(ids)) == 5
    assert all(re.fullmatch("[0-9a-f]{26}", found) for found in ids)
    assert ledger.verify().ok


def test_ids_made_in_the_same_millisecond_differ() -> None:
    """Two records with one id could not be told apart by a verdict that names them."""
    assert len({new_id() for _ in range(1000)}) == 1000


def test_a_damaged_line_is_named(tmp_path: Path) -> None:
    """ "One malformed line breaks every command" is bearable only if the line is named."""
    ledger = filled(tmp_path, 3)
    ledger.path.write_bytes(ledger.path.read_bytes().replace(b'"w1"', b"7"))
    with pytest.raises(MachineError, match=r"line 2 is no record.*workspace") as raised:
        list(ledger.read())
    assert "ledger verify" in raised.value.hint


@pytest.mark.parametrize("change", [{"kind": "dreamt"}, {"schema": 99}])
def test_lines_of_a_newer_version_are_named_and_still_verify(
    tmp_path: Path, change: dict[str, object]
) -> None:
    """An old checkout reads a new ledger: it must say so, and may still append and verify."""
    ledger = filled(tmp_path, 2)
    last = lines_of(ledger)[-1]
    newer = json.loads(last) | change
    newer |= {"previous_sha256": hashlib.sha256(last).hexdigest(), "number": 3}
    with ledger.path.open("ab") as file:
        file.write(json.dumps(newer).encode() + b"\n")
    with pytest.raises(MachineError, match=r"line 3: kind .* is unknown here") as raised:
        list(ledger.read())
    assert "newer" in raised.value.hint
    ledger.append(opened())
    assert ledger.verify().ok


def test_find_filters_and_names_kinds_it_does_not_know(tmp_path: Path) -> None:
    """The filters of `ledger show`."""
    ledger = Ledger(tmp_path / "ledger.jsonl")
    ledger.append(opened())
    ledger.append(verified(candidate_sha256="d" * 64))
    ledger.append(verified(target="relu_squared"))
    assert [type(r) for r in ledger.find(kind="verified", target="rmsnorm")] == [Verified]
    assert [type(r) for r in ledger.find(kind="opened")] == [Opened]
    assert len(list(ledger.find(target="rmsnorm"))) == 2
    assert len(list(ledger.find(candidate_sha256="d" * 64, engine="cpu"))) == 1
    assert list(ledger.find(engine="mlx")) == []
    with pytest.raises(CommandError, match="Did you mean 'verified'"):
        ledger.find(kind="verifed")


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_a_number_that_json_cannot_hold_is_refused_before_it_is_written(
    tmp_path: Path, number: float
) -> None:
    """Written as null it would make the line, and with it the whole ledger, unreadable."""
    ledger = filled(tmp_path, 1)
    outcome = Passed(checks=(check(CASES[0], error=number),))
    with pytest.raises(MachineError, match=r"max_error|rms_error"):
        ledger.append(verified(outcome))
    assert len(list(ledger.read())) == 1


def test_text_of_any_kind_survives(tmp_path: Path) -> None:
    """A candidate's error message may hold anything; it must not break the line."""
    ledger = Ledger(tmp_path / "ledger.jsonl")
    detail = 'two\nlines, \r a return, "quotes", \u2028, \x00 and é'
    ledger.append(verified(Failed(reason="raised", detail=detail)))
    ledger.append(opened())
    assert next(ledger.read()).outcome.detail == detail
    assert ledger.verify().ok
    assert len(lines_of(ledger)) == 2


def test_a_path_that_is_a_folder_is_told(tmp_path: Path) -> None:
    """`--ledger results` instead of `--ledger results/ledger.jsonl`."""
    with pytest.raises(MachineError, match="directory"):
        Ledger(tmp_path).append(opened())
    with pytest.raises(MachineError, match="directory"):
        list(Ledger(tmp_path).read())


def test_parquet_export_has_one_row_per_line(tmp_path: Path) -> None:
    """Notebooks read this; a kind without a target must still have its row."""
    from pyarrow import parquet

    ledger = filled(tmp_path, 2)
    with ledger.path.open("ab") as file:
        file.write(b"torn")
    ledger.append(verified())
    assert ledger.export_parquet(tmp_path / "out" / "ledger.parquet") == 4
    table = parquet.read_table(tmp_path / "out" / "ledger.parquet").to_pylist()
    assert [row["kind"] for row in table] == ["opened", "opened", "set_aside", "verified"]
    assert [row["line"] for row in table] == [1, 2, 3, 4]
    assert table[2]["target"] is None
    assert table[3]["hardware"] == MACHINE.hardware
    assert msgspec.json.decode(table[3]["body"], type=Verified) == list(ledger.read())[3]
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["ledger.parquet"]


def test_appending_does_not_read_the_whole_ledger(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A ledger of a year's work must not make every command slow."""
    ledger = filled(tmp_path, 400)
    assert ledger.path.stat().st_size > 3 * 65536
    read = []
    real = os.pread
    monkeypatch.setattr(ledger_file.os, "pread", lambda *a: read.append(len(real(*a))) or real(*a))
    ledger.append(opened())
    assert sum(read) <= 2 * 65536
