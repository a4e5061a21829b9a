"""The index finds what reading the whole ledger finds, whatever became of either file."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from ledger_files import lines_of, written
from made_records import MACHINE, benched, opened, tried, verified

from lab import ledger_index
from lab.errors import MachineError
from lab.ledger import Ledger
from lab.ledger_index import Index
from lab.ledger_keys import Wanted
from lab.records import Demoted

ASKED: list[tuple[Wanted, ...]] = [
    (Wanted(candidate_sha256="b" * 64),),
    (Wanted(candidate_sha256="b" * 64, kind="verified", target="rmsnorm", engine="cpu"),),
    (Wanted(kind="tried", target="rmsnorm", engine="cpu"),),
    (Wanted(candidate_sha256="c" * 64), Wanted(kind="tried", target="rmsnorm", engine="cpu")),
    (Wanted(kind="opened", workspace="w1"), Wanted(kind="opened", workspace="w2")),
    (Wanted(target="rmsnorm"),),
    (Wanted(engine="mps"),),
    (Wanted(candidate_sha256="e" * 64),),
    (Wanted(),),
]


@pytest.fixture(autouse=True)
def eager(monkeypatch: pytest.MonkeyPatch) -> None:
    """Indexes a ledger of any size, up to its last byte, in several transactions."""
    monkeypatch.setattr(ledger_index, "TAIL_BYTES", 1)
    monkeypatch.setattr(ledger_index, "LINES_AT_ONCE", 4)


def some(number: int) -> Iterator[Any]:
    """A few records of several kinds, candidates, targets and engines."""
    about = {"candidate_sha256": "bcd"[number % 3] * 64, "workspace": f"w{number % 4}"}
    yield opened(**about, engine="mps" if number == 5 else "cpu")
    yield verified(**about, target="relu_squared" if number % 2 else "rmsnorm")
    yield benched(**about)
    yield tried(**about)
    if number == 3:
        yield Demoted(machine=MACHINE, target="rmsnorm", engine="cpu", candidate_sha256="", why="")


def filled(folder: Path, rounds: int = 6) -> Ledger:
    records = (record for number in range(rounds) for record in some(number))
    return written(folder / "ledger.jsonl", records)


def scanned(ledger: Ledger, wanted: tuple[Wanted, ...]) -> list[Any]:
    """What is to be found, by the plainest way: every record, value by value."""
    return [
        record
        for record in ledger.read()
        if any(
            (one.kind is None or record.__struct_config__.tag == one.kind)
            and all(
                value is None or getattr(record, name, None) == value
                for name, value in one._asdict().items()
                if name != "kind"
            )
            for one in wanted
        )
    ]


def same_as_scanned(ledger: Ledger) -> bool:
    return all(list(ledger.find_any(*wanted)) == scanned(ledger, wanted) for wanted in ASKED)


def read_to(ledger: Ledger) -> int:
    """How far the index has read, without letting it read on."""
    with closing(sqlite3.connect(Index(ledger.path).path)) as base:
        return int(base.execute("SELECT read_to FROM progress").fetchone()[0])


@pytest.mark.parametrize("wanted", ASKED, ids=str)
def test_the_index_finds_what_a_scan_finds(tmp_path: Path, wanted: tuple[Wanted, ...]) -> None:
    """Evidence that depended on the way of reading would be no evidence."""
    ledger = filled(tmp_path)
    expected = scanned(ledger, wanted)
    assert list(ledger.find_any(*wanted)) == expected
    assert list(ledger.find_any(*wanted)) == expected  # cold and warm
    assert list(ledger.find_any(*wanted, indexed=False)) == expected
    assert read_to(ledger) == ledger.path.stat().st_size


def test_only_the_lines_asked_for_are_read(tmp_path: Path) -> None:
    """The point of an index: one candidate among many costs what its own records cost."""
    ledger = filled(tmp_path, rounds=30)
    wanted = [Wanted(candidate_sha256="b" * 64, kind="verified")]
    with ledger.path.open("rb") as file:
        starts, end = Index(ledger.path).places(file, ledger.path.stat().st_size, wanted)
        assert end == ledger.path.stat().st_size
        lines = []
        for start in starts:
            file.seek(start)
            lines.append(file.readline())
    assert [json.loads(line)["kind"] for line in lines] == ["verified"] * 10


@pytest.mark.parametrize("tail", [1, 5_000, 1 << 20])
def test_a_record_is_found_as_soon_as_it_is_appended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tail: int
) -> None:
    """Evidence must not miss the failure that another process has just written."""
    monkeypatch.setattr(ledger_index, "TAIL_BYTES", tail)
    ledger = Ledger(tmp_path / "ledger.jsonl")
    for number in range(5):
        for record in some(number):
            written = ledger.append(record)
            assert list(Ledger(ledger.path).find_any(Wanted()))[-1] == written
            assert ledger.newest(1) == [written]
    assert same_as_scanned(ledger)
    assert Index(ledger.path).path.exists() == (tail < ledger.path.stat().st_size)


@pytest.mark.parametrize("count", [0, 1, 3, 100])
def test_the_newest_are_the_last_of_those_found(tmp_path: Path, count: int) -> None:
    """`ledger show --last` and the newest profile."""
    ledger = filled(tmp_path)
    expected = scanned(ledger, (Wanted(kind="tried"),))
    assert ledger.newest(count, kind="tried") == expected[len(expected) - min(count, 6) :]


def cut(ledger: Ledger) -> None:
    ledger.path.write_bytes(b"".join(lines_of(ledger)[:7]))


def cut_and_grown(ledger: Ledger) -> None:
    cut(ledger)
    for number in range(10):
        ledger.append(verified(candidate_sha256="b" * 64, workspace=f"new{number}"))


def replaced(ledger: Ledger) -> None:
    """By another, sound one with as many bytes."""
    size = ledger.path.stat().st_size
    records = [record for number in range(6) for record in some(number)]
    written(ledger.path, reversed(records))
    assert ledger.path.stat().st_size == size


def removed(ledger: Ledger) -> None:
    ledger.path.unlink()


@pytest.mark.parametrize("change", [cut, cut_and_grown, replaced, removed])
def test_another_ledger_under_the_same_name_is_noticed(tmp_path: Path, change: Any) -> None:
    """Somebody moves the ledger away, or puts a backup in its place."""
    ledger = filled(tmp_path)
    assert same_as_scanned(ledger)
    change(ledger)
    assert same_as_scanned(ledger)


def test_an_edited_line_is_not_taken_for_what_it_was(tmp_path: Path) -> None:
    """The index proposes; the ledger's own bytes decide."""
    ledger = filled(tmp_path)
    assert same_as_scanned(ledger)
    lines = lines_of(ledger)
    lines[1] = lines[1].replace(b"b" * 64, b"e" * 64)
    ledger.path.write_bytes(b"".join(lines))
    wanted = (Wanted(candidate_sha256="b" * 64),)
    assert list(ledger.find_any(*wanted)) == scanned(ledger, wanted)


