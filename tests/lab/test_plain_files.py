"""Files that a candidate's process wrote: read without following it anywhere."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from lab import arm
from lab.plain_files import BLOCK, bytes_below, last_lines, open_plain


def test_only_a_plain_file_is_opened(tmp_path: Path) -> None:
    """A link leads elsewhere, a pipe has no end, a folder has no bytes."""
    (tmp_path / "plain").write_text("a line\nthe last\n")
    (tmp_path / "link").symlink_to("plain")
    os.mkfifo(tmp_path / "pipe")
    with open_plain(tmp_path / "plain") as file:
        assert file.read(6) == b"a line"
    for name in ("link", "pipe", ".", "missing"):
        with pytest.raises(OSError):  # noqa: PT011 (whatever the system says)
            open_plain(tmp_path / name)
        assert last_lines(tmp_path / name, 99) == []
    assert last_lines(tmp_path / "plain", 9) == ["the last"]


def test_all_that_lies_in_a_folder_is_counted(tmp_path: Path) -> None:
    """Below it too, sparse files by their length, empty ones as a block; a link as itself."""
    (tmp_path / "below").mkdir()
    with (tmp_path / "below" / "sparse").open("wb") as file:
        file.truncate(2**30)
    (tmp_path / "empty").touch()
    (tmp_path / "root").symlink_to("/")
    assert bytes_below(tmp_path, 2**40) == 2**30 + 3 * BLOCK


def test_it_counts_no_further_than_asked(tmp_path: Path) -> None:
    """Whoever writes files without end must not keep the judge counting them."""
    for number in range(50):
        (tmp_path / str(number)).touch()
    assert bytes_below(tmp_path, 3 * BLOCK) == 4 * BLOCK


def test_a_folder_that_is_gone_holds_nothing(tmp_path: Path) -> None:
    """Files come and go while they are counted."""
    assert bytes_below(tmp_path / "gone", arm.LARGEST_FOLDER) == 0
