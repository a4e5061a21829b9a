"""Downloads: parallel, resumable, retried, length-checked, and complete or absent.

    download_all([Download(url, path), ...], policy, progress, check)

Each file grows as `NAME.partial` and is renamed when it has its full length, passes `check` and is
on disk. A cut connection goes on where it stopped (a Range request, with If-Range where the server
named the version), also in the next run. Server errors and broken connections are tried again with
growing pauses; an answer that will not change (404) is not. Ctrl-C and a full disk stop all
transfers and keep what has arrived. Never fetches again what is there and passes `check`.
"""

from __future__ import annotations

import os
import queue
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from trainer.errors import DataError
from trainer.files import make_folder, telling_disk_errors

if TYPE_CHECKING:
    import requests

Progress = Callable[[str, int, int], None]
"""Called with a label, what is done and the total, as `lab.progress.Progress`."""
Check = Callable[[Path], str]
"""Says what is wrong with a complete file, or "" if nothing is."""

WORTH_RETRYING = frozenset({408, 425, 429, 500, 502, 503, 504})
RANGE_NOT_SATISFIABLE = 416
POLL_SECONDS = 0.1
STOP_SECONDS = 2.0
"""How long transfers may take to notice that they should stop; they can be left at any time."""


@dataclass(frozen=True)
class Download:
    """One file to fetch."""

    url: str
    path: Path

    @property
    def partial(self) -> Path:
        """Where it grows."""
        return self.path.with_name(self.path.name + ".partial")

    @property
    def version(self) -> Path:
        """Where the ETag of the partial file is kept."""
        return self.path.with_name(self.path.name + ".partial.etag")


@dataclass(frozen=True)
class Policy:
    """How patient to be. An attempt that brought more of the file than any before is no failure."""

    workers: int = 8
    attempts: int = 5
    """Failed attempts in a row before a file is given up."""
    first_pause_seconds: float = 1.0
    """The pause doubles with each failure."""
    longest_pause_seconds: float = 30.0
    timeout_seconds: float = 30.0
    """Silence after which a connection counts as broken."""
    chunk_bytes: int = 2**16
    """What a broken connection can cost at most."""
    sleep: Callable[[float], None] | None = None
    """Replaces the pause between attempts, for tests."""


class _Retry(Exception):
    """This attempt failed; the next one may not, after `pause_seconds` if the server named them."""

    def __init__(self, message: str, pause_seconds: float = 0.0) -> None:
        super().__init__(message)
        self.pause_seconds = pause_seconds


class _Refused(Exception):
    """The server's answer will not change."""


@dataclass
class _Board:
    """What the transfers share. Sizes are of the bytes on disk, by path."""

    stop: threading.Event = field(default_factory=threading.Event)
    fatal: list[BaseException] = field(default_factory=list)
    failed: dict[Path, str] = field(default_factory=dict)
    done: dict[Path, int] = field(default_factory=dict)
    total: dict[Path, int] = field(default_factory=dict)


def download_all(
    downloads: Sequence[Download],
    policy: Policy,
    progress: Progress,
    check: Check,
    again: str,
) -> None:
    """Fetches what is not there yet.

    `progress` gets bytes and is called from this thread only. Raises `DataError` naming every file
    that is missing, with `again` as the command that goes on; or when the disk is full.
    """
    wanted: queue.SimpleQueue[Download] = queue.SimpleQueue()
    missing = [d for d in downloads if not d.path.exists() or check(d.path)]
    for download in missing:
        make_folder(download.path.parent)
        wanted.put(download)
    board = _Board()
    # Daemon threads: a transfer that hangs in the network must not keep a stopped program alive
    threads = [
        threading.Thread(target=_work, args=(wanted, policy, check, board), daemon=True)
        for _ in range(min(policy.workers, len(missing)))
    ]
    for thread in threads:
        thread.start()
    try:
        while any(thread.is_alive() for thread in threads):
            next(filter(threading.Thread.is_alive, threads), threads[0]).join(POLL_SECONDS)
            _tell(board, len(downloads) - len(missing), len(downloads), progress)
    finally:
        board.stop.set()
        for thread in threads:
            thread.join(STOP_SECONDS)
    if board.fatal:
        raise board.fatal[0]
    if board.failed:
        raise _missing(board.failed, downloads, again)


def _missing(failed: dict[Path, str], downloads: Sequence[Download], again: str) -> DataError:
    names = "\n".join(f"  {path.name}: {reason}" for path, reason in sorted(failed.items()))
    origin = downloads[0].url.rpartition("/")[0]
    return DataError(
        f"{len(failed)} of {len(downloads)} files could not be downloaded from {origin}:\n{names}",
        f"What has arrived is kept. To go on: {again}",
    )


def _tell(board: _Board, there: int, count: int, progress: Progress) -> None:
    finished = there + sum(path.exists() for path in list(board.done))
    total = sum(board.total.copy().values())
    if total:
        done = min(total, sum(board.done.copy().values()))
        progress(f"downloading, {finished} of {count} files there, bytes", done, total)


