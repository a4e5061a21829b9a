"""One file over HTTP: resumed, retried, length-checked, and complete or absent.

    fetch(session, Download(url, path), policy, check, board)

The file grows as `NAME.partial` and is renamed when it has its full length, passes `check` and is
on disk. A cut connection goes on where it stopped (a Range request, with If-Range where the server
named the version), also in the next run. Server errors and broken connections are tried again with
growing pauses; an answer that will not change (404) is not. `trainer.downloads` runs many at once.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from trainer.files import telling_disk_errors

if TYPE_CHECKING:
    import requests

Check = Callable[[Path], str]
"""Says what is wrong with a complete file, or "" if nothing is."""

WORTH_RETRYING = frozenset({408, 425, 429, 500, 502, 503, 504})
RANGE_NOT_SATISFIABLE = 416


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


class Retry(Exception):
    """This attempt failed; the next one may not, after `pause_seconds` if the server named them."""

    def __init__(self, message: str, pause_seconds: float = 0.0) -> None:
        super().__init__(message)
        self.pause_seconds = pause_seconds


class Refused(Exception):
    """The server's answer will not change."""


@dataclass
class Board:
    """What the transfers share. Sizes are of the bytes on disk, by path."""

    stop: threading.Event = field(default_factory=threading.Event)
    fatal: list[BaseException] = field(default_factory=list)
    failed: dict[Path, str] = field(default_factory=dict)
    done: dict[Path, int] = field(default_factory=dict)
    total: dict[Path, int] = field(default_factory=dict)


def fetch(
    session: requests.Session, download: Download, policy: Policy, check: Check, board: Board
) -> None:
    """Tries until the file is there. Raises `Refused`, or `Retry` when patience is at its end."""
    import requests

    failures, furthest = 0, _size(download.partial)
    while not board.stop.is_set():
        try:
            return _attempt(session, download, policy, check, board)
        except (Retry, requests.RequestException) as error:
            size = _size(download.partial)
            failures = 0 if size > furthest else failures + 1
            furthest = max(size, furthest)
            if failures >= policy.attempts:
                raise Retry(f"{_reason(error)} ({failures} attempts)") from error
            named = error.pause_seconds if isinstance(error, Retry) else 0.0
            pause = max(policy.first_pause_seconds * 2 ** max(0, failures - 1), named)
            (policy.sleep or board.stop.wait)(min(pause, policy.longest_pause_seconds))


def _attempt(
    session: requests.Session, download: Download, policy: Policy, check: Check, board: Board
) -> None:
    """One request, from where the partial file ends. Raises what `fetch` handles."""
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
        raise Retry("stopped")
    if total is not None and size != total:
        if size > total:
            _forget(download)
        raise Retry(f"{size} bytes arrived of {total}")
    fault = check(download.partial)
    if fault:
        _forget(download)
        raise Retry(fault)
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
        raise Retry("the server has a shorter file than the partial one here")
    if status in WORTH_RETRYING:
        named = response.headers.get("Retry-After", "")
        raise Retry(
            f"the server answered {status} {response.reason}",
            float(named) if named.isdigit() else 0.0,
        )
    if status not in (200, 206):
        raise Refused(f"the server answered {status} {response.reason}")
    etag = response.headers.get("ETag", "")
    start, total = _range(response) if status == 206 else (0, _content_length(response))
    known = download.version.read_text() if download.version.exists() else etag
    if start != (have if status == 206 else 0) or (start and etag and etag != known):
        _forget(download)
        raise Retry("the file on the server has changed")
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
    board: Board,
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
