"""What clang says about a kernel, in Metal's terms and with the user's own lines.

    diagnostics = from_compiler(stderr)

Complaints inside of a library header are moved to the user's line that led there. Wording that
betrays the stand-ins (attribute numbers, the C++ spelling of an address space) is put into words of
the language. Nothing is dropped but repetitions.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace

from lab.metal_sim.errors import Diagnostic

PARTS = ("body", "header", "signature")
_LINE = re.compile(
    r"(?P<file>[^\s:][^:\n]*):(?P<line>\d+):(?P<column>\d+): (?P<kind>[a-z ]+): (?P<said>.*)"
)
_INCLUDED = re.compile(r"In file included from (?P<part>\w+):(?P<line>\d+):$", re.M)
SPACES = {"1": "device", "2": "constant", "3": "threadgroup"}
_WORDS = (
    (re.compile(r"__attribute__\(\(address_space\((\d)\)\)\)\s*"), lambda m: f"{SPACES[m[1]]} "),
    (re.compile(r"_Float16"), lambda _: "half"),
    (re.compile(r"__bf16"), lambda _: "bfloat"),
    (re.compile(r"METAL_SIM_GROUP_VARIABLE"), lambda _: "threadgroup"),
    (
        re.compile(r"automatic variable qualified with an address space"),
        lambda _: "a threadgroup variable must be declared at the start of a statement of its own",
    ),
    (
        re.compile(r"implicit conversion loses .*: '(?:[^']* )?(\w+)'.* to '.*bfloat.*"),
        lambda m: f"Metal does not convert {m[1]} to bfloat by itself: write bfloat(...) or T(...)",
    ),
    (
        re.compile(r"\S*[ _]?cast from '\w+'.*'(?:half|bfloat)'.* to '\w+'.* is not allowed"),
        lambda _: "the simulator does not cover a cast between half and bfloat: go through float",
    ),
    (
        re.compile(r"'MetalPerformancePrimitives/.*' file not found"),
        lambda _: "the simulator does not cover Metal 4 tensors",
    ),
    (
        re.compile(r"conversion function cannot be redeclared"),
        lambda _: "the simulator does not cover overloads that differ in an address space only",
    ),
    (
        re.compile(r".*'complex64_t'.*"),
        lambda _: "the simulator does not cover complex numbers",
    ),
    (re.compile(r" \[-W[^\]]*\]"), lambda _: ""),
)
MOST = 20
"""Of one kernel's errors that are shown; the first is what counts."""


def from_compiler(stderr: str) -> tuple[Diagnostic, ...]:
    """The errors in the order they were found."""
    found: list[Diagnostic] = []
    waiting: Diagnostic | None = None
    end, included = 0, ("", Diagnostic("kernel", 0, 0, ""))
    for match in _LINE.finditer(stderr):
        part, said = match["file"], in_metal_words(match["said"])
        mine = part in PARTS
        place = (part, int(match["line"]), int(match["column"])) if mine else None
        if "error" in match["kind"]:
            found += [waiting] if waiting else []
            included = (part, _include(stderr[end : match.start()], part, included))
            waiting = replace(included[1], message=said) if place is None else None
            found += [Diagnostic(*place, said)] if place else []
            end = match.end()
        elif waiting is not None and place is not None:
            found.append(Diagnostic(*place, waiting.message))
            waiting = None
    found += [waiting] if waiting else []
    if not found:
        last = stderr.strip().splitlines()[-1:] or ["the compiler gave no reason"]
        found = [Diagnostic("kernel", 0, 0, last[0])]
    return tuple(dict.fromkeys(found))[:MOST]


def with_notes(stderr: str) -> Iterator[tuple[Diagnostic, str]]:
    """Each error in the user's parts, and the notes that follow it."""
    current: Diagnostic | None = None
    notes: list[str] = []
    for match in _LINE.finditer(stderr):
        if "error" not in match["kind"]:
            notes.append(match["said"])
            continue
        if current is not None:
            yield current, "\n".join(notes)
        place = match["file"], int(match["line"]), int(match["column"])
        current, notes = Diagnostic(*place, in_metal_words(match["said"])), []
        if place[0] not in PARTS:
            current = None
    if current is not None:
        yield current, "\n".join(notes)


def _include(before: str, file: str, last: tuple[str, Diagnostic]) -> Diagnostic:
    """The user's include of a header with an error: clang names it before the first of a file."""
    for include in _INCLUDED.finditer(before):
        if include["part"] in PARTS:
            return Diagnostic(include["part"], int(include["line"]), 1, "")
    return last[1] if file == last[0] else Diagnostic("kernel", 0, 0, "")


def in_metal_words(said: str) -> str:
    """clang's sentence with the names a Metal author knows."""
    for pattern, word in _WORDS:
        said = pattern.sub(word, said)
    return said.strip()
