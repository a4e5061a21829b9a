"""The filter of system calls that a sandboxed program runs under, as a classic BPF program.

    seccomp.supported()                      # whether this kernel takes such a filter
    seccomp.program(platform.machine())      # bytes: an array of `struct sock_filter`

`last_step.py` installs it just before the program starts; it can never be taken off again. A call
that no compute kernel needs fails with EPERM, or with ENOSYS where there is another way (clone3).
Nothing is killed, so that an honest library copes. What Docker's default profile refuses is refused
here, less the calls that place memory on a NUMA node, plus what only a debugger, a container
runtime or a network program needs.

The tables give the numbers of x86_64 and aarch64; elsewhere there is no filter. The architecture is
checked first: 32-bit calls, the x32 ABI and calls newer than the tables do not exist. Never looks
behind pointers (a filter cannot), hence not at clone3's flags and not at paths.
"""

from __future__ import annotations

import ctypes
import errno
import functools
import platform
import struct
import sys
from collections.abc import Iterable, Iterator
from typing import NamedTuple


class Architecture(NamedTuple):
    """What the kernel calls an architecture (linux/audit.h), and its column of the tables."""

    audit: int
    column: int


ARCHITECTURES = {
    "x86_64": Architecture(0xC000003E, 0),
    "aarch64": Architecture(0xC00000B7, 1),
}
NEWEST = 462
"""mseal, Linux 6.10. Every later call is refused with ENOSYS, as an older kernel would, so that a
new way in does not stand open until somebody adds it here. x32 calls lie above it as well."""

Numbers = dict[str, tuple[int | None, int | None]]
"""Number of a call on x86_64 and on aarch64 (asm/unistd_64.h, asm-generic/unistd.h)."""

REFUSED: Numbers = {
    # Looking into and steering other processes.
    "ptrace": (101, 117),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "process_madvise": (440, 440),
    "process_mrelease": (448, 448),
    "kcmp": (312, 272),
    "pidfd_getfd": (438, 438),
    "migrate_pages": (256, 238),
    "move_pages": (279, 239),
    # The kernel's key rings know no namespaces.
    "add_key": (248, 217),
    "request_key": (249, 218),
    "keyctl": (250, 219),
    # Large and often attacked parts of the kernel.
    "bpf": (321, 280),
    "perf_event_open": (298, 241),
    "userfaultfd": (323, 282),
    "io_uring_setup": (425, 425),
    "io_uring_enter": (426, 426),
    "io_uring_register": (427, 427),
    "vmsplice": (278, 75),
    "memfd_secret": (447, 447),
    "fanotify_init": (300, 262),
    "seccomp": (317, 277),
    "lookup_dcookie": (212, 18),
    "modify_ldt": (154, None),
    "iopl": (172, None),
    "ioperm": (173, None),
    # Another view of the file system, other namespaces.
    "mount": (165, 40),
    "umount2": (166, 39),
    "pivot_root": (155, 41),
    "chroot": (161, 51),
    "open_tree": (428, 428),
    "move_mount": (429, 429),
    "fsopen": (430, 430),
    "fsconfig": (431, 431),
    "fsmount": (432, 432),
    "fspick": (433, 433),
    "mount_setattr": (442, 442),
    "statmount": (457, 457),
    "listmount": (458, 458),
    "name_to_handle_at": (303, 264),
    "open_by_handle_at": (304, 265),
    "unshare": (272, 97),
    "setns": (308, 268),
    # Waking a process that was stopped: a timer, or news of a queue, may send it SIGCONT.
    "timer_create": (222, 107),
    "mq_notify": (244, 184),
    # The machine as a whole.
    "init_module": (175, 105),
    "finit_module": (313, 273),
    "delete_module": (176, 106),
    "kexec_load": (246, 104),
    "kexec_file_load": (320, 294),
    "reboot": (169, 142),
    "swapon": (167, 224),
    "swapoff": (168, 225),
    "quotactl": (179, 60),
    "quotactl_fd": (443, 443),
    "acct": (163, 89),
    "syslog": (103, 116),
    "settimeofday": (164, 170),
    "clock_settime": (227, 112),
    "clock_adjtime": (305, 266),
    "adjtimex": (159, 171),
    "sethostname": (170, 161),
    "setdomainname": (171, 162),
    "vhangup": (153, 58),
    # Obsolete.
    "uselib": (134, None),
    "ustat": (136, None),
    "sysfs": (139, None),
    "_sysctl": (156, None),
    "nfsservctl": (180, 42),
}
NOT_ACCOUNTED: Numbers = {
    "memfd_create": (319, 279),
    "shmget": (29, 194),
    "msgget": (68, 186),
}
"""Memory that no process has mapped is in no process's resident size: a hundred memory files of
1 GiB would pass every limit. Refused on the CPU only: CUDA's driver (570) does not start without
the first."""
CLONE: Numbers = {"clone": (56, 220)}
CLONE3: Numbers = {"clone3": (435, 435)}
SOCKET: Numbers = {"socket": (41, 198), "socketpair": (53, 199)}
IOCTL: Numbers = {"ioctl": (16, 29)}
PERSONALITY: Numbers = {"personality": (135, 92)}
PRCTL: Numbers = {"prctl": (157, 167)}
FCNTL: Numbers = {"fcntl": (72, 25)}

