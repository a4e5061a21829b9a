"""The sandbox's limits, and the end of a process tree: whatever happens, the judge goes on."""

from __future__ import annotations

import os
import platform
import re
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest
from confined import AVAILABLE, GENEROUS, LINUX, Run

from lab.harness import running, sandbox
from lab.harness.running import Limits
from lab.harness.sandbox import kill_tree
from lab.harness.tree import descendants


@pytest.fixture(params=AVAILABLE)
def kind(request: pytest.FixtureRequest) -> str:
    """Every isolation that works here."""
    return str(request.param)


LINGER = """
import os, sys, time
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        os.set_inheritable(int(sys.argv[1]), True)
        time.sleep(600)
    os._exit(0)
os.write(int(sys.argv[1]), b"started")
"""


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere nothing finds a daemon's orphans")
@pytest.mark.parametrize("after", ["", "time.sleep(600)"], ids=["ended", "killed"])
def test_what_it_left_running_ends_with_it(start: Run, kind: str, after: str) -> None:
    """A lingering child would disturb every timing after it."""
    receive, send = os.pipe()
    process = start(LINGER + after, str(send), kind=kind, pass_fds=[send])
    os.close(send)
    assert os.read(receive, 7) == b"started"
    if after:
        kill_tree(process)
    else:
        process.wait(timeout=30)
    os.set_blocking(receive, True)
    assert os.read(receive, 1) == b"", "someone still holds the pipe"
    os.close(receive)
    assert list(descendants(process.pid)) == []


def test_it_dies_with_its_judge(tmp_path: Path, kind: str) -> None:
    """After Ctrl-C or a kill -9 of the lab nothing may go on computing."""
    receive, send = os.pipe()
    judge = tmp_path / "judge.py"
    judge.write_text(
        textwrap.dedent(
            """
            import sys, time
            from pathlib import Path
            from lab.harness.running import Limits
            from lab.harness.sandbox import launch
            send, scratch, kind = int(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
            script = "import os, sys, time; os.write(int(sys.argv[1]), b'up'); time.sleep(600)"
            launch([sys.executable, "-I", "-S", "-c", script, str(send)], scratch=scratch,
                   limits=Limits(wall_s=600), pass_fds=[send], force=kind)
            time.sleep(600)
            """
        )
    )
    (tmp_path / "scratch").mkdir()
    root = str(Path(sandbox.__file__).parents[2])
    process = subprocess.Popen(
        [sys.executable, str(judge), str(send), str(tmp_path / "scratch"), kind],
        pass_fds=[send],
        env={**os.environ, "PYTHONPATH": root},
    )
    os.close(send)
    assert os.read(receive, 2) == b"up"
    process.kill()
    process.wait()
    assert os.read(receive, 1) == b"", "the sandboxed process outlived its judge"
    os.close(receive)


@pytest.mark.parametrize(
    ("script", "limits", "why"),
    [
        ("import time; time.sleep(600)", Limits(wall_s=0.3), "timeout"),
        (
            "import time; x = bytearray(400_000_000); x[::4096] = bytes(len(x[::4096])); "
            "time.sleep(600)",
            Limits(wall_s=60, memory_bytes=200_000_000),
            "memory",
        ),
        ("print('x' * 2_000_000); import time; time.sleep(600)", GENEROUS, "output_flood"),
        ("import sys; sys.stderr.write('x' * 1_000_000)", GENEROUS, "output_flood"),
        (
            "import os, time\nfor _ in range(30):\n    if os.fork() == 0: time.sleep(600)\n"
            "time.sleep(600)",
            Limits(wall_s=60, processes=8),
            "processes",
        ),
    ],
    ids=["time", "memory", "stdout", "stderr", "processes"],
)
def test_limits_end_it_and_say_so(
    start: Run, kind: str, script: str, limits: Limits, why: str
) -> None:
    """Whatever a candidate does, the judge goes on and knows what happened."""
    process = start(script, kind=kind, limits=limits)
    process.wait(timeout=60)
    assert process.why == why
    assert process.returncode == -signal.SIGKILL


def test_a_file_cannot_grow_without_end(start: Run, kind: str) -> None:
    """A full disk would stop every other run on the machine."""
    script = "f = open('big', 'wb')\ntry:\n    f.write(bytes(3_000_000)); f.flush()\n"
    script += "except OSError: raise SystemExit(5)"
    process = start(script, kind=kind, limits=Limits(wall_s=60, file_bytes=1_000_000))
    assert process.wait(timeout=30) == 5


def test_a_frozen_tree_does_nothing_until_it_is_thawed(start: Run, kind: str) -> None:
    """A worker that spins while others are timed would make them look slow."""
    receive, send = os.pipe()
    script = """
    import os, sys, time
    os.fork()
    while True:
        os.write(int(sys.argv[1]), b"x")
        time.sleep(0.001)
    """
    process = start(script, str(send), kind=kind, pass_fds=[send])
    os.close(send)
    os.read(receive, 1)
    time.sleep(0.05)
    process.freeze()
    os.set_blocking(receive, False)
    while _read(receive):
        pass
    time.sleep(0.1)
    assert _read(receive) == b""
    process.thaw()
    os.set_blocking(receive, True)
    assert os.read(receive, 1) == b"x"
    process.kill()
    os.close(receive)


def _read(descriptor: int) -> bytes:
    try:
        return os.read(descriptor, 65536)
    except BlockingIOError:
        return b""


