"""The ledger's bytes on disk: the lock, the last lines, one synced write. For `lab.ledger` only.

All writes go to the end of the last accepted line, under the lock, and are synced before they
return. After an error the end is put back as it was. Knows lines and bytes, not what records mean.
"""

from __future__ import annotations

import errno
import io
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, NamedTuple

import msgspec

from lab.errors import MachineError

LOCK_TIMEOUT_S = 60.0
"""An append takes milliseconds; who waits this long waits for a process that hangs."""
_BLOCK = 1 << 16
SCAN_BYTES = 1 << 18
"""Buffer for reading all of a ledger; with Python's own a million lines take 2 s longer."""
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
FORBIDDEN = {errno.EACCES, errno.EPERM, errno.EROFS}


class End(NamedTuple):
    """The end of a ledger: where its last whole line ends, its last two lines, what is torn off."""

    offset: int
    before_last: bytes
    last: bytes
    torn: bytes


@contextmanager
def machine_errors(path: Path) -> Iterator[None]:
    """Turns what the system refuses into a `MachineError` with the fix."""
    try:
        yield
    except OSError as error:
        hint = "Check the path and the disk."
        if error.errno in _FULL:
            hint = (
                "Free some space (or raise the limit) and run the command again; nothing is lost."
            )
        elif error.errno in FORBIDDEN:
            hint = "It may not be written: choose another file with --ledger."
        raise MachineError(f"{path}: {error.strerror or error}", hint) from error


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Holds `<path>.lock` against every other process and thread; makes the folder if need be."""
    import filelock

    path.parent.mkdir(parents=True, exist_ok=True)
    lock = filelock.FileLock(f"{path}.lock", timeout=LOCK_TIMEOUT_S, poll_interval=0.01)
    try:
        lock.acquire()
    except filelock.Timeout as error:
        raise MachineError(
            f"another process has held {lock.lock_file} for {LOCK_TIMEOUT_S:.0f} s",
            "Find it (for instance with fuser) and end it, then try again.",
        ) from error
    try:
        yield
    finally:
        lock.release()


@contextmanager
def opened(path: Path) -> Iterator[int]:
    """A file descriptor for reading and writing; a new file's name is synced to its folder."""
    new = not path.exists()
    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        if new:
            folder = os.open(path.parent, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
        yield file
    finally:
        os.close(file)


def read_end(file: int) -> End:
    """Reads backwards as far as the last two whole lines, however long the file is.

    Torn is a last line that has no end, or that is not JSON.
    """
    size = os.fstat(file).st_size
    start, tail = size, b""
    while start > 0 and tail.count(b"\n") < 4:  # two lines, a torn one, and the end before them
        step = min(_BLOCK, start)
        start -= step
        tail = os.pread(file, step, start) + tail
    lines = io.BytesIO(tail).readlines()
    torn = lines.pop() if lines and not _whole(lines[-1]) else b""
    before_last, last = (b"", b"", *lines)[-2:]
    return End(size - len(torn), before_last, last, torn)


def write_line(file: int, end: End, line: bytes) -> None:
    """Writes and syncs `line` after the last whole line, over the torn one if there is one.

    The torn bytes go only when the new line stands: a kill in between leaves another torn line.
    """
    try:
        _write_all(file, line, end.offset)
        os.ftruncate(file, end.offset + len(line))
        os.fsync(file)
    except OSError:
        with suppress(OSError):  # the first refusal is what to tell; a torn line is what stays
            _write_all(file, end.torn, end.offset)
            os.ftruncate(file, end.offset + len(end.torn))
        raise


def first_bytes(file: BinaryIO, size: int) -> Iterator[bytes]:
    """The lines within the first `size` bytes."""
    while size > 0 and (line := file.readline(size)):
        size -= len(line)
        yield line


def _write_all(file: int, data: bytes, offset: int) -> None:
    while data:
        written = os.pwrite(file, data, offset)
        data, offset = data[written:], offset + written


def _whole(line: bytes) -> bool:
    """Whether a line has its end and is JSON at all."""
    if not line.endswith(b"\n"):
        return False
    try:
        msgspec.json.decode(line)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return False
    return True
