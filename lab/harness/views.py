"""What a sandboxed program sees of the file system, and how bubblewrap and seatbelt are told.

    entries = view(scratch, hide, readable, writable, keep_scratch)
    bubblewrap(entries, scratch); seatbelt_profile(entries)

`mounts.py` does the same for `namespaces`. Looks at the disk; changes nothing.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path

LAST_STEP = Path(__file__).with_name("last_step.py")
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
MEMORY_FOLDER_BYTES = 2**28
"""How much a folder in memory holds; mounts.py says the same. Triton and torch.compile cache a few
megabytes."""

View = list[tuple[str, str]]
"""What a program sees: (what, path) from the root downwards, as mounts.py reads it."""


def view(
    scratch: Path,
    hide: Sequence[Path],
    readable: Sequence[Path] | None,
    writable: Sequence[Path],
    keep_scratch: bool,
) -> View:
    """What `launch` in sandbox.py says of these arguments, for paths that exist.

    `hide` in an entry means empty, `read` and `write` show the original, `private` is an empty
    writable folder in memory, and `folder` a new one inside of that.
    """
    home = Path.home().resolve()
    hidden = {Path(SOCKETS), *(p.resolve() for p in hide), *(home / name for name in SECRETS)}
    private: set[Path] = set()
    shown = {Path(sys.prefix).resolve(), Path(sys.base_prefix).resolve(), LAST_STEP}
    shown |= {Path(p) for p in KEPT_IN_RUN}
    if readable is not None:
        hidden |= {home}
        private = {Path(p).resolve() for p in PRIVATE}
        shown |= {p.resolve() for p in readable}
    entries = [
        *(("hide", p) for p in hidden),
        *(("private", p) for p in private),
        *(("read", p) for p in shown),
        *(("write", p.resolve()) for p in writable),
        *([("write", scratch)] if keep_scratch else [("private", scratch)]),
    ]
    entries = [(what, p) for what, p in entries if p.exists() and p != Path("/")]
    entries += [] if keep_scratch else [("folder", scratch / "tmp")]
    entries.sort(key=lambda entry: len(entry[1].parts))
    return [(what, str(p)) for what, p in entries if what != "hide" or not _hidden(p, entries)]


def _hidden(path: Path, entries: Sequence[tuple[str, Path]]) -> bool:
    """Whether the nearest entry above `path` hides it already; entries are sorted by depth."""
    above = [what for what, p in entries if p in path.parents]
    return bool(above) and above[-1] in ("hide", "private")


def bubblewrap(view: View, scratch: Path) -> list[str]:
    """The command line of bwrap for a view, up to the program itself."""
    in_memory = ["--size", str(MEMORY_FOLDER_BYTES), "--tmpfs"]
    argv = ["bwrap", "--unshare-all", "--die-with-parent", "--cap-drop", "ALL"]
    argv += ["--ro-bind", "/", "/", "--proc", "/proc", "--dev", "/dev", *in_memory, "/dev/shm"]
    for switches in _switches():
        argv += ["--ro-bind", switches, switches]
    for pattern in ("nvidia*", "dri", "kfd", "dxg"):
        for device in sorted(Path("/dev").glob(pattern)):
            argv += ["--dev-bind", str(device), str(device)]
    hidden = [path for what, path in view if what == "hide" and Path(path).is_dir()]
    for what, path in view:
        if what in ("hide", "private"):
            argv += [*in_memory, path] if Path(path).is_dir() else ["--ro-bind", "/dev/null", path]
        elif what == "folder":
            argv += ["--dir", path]
        else:
            argv += ["--bind" if what == "write" else "--ro-bind", path, path]
    for path in (*hidden, "/dev"):
        argv += ["--remount-ro", path]
    return [*argv, "--chdir", str(scratch), "--"]


def _switches() -> list[str]:
    """What is not of a process in /proc and can be written. bwrap 0.8 leaves /proc/sys writable to
    what root started: a core handler set there is a program that runs outside, as root."""
    entries = (p for p in Path("/proc").glob("*") if not p.name.isdigit() and not p.is_symlink())
    return sorted(str(p) for p in entries if p.is_dir() or p.stat().st_mode & 0o222)


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
