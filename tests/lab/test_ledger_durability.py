"""What `append` accepted is never lost: kills, full disks, torn lines, many writers."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from ledger_files import filled, lines_of
from made_records import opened

from lab import ledger_file
from lab.chain import GENESIS
from lab.errors import MachineError
from lab.ledger import Ledger
from lab.records import SetAside

ROOT = Path(__file__).resolve().parents[2]
PREPARED = """
import sys
sys.path[:0] = sys.argv[1:3]
from made_records import opened
from lab.ledger import Ledger
ledger = Ledger(sys.argv[3])
"""
APPENDER = (
    PREPARED
    + """
for number in range(int(sys.argv[4])):
    record = ledger.append(opened(workspace=f"{sys.argv[5]}-{number}"))
    print(record.id, flush=True)
"""
)


def appender(path: Path, count: int, name: str) -> subprocess.Popen[str]:
    """A process that appends `count` records and prints the id of each that was accepted."""
    argv = [sys.executable, "-c", APPENDER, str(ROOT), str(Path(__file__).parent)]
    return subprocess.Popen(
        [*argv, str(path), str(count), name],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


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


def test_an_append_that_is_written_in_small_pieces_is_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The system may write less than it was asked to; the rest must follow."""
    ledger = filled(tmp_path, 1)
    real = os.pwrite
    monkeypatch.setattr(ledger_file.os, "pwrite", lambda f, data, at: real(f, data[:7], at))
    ledger.append(opened(workspace="in pieces"))
    assert ledger.verify().ok
    assert [record.workspace for record in ledger.read()] == ["w0", "in pieces"]


def test_a_disk_that_fills_up_at_any_byte_of_a_line(tmp_path: Path) -> None:
    """Refused by the system itself, at a limit that grows until the line fits."""
    ledger = filled(tmp_path, 2)
    size = ledger.path.stat().st_size
    code = """
import resource
from lab.errors import MachineError
path, limit, refused = ledger.path, int(sys.argv[4]), 0
before = path.read_bytes()
while True:
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
    try:
        record = ledger.append(opened())
        break
    except MachineError:
        assert path.read_bytes() == before
        refused, limit = refused + 1, limit + 23
print(refused, record.id)
"""
    argv = [sys.executable, "-c", PREPARED + code, str(ROOT), str(Path(__file__).parent)]
    done = subprocess.run([*argv, str(ledger.path), str(size)], capture_output=True, text=True)
    assert done.stderr == ""
    refused, accepted = done.stdout.split()
    assert int(refused) > 20
    assert ledger.verify().ok
    assert [record.id for record in ledger.read()][2:] == [accepted]


@pytest.mark.skipif(sys.platform != "linux", reason="/dev/full is Linux's")
def test_a_device_that_is_always_full(tmp_path: Path) -> None:
    """Nothing can be put back either; the message is still the one about space."""
    (tmp_path / "ledger.jsonl").symlink_to("/dev/full")
    with pytest.raises(MachineError, match="No space left"):
        Ledger(tmp_path / "ledger.jsonl").append(opened())


def test_sixteen_writers_at_once_lose_nothing(tmp_path: Path) -> None:
    """Sixteen agents working side by side share one ledger."""
    path = tmp_path / "ledger.jsonl"
    writers = [appender(path, 6, f"writer{number}") for number in range(16)]
    printed = [writer.communicate(timeout=240) for writer in writers]
    assert [error for _, error in printed] == [""] * 16
    ledger = Ledger(path)
    assert ledger.verify().ok
    accepted = {line for output, _ in printed for line in output.split()}
    assert {record.id for record in ledger.read()} == accepted
    assert len(accepted) == 96


def test_three_hundred_kills_lose_no_accepted_record(tmp_path: Path) -> None:
    """What `append` returned is on disk, whenever and in whatever a process dies.

    See ledger_kills.py, which can be run for as long as one likes.
    """
    script = Path(__file__).with_name("ledger_kills.py")
    argv = [sys.executable, str(script), str(tmp_path), "--writers", "16", "--kills", "300"]
    done = subprocess.run(argv, capture_output=True, text=True)
    assert done.stderr == ""
    found = json.loads(done.stdout)
    assert found["complaints"] == []
    assert found["lost"] == 0
    assert found["sound"]
    assert found["found"]
    assert found["killed"] >= 300
    assert found["accepted"] > 30  # or nothing was tried
    assert found["torn_lines_set_aside"] > 0


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
