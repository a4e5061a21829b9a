"""Runs a program that is not trusted, in the strongest isolation that this machine offers.

    process = launch(argv, scratch=folder, limits=Limits(wall_s=60), hide=(ledger,))
    process.wait(timeout=60); process.returncode; process.why; kill_tree(process)

Isolation, the first that works here: `bubblewrap`; `namespaces` (the same by our own means);
`seatbelt` (macOS). They give no network, a read-only view of the file system without `hide` and the
home's secrets, and a writable scratch folder; on Linux also a filter of system calls (seccomp.py).
Where none works, nothing is started: `MachineError`. Only `--no-sandbox` or KERNEL_LAB_ISOLATION
lets a program run in `none`, a child process with the filter, where there is one, and limits.

All of them, `none` too, limit memory, processes, open files, CPU and wall time, scrub the
environment, and end the process tree as a whole, also when the judge dies.

Never covered: a GPU driver's interface, and in `none` the file system and other processes of the
same user. See docs/harness.md.
"""

from __future__ import annotations

import functools
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, NamedTuple

from lab.errors import MachineError, unknown
from lab.harness import seccomp, views
from lab.harness.running import Limits, Sandboxed
from lab.isolation import CONFINING, FORCE, NONE

JAIL = Path(__file__).with_name("jail.py")
KINDS = (*CONFINING, NONE)
FILTERED = ("bubblewrap", "namespaces", NONE)
PASSED_ON = (
    *("PATH", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "LD_LIBRARY_PATH", "CUDA_VISIBLE_DEVICES"),
    *("CUDA_HOME", "CC", "CXX", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "OMP_PROC_BIND"),
    *("KERNEL_LAB_CACHE", "LSAN_OPTIONS"),
)
"""The judge's environment variables that a sandboxed program sees; all others are withheld."""
OTHER_SYSTEM = "needs"
INSTALL = (
    "Install bubblewrap, or allow user namespaces (see Sandbox in docs/harness.md). Or go on "
    "without: kernel-lab --no-sandbox VERB. What is measured then is marked and never promotes."
)

__all__ = [
    "Isolation",
    "Limits",
    "NoSandbox",
    "Sandboxed",
    "explain",
    "isolation",
    "kill_tree",
    "launch",
]


class NoSandbox(MachineError):
    """Nothing on this machine confines a program, and going without was not asked for."""


