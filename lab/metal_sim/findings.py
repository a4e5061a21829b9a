"""What the checks found: kinds, how grave each is, and the sentence that tells it.

    finding.severity      "error", "warning" or "note"
    str(finding)          "error: body:12: out_of_bounds_read: reads 4 bytes at byte 64 of inp ..."

An error is something that Metal leaves undefined and that can change a result. A warning is
undefined too, but was seen to change nothing here (a masked read, a race that writes one value) or
depends on how lanes meet again. A note is no fault.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple, TypeAlias

from lab.metal_sim import layout
from lab.metal_sim.diagnostics import PARTS
from lab.metal_sim.image import Image, line_of
from lab.metal_sim.memory import Buffer

Severity: TypeAlias = Literal["error", "warning", "note"]


@dataclass(frozen=True)
class Finding:
    """One fault at one place; `times` counts how often it happened in that run."""

    kind: str
    severity: Severity
    message: str
    part: str = ""
    line: int = 0
    thread: tuple[int, int, int] | None = None
    threadgroup: tuple[int, int, int] | None = None
    lane: int | None = None
    schedule: str = ""
    times: int = 1

    def __str__(self) -> str:
        place = f"{self.part}:{self.line}: " if self.line else ""
        who = f" [thread {self.thread}, lane {self.lane}]" if self.thread else ""
        often = f" [{self.times} times]" if self.times > 1 else ""
        return f"{self.severity}: {place}{self.kind}: {self.message}{who}{often}"


class Kind(NamedTuple):
    """How a kind of the runtime is named and judged. `masked` is how grave it is where other bytes
    in place of the ones read change no output."""

    name: str
    severity: Severity
    masked: Severity
    tell: Callable[[layout.Finding, str], str]


def _access(verb: str) -> Callable[[layout.Finding, str], str]:
    return lambda raw, where: f"{verb} {raw.bytes} bytes at {where}"


def _race(what: str) -> Callable[[layout.Finding, str], str]:
    return lambda raw, where: f"{what} at {where}{_other(raw)}"


def _other(raw: layout.Finding) -> str:
    if not raw.other_known:
        return " (several other threads)"
    group = "the same threadgroup" if raw.same_group else "another threadgroup"
    return f"; the other is thread {tuple(raw.other_thread)} of {group}"


def _plain(sentence: str) -> Callable[[layout.Finding, str], str]:
    return lambda raw, where: sentence.format(value=raw.value, bytes=raw.bytes, where=where)


KINDS = {
    1: Kind("out_of_bounds_read", "error", "warning", _access("reads")),
    2: Kind("out_of_bounds_write", "error", "error", _access("writes")),
    3: Kind("wild_access", "error", "error", _plain("{bytes} bytes at an address in no buffer")),
    4: Kind("write_to_input", "error", "error", _access("writes")),
    5: Kind(
        "race", "error", "error", _race("one thread reads what another writes, with no barrier")
    ),
    6: Kind("race", "error", "error", _race("two threads write different values, with no barrier")),
    7: Kind("same_value_race", "warning", "warning", _race("two threads write one value")),
    8: Kind("mixed_atomic", "error", "error", _race("an atomic access meets a plain one")),
    9: Kind(
        "uninitialised_threadgroup", "error", "warning", _access("reads before anyone wrote them")
    ),
    10: Kind("uninitialised_output", "error", "warning", _access("reads before anyone wrote them")),
    11: Kind("divergent_barrier", "error", "error", _plain("threads wait at different barriers")),
    12: Kind(
        "divergent_barrier",
        "error",
        "error",
        _plain("{value} of {bytes} threads had ended and never reach this barrier"),
    ),
    13: Kind(
        "divergent_simd",
        "warning",
        "warning",
        _plain("{value} of {bytes} live lanes of the simdgroup take part"),
    ),
    14: Kind(
        "inactive_lane", "warning", "warning", _plain("takes the value of a lane without one")
    ),
    15: Kind("partial_matrix", "error", "error", _plain("a simdgroup_matrix needs all 32 lanes")),
    16: Kind("array_index", "error", "error", _plain("index {value} lies outside of the array")),
    17: Kind(
        "division_by_zero", "error", "error", _plain("an integer division by zero, or too large")
    ),
    18: Kind("wild_shift", "error", "error", _plain("a shift by {value} bits")),
    19: Kind("stack_overflow", "error", "error", _plain("private memory of over 256 KiB")),
    20: Kind("memory_fault", "error", "error", _plain("an access far outside, near {where}")),
    21: Kind("time_out", "error", "error", _plain("the kernel did not end within the time limit")),
    22: Kind(
        "misaligned",
        "error",
        "error",
        _plain("an access that needs a multiple of {bytes} bytes, at {where}"),
    ),
}
"""By the number in runtime/layout.h."""


def told(
    raw: layout.Finding,
    *,
    schedule: str,
    masked: bool,
    path: Path,
    image: Image,
    given: tuple[Buffer, ...],
) -> Finding:
    """One of the runtime's findings in words."""
    kind = KINDS[raw.kind]
    part, line = _place(raw, path)
    message = kind.tell(raw, _where(raw, image, given))
    if kind.name == "divergent_barrier" and raw.other_known:
        other_part, other_line = line_of(path, raw.other_place)
        message += f"; thread {tuple(raw.other_thread)} waits at {other_part}:{other_line}"
    if masked and kind.masked != kind.severity:
        message += "; what it read changed no output"
    return Finding(
        kind=kind.name,
        severity=kind.masked if masked else kind.severity,
        message=message,
        part=part,
        line=line,
        thread=_three(raw.thread),
        threadgroup=_three(raw.group),
        lane=raw.lane,
        schedule=schedule,
        times=raw.times,
    )


def _place(raw: layout.Finding, path: Path) -> tuple[str, int]:
    parts = {ord(part[0]): part for part in PARTS}
    if raw.line and raw.part in parts:
        return parts[raw.part], raw.line
    return line_of(path, raw.place)


def _three(values: Sequence[int]) -> tuple[int, int, int]:
    return values[0], values[1], values[2]


def _where(raw: layout.Finding, image: Image, given: tuple[Buffer, ...]) -> str:
    if raw.region == layout.THREADGROUP_REGION:
        return _in_threadgroup(raw.offset, image)
    if raw.region < 0:
        return "no buffer"
    buffer = given[raw.region]
    size = buffer.data.nbytes
    inside = 0 <= raw.offset < size
    return f"byte {raw.offset} of {buffer.name}" + ("" if inside else f", which has {size}")


def _in_threadgroup(offset: int, image: Image) -> str:
    """Relative to the variable that it lies in, else to the last one before it."""
    before = [variable for variable in image.group_variables if variable.start <= offset]
    if not before:
        return "threadgroup memory outside of every variable"
    variable = before[-1]
    within = offset - variable.start
    beyond = "" if within < variable.bytes else f", which has {variable.bytes}"
    return f"byte {within} of threadgroup {variable.name}{beyond}"
