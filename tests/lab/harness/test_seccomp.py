"""The filter of system calls: decided here for both architectures, then tried for real."""

from __future__ import annotations

import errno
import json
import struct

import pytest
from confined import AVAILABLE, Run

from lab.harness import sandbox, seccomp
from lab.harness.seccomp import ARCHITECTURES, REFUSED, program

ALLOWED = 0
THREAD = 0x3D0F00
"""The flags of clone(2) with which glibc starts a thread."""
NEW_FLAGS = [1 << 17, *(1 << bit for bit in range(25, 31))]
"""CLONE_NEWNS, CGROUP, UTS, IPC, USER, PID, NET."""
EVERYDAY = {  # what Python, OpenMP, a compiler and CUDA's driver live on
    "x86_64": [0, 1, 3, 9, 10, 11, 28, 58, 59, 60, 202, 231, 237, 238, 239, 257, 288, 334],
    "aarch64": [63, 64, 57, 222, 226, 215, 233, 221, 93, 98, 94, 235, 237, 236, 56, 242, 293],
}

FILTERED = [kind for kind in AVAILABLE if kind in sandbox.FILTERED and seccomp.supported()]


def outcome(steps: bytes, audit: int, number: int, *arguments: int) -> int:
    """Runs a filter as the kernel does; the error number, or 0 if the call is allowed."""
    given = [*arguments, *[0] * (6 - len(arguments))]
    data = struct.pack("<IIQ6Q", number, audit, 0, *given)
    found = list(struct.iter_unpack("=HBBI", steps))
    accumulator, at = 0, 0
    while True:
        code, if_true, if_false, constant = found[at]
        at += 1
        if code == 0x06:
            assert constant & 0x7FFF0000 in (0x7FFF0000, 0x00050000), "nothing is ever killed"
            return 0 if constant == 0x7FFF0000 else constant & 0xFFFF
        if code == 0x20:
            accumulator = struct.unpack_from("<I", data, constant)[0]
            continue
        true = {
            0x15: accumulator == constant,
            0x25: accumulator > constant,
            0x45: bool(accumulator & constant),
        }[code]
        at += if_true if true else if_false


@pytest.fixture(params=ARCHITECTURES)
def call(request: pytest.FixtureRequest):  # type: ignore[no-untyped-def]
    """What becomes of a call on one architecture: call("clone", flags) or call(56, flags)."""
    audit, column = ARCHITECTURES[request.param]
    tables = (seccomp.CLONE, seccomp.CLONE3, seccomp.SOCKET, seccomp.IOCTL, seccomp.PERSONALITY)
    tables = (*tables, seccomp.PRCTL, seccomp.FCNTL, REFUSED)
    numbers = {n: row[column] for t in tables for n, row in t.items()}

    def call(which: str | int, *arguments: int, arch: int = audit) -> int:
        number = numbers[which] if isinstance(which, str) else which
        return outcome(program(request.param), arch, number, *arguments)

    call.numbers = numbers  # type: ignore[attr-defined]
    call.machine = request.param  # type: ignore[attr-defined]
    return call


def test_what_no_kernel_needs_is_refused_and_the_everyday_is_not(call) -> None:  # type: ignore[no-untyped-def]
    """On both architectures, though only one of them can be tried for real."""
    for name in REFUSED:
        if call.numbers[name] is not None:
            assert call(name) == errno.EPERM, name
    for number in EVERYDAY[call.machine]:
        assert call(number) == ALLOWED, number
        assert number not in call.numbers.values(), number


def test_other_doors_to_the_same_calls_are_shut(call) -> None:  # type: ignore[no-untyped-def]
    """32-bit calls, the x32 ABI, and calls that came after the tables."""
    assert call(1, arch=0x40000003) == errno.ENOSYS
    assert call(1, arch=0) == errno.ENOSYS
    assert call(0x40000000 | 101) == errno.ENOSYS
    assert call(seccomp.NEWEST + 1) == errno.ENOSYS
    assert call(0xFFFFFFFF) == errno.ENOSYS


def test_processes_and_threads_start_but_never_in_new_namespaces(call) -> None:  # type: ignore[no-untyped-def]
    """clone3 hides its flags behind a pointer, so it does not exist: glibc then uses clone."""
    assert call("clone", THREAD) == call("clone", 17) == ALLOWED
    for flag in NEW_FLAGS:
        assert call("clone", 17 | flag) == errno.EPERM
    assert call("clone3") == errno.ENOSYS


def test_sockets_stay_on_the_machine(call) -> None:  # type: ignore[no-untyped-def]
    """AF_INET, but also netlink, packets, AF_ALG and the host of a virtual machine."""
    assert call("socket", 1) == call("socketpair", 1) == ALLOWED
    for family in (0, 2, 10, 15, 16, 17, 29, 38, 40, 44):
        assert call("socket", family) == call("socketpair", family) == errno.EAFNOSUPPORT


def test_arguments_decide_where_a_call_is_harmless_otherwise(call) -> None:  # type: ignore[no-untyped-def]
    """The kernel ignores the upper half of these arguments, so the filter must as well."""
    for request in (0x5412, 0x541C, 0x5412 | 1 << 32):
        assert call("ioctl", 0, request) == errno.EPERM
    assert call("ioctl", 0, 0xC020462A) == ALLOWED, "CUDA's driver is spoken to by ioctl"
    assert call("personality", 0) == call("personality", 0xFFFFFFFF) == ALLOWED
    assert call("personality", 0x0040000) == errno.EPERM
    assert call("prctl", 22) == errno.EPERM
    assert call("prctl", 15) == ALLOWED, "threads have names"
    assert call("fcntl", 3, 10) == errno.EPERM, "F_SETSIG: news that wake who was stopped"
    assert call("fcntl", 3, 1030) == ALLOWED, "F_DUPFD_CLOEXEC"


