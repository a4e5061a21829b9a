"""Downloads: parallel, each complete or absent (`trainer.transfer`).

    download_all([Download(url, path), ...], policy, progress, check, again)

Ctrl-C and a full disk stop all transfers and keep what has arrived. Never fetches again what is
there and passes `check`.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

from trainer.errors import DataError
from trainer.files import make_folder
from trainer.transfer import Board, Check, Download, Policy, Refused, Retry, fetch

Progress = Callable[[str, int, int], None]
"""Called with a label, what is done and the total, as `lab.progress.Progress`."""

POLL_SECONDS = 0.1
STOP_SECONDS = 2.0
"""How long transfers may take to notice that they should stop; they can be left at any time."""


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
    board = Board()
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


def _tell(board: Board, there: int, count: int, progress: Progress) -> None:
    finished = there + sum(path.exists() for path in list(board.done))
    total = sum(board.total.copy().values())
    if total:
        done = min(total, sum(board.done.copy().values()))
        progress(f"downloading, {finished} of {count} files there, bytes", done, total)


def _work(wanted: queue.SimpleQueue[Download], policy: Policy, check: Check, board: Board) -> None:
    import requests

    with requests.Session() as session:
        while not board.stop.is_set():
            try:
                download = wanted.get_nowait()
            except queue.Empty:
                return
            try:
                fetch(session, download, policy, check, board)
            except (Retry, Refused) as error:
                board.failed[download.path] = str(error)
            except BaseException as error:  # handed to the main thread, which raises it
                board.fatal.append(error)
                board.stop.set()
