"""What is read of a process tree: a worker may gain or lose a child at any moment."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from lab.harness import tree
from lab.harness.tree import resident_bytes

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


PARENT = """
import os, signal, sys, time
def burn(seconds):
    end = time.process_time() + seconds
    while time.process_time() < end:
        pass
signal.signal(signal.SIGCHLD, getattr(signal, sys.argv[1]))
told, tell = os.pipe()
there, ready = os.pipe()
child = os.fork()
if child == 0:
    os.close(tell)
    burn(1.0)
    os.write(ready, b".")
    os.read(told, 1)
    os._exit(0)
os.read(there, 1)
print("worked", flush=True)
sys.stdin.read(1)
os.close(tell)
if sys.argv[1] == "SIG_DFL":
    os.waitpid(child, 0)
time.sleep(0.1)
burn(0.5)
print("done", flush=True)
sys.stdin.read(1)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a parent takes over no time")
@pytest.mark.parametrize("ends", ["SIG_DFL", "SIG_IGN"])
def test_a_process_that_goes_neither_hides_later_work_nor_counts_twice(ends: str) -> None:
    """Waited for, its second is its parent's; else it is nobody's, and the sum falls by as much."""
    with subprocess.Popen(
        [sys.executable, "-c", PARENT, ends],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        bufsize=0,
    ) as parent:
        assert parent.stdin is not None
        assert parent.stdout is not None
        assert parent.stdout.readline() == b"worked\n"
        meter = tree.Meter(os.getpid())
        parent.stdin.write(b".")
        found = [meter.since_s()]
        os.set_blocking(parent.stdout.fileno(), False)
        while parent.stdout.read(5) is None:
            found.append(meter.since_s())
        parent.stdin.write(b".")
    assert 0.45 < sum(found) < 0.8