class Isolation(NamedTuple):
    """The isolation in force, and why it is not a stronger one."""

    kind: str
    reason: str

    @property
    def name(self) -> str:
        """What records call it: its kind, and whether system calls are filtered as well."""
        filtered = self.kind in ("bubblewrap", "namespaces") and seccomp.supported()
        return f"{self.kind}+seccomp" if filtered else self.kind


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
    keep_scratch: bool = True,
    own_filters: bool = False,
) -> Sandboxed:
    """Starts `argv` in `scratch`, its only writable folder besides `writable`.

    `readable` None shows the whole file system, read-only, less `hide` and the home's secrets. A
    list shows of the home folder and of /tmp only what is in it (and Python's own folders). The
    deepest path wins: a hidden folder may hold a readable one, and the other way round.

    `env` adds to the scrubbed environment; HOME and TMPDIR lie in `scratch`. Output goes to
    `stdout` and `stderr` (real files), or is captured, and then capped by `limits.output_bytes`.
    Without `keep_scratch` what is written to scratch is held in memory, up to 256 MiB, and nobody
    outside sees it; of what lies there, only what `readable` names is shown (bubblewrap and
    namespaces; elsewhere it makes no difference). With `own_filters` it may confine itself further
    by a filter of system calls. `force` names an isolation. Raises `MachineError` if there is none,
    or if starting is impossible.
    """
    scratch = scratch.resolve()
    kind = force or explain().kind
    keeps = keep_scratch or kind not in ("bubblewrap", "namespaces")
    view = views.view(scratch, hide, readable, writable, keeps)
    temporary = scratch / "tmp"
    temporary.mkdir(exist_ok=True)
    environment = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
    environment.setdefault("PATH", os.defpath)
    environment |= {"HOME": str(scratch), "TMPDIR": str(temporary)}
    environment |= {"USER": "worker", "LOGNAME": "worker", **(env or {})}
    filter_ = _filter(kind, limits, own_filters)
    orders = {
        "isolation": "namespaces" if kind == "namespaces" else "plain",
        "argv": [*_wrapper(kind, view, scratch, filter_, limits.tasks), *argv],
        "cwd": str(scratch),
        "limits": limits.for_kernel(),
        "tasks": limits.tasks if kind == "namespaces" else 0,
        "view": view,
        "keep": list(pass_fds),
        "filter": "" if kind == "bubblewrap" else filter_,
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
    """The isolation in force as records name it, e.g. "namespaces+seccomp" or "none"."""
    return explain().name


def explain() -> Isolation:
    """The isolation in force and the reason. Tried once per process, really, in about 0.2 s.

    Raises `NoSandbox` where none works, unless `none` was asked for.
    """
    return _explain(os.environ.get(FORCE, ""))


@functools.cache
def _explain(forced: str) -> Isolation:
    if forced:
        if forced not in KINDS:
            raise unknown(f"isolation in {FORCE}", forced, KINDS)
        problem = _problem(forced)
        if problem:
            raise MachineError(f"{FORCE}={forced}, but: {problem}", f"Unset {FORCE}.")
        asked = "by --no-sandbox or " if forced == NONE else "by "
        return Isolation(forced, f"{asked}{FORCE}")
    reasons: list[str] = []
    for kind in CONFINING:
        problem = _problem(kind)
        if not problem:
            return Isolation(kind, "; ".join(reasons) or "the strongest there is")
        if not problem.startswith(OTHER_SYSTEM):
            reasons.append(f"{kind}: {problem}")
    raise NoSandbox(f"no sandbox works on this machine ({'; '.join(reasons)})", INSTALL)


def _problem(kind: str) -> str:
    """Why `kind` does not work here, or an empty text: a probe tries to break out of it."""
    needs = {"bubblewrap": "linux", "namespaces": "linux", "seatbelt": "darwin"}
    if kind in needs and not sys.platform.startswith(needs[kind]):
        return f"{OTHER_SYSTEM} {needs[kind]}"
    program = {"bubblewrap": "bwrap", "seatbelt": "sandbox-exec"}.get(kind)
    if program and not shutil.which(program):
        return f"{program} is not installed"
    with tempfile.TemporaryDirectory(prefix="kernel-lab-probe-") as name:
        folder = Path(name).resolve()
        for part in ("scratch", "secret"):
            (folder / part).mkdir()
        (folder / "secret" / "file").write_text("secret")
        process = launch(
            [sys.executable, "-I", "-S", "-c", _PROBE, str(folder), str(kind != NONE)],
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
        if (folder / "written").exists() and kind != NONE:
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


def _filter(kind: str, limits: Limits, own_filters: bool = False) -> str:
    """The filter of system calls, in hexadecimal; empty where there is none."""
    if kind not in FILTERED or not seccomp.supported():
        return ""
    made = seccomp.program(platform.machine(), limits.data_bytes is None, own_filters)
    return made.hex()


def _wrapper(kind: str, view: views.View, scratch: Path, filter_: str, tasks: int) -> list[str]:
    """The program that stands before argv in `bubblewrap` and `seatbelt`."""
    if kind == "bubblewrap":
        # Not its own --seccomp: that way, kernels before 5.16 slow the program down (last_step.py).
        inner = [sys.executable, "-I", "-S", str(views.LAST_STEP), str(tasks), filter_]
        return [*views.bubblewrap(view, scratch), *inner]
    if kind == "seatbelt":
        return ["sandbox-exec", "-p", views.seatbelt_profile(view)]
    return []
