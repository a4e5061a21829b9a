"""Writing to the cache so that a file is whole or absent, and a full disk is told with its fix.

Used by everything that `prepare.py` writes. Never deletes anything that it did not make.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator
from pathlib import Path

from trainer.errors import DataError

CACHE_VARIABLE = "KERNEL_LAB_CACHE"
"""Environment variable that moves the cache (downloads, tokenizers, token caches)."""


def cache_folder(cache: Path | None = None) -> Path:
    """`cache` if given, else `$KERNEL_LAB_CACHE`, else the user's cache folder for kernel-lab."""
    if cache is not None:
        return cache
    if os.environ.get(CACHE_VARIABLE):
        return Path(os.environ[CACHE_VARIABLE]).expanduser()
    from platformdirs import user_cache_path

    return user_cache_path("kernel-lab")


@contextlib.contextmanager
def telling_disk_errors(path: Path) -> Iterator[None]:
    """Turns what the disk refuses into a `DataError` that names `path` and the fix."""
    try:
        yield
    except OSError as error:
        if error.errno is None:  # not the disk: errors of requests are OSErrors, too
            raise
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise DataError(
                f"the disk is full: could not write {path}",
                f"Free some space, or set {CACHE_VARIABLE} to a folder on another disk, and run "
                "the same command again: what is already there is kept.",
            ) from error
        raise DataError(
            f"cannot write {path}: {os.strerror(error.errno)}",
            f"Set {CACHE_VARIABLE} to a folder that you can write to.",
        ) from error


def make_folder(path: Path) -> Path:
    """Creates `path` with its parents if need be and returns it."""
    with telling_disk_errors(path):
        path.mkdir(parents=True, exist_ok=True)
    return path


def write_whole(path: Path, text: str) -> None:
    """Writes `text` to a temporary file beside `path`, flushes it to disk and renames it."""
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    try:
        with telling_disk_errors(path):
            with temporary.open("w", encoding="utf-8") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
