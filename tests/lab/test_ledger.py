"""The ledger keeps what was accepted, says when it was tampered with, and survives kills."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from made_records import CASES, MACHINE, benched, check, opened, tried, verified

from lab import ledger_file
from lab.chain import GENESIS, Head
from lab.errors import CommandError, MachineError
from lab.ledger import Ledger, new_id
from lab.records import Failed, Opened, Passed, SetAside, Verified

ROOT = Path(__file__).resolve().parents[2]
APPENDER = """
import sys
sys.path[:0] = sys.argv[1:3]
from made_records import opened
from lab.ledger import Ledger
ledger = Ledger(sys.argv[3])
for number in range(int(sys.argv[4])):
    record = ledger.append(opened(workspace=f"{sys.argv[5]}-{number}"))
    print(record.id, flush=True)
"""


def appender(path: Path, count: int, name: str) -> subprocess.Popen[str]:
    """A process that appends `count` records and prints the id of each that was accepted."""
    argv = [sys.executable, "-c", APPENDER, str(ROOT), str(Path(__file__).parent)]
    return subprocess.Popen(
        [*argv, str(path), str(count), name],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def filled(path: Path, count: int = 6) -> Ledger:
    """A ledger of `count` lines."""
    ledger = Ledger(path / "ledger.jsonl")
    for number in range(count):
        ledger.append(opened(workspace=f"w{number}"))
    return ledger


def lines_of(ledger: Ledger) -> list[bytes]:
    return ledger.path.read_bytes().splitlines(keepends=True)


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


# ---- tampering ----------------------------------------------------------------------------------


@given(data=st.data())
@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_any_edit_before_the_last_line_is_found_at_its_place(
    tmp_path: Path, data: st.DataObject
) -> None:
    """Somebody improves a number by hand: `ledger verify` must find the line."""
    ledger = Ledger(tmp_path / "ledger.jsonl")
    if not ledger.path.exists():
        filled(tmp_path)
    lines = lines_of(ledger)
    edited = data.draw(st.integers(0, len(lines) - 2))
    line = bytearray(lines[edited])
    position = data.draw(st.integers(0, len(line) - 2))
    line[position] = data.draw(st.integers(0, 255).filter(lambda byte: byte != line[position]))
    copy = Ledger(tmp_path / "edited.jsonl")
    copy.path.write_bytes(b"".join([*lines[:edited], bytes(line), *lines[edited + 1 :]]))
    report = copy.verify()
    assert not report.ok
    assert report.problems[0].line in (edited + 1, edited + 2)


def rearranged(tmp_path: Path, order: list[int]) -> Ledger:
    """A ledger whose lines (from 1) were put into `order`."""
    lines = lines_of(filled(tmp_path))
    copy = Ledger(tmp_path / "rearranged.jsonl")
    copy.path.write_bytes(b"".join(lines[number - 1] for number in order))
    return copy


@pytest.mark.parametrize(
    ("order", "line", "what"),
    [
        ([2, 3, 4, 5, 6], 1, "lines before it were removed"),
        ([1, 2, 5, 6], 3, "line 2 was edited, or lines between line 2 and this one were removed"),
        ([1, 2, 4, 3, 5, 6], 3, "moved"),
        ([1, 2, 3, 3, 4, 5, 6], 4, "written after line 2"),
        ([1, 2, 5, 3, 4, 5, 6], 3, "written after line 5"),
        ([1, 2, 1, 3, 4, 5, 6], 3, "says that it is the first line"),
    ],
)
def test_removed_moved_and_repeated_lines_are_located(
    tmp_path: Path, order: list[int], line: int, what: str
) -> None:
    """Dropping the failures from a history must not go unseen."""
    report = rearranged(tmp_path, order).verify()
    assert not report.ok
    assert report.problems[0].line == line
    assert what in report.problems[0].what


def test_one_edit_is_reported_once(tmp_path: Path) -> None:
    """A list of a thousand consequences would hide the cause."""
    ledger = filled(tmp_path)
    ledger.path.write_bytes(ledger.path.read_bytes().replace(b'"w2"', b'"wX"'))
    assert [problem.line for problem in ledger.verify().problems] == [4]


def test_a_pinned_head_shows_what_the_chain_alone_cannot(tmp_path: Path) -> None:
    """Cutting off the end and editing the last line keep the chain intact; a noted head tells."""
    ledger = filled(tmp_path)
    pinned = ledger.head()
    whole = ledger.path.read_bytes()
    assert ledger.verify(pinned).ok
    ledger.append(opened())
    assert ledger.verify(pinned).ok  # a ledger that grew still contains its old head

    ledger.path.write_bytes(b"".join(whole.splitlines(keepends=True)[:4]))
    assert ledger.verify().ok
    assert "cut off" in ledger.verify(pinned).problems[0].what

    ledger.path.write_bytes(whole.replace(b'"w5"', b'"wX"'))
    assert ledger.verify().ok
    assert ledger.verify(pinned).problems[0].line == 6


def test_nothing_is_appended_behind_an_end_that_does_not_verify(tmp_path: Path) -> None:
    """A good line behind a forged one would lend it credit."""
    ledger = filled(tmp_path, 4)
    lines = lines_of(ledger)
    ledger.path.write_bytes(b"".join([*lines[:2], lines[3]]))
    before = ledger.path.read_bytes()
    with pytest.raises(MachineError, match="does not verify") as raised:
        ledger.append(opened())
    assert "ledger verify" in raised.value.hint
    assert ledger.path.read_bytes() == before

    ledger.path.write_bytes(b'{"kind": "verified"}\n')
    with pytest.raises(MachineError, match="does not verify"):
        ledger.append(opened())


# ---- torn lines, full disks, kills --------------------------------------------------------------


@pytest.mark.parametrize("kept", [1, 40, -1])
def test_a_torn_last_line_is_set_aside_and_recorded(tmp_path: Path, kept: int) -> None:
    """After kill -9 in the middle of a write the next command goes on, and says what it found."""
    ledger = filled(tmp_path, 3)
    whole = lines_of(ledger)
    torn = whole[2][:kept]
    ledger.path.write_bytes(b"".join(whole[:2]) + torn)
    assert "torn" in ledger.verify().problems[0].what
    assert [record.workspace for record in ledger.read()] == ["w0", "w1"]

    ledger.append(opened(workspace="after"))
    assert ledger.verify().ok
    first, second, note, last = ledger.read()
    assert isinstance(note, SetAside)
    assert note.bytes_set_aside == len(torn)
    assert (tmp_path / note.file).read_bytes() == torn
    assert [first.workspace, second.workspace, last.workspace] == ["w0", "w1", "after"]


@pytest.mark.parametrize("damage", [b"\0" * 500 + b"\n", b"{]\n", b"\xff\xfe\n", b"\n"])
def test_a_last_line_that_is_no_json_is_set_aside(tmp_path: Path, damage: bytes) -> None:
    """Some file systems leave zeros after a power cut."""
    ledger = filled(tmp_path, 2)
    with ledger.path.open("ab") as file:
        file.write(damage)
    ledger.append(opened(workspace="after"))
    assert ledger.verify().ok
    note = next(ledger.find(kind="set_aside"))
    assert (tmp_path / note.file).read_bytes() == damage


def test_a_torn_line_longer_than_its_replacement_leaves_nothing_behind(tmp_path: Path) -> None:
    """The set_aside line is written over the torn one; leftovers must not survive it."""
    ledger = filled(tmp_path, 1)
    with ledger.path.open("ab") as file:
        file.write(b'{"kind":"benched","x":"' + b"y" * 300_000)
    ledger.append(opened())
    assert [record.__struct_config__.tag for record in ledger.read()] == [
        *("opened", "set_aside", "opened")
    ]
    assert ledger.verify().ok


def test_a_ledger_that_is_nothing_but_a_torn_line_starts_anew(tmp_path: Path) -> None:
    """The very first append may be the one that was killed."""
    ledger = Ledger(tmp_path / "ledger.jsonl")
    ledger.path.write_bytes(b'{"kind":"op')
    ledger.append(opened())
    assert ledger.verify().ok
    assert next(ledger.read()).previous_sha256 == GENESIS


@pytest.mark.parametrize("torn", [b"", b'{"kind":"torn'])
@pytest.mark.parametrize("fails", ["pwrite", "fsync"])
def test_a_full_disk_leaves_the_ledger_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fails: str, torn: bytes
) -> None:
    """Nothing accepted may be lost, and the message must say what to do."""
    ledger = filled(tmp_path, 3)
    with ledger.path.open("ab") as file:
        file.write(torn)
    before = ledger.path.read_bytes()
    real = os.pwrite
    calls: list[int] = []

    def full(file: int, data: bytes = b"", offset: int = 0) -> int:
        calls.append(file)
        if fails == "pwrite" and len(calls) != 2:  # a part still fits; and the end is put back
            return real(file, data[:50], offset)
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(ledger_file.os, fails, full)
        with pytest.raises(MachineError, match="No space left") as raised:
            ledger.append(opened())
    assert "Free some space" in raised.value.hint
    assert ledger.path.read_bytes() == before
    ledger.append(opened(workspace="after"))
    assert ledger.verify().ok


def test_a_file_size_limit_is_a_machine_error_not_a_crash(tmp_path: Path) -> None:
    """The system's own refusal (here RLIMIT_FSIZE), not a simulated one."""
    ledger = filled(tmp_path, 2)
    before = ledger.path.read_bytes()
    limit = len(before) + 100
    code = f"import resource; resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}))\n"
    argv = [sys.executable, "-c", code + APPENDER, str(ROOT), str(Path(__file__).parent)]
    done = subprocess.run(
        [*argv, str(ledger.path), "1", "full"], capture_output=True, text=True, check=False
    )
    assert "MachineError" in done.stderr
    assert "File too large" in done.stderr
    assert ledger.path.read_bytes() == before
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] != limit


