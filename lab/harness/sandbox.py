"""Runs a program that is not trusted, in the strongest isolation that this machine offers.

    process = launch(argv, scratch=folder, limits=Limits(wall_s=60), hide=(ledger,))
    process.wait(timeout=60); process.returncode; process.why; kill_tree(process)

Isolation, the first that works here: `bubblewrap`; `namespaces` (the same by our own means);
`seatbelt` (macOS); else `process`. The first three give no network, a read-only view of the file
system without `hide` and the home's secrets, and a writable scratch folder. All of them give limits
on memory, processes, CPU and wall time, a scrubbed environment, and a process tree that ends as a
whole, also when the judge dies.

Never covered: the kernel itself (no system-call filter), a GPU driver's interface, and in `process`
the network, the file system and other processes of the same user. See docs/harness.md.
"""

from __future__ import annotations

import functools
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, NamedTuple

from lab.errors import MachineError, unknown
from lab.harness.running import Limits, Sandboxed

JAIL = Path(__file__).with_name("jail.py")
FORCE = "KERNEL_LAB_ISOLATION"
"""Environment variable that names the isolation to use instead of the strongest."""
KINDS = ("bubblewrap", "namespaces", "seatbelt", "process")
PASSED_ON = (
    *("PATH", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "LD_LIBRARY_PATH", "CUDA_VISIBLE_DEVICES"),
    *("CUDA_HOME", "CC", "CXX", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "OMP_PROC_BIND"),
    *("KERNEL_LAB_CACHE", "LSAN_OPTIONS"),
)
"""The judge's environment variables that a sandboxed program sees; all others are withheld."""
SECRETS = (
    *(".ssh", ".gnupg", ".aws", ".azure", ".kube", ".docker", ".netrc", ".pypirc", ".npmrc"),
    *(".git-credentials", ".config", ".password-store", ".bash_history", ".zsh_history"),
    *(".cache/huggingface/token", ".huggingface", "Library/Keychains"),
)
"""Hidden in the home folder even where the rest of it is shown."""
SOCKETS = "/run"
"""Hidden always: a socket there (Docker's, for one) is a way out that read-only does not close."""
KEPT_IN_RUN = ("/run/opengl-driver", "/run/current-system")
"""NixOS keeps its drivers and programs there."""
PRIVATE = ("/tmp", "/var/tmp")

__all__ = [
    "Isolation",
    "Limits",
    "Sandboxed",
    "explain",
    "isolation",
    "kill_tree",
    "launch",
]


View = list[tuple[str, str]]
"""What a program sees: (what, path) from the root downwards, as jail.py reads it."""


class Isolation(NamedTuple):
    """The isolation in force, and why it is not a stronger one."""

    name: str
    reason: str


def launch(
    argv: Sequence[str],
    *,
    scratch: Path,
    limits: Limits,
    pass_fds: Sequence[int] = (),
    hide: Sequence[Path] = (),
    readable: Sequence[Path] | None = None,
    writable: Sequence[Path] = (),
    env: Mapping[str, str] | None = None,
    stdout: IO[bytes] | None = None,
    stderr: IO[bytes] | None = None,
    force: str | None = None,
) -> Sandboxed:
    """Starts `argv` in `scratch`, its only writable folder besides `writable`.

    `readable` None shows the whole file system, read-only, less `hide` and the home's secrets. A
    list shows of the home folder and of /tmp only what is in it (and Python's own folders). The
    deepest path wins: a hidden folder may hold a readable one, and the other way round.

    `env` adds to the scrubbed environment; HOME and TMPDIR lie in `scratch`. Output goes to
    `stdout` and `stderr` (real files), or is captured, and then capped by `limits.output_bytes`.
    `force` names an isolation. Raises `MachineError` if that, or starting at all, is impossible.
    """
    scratch = scratch.resolve()
    kind = force or isolation()
    view = _view(scratch, hide, readable, writable)
    temporary = scratch / "tmp"
    temporary.mkdir(exist_ok=True)
    environment = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
    environment.setdefault("PATH", os.defpath)
    environment |= {"HOME": str(scratch), "TMPDIR": str(temporary)}
    environment |= {"USER": "worker", "LOGNAME": "worker", **(env or {})}
    orders = {
        "isolation": "namespaces" if kind == "namespaces" else "plain",
        "argv": [*_wrapper(kind, view, scratch), *argv],
        "cwd": str(scratch),
        "limits": limits.for_kernel(count_processes=kind == "namespaces"),
        "view": view,
        "keep": list(pass_fds),
    }
    return Sandboxed.start(
        [sys.executable, "-I", "-S", str(JAIL)],
        orders=orders,
        limits=limits,
        environment=environment,
        outputs=(stdout, stderr),
        codes_above_128_are_signals=kind == "bubblewrap",
    )


def kill_tree(process: Sandboxed) -> None:
    """Kills the process and everything it started, and waits until it is gone."""
    process.kill()


def isolation() -> str:
    """The isolation in force: "bubblewrap", "namespaces", "seatbelt" or "process"."""
    return explain().name


def explain() -> Isolation:
    """The isolation in force and the reason. Tried once per process, really, in about 0.2 s."""
    return _explain(os.environ.get(FORCE, ""))


@functools.cache
def _explain(forced: str) -> Isolation:
    if forced:
        if forced not in KINDS:
            raise unknown(f"isolation in {FORCE}", forced, KINDS)
        problem = _problem(forced)
        if problem:
            raise MachineError(f"{FORCE}={forced}, but: {problem}", f"Unset {FORCE}.")
        return Isolation(forced, f"forced by {FORCE}")
    reasons: list[str] = []
    for kind in KINDS:
        problem = _problem(kind)
        if not problem:
            return Isolation(kind, "; ".join(reasons) or "the strongest there is")
        reasons.append(f"{kind}: {problem}")
    raise MachineError(
        f"no child process can be started: {'; '.join(reasons)}", "Run: kernel-lab doctor"
    )


