"""The last step into the sandbox: limits that hold inside only, and the filter of system calls.

    python -I -S last_step.py TASKS FILTER ARGV...

`jail.py` takes this step by itself; bubblewrap starts this file, inside. Standard library only.
Never starts the program if a part of the step failed.
"""

from __future__ import annotations

import ctypes
import os
import resource
import sys
from typing import Any, NoReturn

SYS_SECCOMP = {"x86_64": 317, "aarch64": 277}
SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_SPEC_ALLOW = 1, 4


class FilterProgram(ctypes.Structure):
    """`struct sock_fprog` of seccomp(2)."""

    _fields_ = (("length", ctypes.c_ushort), ("steps", ctypes.c_char_p))


def libc_call(name: str, *arguments: Any) -> None:
    """Calls a C function that returns -1 on failure; raises `OSError` naming it."""
    libc = ctypes.CDLL(None, use_errno=True)
    if getattr(libc, name)(*arguments) == -1:
        code = ctypes.get_errno()
        shown = " ".join(os.fsdecode(a) for a in arguments if isinstance(a, bytes))
        raise OSError(code, f"{name} {shown}: {os.strerror(code)}")


def prctl(option: int, value: int) -> None:
    """prctl(2) with one argument."""
    libc_call("prctl", option, value, 0, 0, 0)


def lower(name: str, value: int) -> None:
    """Sets a limit by its name in `resource`, unless it is unknown here or a lower one holds."""
    kind = getattr(resource, name, None)
    if kind is not None:
        _, hard = resource.getrlimit(kind)
        least = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(kind, (least, least))


def install_filter(hexadecimal: str) -> None:
    """Puts this process and all that it starts under a filter made by seccomp.py; for ever.

    With SPEC_ALLOW speculative stores stay as they are without a filter. Kernels before 5.16 would
    otherwise slow the program down, and what is timed here would not be what trains.
    """
    steps = bytes.fromhex(hexadecimal)
    program = ctypes.byref(FilterProgram(len(steps) // 8, steps))
    call, mode = SYS_SECCOMP[os.uname().machine], SECCOMP_SET_MODE_FILTER
    libc_call("syscall", call, mode, SECCOMP_FILTER_FLAG_SPEC_ALLOW, program)


def become(tasks: int, hexadecimal: str, argv: list[str]) -> NoReturn:
    """Limits processes and threads to `tasks`, installs the filter, and becomes the program.

    0 and an empty text leave either out. Tasks are counted per user namespace, so the limit is set
    inside of one; elsewhere it would count all of the user's. It never holds for root.
    """
    if tasks:
        lower("RLIMIT_NPROC", tasks)
    if hexadecimal:
        install_filter(hexadecimal)
    os.execvp(argv[0], argv)


if __name__ == "__main__":
    become(int(sys.argv[1]), sys.argv[2], sys.argv[3:])
