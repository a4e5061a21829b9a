"""Ways out of the sandbox, each tried for real in every isolation that works here."""

from __future__ import annotations

import json
import os
import socket

import pytest
from confined import AVAILABLE, LINUX, Run

INHERITED = """
import os
print(sorted(int(name) for name in os.listdir("/proc/self/fd")))
"""


@pytest.mark.parametrize("kind", [k for k in AVAILABLE if k != "seatbelt"])
def test_only_what_was_meant_is_inherited(start: Run, kind: str) -> None:
    """A descriptor of the judge is a door that no view of the file system closes."""
    receive, send = os.pipe()
    leaky = os.open("/etc/hostname", os.O_RDONLY)
    os.set_inheritable(leaky, True)
    process = start(INHERITED, kind=kind, pass_fds=[send])
    os.close(send)
    os.close(receive)
    os.close(leaky)
    assert process.wait(timeout=30) == 0, process.tail()
    process.kill()
    found = json.loads(process.stdout)
    assert len(found) == 5, "stdin, stdout, stderr, the one given, and the listing itself"
    assert set(found) >= {0, 1, 2, send}


@pytest.mark.parametrize("kind", [k for k in LINUX if k == "namespaces"])
def test_the_sandboxs_own_first_process_keeps_its_secrets(start: Run, kind: str) -> None:
    """It knows the orders and reports the end; bubblewrap's own does neither."""
    script = """
    import os, sys
    attempts = [
        lambda: open("/proc/1/environ").read(),
        lambda: open("/proc/1/mem", "rb").read(1),
        lambda: os.readlink("/proc/1/cwd"),
        *(lambda n=n: os.open(f"/proc/1/fd/{n}", os.O_RDWR) for n in range(20)),
    ]
    for number, attempt in enumerate(attempts, 1):
        try:
            attempt()
            sys.exit(number)
        except OSError:
            pass
    """
    assert start(script, kind=kind).wait(timeout=30) == 0


@pytest.mark.parametrize("kind", LINUX)
def test_sockets_of_the_judge_cannot_be_reached(start: Run, kind: str) -> None:
    """An abstract socket has no path to hide; /run holds those that have one."""
    name = f"kernel-lab-{os.getpid()}-{kind}"
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(f"\0{name}")
        server.listen()
        script = """
        import os, socket, sys
        try:
            socket.socket(socket.AF_UNIX).connect("\\0" + sys.argv[1])
            sys.exit(7)
        except ConnectionRefusedError:
            sys.exit(set(os.listdir("/run")) > {"opengl-driver", "current-system"})
        """
        assert start(script, name, kind=kind).wait(timeout=30) == 0


@pytest.mark.parametrize("kind", LINUX)
def test_no_disks_and_no_new_devices(start: Run, kind: str) -> None:
    """As root, /dev/sda would be the whole file system."""
    script = """
    import os, stat, sys
    accelerators = ("nvidia", "dri", "kfd", "dxg")
    for folder, _, names in os.walk("/dev"):
        for name in names:
            if stat.S_ISBLK(os.stat(f"{folder}/{name}", follow_symlinks=False).st_mode):
                sys.exit(f"{folder}/{name} is a disk")
    plain = {"null", "zero", "full", "random", "urandom", "fd", "stdin", "stdout", "stderr", "shm"}
    more = {"tty", "console", "pts", "ptmx", "core"}  # bubblewrap's own, all empty here
    strange = [n for n in set(os.listdir("/dev")) - plain - more if not n.startswith(accelerators)]
    if strange:
        sys.exit(f"{strange}")
    for make in (
        lambda: os.mknod("disk", stat.S_IFBLK | 0o600, os.makedev(8, 0)),
        lambda: open("/dev/new", "w"),
    ):
        try:
            make()
            sys.exit("made a device")
        except OSError:
            pass
    """
    process = start(script, kind=kind)
    assert process.wait(timeout=30) == 0, process.tail()


@pytest.mark.parametrize("kind", LINUX)
def test_the_kernels_switches_are_out_of_reach(start: Run, kind: str) -> None:
    """A core handler, for one, is a program that the kernel starts outside, as root."""
    script = """
    import sys
    for place in (
        "/proc/sys/kernel/core_pattern",
        "/proc/sys/kernel/randomize_va_space",
        "/proc/sys/vm/drop_caches",
        "/proc/sysrq-trigger",
        "/sys/kernel/mm/transparent_hugepage/enabled",
    ):
        try:
            open(place, "w").close()
            sys.exit(place)
        except OSError:
            pass
    """
    process = start(script, kind=kind)
    assert process.wait(timeout=30) == 0, process.tail()


@pytest.mark.parametrize("kind", LINUX)
def test_two_workers_share_no_folder(start: Run, kind: str) -> None:
    """What one hides in memory or in /tmp, the next would find: an answer, say."""
    script = """
    import os, sys
    found = [os.path.exists(f"{place}/left") for place in ("/tmp", "/var/tmp", "/dev/shm")]
    for place in ("/tmp", "/var/tmp", "/dev/shm"):
        open(f"{place}/left", "w").close()
    sys.exit(any(found))
    """
    for _ in range(2):
        process = start(script, kind=kind, readable=[])
        assert process.wait(timeout=30) == 0, process.tail()


@pytest.mark.skipif(not os.path.exists("/proc"), reason="asks Linux")
@pytest.mark.parametrize("kind", AVAILABLE)
def test_no_program_gives_it_more_rights(start: Run, kind: str) -> None:
    """A setuid program (sudo, mount) runs with the rights of who starts it."""
    script = """
    import re, sys
    status = open("/proc/self/status").read()
    sys.exit(re.search(r"NoNewPrivs:\\s*1", status) is None)
    """
    assert start(script, kind=kind).wait(timeout=30) == 0
