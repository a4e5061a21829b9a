"""Files that a candidate's process could write: opened only if they are plain files.

    with open_plain(folder / "stdout") as file: ...      # raises `OSError`
    bytes_below(folder, 2**34)                           # how much lies there, counted no further

The judge reads them with its own rights. A link would make it read what the candidate may not, a
pipe would make it wait for ever.
"""

from __future__ import annotations

import contextlib
import os
import stat
from pathlib import Path
from typing import BinaryIO

BLOCK = 4096
"""Bytes that the smallest file takes on most disks."""


def open_plain(path: Path) -> BinaryIO:
    """The file, for reading. A link is not followed. Raises `OSError`."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        file = os.fdopen(descriptor, "rb")  # refuses a folder, and says so
    except OSError:
        os.close(descriptor)
        raise
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        file.close()
        raise OSError(f"{path.name} is no plain file")
    return file


def last_lines(path: Path, most_bytes: int) -> list[str]:
    """The lines at the end of a file; none of one that is no plain file."""
    try:
        with open_plain(path) as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - most_bytes))
            return file.read(most_bytes).decode(errors="replace").strip().splitlines()
    except OSError:
        return []


def bytes_below(folder: Path, most: int) -> int:
    """Bytes of all files in a folder, counted until they are more than `most`.

    A file counts as a block at least, so that many empty ones cannot be counted for ever, and a
    sparse one by its length. Links are not followed.
    """
    total, open_folders = 0, [folder]
    while open_folders and total <= most:
        with contextlib.suppress(OSError), os.scandir(open_folders.pop()) as entries:
            for entry in entries:
                with contextlib.suppress(FileNotFoundError):
                    total += max(BLOCK, entry.stat(follow_symlinks=False).st_size)
                if entry.is_dir(follow_symlinks=False):
                    open_folders.append(Path(entry.path))
                if total > most:
                    break
    return total