def nonsense(path: Path) -> None:
    path.write_bytes(b"no data base at all" * 400)


def emptied(path: Path) -> None:
    path.write_bytes(b"")


def foreign(path: Path) -> None:
    path.unlink()
    with closing(sqlite3.connect(path)) as base:
        base.execute("CREATE TABLE line (start TEXT)")


def of_another_version(path: Path) -> None:
    with closing(sqlite3.connect(path)) as base:
        base.execute("PRAGMA user_version = 1")


def with_pages_of_noise(path: Path) -> None:
    whole = path.read_bytes()
    path.write_bytes(whole[:4096] + b"\xff" * (len(whole) - 4096))


def half_of_it(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:6000])


@pytest.mark.parametrize(
    "damage", [nonsense, emptied, foreign, of_another_version, with_pages_of_noise, half_of_it]
)
def test_a_spoilt_index_is_made_anew(tmp_path: Path, damage: Any) -> None:
    """It can always be rebuilt, so nobody should have to hear of it."""
    ledger = filled(tmp_path)
    assert same_as_scanned(ledger)
    damage(Index(ledger.path).path)
    assert same_as_scanned(ledger)
    assert read_to(ledger) == ledger.path.stat().st_size


def test_without_a_place_for_an_index_the_ledger_is_read(tmp_path: Path) -> None:
    """A read-only folder, or one where something is in the way."""
    ledger = filled(tmp_path)
    Index(ledger.path).path.mkdir()
    assert same_as_scanned(ledger)
    Index(ledger.path).path.rmdir()
    Path(f"{Index(ledger.path).path}.lock").unlink(missing_ok=True)
    Path(f"{Index(ledger.path).path}.lock").mkdir()
    assert same_as_scanned(ledger)
    assert not Index(ledger.path).path.exists()


def test_an_index_that_cannot_be_extended_still_serves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another process is extending it, for as long as it takes."""
    ledger = filled(tmp_path)
    assert same_as_scanned(ledger)
    before = read_to(ledger)

    def busy(self: Index, *given: Any, **named: Any) -> None:
        raise TimeoutError

    monkeypatch.setattr(Index, "_catch_up", busy)
    ledger.append(verified(candidate_sha256="b" * 64))
    assert same_as_scanned(ledger)
    assert read_to(ledger) == before


def test_a_line_of_a_newer_version_is_told_by_way_of_the_index_too(tmp_path: Path) -> None:
    """It may be about this very candidate, and say what an older lab cannot read."""
    ledger = filled(tmp_path)
    last = json.loads(lines_of(ledger)[-1])
    with ledger.path.open("ab") as file:
        file.write(json.dumps(last | {"kind": "dreamt"}).encode() + b"\n")
    for _ in range(2):
        with pytest.raises(MachineError, match=r"line 26: kind 'dreamt'"):
            list(ledger.find(candidate_sha256="e" * 64))


def test_a_last_line_that_was_never_accepted_does_not_stay_in_the_index(tmp_path: Path) -> None:
    """Zeros after a power cut: the next append puts a `set_aside` line in their place."""
    ledger = filled(tmp_path)
    with ledger.path.open("ab") as file:
        file.write(b"\0" * 300 + b"\n")
    with pytest.raises(MachineError, match="line 26 is no record"):
        list(ledger.find(kind="set_aside"))
    ledger.append(opened())
    assert len(list(ledger.find(kind="set_aside"))) == 1
    assert same_as_scanned(ledger)


def test_many_readers_of_a_cold_index_agree(tmp_path: Path) -> None:
    """One makes it; the others do not wait for it and are not misled by its half."""
    ledger = filled(tmp_path, rounds=60)
    expected = [scanned(ledger, wanted) for wanted in ASKED]
    with ThreadPoolExecutor(8) as pool:
        found = pool.map(lambda wanted: list(Ledger(ledger.path).find_any(*wanted)), ASKED * 4)
        assert list(found) == expected * 4
