"""The C++ compiler: which one, its flags, and one call of it.

    compiler = find_compiler()                 # Unavailable where there is none
    said = compiler.compile(["-fsyntax-only", ...])

KERNEL_LAB_METAL_CLANG names a clang to use; else the clang inside of the `ziglang` wheel (extra
`sim`; the pinned version is the one that is tested); else a clang of 18 or later on PATH. Kernels
compile without any system header, under limits of memory, CPU and wall time.
"""

from __future__ import annotations

import importlib.util
import os
import re
import resource
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from lab.metal_sim.errors import Unavailable

OLDEST = 18
"""clang 18 is the first whose __bf16 has arithmetic."""
LIMIT_S = 60
"""Of CPU time; twice that on the clock. MLX's largest header takes 0.6 s."""
LIMIT_BYTES = 4 << 30
INSTALL = "Install the simulator's compiler: uv sync --extra sim (or a clang of 18 or later)."
LANGUAGE = (
    *("-x", "c++", "-std=c++17", "-fdeclspec", "-fno-exceptions", "-fno-rtti"),
    *(
        "-nostdinc",
        "-nostdinc++",
        "-Wno-everything",
        "-Werror=unknown-attributes",
        "-ferror-limit=40",
    ),
    *("-ftemplate-depth=256", "-fconstexpr-steps=2000000", "-fno-caret-diagnostics"),
    "-fno-gnu-inline-asm",
)
CODE = (
    *("-fPIC", "-march=x86-64-v3", "-fvisibility=hidden", "-fno-stack-protector"),
    *("-ffp-contract=off", "-fno-math-errno", "-fno-strict-aliasing", "-fwrapv"),
    *("-fno-threadsafe-statics", "-Werror=global-constructors", "-fno-unroll-loops"),
    "-fno-finite-loops",  # an endless loop stays one, and is found
    *("-Xclang", "-ffloat16-excess-precision=none", "-ftrivial-auto-var-init=pattern"),
)
FAST = ("-O2", "-fstack-clash-protection")
CHECKED = (
    *("-O1", "-gdwarf-4", "-g1", "-fsanitize=thread", "-mllvm"),
    *("-tsan-instrument-func-entry-exit=0", "-mllvm", "-tsan-instrument-read-before-write=1"),
    *("-fno-vectorize", "-fno-slp-vectorize", "-fstack-clash-protection"),
    "-fsanitize=alignment,array-bounds,integer-divide-by-zero,shift-exponent",
    "-fno-sanitize-recover=alignment",  # else no value that was read is kept past such a check
)
CHECKED_WITH_UNIONS = (*CHECKED, "-DMETAL_SIM_TRIVIAL_COPIES")
"""C++ does not copy a union whose member has a copy constructor of its own."""


@dataclass(frozen=True)
class Compiler:
    """Commands of one compiler, and what it calls itself."""

    version: str
    clang: tuple[str, ...]
    linker: tuple[str, ...]
    runtime: tuple[str, ...]

    def compile(self, arguments: Sequence[str]) -> str | None:
        """None where it went well, else what the compiler said."""
        return _called([*self.clang, *arguments])

    def compile_runtime(self, arguments: Sequence[str], cache: Path) -> str | None:
        """As `compile`, with the system's headers: for our own runtime, never for a kernel. zig
        unpacks those of the C library into `cache`."""
        return _called([*self.runtime, *arguments], cache)

    def link(self, objects: Sequence[str], into: Path) -> str | None:
        """A shared object with every symbol bound when it is loaded."""
        return _called([*self.linker, "-shared", "-z", "now", *objects, "-o", str(into)])


def find_compiler() -> Compiler:
    """The compiler to use here; `Unavailable` says what is missing."""
    _check_machine()
    if importlib.util.find_spec("elftools") is None:
        raise Unavailable("the Metal simulator needs pyelftools, which is not installed.", INSTALL)
    given = os.environ.get("KERNEL_LAB_METAL_CLANG")
    if given:
        return _system(given)
    zig = importlib.util.find_spec("ziglang")
    if zig is not None and zig.origin:
        return _from_zig(str(Path(zig.origin).with_name("zig")))
    found = shutil.which("clang")
    if found is None:
        raise Unavailable("the Metal simulator has no compiler here.", INSTALL)
    return _system(found)


@cache
def _check_machine() -> None:
    if sys.platform != "linux" or os.uname().machine != "x86_64":
        raise Unavailable(
            "the Metal simulator runs on Linux with an x86-64 CPU only.",
            "On a Mac the kernels run on the GPU itself.",
        )
    flags = Path("/proc/cpuinfo").read_text()
    if " avx2 " not in flags or " f16c " not in flags:
        raise Unavailable("the Metal simulator needs a CPU with AVX2 and F16C.")


@cache
def _from_zig(zig: str) -> Compiler:
    clang = (zig, "clang")
    target = ("-target", "x86_64-linux-gnu.2.28", "-fno-sanitize=all")
    return Compiler(_version(clang), clang, (zig, "ld.lld"), (zig, "c++", *target))


@cache
def _system(clang: str) -> Compiler:
    version = _version((clang,))
    number = re.search(r"version (\d+)", version)
    if number is None or int(number[1]) < OLDEST:
        raise Unavailable(f"{clang} is not a clang of {OLDEST} or later: {version}.", INSTALL)
    linker = shutil.which("ld.lld") or shutil.which("ld")
    if linker is None:
        raise Unavailable("no linker (ld.lld or ld) on PATH.", INSTALL)
    return Compiler(version, (clang,), (linker,), (clang,))


def _version(command: tuple[str, ...]) -> str:
    try:
        said = subprocess.run([*command, "--version"], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        raise Unavailable(f"{' '.join(command)} does not run: {error}.", INSTALL) from error
    return said.stdout.splitlines()[0]


def _called(command: list[str], cache: Path | None = None) -> str | None:
    environment = {**os.environ, **({} if cache is None else {"ZIG_GLOBAL_CACHE_DIR": str(cache)})}
    child = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
        env=environment, text=True, errors="replace",
    )  # fmt: skip
    for limit, value in (
        (resource.RLIMIT_AS, LIMIT_BYTES),
        (resource.RLIMIT_CPU, LIMIT_S),
        (resource.RLIMIT_CORE, 0),
    ):
        resource.prlimit(child.pid, limit, (value, value))
    try:
        _, said = child.communicate(timeout=2 * LIMIT_S)
    except subprocess.TimeoutExpired:
        child.kill()
        child.communicate()
        return f"the compiler did not end within {2 * LIMIT_S} s"
    if child.returncode == 0:
        return None
    return said or f"the compiler ended with status {child.returncode}"
