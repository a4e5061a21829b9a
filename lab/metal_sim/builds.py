"""Compiled kernels, kept by what they are made of.

    build = Builds().kernel(name, source, checked=True)
    build.path, build.image, build.cached

Everything lies in one folder of the lab's cache and is named by a hash of all that went into it:
the text, the headers (ours and those of the installed mlx), the compiler and its flags. A file is
written beside its place and moved there whole, so that processes that build the same at once do no
more than the work twice. The folder can be deleted at any time.
"""

from __future__ import annotations

import hashlib
import importlib.util
import re
import tempfile
from dataclasses import dataclass, field
from functools import cache, cached_property
from pathlib import Path

import msgspec

from lab.metal_sim.compiler import (
    CHECKED,
    CHECKED_WITH_UNIONS,
    CODE,
    FAST,
    LANGUAGE,
    Compiler,
    find_compiler,
)
from lab.metal_sim.diagnostics import from_compiler
from lab.metal_sim.errors import KernelError, Unavailable
from lab.metal_sim.image import Image, read_image
from lab.metal_sim.rewrite import for_compiler, has_union
from lab.metal_sim.vector_header import vector_header
from trainer.files import cache_folder

HERE = Path(__file__).parent
MLX_HEADERS = Path("mlx/backend/metal/kernels")
STANDARD_HEADERS = (
    *("array", "atomic", "common", "compute", "config", "geometric", "integer", "limits", "math"),
    *("matrix", "numeric", "pack", "quadgroup", "relational", "simdgroup", "simdgroup_matrix"),
    *("stdlib", "type_traits", "types", "vector"),
)
PREAMBLE = '#include <metal_stdlib>\n#include "mlx/backend/metal/kernels/utils.h"\n'
"""MLX puts the text of utils.h before every custom kernel."""
STRICT = (
    *("-fsyntax-only", "-DMETAL_SIM_ADDRESS_SPACES", "-ferror-limit=0"),
    *("-Wimplicit-float-conversion", "-Werror=implicit-float-conversion"),
)


@dataclass(frozen=True)
class Build:
    """One compiled kernel."""

    path: Path
    image: Image
    cached: bool


@dataclass(frozen=True)
class Builds:
    """The folder of builds, and the compiler that makes them."""

    folder: Path = field(default_factory=lambda: (cache_folder() / "metal_sim").resolve())
    compiler: Compiler = field(default_factory=find_compiler)
    prepared: Path | None = None
    """Another's folder, prepared, from which everything but kernels is taken; never written to."""

    def prepare(self) -> None:
        """Makes what does not depend on a kernel: runtime, headers, and those precompiled for
        checked builds."""
        _ = self.runtime
        for mode in (CHECKED, CHECKED_WITH_UNIONS, STRICT):
            self._precompiled(mode)

    @property
    def _ours(self) -> Path:
        """Where what does not depend on a kernel lies."""
        return self.prepared or self.folder

    def kernel(self, name: str, text: str, *, checked: bool) -> Build:
        """The shared object of a rewritten text; `KernelError` where it does not compile."""
        mode = _mode(text, checked)
        precompiled = self._precompiled(mode)
        path = self.folder / f"{_hash(text, precompiled.name)}.so"
        facts = path.with_suffix(".json")
        if path.exists() and facts.exists():
            return Build(path, msgspec.json.decode(facts.read_bytes(), type=Image), cached=True)
        with self._workplace() as work:
            source, made = Path(work, "kernel.cpp"), Path(work, "kernel.o")
            source.write_text(text)
            arguments = [*LANGUAGE, *CODE, *mode, *self._include(precompiled)]
            self._must(
                name, self.compiler.compile([*arguments, "-c", str(source), "-o", str(made)])
            )
            linked = Path(work, "kernel.so")
            self._must(name, self.compiler.link([str(made)], linked))
            image = read_image(linked)
            written = Path(work, "kernel.json")
            written.write_bytes(msgspec.json.encode(image))
            linked.replace(path)
            written.replace(facts)
        return Build(path, image, cached=False)

    def strict_errors(self, text: str) -> str | None:
        """What clang says where address spaces are distinct and floats keep their width; kept like
        builds."""
        precompiled = self._precompiled(STRICT)
        kept = self.folder / f"{_hash(text, precompiled.name, 'strict')}.txt"
        if kept.exists():
            return kept.read_text() or None
        with self._workplace() as work:
            source = Path(work, "kernel.cpp")
            source.write_text(text)
            arguments = [*LANGUAGE, *STRICT, *self._include(precompiled), str(source)]
            said = self.compiler.compile(arguments) or ""
            written = Path(work, "said.txt")
            written.write_text(said)
            written.replace(kept)
        return said or None

    @cached_property
    def runtime(self) -> Path:
        """The runtime, built once from the sources beside this file."""
        sources = sorted((HERE / "runtime").glob("*.cpp"))
        texts = [
            path.read_text() for path in sorted((HERE / "runtime").iterdir()) if path.is_file()
        ]
        path = self._ours / f"{_hash('runtime', self.compiler.version, *texts)}.so"
        if path.exists():
            return path
        with self._workplace() as work:
            objects = []
            for source in sources:
                made = str(Path(work, source.stem + ".o"))
                flags = ["-O2", "-fPIC", "-std=c++17", "-fno-exceptions"]
                flags += ["-fno-rtti", "-fno-stack-protector", "-fno-strict-aliasing"]
                arguments = [*flags, "-c", str(source), "-o", made]
                self._must_work(self.compiler.compile_runtime(arguments, self.folder / "zig"))
                objects.append(made)
            linked = Path(work, "runtime.so")
            self._must_work(self.compiler.link(objects, linked))
            linked.replace(path)
        return path

    @cached_property
    def headers(self) -> Path:
        """The include folder: our headers, the generated one, and MLX's own rewritten."""
        texts = _header_texts()
        folder = self._ours / f"headers-{_hash(*(part for item in texts for part in item))}"
        if not folder.exists():
            with self._workplace() as work:
                made = Path(work, "include")
                for relative, text in texts:
                    (made / relative).parent.mkdir(parents=True, exist_ok=True)
                    (made / relative).write_text(text)
                _moved_once(made, folder)
        return folder

    def _precompiled(self, mode: tuple[str, ...]) -> Path:
        """The preamble compiled for one mode: without it a kernel takes 0.3 s longer."""
        flags = [*LANGUAGE, *(CODE if mode is not STRICT else ()), *mode]
        key = _hash(self.headers.name, self.compiler.version, *flags)
        path = self._ours / f"{key}.pch"
        if path.exists():
            return path
        with self._workplace() as work:
            source, made = self.headers / "preamble.h", Path(work, "preamble.pch")
            wanted = [flag for flag in flags if flag not in ("-x", "c++", "-fsyntax-only")]
            arguments = ["-x", "c++-header", *wanted, "-Xclang", "-fno-pch-timestamp"]
            arguments += ["-I", str(self.headers), str(source), "-o", str(made)]
            self._must_work(self.compiler.compile(arguments))
            made.replace(path)
        return path

    def _include(self, precompiled: Path) -> list[str]:
        return ["-I", str(self.headers), "-include-pch", str(precompiled)]

    def _workplace(self) -> tempfile.TemporaryDirectory:
        self.folder.mkdir(parents=True, exist_ok=True)
        return tempfile.TemporaryDirectory(dir=self.folder, prefix="work-")

    def _must(self, name: str, said: str | None) -> None:
        if said is not None:
            raise KernelError(name, from_compiler(said))

    def _must_work(self, said: str | None) -> None:
        if said is not None:
            raise Unavailable(
                f"the simulator's own files do not compile with {self.compiler.version}:\n"
                f"{said[:2000]}",
                "Use the compiler of the extra `sim`: uv sync --extra sim.",
            )