def _work(wanted: queue.SimpleQueue[Download], policy: Policy, check: Check, board: _Board) -> None:
    import requests

    with requests.Session() as session:
        while not board.stop.is_set():
            try:
                download = wanted.get_nowait()
            except queue.Empty:
                return
            try:
                _fetch(session, download, policy, check, board)
            except (_Retry, _Refused) as error:
                board.failed[download.path] = str(error)
            except BaseException as error:  # handed to the main thread, which raises it
                board.fatal.append(error)
                board.stop.set()


def _fetch(
    session: requests.Session, download: Download, policy: Policy, check: Check, board: _Board
) -> None:
    """Tries until the file is there. Raises `_Refused`, or `_Retry` when patience is at its end."""
    import requests

    failures, furthest = 0, _size(download.partial)
    while not board.stop.is_set():
        try:
            return _attempt(session, download, policy, check, board)
        except (_Retry, requests.RequestException) as error:
            size = _size(download.partial)
            failures = 0 if size > furthest else failures + 1
            furthest = max(size, furthest)
            if failures >= policy.attempts:
                raise _Retry(f"{_reason(error)} ({failures} attempts)") from error
            named = error.pause_seconds if isinstance(error, _Retry) else 0.0
            pause = max(policy.first_pause_seconds * 2 ** max(0, failures - 1), named)
            (policy.sleep or board.stop.wait)(min(pause, policy.longest_pause_seconds))


def _attempt(
    session: requests.Session, download: Download, policy: Policy, check: Check, board: _Board
) -> None:
    """One request, from where the partial file ends. Raises what `_fetch` handles."""
    have = _size(download.partial)
    # identity: a compressed answer would have another length than the file
    headers = {"Accept-Encoding": "identity"}
    if have:
        headers["Range"] = f"bytes={have}-"
        if download.version.exists():
            headers["If-Range"] = download.version.read_text()
    with session.get(
        download.url, headers=headers, stream=True, timeout=policy.timeout_seconds
    ) as response:
        start, total = _begin(response, download, have)
        if response.status_code != RANGE_NOT_SATISFIABLE:
            _receive(response, download, start, total, policy, board)
    size = _size(download.partial)
    if board.stop.is_set():
        raise _Retry("stopped")
    if total is not None and size != total:
        if size > total:
            _forget(download)
        raise _Retry(f"{size} bytes arrived of {total}")
    fault = check(download.partial)
    if fault:
        _forget(download)
        raise _Retry(fault)
    with telling_disk_errors(download.path):
        download.partial.replace(download.path)
    download.version.unlink(missing_ok=True)


def _begin(response: requests.Response, download: Download, have: int) -> tuple[int, int | None]:
    """Where this answer begins in the file and how long the file is, if the server says so."""
    status = response.status_code
    if status == RANGE_NOT_SATISFIABLE and _range(response)[1] == have:
        return have, have  # the partial file was complete and only not renamed
    if status == RANGE_NOT_SATISFIABLE:
        _forget(download)
        raise _Retry("the server has a shorter file than the partial one here")
    if status in WORTH_RETRYING:
        named = response.headers.get("Retry-After", "")
        raise _Retry(
            f"the server answered {status} {response.reason}",
            float(named) if named.isdigit() else 0.0,
        )
    if status not in (200, 206):
        raise _Refused(f"the server answered {status} {response.reason}")
    etag = response.headers.get("ETag", "")
    start, total = _range(response) if status == 206 else (0, _content_length(response))
    known = download.version.read_text() if download.version.exists() else etag
    if start != (have if status == 206 else 0) or (start and etag and etag != known):
        _forget(download)
        raise _Retry("the file on the server has changed")
    if etag and not etag.startswith("W/"):
        with telling_disk_errors(download.version):
            download.version.write_text(etag)
    elif not start:
        download.version.unlink(missing_ok=True)
    return start, total


def _receive(
    response: requests.Response,
    download: Download,
    start: int,
    total: int | None,
    policy: Policy,
    board: _Board,
) -> None:
    path = download.path
    board.done[path] = start
    if total is not None:
        board.total[path] = total
    with telling_disk_errors(path), download.partial.open("r+b" if start else "wb") as file:
        file.seek(start)
        for chunk in response.iter_content(policy.chunk_bytes):
            file.write(chunk)
            board.done[path] += len(chunk)
            if board.stop.is_set():
                return
        file.flush()
        os.fsync(file.fileno())


def _range(response: requests.Response) -> tuple[int, int | None]:
    """Start and total of a Content-Range such as `bytes 5-9/10` or `bytes */10`; -1 = not said."""
    span, _, total = response.headers.get("Content-Range", "").removeprefix("bytes ").partition("/")
    start = span.partition("-")[0]
    return (int(start) if start.isdigit() else -1), (int(total) if total.isdigit() else None)


def _content_length(response: requests.Response) -> int | None:
    length = response.headers.get("Content-Length", "")
    return int(length) if length.isdigit() else None


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def _forget(download: Download) -> None:
    download.partial.unlink(missing_ok=True)
    download.version.unlink(missing_ok=True)


def _reason(error: Exception) -> str:
    """The first cause of an error: requests wraps it several times over."""
    while isinstance(error.__cause__ or error.__context__, Exception):
        error = error.__cause__ or error.__context__  # type: ignore[assignment]
    return str(error) or type(error).__name__
