"""Whatever is done to the lines of a ledger, `ledger verify` finds it and says where."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from ledger_files import filled, lines_of
from made_records import opened
from msgspec.structs import replace

from lab import chain
from lab.chain import GENESIS, Problem
from lab.cli import cli
from lab.errors import MachineError
from lab.ledger import Ledger


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
    found = {problem.line for problem in report.problems}
    assert not report.ok
    assert edited + 1 in found
    assert found <= {edited, edited + 1, edited + 2}  # an edited link speaks of its neighbour, too


def test_a_look_at_the_end_finds_what_is_wrong_there_at_its_place(tmp_path: Path) -> None:
    """Doctor looks no further: what it says of the end must be what `ledger verify` says."""
    ledger = filled(tmp_path, 9)
    lines = lines_of(ledger)
    lines[6] = lines[6].replace(b"rmsnorm", b"RMSNORM")
    ledger.path.write_bytes(b"".join(lines))
    report = ledger.verify_end(sum(map(len, lines[-4:])) + 10)
    assert (report.lines, report.unread) == (9, 5)
    assert report.head == ledger.verify().head
    assert report.problems == ledger.verify().problems


def rearranged(tmp_path: Path, order: list[int]) -> Ledger:
    """A ledger whose lines (from 1) were put into `order`."""
    lines = lines_of(filled(tmp_path))
    copy = Ledger(tmp_path / "rearranged.jsonl")
    copy.path.write_bytes(b"".join(lines[number - 1] for number in order))
    return copy


@pytest.mark.parametrize(
    ("order", "line", "what"),
    [
        ([2, 3, 4, 5, 6], 1, "written as line 2, but follows the start: line 1 was removed"),
        ([1, 2, 4, 5, 6], 3, "written as line 4, but follows line 2: line 3 was removed"),
        ([1, 2, 5, 6], 3, "written as line 5, but follows line 2: lines 3 to 4 were removed"),
        ([1, 2, 4, 3, 5, 6], 3, "written after line 4, but follows line 2: lines were moved"),
        ([2, 1, 3, 4, 5, 6], 2, "says that it is the first line, but follows line 1"),
        ([1, 2, 3, 3, 4, 5, 6], 4, "a copy of line 3"),
        ([1, 2, 1, 3, 4, 5, 6], 3, "a copy of line 1"),
        ([1, 2, 5, 3, 4, 5, 6], 3, "written after line 5, but follows line 2"),
    ],
)
def test_removed_moved_and_repeated_lines_are_located(
    tmp_path: Path, order: list[int], line: int, what: str
) -> None:
    """Dropping the failures from a history must not go unseen."""
    report = rearranged(tmp_path, order).verify()
    assert not report.ok
    found = {problem.line: problem.what for problem in report.problems}
    assert what in found[line]
    assert min(found) >= line - 1


def test_one_edit_is_reported_once(tmp_path: Path) -> None:
    """A list of a thousand consequences would hide the cause."""
    ledger = filled(tmp_path)
    whole = ledger.path.read_bytes()
    ledger.path.write_bytes(whole.replace(b'"w2"', b'"wX"'))
    assert ledger.verify().problems == (
        Problem(line=3, what="edited after line 4 was written, or line 4's link to it was"),
    )
    ledger.path.write_bytes(whole.replace(b'"w2"', b'"w2'))
    assert ledger.verify().problems == (
        Problem(line=3, what="not a record: it was edited or damaged"),
    )


def test_a_copy_in_place_of_a_removed_line_is_one_finding(tmp_path: Path) -> None:
    """The number of lines is right, and every line was once accepted."""
    report = rearranged(tmp_path, [1, 2, 2, 4, 5, 6]).verify()
    assert [problem.line for problem in report.problems] == [3, 4]
    assert "a copy of line 2" in report.problems[0].what
    assert "line 3 was removed" in report.problems[1].what


def test_a_line_of_another_ledger_is_found_where_it_was_put(tmp_path: Path) -> None:
    """A fine result from another machine, pasted in."""
    lines = lines_of(filled(tmp_path))
    other = tmp_path / "other"
    other.mkdir()
    foreign = lines_of(filled(other, 5))
    for number, line in enumerate(foreign):
        copy = Ledger(tmp_path / "mixed.jsonl")
        copy.path.write_bytes(b"".join([*lines[:2], line, *lines[2:]]))
        found = {problem.line: problem.what for problem in copy.verify().problems}
        assert "written after line 2, but follows line 3" in found[4], number
        assert 2 in found or 3 in found


@pytest.mark.parametrize("forged", [{"number": 7}, {"number": 3}, {"previous_sha256": GENESIS}])
def test_an_edit_of_what_links_a_line_is_found(tmp_path: Path, forged: dict[str, object]) -> None:
    """The chain's own fields are no better protected by being its own."""
    ledger = filled(tmp_path)
    lines = lines_of(ledger)
    line = json.dumps(json.loads(lines[3]) | forged, separators=(",", ":")).encode() + b"\n"
    ledger.path.write_bytes(b"".join([*lines[:3], line, *lines[4:]]))
    assert 4 in {problem.line for problem in ledger.verify().problems}


def test_many_broken_lines_take_no_longer_than_whole_ones(tmp_path: Path) -> None:
    """An editor that changes every line end must not hang `verify`: each line is looked up once."""
    digests = chain.check(line for line in _unlinked(20_000))
    assert len(digests.problems) == 20_000 - 1


def _unlinked(count: int) -> Iterator[bytes]:
    record = opened(time_utc="t", id="0" * 26)
    for number in range(1, count + 1):
        link = GENESIS if number == 1 else f"{number:064x}"
        yield msgspec.json.encode(replace(record, number=number, previous_sha256=link)) + b"\n"


def test_the_command_names_line_and_fault(tmp_path: Path) -> None:
    """What a person sees, and the exit code that a script sees."""
    ledger = filled(tmp_path)
    lines = lines_of(ledger)
    asked = ["ledger", "verify", "--ledger", str(ledger.path)]
    assert CliRunner().invoke(cli, asked).exit_code == 0
    ledger.path.write_bytes(b"".join([*lines[:2], *lines[3:4], lines[4].replace(b"w4", b"wX")]))
    told = CliRunner().invoke(cli, asked)
    assert told.exit_code == 3
    assert "BROKEN" in told.output
    assert "line 3 was removed" in " ".join(told.output.split())
    report = json.loads(CliRunner().invoke(cli, [*asked, "--json"]).output)
    assert [problem["line"] for problem in report["problems"]] == [3]

    ledger.path.write_bytes(b"".join(lines[:4]))
    head = f"6:{hashlib.sha256(lines[-1]).hexdigest()}"
    assert CliRunner().invoke(cli, asked).exit_code == 0
    told = CliRunner().invoke(cli, [*asked, "--head", head])
    assert told.exit_code == 3
    assert "the end was cut off" in " ".join(told.output.split())


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
