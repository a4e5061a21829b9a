"""Files that a candidate's process could write: opened only if they are plain files.

    with open_plain(folder / "stdout") as file: ...      # raises `OSError`

The judge reads them with its own rights. A link would make it read what the candidate may not, a
pipe would make it wait for ever.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import BinaryIO


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