def _mode(text: str, checked: bool) -> tuple[str, ...]:
    if not checked:
        return FAST
    return CHECKED_WITH_UNIONS if has_union(text) else CHECKED


def _moved_once(made: Path, folder: Path) -> None:
    """Another process may have been first; its folder holds the same."""
    try:
        made.rename(folder)
    except OSError:
        if not folder.exists():
            raise


@cache
def _header_texts() -> tuple[tuple[str, str], ...]:
    """(place, text) of every header, ours before MLX's of the same name."""
    texts = {
        str(path.relative_to(HERE / "include")): path.read_text()
        for path in sorted((HERE / "include").rglob("*.h"))
    }
    texts["metal_sim/vectors.h"] = vector_header()
    for name in STANDARD_HEADERS:
        texts[f"metal_{name}"] = '#pragma once\n#include "metal_sim/metal_sim.h"\n'
    texts["simd/simd.h"] = '#pragma once\n#include "metal_sim/metal_sim.h"\n'
    texts["preamble.h"] = PREAMBLE
    include = _mlx_include()
    for path in sorted((include / MLX_HEADERS).rglob("*.h")):
        texts.setdefault(str(path.relative_to(include)), _of_mlx(path.read_text()))
    return tuple(texts.items())


def _of_mlx(text: str) -> str:
    """MLX's own kernels are specialised by constants that a custom kernel cannot set: all false.
    And from half to bfloat the way is through float, which holds both."""
    text = text.replace(
        "static_cast<bfloat16_t>(this->operator float16_t())",
        "static_cast<bfloat16_t>(static_cast<float>(this->operator float16_t()))",
    )
    without = re.sub(r"\[\[\s*function_constant\(\w+\)\s*\]\](?=\s*;)", "= {}", text)
    return for_compiler(re.sub(r",\s*function_constant\(\w+\)(?=\s*\]\])", "", without))


def _mlx_include() -> Path:
    found = importlib.util.find_spec("mlx")
    for folder in (found.submodule_search_locations or ()) if found else ():
        include = Path(folder) / "include"
        if (include / MLX_HEADERS / "utils.h").is_file():
            return include
    raise Unavailable(
        "the Metal simulator needs the kernel headers of the mlx wheel, which is not installed.",
        "uv sync",
    )


def _hash(*parts: str) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part.encode())
        digest.update(b"\0")
    return digest.hexdigest()[:32]
