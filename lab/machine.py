"""Where a record was made: hardware, system, framework versions, git state.

`fingerprint(engine)` is asked once per process and engine and then remembered. Versions come from
the installed packages' metadata, so the CPU engine's fingerprint imports no framework. Never fails
for what is only nice to know: without git, or outside a repository, the commit is empty.
"""

from __future__ import annotations

import platform
from functools import cache
from importlib import metadata
from pathlib import Path

from lab.records import Machine
from trainer.hardware import hardware_key, usable_cores
from trainer.system import ask

ROOT = Path(__file__).resolve().parent.parent
FRAMEWORKS = ("torch", "triton", "mlx")
"""Packages whose version decides how fast and how exact a kernel is."""


@cache
def fingerprint(engine: str) -> Machine:
    """This machine as `engine` sees it. `cuda` needs torch with a GPU; `cpu` imports nothing."""
    commit = _git("rev-parse", "HEAD")
    return Machine(
        hardware=hardware_key(engine),
        system=f"{platform.system()} {platform.release()}",
        python=platform.python_version(),
        frameworks=_frameworks(engine),
        git_commit=commit,
        git_dirty=bool(commit and _git("status", "--porcelain", "--untracked-files=no")),
        cores=usable_cores(),
        memory_gib=round(memory_gib(), 1),
    )


def _frameworks(engine: str) -> dict[str, str]:
    found = {}
    for name in FRAMEWORKS:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    if engine == "cuda":
        import torch

        found["cuda"] = torch.version.cuda or ""
        found["driver"] = _driver()
    if engine == "mps":
        found["macos"] = platform.mac_ver()[0]
    return found


def _driver() -> str:
    """The NVIDIA driver's version, from the kernel module or the tool; empty if neither tells."""
    module = Path("/sys/module/nvidia/version")
    if module.is_file():
        return module.read_text().strip()
    return ask("nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader").partition("\n")[
        0
    ]


def _git(*arguments: str) -> str:
    """Asks git about this checkout; empty for an installed copy, whatever repository it lies in."""
    if not (ROOT / ".git").exists():
        return ""
    return ask("git", "--no-optional-locks", "-C", str(ROOT), *arguments)


def memory_gib() -> float:
    """Memory of the whole machine."""
    import psutil

    return float(psutil.virtual_memory().total / 2**30)
