"""What is read of a process tree: a worker may gain or lose a child at any moment."""

from __future__ import annotations

import os
import subprocess
import sys

from lab.harness import tree
from lab.harness.running import resident_bytes

WORK = "import sys; print(sum(range(5_000_000)), flush=True); sys.stdin.read()"


def test_what_a_child_uses_is_counted_until_it_is_gone() -> None:
    """Or the bench would take its own workers for somebody else's load."""
    with subprocess.Popen(
        [sys.executable, "-c", WORK], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as child:
        assert child.stdout is not None
        child.stdout.readline()
        used = tree.cpu_s(os.getpid())
        assert used[child.pid] > 0.01
        assert resident_bytes([child.pid]) > 2**20
    assert child.pid not in tree.cpu_s(os.getpid())
    assert tree.cpu_s(child.pid) == {}
    assert resident_bytes([child.pid]) == 0
