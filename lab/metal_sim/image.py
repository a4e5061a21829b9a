"""What the simulator must know of a compiled kernel: read from its ELF file once, kept beside it.

    image = read_image(path)
    image.entry, image.group_variables      # where it starts, its threadgroup variables
    line_of(path, place)                    # ("body", 12) for a return address

Reads files only; nothing of the kernel is loaded or run.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

import msgspec

from lab.metal_sim.diagnostics import PARTS

SECTION = "metal_sim_group"
ENTRY = "metal_sim_entry"
MLX_HEADERS = "mlx/backend/metal/kernels/"


class GroupVariable(msgspec.Struct, frozen=True):
    """A threadgroup variable: its name, and its place in the section."""

    name: str
    start: int
    bytes: int


class Image(msgspec.Struct, frozen=True):
    """Places are relative to where the image is loaded."""

    entry: int
    bytes: int
    group_section: int
    group_bytes: int
    constructors: int
    group_variables: tuple[GroupVariable, ...]

    @property
    def threadgroup_bytes(self) -> int:
        """What the kernel's variables take of the 32 KiB."""
        return sum(variable.bytes for variable in self.group_variables)


def read_image(path: Path) -> Image:
    """The facts of one shared object."""
    from elftools.elf.elffile import ELFFile

    with path.open("rb") as file:
        elf = ELFFile(file)
        section = elf.get_section_by_name(SECTION)
        start = section["sh_addr"] if section else 0
        size = section["sh_size"] if section else 0
        entry, variables = 0, []
        for symbol in _symbols(elf):
            at, name = symbol["st_value"], symbol.name
            if name == ENTRY:
                entry = at
            inside = symbol["st_info"]["type"] == "STT_OBJECT" and start <= at < start + size
            if inside and "metal_sim_gap_" not in name:
                variables.append(GroupVariable(_plain_name(name), at - start, symbol["st_size"]))
        constructors = elf.get_section_by_name(".init_array")
        ends = [
            s["p_vaddr"] + s["p_memsz"] for s in elf.iter_segments() if s["p_type"] == "PT_LOAD"
        ]
        return Image(
            entry=entry,
            bytes=max(ends),
            group_section=start,
            group_bytes=size,
            constructors=constructors["sh_size"] // 8 if constructors else 0,
            group_variables=tuple(sorted(variables, key=lambda variable: variable.start)),
        )


def _symbols(elf: Any) -> Iterator[Any]:
    table = elf.get_section_by_name(".symtab")
    return iter(()) if table is None else table.iter_symbols()


def _plain_name(mangled: str) -> str:
    """The variable's own name: the last length-prefixed word of a mangled local name."""
    words = re.findall(r"E(\d+)([A-Za-z_]\w*)", mangled)
    if not words:
        return mangled
    length, rest = words[-1]
    return rest[: int(length)]


@lru_cache(maxsize=64)
def _line_table(path: Path) -> tuple[list[int], list[tuple[str, int]]]:
    from elftools.elf.elffile import ELFFile

    rows: list[tuple[int, str, int]] = []
    with path.open("rb") as file:
        elf = ELFFile(file)
        if not elf.has_dwarf_info():
            return [], []
        dwarf = elf.get_dwarf_info()
        for unit in dwarf.iter_CUs():
            program = dwarf.line_program_for_CU(unit)
            names = program["file_entry"] if program else ()
            for entry in program.get_entries() if program else ():
                state = entry.state
                if state is None:
                    continue
                name = names[state.file - 1].name.decode() if 0 < state.file <= len(names) else ""
                rows.append((state.address, name, 0 if state.end_sequence else state.line))
    rows.sort(key=lambda row: row[0])
    return [row[0] for row in rows], [(row[1], row[2]) for row in rows]


def line_of(path: Path, place: int) -> tuple[str, int]:
    """Part and line of a return address: ("body", 12), ("softmax.h", 40), or ("", 0)."""
    addresses, lines = _line_table(path)
    at = bisect_right(addresses, place - 1) - 1
    if place == 0 or at < 0:
        return "", 0
    name, line = lines[at]
    part = name.rsplit("/", 1)[-1]
    known = part in PARTS or part.endswith(".h")
    return (part, line) if known and line else ("", 0)