def test_a_program_may_confine_itself_only_where_that_was_asked_for() -> None:
    """The simulator's kernels give up their calls; a candidate's filter is none of ours."""
    for machine, (audit, column) in ARCHITECTURES.items():
        number = seccomp.PRCTL["prctl"][column]
        assert number is not None
        assert outcome(program(machine), audit, number, 22) == errno.EPERM
        assert outcome(program(machine, own_filters=True), audit, number, 22) == ALLOWED


def test_memory_files_are_refused_only_where_memory_is_counted() -> None:
    """CUDA's driver does not start without them."""
    for machine, (audit, column) in ARCHITECTURES.items():
        for row in seccomp.NOT_ACCOUNTED.values():
            number = row[column]
            assert number is not None
            assert outcome(program(machine), audit, number) == ALLOWED
            assert outcome(program(machine, memory_files=False), audit, number) == errno.EPERM


def test_an_unknown_architecture_has_no_filter_and_the_name_says_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Wrong numbers would be worse than none; a record must not claim what was not in force."""
    assert program("riscv64") == b""
    with_filter = sandbox.Isolation("namespaces", "")
    monkeypatch.setattr(seccomp, "supported", lambda: True)
    assert with_filter.name == "namespaces+seccomp"
    monkeypatch.setattr(seccomp, "supported", lambda: False)
    assert with_filter.name == "namespaces"
    assert sandbox._filter("namespaces", sandbox.Limits(wall_s=1)) == ""


ATTEMPTS = """
import ctypes, errno, json, os, platform, socket, sys
libc = ctypes.CDLL(None, use_errno=True)
column = {"x86_64": 0, "aarch64": 1}[platform.machine()]
found = {}
for name, row in json.loads(sys.argv[1]).items():
    if row[column] is not None:
        ctypes.set_errno(0)
        libc.syscall(row[column], *[ctypes.c_long(-1)] * 6)
        found[name] = ctypes.get_errno()
for family in (2, 16, 17, 38, 40):
    try:
        socket.socket(family, socket.SOCK_RAW if family in (16, 17) else socket.SOCK_STREAM)
        found[f"socket {family}"] = 0
    except OSError as error:
        found[f"socket {family}"] = error.errno
print(json.dumps(found))
"""


@pytest.mark.parametrize("kind", FILTERED)
def test_the_kernel_refuses_what_the_filter_says(start: Run, kind: str) -> None:
    """For real, in every isolation: with arguments that the kernel itself would call invalid."""
    process = start(ATTEMPTS, json.dumps(REFUSED), kind=kind)
    assert process.wait(timeout=30) == 0, process.tail()
    process.kill()
    found = json.loads(process.stdout)
    sockets = {name: found.pop(name) for name in list(found) if name.startswith("socket")}
    assert found
    assert set(found.values()) == {errno.EPERM}
    assert set(sockets.values()) == {errno.EAFNOSUPPORT}


ATTACKS = """
import ctypes, errno, fcntl, os, sys, time
libc = ctypes.CDLL(None, use_errno=True)
def refused(result):
    return result == -1 and ctypes.get_errno() == errno.EPERM
def raises(action):
    try:
        action()
    except PermissionError:
        return True
held = [
    refused(libc.ptrace(16, os.getppid(), None, None)),
    refused(libc.unshare(0x10000000)),
    refused(libc.mount(b"none", b"/tmp", b"tmpfs", 0, None)),
    refused(libc.prctl(22, 2, None, 0, 0)),
    refused(libc.personality(0x0400000)),
    raises(lambda: time.clock_settime(time.CLOCK_REALTIME, 0)),
    raises(lambda: fcntl.ioctl(0, 0x5412, b"x")),
    raises(lambda: fcntl.fcntl(0, 10, 18)),
    refused(libc.timer_create(1, (ctypes.c_int * 16)(0, 0, 18), ctypes.byref(ctypes.c_void_p()))),
]
sys.exit(held.index(False) + 1 if False in held else 0)
"""


@pytest.mark.parametrize("kind", FILTERED)
def test_attacks_by_name(start: Run, kind: str) -> None:
    """Tracing the parent, new namespaces, a mount, the clock, typing into the terminal."""
    assert start(ATTACKS, kind=kind).wait(timeout=30) == 0


HONEST = """
import multiprocessing.pool, os, socket, subprocess, sys, threading, time
words = []
thread = threading.Thread(target=lambda: words.append("thread"))
thread.start()
thread.join()
words.append(subprocess.run(["/bin/echo", "child"], capture_output=True, text=True).stdout.strip())
ours, theirs = socket.socketpair()
ours.send(b"pair")
words.append(theirs.recv(4).decode())
with multiprocessing.get_context("fork").Pool(1) as pool:
    words.append(pool.apply(str, ("pool",)))
os.sched_setaffinity(0, os.sched_getaffinity(0))
with open("/proc/self/comm", "w") as file:
    file.write("named")
words.append(open("/proc/self/comm").read().strip())
print(*words)
"""


@pytest.mark.parametrize("kind", FILTERED)
def test_honest_programs_notice_nothing(start: Run, kind: str) -> None:
    """Threads, compilers in child processes, pools, thread names (CUDA's driver sets them)."""
    process = start(HONEST, kind=kind)
    assert process.wait(timeout=30) == 0, process.tail()
    process.kill()
    assert process.stdout.decode().split() == ["thread", "child", "pair", "pool", "named"]