def counted_by_the_kernel(kind: str) -> bool:
    """Root's processes are counted in `namespaces` only, and there since Linux 6.14."""
    if os.geteuid() != 0:
        return True
    release = tuple(int(word) for word in re.findall(r"\d+", platform.release())[:2])
    return kind == "namespaces" and release >= (6, 14)


@pytest.mark.parametrize("kind", [k for k in LINUX if counted_by_the_kernel(k)])
def test_the_kernel_ends_a_fork_bomb_before_the_watch_does(
    start: Run, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A real one starves the watch, and everybody else. So this asks for a few too many, once."""
    monkeypatch.setattr(running, "WATCH_EVERY_S", 60.0)
    script = """
    import errno, os, signal, sys
    started = 0
    try:
        while started < int(sys.argv[1]):
            if os.fork() == 0:
                signal.pause()
            started += 1
    except OSError as error:
        print(errno.errorcode[error.errno])
    """
    limits = Limits(wall_s=60, processes=1)
    process = start(script, str(301 + limits.tasks), kind=kind, limits=limits)
    assert process.wait(timeout=60) == 0
    process.kill()
    assert process.stdout == b"EAGAIN\n"
    assert list(descendants(process.pid)) == []


@pytest.mark.parametrize("kind", LINUX)
def test_many_processes_one_after_another_are_no_bomb(start: Run, kind: str) -> None:
    """A compiler starts hundreds in its life: numbers of ended ones must come free again."""
    script = """
    import os
    for _ in range(700):
        child = os.fork()
        if child == 0:
            os._exit(0)
        os.waitpid(child, 0)
    """
    process = start(script, kind=kind, limits=Limits(wall_s=60, processes=8))
    assert process.wait(timeout=60) == 0, process.tail()


def test_open_files_are_limited(start: Run, kind: str) -> None:
    """The machine's file table is for all."""
    script = """
    import os, sys
    held = []
    try:
        while len(held) < 10_000:
            held.append(os.open("/dev/null", os.O_RDONLY))
    except OSError as error:
        sys.exit(len(held) > 64 or error.errno != 24)
    sys.exit(9)
    """
    process = start(script, kind=kind, limits=Limits(wall_s=60, open_files=64))
    assert process.wait(timeout=30) == 0


def test_processor_time_is_limited(start: Run, kind: str) -> None:
    """By the kernel, so also if the judge that watches the clock is stopped."""
    process = start("while True: pass", kind=kind, limits=Limits(wall_s=60, cpu_s=1))
    assert process.wait(timeout=60) in (-signal.SIGKILL, -signal.SIGXCPU)
    assert process.why is None


@pytest.mark.parametrize("kind", LINUX)
def test_memory_that_nobody_has_mapped_is_refused(start: Run, kind: str) -> None:
    """A hundred memory files would pass a limit on what is resident."""
    if not sandbox.seccomp.supported():
        pytest.skip("this kernel or architecture filters no system calls")
    script = """
    import ctypes, os, sys
    try:
        os.memfd_create("hoard")
        sys.exit(8)
    except PermissionError:
        pass
    sys.exit(ctypes.CDLL(None).shmget(0, 4096, 0o1600) != -1)
    """
    strict = Limits(wall_s=60, memory_bytes=2**30, data_bytes=2**32)
    assert start(script, kind=kind, limits=strict).wait(timeout=30) == 0
    assert start(script, kind=kind).wait(timeout=30) == 8, "CUDA's driver needs memory files"


FILL = """
import os, sys
print(sorted(os.listdir()))
print(open("given").read(), os.environ["TMPDIR"] == os.getcwd() + "/tmp")
written = 0
try:
    for number in range(1000):
        with open(f"tmp/{number}", "wb") as file:
            written += file.write(bytes(2**20))
except OSError as error:
    print(error.errno)
print(written)
"""


@pytest.mark.parametrize("kind", LINUX)
def test_a_scratch_folder_that_is_not_kept_cannot_fill_the_disk(
    start: Run, kind: str, tmp_path: Path
) -> None:
    """A worker leaves nothing that anyone reads, so it gets no disk at all."""
    scratch = tmp_path / "scratch"
    (scratch / "given").write_text("shown")
    (scratch / "other").write_text("not shown")
    process = start(
        FILL, kind=kind, keep_scratch=False, readable=[scratch / "given"], hide=[tmp_path]
    )
    assert process.wait(timeout=60) == 0, process.tail()
    process.kill()
    names, given, errno, written = process.stdout.decode().splitlines()
    assert (names, given, errno) == ("['given', 'tmp']", "shown True", "28")
    assert 200 * 2**20 < int(written) <= 256 * 2**20
    assert list((scratch / "tmp").iterdir()) == []


def test_a_crash_leaves_no_core(start: Run, kind: str, tmp_path: Path) -> None:
    """A core is as large as the worker, and a handler of the system would keep it elsewhere."""
    script = """
    import ctypes, resource
    soft, hard = resource.getrlimit(resource.RLIMIT_CORE)
    print(hard <= 1, flush=True)
    ctypes.string_at(0)
    """
    process = start(script, kind=kind)
    assert process.wait(timeout=30) == -signal.SIGSEGV
    process.kill()
    assert process.stdout == b"True\n"
    assert [p.name for p in (tmp_path / "scratch").iterdir()] == ["tmp"]
