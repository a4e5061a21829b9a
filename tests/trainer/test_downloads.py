"""Downloads arrive whole or not at all, whatever the network, server, disk or user does."""

from __future__ import annotations

import errno
import os
import random
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from shard_server import Fault, ShardServer, parquet

from trainer.documents import parquet_fault
from trainer.downloads import download_all
from trainer.errors import DataError
from trainer.transfer import Download, Policy

NAMES = [f"shard_{index:05d}.parquet" for index in range(4)]
AGAIN = "uv run prepare.py --data climbmix"


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[ShardServer]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    letters = random.Random(0)
    files = {
        name: parquet(["".join(letters.choices("abcdefgh ", k=400)) for _ in range(300)])
        for name in NAMES
    }
    with ShardServer(files) as server:
        yield server


class Fetcher:
    """Fetches from a server and notes the pauses, which take no time."""

    def __init__(self, server: ShardServer, folder: Path) -> None:
        self.server = server
        self.folder = folder
        self.pauses: list[float] = []
        self.told: list[tuple[str, int, int]] = []
        self.told_from: set[threading.Thread] = set()

    def __call__(self, *names: str, attempts: int = 4) -> None:
        downloads = [Download(f"{self.server.url}/{name}", self.folder / name) for name in names]
        policy = Policy(workers=3, attempts=attempts, chunk_bytes=4096, sleep=self.pauses.append)
        download_all(downloads, policy, self.progress, parquet_fault, AGAIN)

    def progress(self, label: str, done: int, total: int) -> None:
        self.told.append((label, done, total))
        self.told_from.add(threading.current_thread())

    def assert_whole(self, *names: str) -> None:
        for name in names:
            assert (self.folder / name).read_bytes() == self.server.files[name]
        assert sorted(path.name for path in self.folder.iterdir()) == sorted(names)


@pytest.fixture
def fetch(server: ShardServer, tmp_path: Path) -> Fetcher:
    return Fetcher(server, tmp_path / "downloads")


def test_all_files_arrive_byte_for_byte(fetch: Fetcher) -> None:
    """Otherwise data would differ between users."""
    fetch(*NAMES)
    fetch.assert_whole(*NAMES)
    assert fetch.pauses == []


def test_what_is_there_is_not_fetched_again(fetch: Fetcher) -> None:
    """Otherwise each prepare would cost the whole download."""
    fetch(*NAMES)
    fetch.server.requests.clear()
    fetch(*NAMES)
    assert fetch.server.requests == []


def test_a_damaged_file_is_fetched_again(fetch: Fetcher) -> None:
    """A shard that was cut off after its download would fail later, far from the cause."""
    fetch(*NAMES)
    with (fetch.folder / NAMES[1]).open("r+b") as file:
        file.truncate(1000)
    fetch(*NAMES)
    fetch.assert_whole(*NAMES)


def test_a_cut_connection_goes_on_where_it_stopped(fetch: Fetcher) -> None:
    """A large shard over a bad line would otherwise never arrive."""
    fetch.server.faults[NAMES[0]] = [Fault(cut_after=10_000), Fault(cut_after=8_192)]
    fetch(NAMES[0])
    fetch.assert_whole(NAMES[0])
    first, second, third = fetch.server.asked(NAMES[0])
    assert first.range is None
    at = [int(request.range.removeprefix("bytes=").rstrip("-")) for request in (second, third)]
    assert 0 < at[0] <= 10_000
    assert at[0] < at[1] <= at[0] + 8_192
    assert second.if_range is not None


def test_cuts_without_end_are_survived_while_each_brings_more(fetch: Fetcher) -> None:
    """A limit on attempts must not give up a transfer that advances."""
    fetch.server.faults[NAMES[0]] = [Fault(cut_after=8_192)] * 8
    fetch(NAMES[0], attempts=2)
    fetch.assert_whole(NAMES[0])


def test_server_errors_are_retried_with_growing_pauses(fetch: Fetcher) -> None:
    """A server in trouble is not to be hammered."""
    fetch.server.faults[NAMES[0]] = [Fault(status=500), Fault(status=503), Fault(status=502)]
    fetch(NAMES[0])
    fetch.assert_whole(NAMES[0])
    assert fetch.pauses == [1.0, 2.0, 4.0]