def _problem(kind: str) -> str:
    """Why `kind` does not work here, or an empty text: a probe tries to break out of it."""
    needs = {"bubblewrap": "linux", "namespaces": "linux", "seatbelt": "darwin"}
    if kind in needs and not sys.platform.startswith(needs[kind]):
        return f"needs {needs[kind]}"
    program = {"bubblewrap": "bwrap", "seatbelt": "sandbox-exec"}.get(kind)
    if program and not shutil.which(program):
        return f"{program} is not installed"
    with tempfile.TemporaryDirectory(prefix="kernel-lab-probe-") as name:
        folder = Path(name).resolve()
        for part in ("scratch", "secret"):
            (folder / part).mkdir()
        (folder / "secret" / "file").write_text("secret")
        process = launch(
            [sys.executable, "-I", "-S", "-c", _PROBE, str(folder), str(kind != "process")],
            scratch=folder / "scratch",
            limits=Limits(wall_s=20, memory_bytes=2**30),
            hide=[folder / "secret"],
            force=kind,
        )
        try:
            process.wait(timeout=20)
        except (subprocess.TimeoutExpired, MachineError) as error:
            return str(error)
        finally:
            process.kill()
        if process.returncode != 0:
            return process.tail() or f"the probe ended with {process.returncode}"
        if (folder / "written").exists() and kind != "process":
            return "the probe wrote outside of its scratch folder"
    return ""


_PROBE = """
import os, socket, sys
folder, confined = sys.argv[1], sys.argv[2] == "True"
open("inside", "w").close()
if confined:
    try:
        open(folder + "/written", "w").close()
        sys.exit("the file system is writable")
    except OSError:
        pass
    if os.path.exists(folder + "/secret/file"):
        try:
            open(folder + "/secret/file").read()
            sys.exit("a hidden folder is visible")
        except OSError:
            pass
    try:
        socket.create_connection(("192.0.2.1", 9), timeout=0.2)
        sys.exit("the network can be reached")
    except TimeoutError:
        sys.exit("the network can be reached: nobody refuses to send")
    except OSError:
        pass
"""


def _view(
    scratch: Path, hide: Sequence[Path], readable: Sequence[Path] | None, writable: Sequence[Path]
) -> View:
    home = Path.home().resolve()
    hidden = {Path(SOCKETS), *(p.resolve() for p in hide), *(home / name for name in SECRETS)}
    private: set[Path] = set()
    shown = {Path(sys.prefix).resolve(), Path(sys.base_prefix).resolve(), JAIL}
    shown |= {Path(p) for p in KEPT_IN_RUN}
    if readable is not None:
        hidden |= {home}
        private = {Path(p).resolve() for p in PRIVATE}
        shown |= {p.resolve() for p in readable}
    entries = [
        *(("hide", p) for p in hidden),
        *(("private", p) for p in private),
        *(("read", p) for p in shown),
        *(("write", p) for p in {scratch, *(p.resolve() for p in writable)}),
    ]
    entries = [(what, p) for what, p in entries if p.exists() and p != Path("/")]
    entries.sort(key=lambda entry: len(entry[1].parts))
    return [(what, str(p)) for what, p in entries if what != "hide" or not _hidden(p, entries)]


def _hidden(path: Path, entries: Sequence[tuple[str, Path]]) -> bool:
    """Whether the nearest entry above `path` hides it already; entries are sorted by depth."""
    above = [what for what, p in entries if p in path.parents]
    return bool(above) and above[-1] in ("hide", "private")


def _wrapper(kind: str, view: View, scratch: Path) -> list[str]:
    """The program that stands before argv in `bubblewrap` and `seatbelt`."""
    if kind == "bubblewrap":
        return _bubblewrap(view, scratch)
    if kind == "seatbelt":
        return ["sandbox-exec", "-p", seatbelt_profile(view)]
    return []


def _bubblewrap(view: View, scratch: Path) -> list[str]:
    argv = ["bwrap", "--unshare-all", "--die-with-parent", "--cap-drop", "ALL"]
    argv += ["--ro-bind", "/", "/", "--proc", "/proc", "--dev", "/dev"]
    for pattern in ("nvidia*", "dri", "kfd", "dxg"):
        for device in sorted(Path("/dev").glob(pattern)):
            argv += ["--dev-bind", str(device), str(device)]
    hidden = [(what, path) for what, path in view if what == "hide"]
    for what, path in view:
        if what in ("hide", "private"):
            is_folder = Path(path).is_dir()
            argv += ["--tmpfs", path] if is_folder else ["--ro-bind", "/dev/null", path]
        else:
            argv += ["--bind" if what == "write" else "--ro-bind", path, path]
    for _, path in hidden:
        argv += ["--remount-ro", path] if Path(path).is_dir() else []
    return [*argv, "--chdir", str(scratch), "--"]


def seatbelt_profile(view: View) -> str:
    """A profile of macOS's sandbox-exec: later rules win, so the deepest path does."""
    lines = ["(version 1)", "(allow default)", "(deny network*)", "(deny file-write*)"]
    lines += ['(allow file-write* (literal "/dev/null") (regex #"^/dev/tty"))']
    for what, path in view:
        place = f"(subpath {json.dumps(path)})"
        if what == "hide":
            lines.append(f"(deny file-read-data file-write* {place})")
        elif what == "private":
            lines.append(f"(deny file-write* {place})")
        else:
            lines.append(f"(allow file-read* {place})")
            lines += [f"(allow file-write* {place})"] if what == "write" else []
    return "\n".join(lines)