NEW_NAMESPACES = 0x7E020000
"""Every CLONE_NEW flag of clone(2), time namespaces apart, which it cannot make (linux/sched.h)."""
AF_UNIX = 1
TIOCSTI, TIOCLINUX = 0x5412, 0x541C
"""Type into a terminal, and paste into the console: what is typed runs outside."""
SAME_PERSONALITY, ASK_PERSONALITY = 0, 0xFFFFFFFF
PR_SET_SECCOMP = 22
F_SETSIG = 10
"""Chooses the signal for news of a descriptor or folder, which would be SIGIO: that wakes nobody
who was stopped, SIGCONT does (fcntl(2))."""

SECCOMP_GET_ACTION_AVAIL = 2
ALLOW, REFUSE = 0x7FFF0000, 0x00050000
NUMBER_AT, ARCH_AT, FIRST_ARGUMENT_AT = 0, 4, 16
"""Offsets in `struct seccomp_data` (linux/seccomp.h); both architectures are little-endian."""
LOAD, RETURN = 0x20, 0x06
EQUAL, GREATER, ANY_BIT = 0x15, 0x25, 0x45
"""BPF_LD|W|ABS, BPF_RET|K and BPF_JMP|JEQ, JGT, JSET with a constant (linux/bpf_common.h)."""

Step = tuple[int, int, int, int]
"""`struct sock_filter`: code, steps to skip if true, steps to skip if false, constant."""


def refusal(code: int) -> Step:
    """Ends the filter: the call fails with this error number."""
    return (RETURN, 0, 0, REFUSE | code)


def load(offset: int) -> Step:
    """Reads a word of `struct seccomp_data`."""
    return (LOAD, 0, 0, offset)


def argument(index: int) -> Step:
    """Reads the lower half of an argument, which is all that the kernel reads of these."""
    return load(FIRST_ARGUMENT_AT + 8 * index)


ALLOWED: Step = (RETURN, 0, 0, ALLOW)


def refuse(calls: Iterable[int], code: int) -> Iterator[Step]:
    """These calls fail, whatever their arguments."""
    for number in calls:
        yield (EQUAL, 0, 1, number)
        yield refusal(code)


def decide(calls: Iterable[int], *steps: Step) -> Iterator[Step]:
    """What becomes of these calls is decided by `steps`, which must end the filter."""
    for number in calls:
        yield (EQUAL, 0, len(steps), number)
        yield from steps


@functools.cache
def program(machine: str, memory_files: bool = True, own_filters: bool = False) -> bytes:
    """The filter for an architecture as `uname -m` names it; empty where there is none.

    Without `memory_files`, memory that the limits do not see is refused too. With `own_filters`, a
    process may put a further filter on itself, which can only refuse more.
    """
    if machine not in ARCHITECTURES:
        return b""
    audit, column = ARCHITECTURES[machine]
    steps = [
        load(ARCH_AT),
        (EQUAL, 1, 0, audit),
        refusal(errno.ENOSYS),
        load(NUMBER_AT),
        (GREATER, 0, 1, NEWEST),
        refusal(errno.ENOSYS),
        *_by_argument(column),
        *(() if own_filters else _no_filters(column)),
        *refuse(_numbers(CLONE3, column), errno.ENOSYS),
        *refuse(_numbers(REFUSED, column), errno.EPERM),
        *refuse(_numbers({} if memory_files else NOT_ACCOUNTED, column), errno.EPERM),
        ALLOWED,
    ]
    return b"".join(struct.pack("=HBBI", *step) for step in steps)


def _by_argument(column: int) -> Iterator[Step]:
    denied = refusal(errno.EPERM)
    yield from decide(
        _numbers(IOCTL, column),
        *(argument(1), (EQUAL, 1, 0, TIOCSTI), (EQUAL, 0, 1, TIOCLINUX), denied, ALLOWED),
    )
    yield from decide(
        _numbers(CLONE, column), argument(0), (ANY_BIT, 0, 1, NEW_NAMESPACES), denied, ALLOWED
    )
    # The error of a kernel without that family: libraries know it.
    unknown_family = refusal(errno.EAFNOSUPPORT)
    yield from decide(
        _numbers(SOCKET, column), argument(0), (EQUAL, 1, 0, AF_UNIX), unknown_family, ALLOWED
    )
    yield from decide(
        _numbers(PERSONALITY, column),
        argument(0),
        *((EQUAL, 2, 0, SAME_PERSONALITY), (EQUAL, 1, 0, ASK_PERSONALITY), denied, ALLOWED),
    )
    yield from decide(
        _numbers(FCNTL, column), argument(1), (EQUAL, 0, 1, F_SETSIG), denied, ALLOWED
    )


def _no_filters(column: int) -> Iterator[Step]:
    yield from decide(
        _numbers(PRCTL, column),
        *(argument(0), (EQUAL, 0, 1, PR_SET_SECCOMP), refusal(errno.EPERM), ALLOWED),
    )


def _numbers(calls: Numbers, column: int) -> list[int]:
    return [number for row in calls.values() if (number := row[column]) is not None]


@functools.cache
def supported() -> bool:
    """Whether this kernel and architecture take such a filter. Asks; installs nothing."""
    if sys.platform != "linux" or struct.calcsize("P") != 8:
        return False
    if platform.machine() not in ARCHITECTURES:
        return False
    column = ARCHITECTURES[platform.machine()].column
    call = REFUSED["seccomp"][column]
    action = ctypes.c_uint32(REFUSE)
    libc = ctypes.CDLL(None, use_errno=True)
    return bool(libc.syscall(call, SECCOMP_GET_ACTION_AVAIL, 0, ctypes.byref(action)) == 0)