def test_a_pause_that_the_server_asks_for_is_kept(fetch: Fetcher) -> None:
    """Otherwise a rate limit turns into a ban."""
    fetch.server.faults[NAMES[0]] = [Fault(status=429, retry_after="17")]
    fetch(NAMES[0])
    assert fetch.pauses == [17.0]


def test_a_missing_file_is_asked_for_once_and_named(fetch: Fetcher) -> None:
    """Upstream exits 0 with shards missing; here the user learns which, and how to go on."""
    del fetch.server.files[NAMES[2]]
    with pytest.raises(DataError) as caught:
        fetch(*NAMES)
    assert "1 of 4 files" in caught.value.message
    assert f"{NAMES[2]}: the server answered 404" in caught.value.message
    assert NAMES[1] not in caught.value.message
    assert AGAIN in caught.value.hint
    assert caught.value.exit_code == 3
    assert len(fetch.server.asked(NAMES[2])) == 1
    fetch.assert_whole(NAMES[0], NAMES[1], NAMES[3])


def test_a_server_that_ignores_ranges_is_coped_with(fetch: Fetcher) -> None:
    """Appending a whole answer to half a file would give a file of the wrong length."""
    fetch.server.knows_ranges = False
    fetch.server.faults[NAMES[0]] = [Fault(cut_after=20_000)]
    fetch(NAMES[0])
    fetch.assert_whole(NAMES[0])
    assert len(fetch.server.asked(NAMES[0])) == 2


def test_a_server_that_answers_in_small_portions_is_coped_with(fetch: Fetcher) -> None:
    """Each answer is complete by its own length but is not the file."""
    fetch.server.longest_answer = 20_000
    fetch.server.faults[NAMES[0]] = [Fault(cut_after=20_000)]
    fetch(NAMES[0])
    fetch.assert_whole(NAMES[0])
    assert all(request.range for request in fetch.server.asked(NAMES[0])[1:])


def test_a_file_that_changed_meanwhile_is_not_mixed_with_its_old_half(fetch: Fetcher) -> None:
    """Half of each version would pass every length check."""
    fetch.server.faults[NAMES[0]] = [Fault(cut_after=20_000), *[Fault(status=500)] * 9]
    with pytest.raises(DataError):
        fetch(NAMES[0])
    fetch.server.files[NAMES[0]] = parquet(["another text"] * 5000)
    fetch.server.faults.clear()
    fetch(NAMES[0])
    fetch.assert_whole(NAMES[0])


