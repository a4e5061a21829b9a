"""The file system as a sandboxed program sees it, built inside new namespaces out of mounts.

    part_from_outside()        once, right after the new namespaces were entered
    mount_own_proc()           as pid 1, and then
    build_view([("hide", "/home"), ("read", "/home/me/lab/worker.py"), ("private", "/tmp/scratch")])

jail.py takes these steps. Linux only; standard library only. Never decides what a view shows: that
is views.py.
"""

from __future__ import annotations

import contextlib
import ctypes
import glob
import os
import stat
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lab.harness.last_step import libc_call
else:  # while jail.py imports this, it looks for modules here
    from last_step import libc_call

MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_BIND, MS_REC, MS_PRIVATE = 2, 4, 8, 4096, 16384, 1 << 18
ATTR_RDONLY, ATTR_NOSUID, ATTR_NODEV = 1, 2, 4
SYS_MOUNT_SETATTR, AT_FDCWD, AT_RECURSIVE = 442, -100, 0x8000
"""442 on every architecture (the unified table); Linux 5.12 or later."""
IN_MEMORY = "size=256m,nr_inodes=100k"
DEVICES = ("null", "zero", "full", "random", "urandom")
ACCELERATORS = ("nvidia*", "nvidia-caps/*", "dri/*", "kfd", "dxg")


class MountAttributes(ctypes.Structure):
    """`struct mount_attr` of mount_setattr(2)."""

    _fields_ = (
        ("set", ctypes.c_uint64),
        ("clear", ctypes.c_uint64),
        ("propagation", ctypes.c_uint64),
        ("userns", ctypes.c_uint64),
    )


def mount(source: str, target: str, kind: str | None, flags: int, data: str = "") -> None:
    """mount(2)."""
    fs = None if kind is None else kind.encode()
    libc_call("mount", os.fsencode(source), os.fsencode(target), fs, flags, data.encode())


def set_attributes(path: str, add: int, remove: int = 0, flags: int = 0) -> None:
    """mount_setattr(2): adds and removes mount attributes of `path`."""
    attributes = MountAttributes(add, remove, 0, 0)
    size = ctypes.c_size_t(ctypes.sizeof(attributes))
    place, at = os.fsencode(path), ctypes.byref(attributes)
    libc_call("syscall", SYS_MOUNT_SETATTR, AT_FDCWD, place, flags, at, size)


def part_from_outside() -> None:
    """No mount of this namespace is seen outside from now on, nor the other way round."""
    mount("none", "/", None, MS_REC | MS_PRIVATE)


def mount_own_proc() -> None:
    """/proc with the processes of this process's own namespace."""
    mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC)


def build_view(view: list[tuple[str, str]]) -> None:
    """Everything read-only, no device files, `view` applied on top.

    `view` lists (what, path) from the root downwards: `hide` makes it empty, `read` and `write`
    show the original again inside something hidden, `write` makes it writable, `private` is an
    empty writable folder in memory, `folder` a new one inside of that.
    """
    with contextlib.suppress(OSError), open("/proc/sys/user/max_user_namespaces", "w") as file:
        file.write("0")  # no nested user namespaces: they open much of the kernel to an attacker
    originals = {
        path: os.open(path, os.O_PATH)
        for path in [
            *(path for what, path in view if what in ("read", "write")),
            *(f"/dev/{name}" for name in DEVICES),
            *(path for pattern in ACCELERATORS for path in glob.glob(f"/dev/{pattern}")),
        ]
    }
    set_attributes("/", ATTR_NOSUID | ATTR_NODEV, flags=AT_RECURSIVE)
    build_devices({p: fd for p, fd in originals.items() if p.startswith("/dev/")})
    for what, path in view:
        if what == "private":
            os.makedirs(path, exist_ok=True)
        if what in ("hide", "private"):
            conceal(path)
        elif what == "folder":
            os.mkdir(path)
        elif what == "write" or not same_file(path, originals[path]):
            show(path, originals[path])
    seal_proc()
    set_attributes("/", ATTR_RDONLY, flags=AT_RECURSIVE)
    writable = [path for what, path in view if what in ("write", "private")]
    for path in [*writable, "/dev/shm", "/proc"]:
        set_attributes(path, 0, ATTR_RDONLY)
    for descriptor in originals.values():
        os.close(descriptor)


def seal_proc() -> None:
    """Makes each entry of /proc a mount, so that it can stay read-only, but those of processes.

    What root started could set the kernel's switches in /proc/sys even as nobody. A process must be
    able to name its own threads in /proc/self/task: CUDA's driver (570) does not start otherwise.
    """
    for name in os.listdir("/proc"):
        path = f"/proc/{name}"
        if not name.isdigit() and not os.path.islink(path):
            mount(path, path, None, MS_BIND)


def build_devices(originals: dict[str, int]) -> None:
    """A new /dev with harmless devices and accelerators. As root, the old one has the disks."""
    mount("tmpfs", "/dev", "tmpfs", MS_NOSUID | MS_NOEXEC, "mode=755,size=1m")
    for path, descriptor in originals.items():
        if stat.S_ISCHR(os.fstat(descriptor).st_mode):
            show(path, descriptor)
            set_attributes(path, 0, ATTR_NODEV)
    for name, target in (("fd", ""), ("stdin", "/0"), ("stdout", "/1"), ("stderr", "/2")):
        os.symlink(f"/proc/self/fd{target}", f"/dev/{name}")
    os.mkdir("/dev/shm")
    mount("tmpfs", "/dev/shm", "tmpfs", MS_NOSUID | MS_NODEV, f"mode=1777,{IN_MEMORY}")


def same_file(path: str, descriptor: int) -> bool:
    """Whether `path` still shows what the descriptor was opened on."""
    try:
        return os.path.samestat(os.stat(path), os.fstat(descriptor))
    except OSError:
        return False


def conceal(path: str) -> None:
    """Covers a folder with an empty one, a file with an empty file; nothing there is fine."""
    if os.path.isdir(path):
        mount("tmpfs", path, "tmpfs", MS_NOSUID | MS_NODEV, f"mode=777,{IN_MEMORY}")
    elif os.path.exists(path):
        mount("/dev/null", path, None, MS_BIND)


def show(path: str, descriptor: int) -> None:
    """Binds the original onto its own path, making the folders that lead there."""
    if stat.S_ISDIR(os.fstat(descriptor).st_mode):
        os.makedirs(path, exist_ok=True)
    else:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with contextlib.suppress(OSError):
            os.close(os.open(path, os.O_CREAT | os.O_WRONLY, 0o644))
    mount(f"/proc/self/fd/{descriptor}", path, None, MS_BIND | MS_REC)