def test_eight_writers_at_once_lose_nothing(tmp_path: Path) -> None:
    """Two agents working side by side share one ledger."""
    path = tmp_path / "ledger.jsonl"
    writers = [appender(path, 10, f"writer{number}") for number in range(8)]
    printed = [writer.communicate(timeout=120) for writer in writers]
    assert [error for _, error in printed] == [""] * 8
    ledger = Ledger(path)
    assert ledger.verify().ok
    accepted = {line for output, _ in printed for line in output.split()}
    assert {record.id for record in ledger.read()} == accepted
    assert len(accepted) == 80


def test_killed_writers_lose_no_accepted_record(tmp_path: Path) -> None:
    """What `append` returned is on disk, whenever the process dies."""
    path = tmp_path / "ledger.jsonl"
    accepted: list[str] = []
    for round_number in range(4):
        writer = appender(path, 10_000, f"killed{round_number}")
        assert writer.stdout is not None
        assert writer.stderr is not None
        accepted += [writer.stdout.readline().strip() for _ in range(3 + round_number)]
        writer.send_signal(signal.SIGKILL)
        accepted += writer.stdout.read().split()
        writer.wait()
        writer.stdout.close()
        writer.stderr.close()
    ledger = Ledger(path)
    ledger.append(opened(workspace="after"))
    assert ledger.verify().ok
    assert set(accepted) <= {record.id for record in ledger.read()}


def test_a_lock_that_is_never_released_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stopped process that holds the lock must not look like a hang of this one."""
    ledger = filled(tmp_path, 1)
    monkeypatch.setattr(ledger_file, "LOCK_TIMEOUT_S", 0.05)
    with (
        ledger_file.locked(ledger.path),
        pytest.raises(MachineError, match="another process has held"),
    ):
        ledger.append(opened())


# ---- reading ------------------------------------------------------------------------------------


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
    newer["previous_sha256"] = hashlib.sha256(last).hexdigest()
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
