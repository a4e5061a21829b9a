"""Starts one process inside the sandbox. Run by `lab.harness.sandbox` as `python -I -S jail.py`.

Reads its orders (one JSON object) from stdin, so that they stand in no command line. Then

    isolation "namespaces"  this process -> init (pid 1 of new namespaces) -> the sandboxed process
    isolation "plain"       this process -> the sandboxed process (limits only, or a wrapper's argv)

and reports on the `status` pipe one line: `exited N` (a wait status) or `failed WHY`, the latter
before anything of the sandboxed program ran. The `lifeline` is a pipe whose other end the judge
holds: when the judge dies, everything here is killed.

Standard library only; Linux-only parts are behind `isolation`. Never runs anything unsandboxed
after a step of the isolation failed.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import select
import signal
import sys
from typing import TYPE_CHECKING, Any, NoReturn

if TYPE_CHECKING:
    from lab.harness.last_step import become, libc_call, lower, prctl
    from lab.harness.mounts import build_view, mount_own_proc, part_from_outside
else:  # run with -I, so not even its own folder is searched for modules
    sys.path.insert(0, os.path.dirname(__file__))
    from last_step import become, libc_call, lower, prctl
    from mounts import build_view, mount_own_proc, part_from_outside

    del sys.path[0]

CLONE_FLAGS = 0x10000000 | 0x00020000 | 0x20000000 | 0x40000000 | 0x08000000 | 0x04000000
"""CLONE_NEWUSER, NEWNS, NEWPID, NEWNET, NEWIPC, NEWUTS (linux/sched.h)."""
PR_SET_PDEATHSIG, PR_SET_DUMPABLE, PR_SET_CHILD_SUBREAPER, PR_SET_NO_NEW_PRIVS = 1, 4, 36, 38
NOBODY, RESERVED_PIDS = 65534, 300


def enter_namespaces() -> None:
    """New user, mount, network, pid, ipc and host-name namespaces, without any capability outside.

    Root becomes nobody inside, so that a program started there holds no capability either.
    """
    user, group = os.geteuid(), os.getegid()
    libc_call("unshare", CLONE_FLAGS)
    for name, text in (
        ("setgroups", "deny"),
        ("uid_map", f"{user or NOBODY} {user} 1"),
        ("gid_map", f"{group or NOBODY} {group} 1"),
    ):
        with open(f"/proc/self/{name}", "w") as file:
            file.write(text)
    part_from_outside()


def limit_pids(count: int) -> None:
    """Processes and threads of a new pid namespace, root's too, by its largest process number.

    Earlier kernels have one for the whole machine, which root would set: hence the version. The
    first 300 numbers are given out once only, so they come on top.
    """
    release = [int(word) for word in re.findall(r"\d+", os.uname().release)[:2]]
    if release >= [6, 14]:
        with contextlib.suppress(OSError), open("/proc/sys/kernel/pid_max", "w") as file:
            file.write(str(RESERVED_PIDS + 1 + count))


class Jail:
    """One run of the orders: starts the process, waits for it, reports how it ended."""

    def __init__(self, orders: dict[str, Any]) -> None:
        self.orders = orders
        self.status: int = orders["status"]
        self.lifeline: int = orders["lifeline"]

    def report(self, text: str) -> None:
        """One line to the judge; it may be gone."""
        with contextlib.suppress(OSError):
            os.write(self.status, (text.replace("\n", " ")[:2000] + "\n").encode())

    def start(self) -> int:
        """Forks and executes the program; closes what belongs to it here. Returns its pid."""
        child = os.fork()
        if child == 0:
            try:
                self.execute()
            except BaseException as error:
                self.report(f"failed {type(error).__name__}: {error}")
                os._exit(127)
        for descriptor in self.orders["keep"]:
            os.close(descriptor)
        return child

    def execute(self) -> NoReturn:
        """In the child: limits, the filter of system calls, then the program itself."""
        for name, value in self.orders["limits"].items():
            lower(name, value)
        for number in (signal.SIGPIPE, signal.SIGXFSZ, signal.SIGCHLD):
            signal.signal(number, signal.SIG_DFL)
        os.chdir(self.orders["cwd"])
        become(self.orders["tasks"], self.orders["filter"], self.orders["argv"])

    def run_plain(self) -> None:
        """The program is a child of this process; what it leaves behind is killed."""
        if sys.platform == "linux":
            prctl(PR_SET_CHILD_SUBREAPER, 1)
        child = self.start()
        status = self.wait(child)
        self.kill_descendants()
        if status is not None:
            self.report(f"exited {status}")

    def run_namespaces(self) -> None:
        """The program is a child of pid 1 of a new pid namespace, which dies with pid 1."""
        enter_namespaces()
        child = os.fork()
        if child == 0:
            try:
                self.be_init()
            except BaseException as error:
                self.report(f"failed {type(error).__name__}: {error}")
            os._exit(0)
        for descriptor in self.orders["keep"]:
            os.close(descriptor)
        if self.wait(child) is None:
            os.kill(child, signal.SIGKILL)

    def be_init(self) -> None:
        """As pid 1: builds the view, starts the program, reaps until the program has ended."""
        prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        os.close(self.lifeline)
        mount_own_proc()
        limit_pids(self.orders["tasks"])
        build_view(self.orders["view"])
        child = self.start()
        prctl(PR_SET_DUMPABLE, 0)  # the program cannot look into this process or trace it
        ended, status = os.wait()
        while ended != child:
            ended, status = os.wait()
        self.report(f"exited {status}")

    def wait(self, child: int) -> int | None:
        """The wait status of `child`, or None if the judge went away first."""
        awake, wake = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC) if hasattr(os, "pipe2") else os.pipe()
        os.set_blocking(wake, False)
        signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda number, frame: None)
        while True:
            ended, status = os.waitpid(-1, os.WNOHANG)
            if ended == child:
                return status
            if ended:
                continue
            ready, _, _ = select.select([self.lifeline, awake], [], [])
            if self.lifeline in ready:
                return None
            os.read(awake, 4096)

    def kill_descendants(self) -> None:
        """Kills what the program left running; orphans have become children of this process."""
        pid = os.getpid()
        try:
            while True:
                with open(f"/proc/{pid}/task/{pid}/children") as file:
                    children = [int(word) for word in file.read().split()]
                for child in children:
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(child, signal.SIGKILL)
                os.waitpid(-1, 0)
        except (OSError, ValueError):  # no child is left, or not Linux: the judge kills the group
            return


def main() -> None:
    """Reads the orders and follows them."""
    orders = json.load(sys.stdin)
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
    jail = Jail(orders)
    os.set_inheritable(jail.status, False)
    os.set_inheritable(jail.lifeline, False)
    try:
        if sys.platform == "linux":
            prctl(PR_SET_NO_NEW_PRIVS, 1)
        if orders["isolation"] == "namespaces":
            jail.run_namespaces()
        else:
            jail.run_plain()
    except BaseException as error:
        jail.report(f"failed {type(error).__name__}: {error}")


if __name__ == "__main__":
    main()