def test_a_resumption_that_ignores_if_range_is_noticed(
    fetch: Fetcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some servers answer a Range whatever If-Range says; the ETag still tells."""
    fetch.server.faults[NAMES[0]] = [Fault(cut_after=20_000), *[Fault(status=500)] * 9]
    with pytest.raises(DataError):
        fetch(NAMES[0])
    length = len(fetch.server.files[NAMES[0]])
    other = bytearray(fetch.server.files[NAMES[1]])[:length].ljust(length, b"\0")
    other[-4:] = b"PAR1"
    fetch.server.files[NAMES[0]] = bytes(other)
    fetch.server.faults.clear()
    monkeypatch.setattr(
        fetch.server, "_start", lambda request, etag: int((request.range or "=0-")[:-1][6:] or 0)
    )
    fetch(NAMES[0])
    fetch.assert_whole(NAMES[0])


@pytest.mark.parametrize("declared", [1_000, 10_000_000])
def test_a_wrong_length_never_becomes_a_finished_file(fetch: Fetcher, declared: int) -> None:
    """Upstream renames whatever arrived; training then dies on it hours later."""
    fetch.server.faults[NAMES[0]] = [Fault(declared=declared)] * 20
    with pytest.raises(DataError, match=NAMES[0]):
        fetch(NAMES[0])
    assert not (fetch.folder / NAMES[0]).exists()


def test_a_page_instead_of_a_shard_is_refused(fetch: Fetcher) -> None:
    """A login page answers 200, too."""
    fetch.server.files[NAMES[0]] = b"<html>please log in</html>" * 10
    with pytest.raises(DataError, match="not a whole Parquet file"):
        fetch(NAMES[0])
    assert list(fetch.folder.iterdir()) == []


def test_a_file_that_was_complete_but_not_renamed_is_used(fetch: Fetcher) -> None:
    """Killed between the last byte and the rename: nothing needs to be fetched again."""
    fetch.folder.mkdir()
    (fetch.folder / f"{NAMES[0]}.partial").write_bytes(fetch.server.files[NAMES[0]])
    fetch(NAMES[0])
    fetch.assert_whole(NAMES[0])
    assert [request.range for request in fetch.server.asked(NAMES[0])] == [
        f"bytes={len(fetch.server.files[NAMES[0]])}-"
    ]


def test_a_partial_file_longer_than_the_server_s_is_dropped(fetch: Fetcher) -> None:
    """Otherwise each run would fail in the same way for ever."""
    fetch.folder.mkdir()
    (fetch.folder / f"{NAMES[0]}.partial").write_bytes(fetch.server.files[NAMES[0]] + b"more")
    fetch(NAMES[0])
    fetch.assert_whole(NAMES[0])


def test_no_server_at_all_is_told_after_some_attempts(fetch: Fetcher) -> None:
    """Offline: a message with the reason, not a traceback."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    url = f"http://127.0.0.1:{port}/data/a.parquet"
    downloads = [Download(url, fetch.folder / "a.parquet")]
    policy = Policy(attempts=3, sleep=fetch.pauses.append)
    with pytest.raises(DataError, match=r"a\.parquet: .*refused.* \(3 attempts\)"):
        download_all(downloads, policy, fetch.progress, parquet_fault, AGAIN)
    assert len(fetch.pauses) == 2


def test_progress_reaches_its_total_and_comes_from_the_caller_s_thread(fetch: Fetcher) -> None:
    """A progress bar drawn from several threads garbles the terminal."""
    fetch(*NAMES)
    total = sum(map(len, fetch.server.files.values()))
    assert fetch.told[-1] == ("downloading, 4 of 4 files there, bytes", total, total)
    assert fetch.told_from == {threading.current_thread()}


def test_ctrl_c_keeps_what_has_arrived(fetch: Fetcher, monkeypatch: pytest.MonkeyPatch) -> None:
    """The next run goes on from there."""

    def interrupt(label: str, done: int, total: int) -> None:
        if done > 20_000:
            raise KeyboardInterrupt

    fetch.server.seconds_per_kilobyte = 0.005
    monkeypatch.setattr(fetch, "progress", interrupt)
    with pytest.raises(KeyboardInterrupt):
        fetch(NAMES[0])
    assert not (fetch.folder / NAMES[0]).exists()
    assert (fetch.folder / f"{NAMES[0]}.partial").stat().st_size > 10_000
    fetch.server.seconds_per_kilobyte = 0.0
    fetch.server.requests.clear()
    monkeypatch.undo()
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    fetch(NAMES[0])
    fetch.assert_whole(NAMES[0])
    assert fetch.server.requests[0].range is not None


def test_a_full_disk_is_told_with_the_fix(fetch: Fetcher, monkeypatch: pytest.MonkeyPatch) -> None:
    """Disks report it late, when the data is flushed."""

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("trainer.transfer.os.fsync", full)
    with pytest.raises(DataError, match="disk is full") as caught:
        fetch(*NAMES)
    assert "KERNEL_LAB_CACHE" in caught.value.hint
    assert not any((fetch.folder / name).exists() for name in NAMES)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full on this system")
def test_a_disk_that_fills_up_on_the_way_is_told(fetch: Fetcher) -> None:
    """The same from a real write that fails."""
    fetch.folder.mkdir()
    (fetch.folder / f"{NAMES[0]}.partial").symlink_to("/dev/full")
    with pytest.raises(DataError, match="disk is full"):
        fetch(NAMES[0])
    assert not (fetch.folder / NAMES[0]).exists()
