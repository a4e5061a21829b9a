"""Writes the C++ header of Metal's vectors: `vec<T, N>`, its swizzles, and the packed ones.

    text = vector_header()

A swizzle such as `v.xy` is a property of clang (`__declspec(property)`): reading calls a getter
that returns a true `vec`, so templates deduce it; writing calls a setter, and only swizzles without
a repeated component have one. There are 340 of them for four components under each of two
spellings, which is why they are written by a program. Everything else stands in include/metal_sim.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator

SIZES = (2, 3, 4)
SPELLINGS = ("xyzw", "rgba")
SCALARS = (
    *("bool", "char", "uchar", "short", "ushort", "int", "uint", "long", "ulong"),
    *("half", "float", "bfloat"),
)
ARITHMETIC = ("+", "-", "*", "/", "%", "&", "|", "^")
SHIFTS = ("<<", ">>")
COMPARISONS = ("<", ">", "<=", ">=", "==", "!=", "&&", "||")
FUNCTION = "constexpr METAL_SIM_INLINE"


def vector_header() -> str:
    """The whole header; it stands on base.h."""
    lines = ["#pragma once", '#include "metal_sim/base.h"', "namespace metal {"]
    for size in SIZES:
        lines += [*_vector(size), *_packed(size)]
    for scalar, size in itertools.product(SCALARS, SIZES):
        lines.append(f"typedef vec<{scalar}, {size}> {scalar}{size};")
        if scalar != "bool":
            lines.append(f"typedef packed_vec<{scalar}, {size}> packed_{scalar}{size};")
    lines.append("}")
    return "\n".join(lines) + "\n"


def _vector(size: int) -> Iterator[str]:
    """One size. Three components take the room of four, as in Metal."""
    room = 4 if size == 3 else size
    kind = f"METAL_SIM_BY_VALUE alignas(sizeof(T) * {room}) vec<T, {size}>"
    yield f"template <class T> struct {kind} {{"
    yield f"typedef T value_type; typedef T element_type; T d[{room}]; vec() = default;"
    yield from _constructors(size)
    yield f"{FUNCTION} T& operator[](size_t i) {{ return d[i]; }}"
    yield f"{FUNCTION} const T& operator[](size_t i) const {{ return d[i]; }}"
    yield from _swizzles(size)
    yield from _operators(size)
    yield "};"


def _constructors(size: int) -> Iterator[str]:
    """From one scalar, from every mix of scalars and vectors, and converting ones."""
    yield f"{FUNCTION} vec(T s) : d{{{_each(size, 's')}}} {{}}"
    for parts in _compositions(size):
        if len(parts) == 1:
            continue
        taken = ", ".join(
            f"T a{at}" if part == 1 else f"vec<T, {part}> a{at}" for at, part in enumerate(parts)
        )
        values = ", ".join(
            f"a{at}" if part == 1 else f"a{at}.d[{i}]"
            for at, part in enumerate(parts)
            for i in range(part)
        )
        yield f"{FUNCTION} vec({taken}) : d{{{values}}} {{}}"
    converted = _each(size, "T(v.d[{i}])")
    for other in ("vec", "packed_vec"):
        yield (
            f"template <class U, class = enable_if_t<!is_same_v<U, T>>> explicit {FUNCTION} "
            f"vec({other}<U, {size}> v) : d{{{converted}}} {{}}"
        )
    copied = _each(size, "v.d[{i}]")
    yield f"{FUNCTION} vec(packed_vec<T, {size}> v) : d{{{copied}}} {{}}"
    yield "#ifdef METAL_SIM_ADDRESS_SPACES"
    yield "constexpr vec(const vec&) = default; constexpr vec& operator=(const vec&) = default;"
    for space in ("DEVICE", "CONSTANT", "GROUP"):
        yield f"constexpr vec(const METAL_SIM_{space} vec& v) : d{{{copied}}} {{}}"
    yield "#elif defined(METAL_SIM_CHECKED_COPIES)"
    yield from (*_checked_copies(4 if size == 3 else size), "#endif")


def _checked_copies(room: int) -> Iterator[str]:
    """A trivial copy is not checked for alignment; what is bound to a reference is."""
    yield f"{FUNCTION} vec(const vec& v) : d{{{_each(room, 'v.d[{i}]')}}} {{}}"
    assigned = " ".join(f"d[{i}] = v.d[{i}];" for i in range(room))
    yield f"{FUNCTION} vec& operator=(const vec& v) {{ {assigned} return *this; }}"


def _compositions(size: int) -> Iterator[tuple[int, ...]]:
    """Every way to make up `size` components of scalars and smaller vectors, in order."""
    if size == 0:
        yield ()
    for first in range(1, size + 1):
        for rest in _compositions(size - first):
            yield (first, *rest)


def _swizzles(size: int) -> Iterator[str]:
    for length in (1, 2, 3, 4):
        for picked in itertools.product(range(size), repeat=length):
            name = "".join(SPELLINGS[0][i] for i in picked)
            yield from _accessors(name, picked)
            put = f", put=put_{name}" if len(set(picked)) == length else ""
            kind = "T" if length == 1 else f"vec<T, {length}>"
            for spelling in SPELLINGS:
                shown = "".join(spelling[i] for i in picked)
                yield f"__declspec(property(get=get_{name}{put})) {kind} {shown};"


def _accessors(name: str, picked: tuple[int, ...]) -> Iterator[str]:
    """Getter, and setter where no component stands twice."""
    single = len(picked) == 1
    kind = "T" if single else f"vec<T, {len(picked)}>"
    values = ", ".join(f"d[{i}]" for i in picked)
    got = values if single else f"{kind}({values})"
    yield f"{FUNCTION} {kind} get_{name}() const {{ return {got}; }}"
    if len(set(picked)) == len(picked):
        put = " ".join(f"d[{i}] = v{'' if single else f'.d[{at}]'};" for at, i in enumerate(picked))
        yield f"{FUNCTION} void put_{name}({kind} v) {{ {put} }}"


def _operators(size: int) -> Iterator[str]:
    for sign in ARITHMETIC:
        value = _each(size, f"T(a.d[{{i}}] {sign} b.d[{{i}}])")
        yield f"friend {FUNCTION} vec operator{sign}(vec a, vec b) {{ return vec({value}); }}"
        yield (
            f"template <class U> {FUNCTION} vec& operator{sign}=(U b) "
            f"{{ return *this = *this {sign} vec(b); }}"
        )
    for sign in SHIFTS:
        # A lane is shifted by its amount modulo its width, as a GPU does.
        value = _each(size, f"T(a.d[{{i}}] {sign} (b.d[{{i}}] & (8 * sizeof(T) - 1)))")
        yield f"friend {FUNCTION} vec operator{sign}(vec a, vec b) {{ return vec({value}); }}"
        yield f"{FUNCTION} vec& operator{sign}=(vec b) {{ return *this = *this {sign} b; }}"
    truths = f"vec<bool, {size}>"
    for sign in COMPARISONS:
        value = _each(size, f"(a.d[{{i}}] {sign} b.d[{{i}}])")
        both = f"{truths} operator{sign}(vec a, vec b)"
        yield f"friend {FUNCTION} {both} {{ return {truths}({value}); }}"
    yield f"{FUNCTION} {truths} operator!() const {{ return {truths}({_each(size, '!d[{i}]')}); }}"
    for sign in ("-", "~"):
        value = _each(size, f"T({sign}d[{{i}}])")
        yield f"{FUNCTION} vec operator{sign}() const {{ return vec({value}); }}"
    yield f"{FUNCTION} vec operator+() const {{ return *this; }}"
    for sign in ("+", "-"):
        step = f"*this = *this {sign} vec(T(1));"
        yield f"{FUNCTION} vec& operator{sign}{sign}() {{ return {step} }}"
        yield f"{FUNCTION} vec operator{sign}{sign}(int) {{ vec old = *this; {step} return old; }}"


def _packed(size: int) -> Iterator[str]:
    """A vector without padding or alignment beyond its element's."""
    arguments = ", ".join(f"T a{i}" for i in range(size))
    yield f"template <class T> struct packed_vec<T, {size}> {{ T d[{size}]; packed_vec() = default;"
    yield f"{FUNCTION} packed_vec(vec<T, {size}> v) : d{{{_each(size, 'v.d[{i}]')}}} {{}}"
    yield f"{FUNCTION} packed_vec({arguments}) : d{{{_each(size, 'a{i}')}}} {{}}"
    yield (
        f"template <class U> explicit {FUNCTION} packed_vec(U v) "
        f": packed_vec(vec<T, {size}>(v)) {{}}"
    )
    yield f"{FUNCTION} T& operator[](size_t i) {{ return d[i]; }}"
    yield f"{FUNCTION} const T& operator[](size_t i) const {{ return d[i]; }}"
    for i in range(size):
        name = SPELLINGS[0][i]
        yield from _accessors(name, (i,))
        for spelling in SPELLINGS:
            yield f"__declspec(property(get=get_{name}, put=put_{name})) T {spelling[i]};"
    for sign in ("+", "-", "*", "/"):
        other = f"vec<T, {size}>"
        yield (
            f"friend {FUNCTION} {other} operator{sign}(packed_vec a, packed_vec b) "
            f"{{ return {other}(a) {sign} {other}(b); }}"
        )
    yield "};"


def _each(size: int, form: str) -> str:
    return ", ".join(form.replace("{i}", str(i)) for i in range(size))
