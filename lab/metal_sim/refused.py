"""What a kernel may not use: what Metal lacks, what is not covered here, what would break out.

    diagnostics = refusals("body", source)

Words of other C++ and of compilers (asm, attributes, includes of other files) have no place in a
Metal kernel. Attributes could also switch off the checks, so neither pasted tokens nor words that
are spread over lines get past the list. It is one layer among several: a kernel also compiles
without system headers and inline assembly, and runs confined. NOT_COVERED is the documented list of
what Metal has and the simulator has not: such a kernel is told so, and never passes.
"""

from __future__ import annotations

import re

from lab.metal_sim.errors import Diagnostic

NOT_COVERED = {
    r"(?:texture|depth)(?:1d|2d|3d|cube)\w*|sampler|texture_buffer": "textures and samplers",
    r"imageblock\w*": "image blocks",
    r"mpp(?=\s*::)|tensor_ops|cooperative_tensor|tensor_handle": "Metal 4 tensors",
    r"simdgroup_async_copy\w*|simdgroup_event": "simdgroup_async_copy",
    r"function_constant|visible_function_table|intersection_function_table": (
        "function constants and function tables"
    ),
    r"raytracing(?=\s*::)|intersector|acceleration_structure": "ray tracing",
    r"os_log\w*": "logging from a kernel",
    r"command_buffer|(?:compute|render)_(?:command|pipeline_state)": "indirect command buffers",
    r"(?:un)?pack_\w*(?:10a2|565|srgb)\w*": "packing of other forms than 4x8 and 2x16",
    r"complex64_t|complex_t": "complex numbers",
}
NOT_METAL = {
    r"double": "Metal has no double",
    r"long\s+long": "Metal has no long long",
    r"goto|throw|try|catch|new|delete|virtual|typeid|dynamic_cast|thread_local|extern": (
        "it is not part of Metal"
    ),
}
RESERVED = {
    r"asm|__asm__|__asm": "inline assembly is not part of Metal",
    r"__attribute__|__declspec": "compiler attributes are not part of Metal",
    r"__(?!METAL|HAVE)[a-z]\w*|METAL_SIM_\w*|metal_sim_\w*": "the name is reserved",
}
_INCLUDE = re.compile(
    r"#[ \t]*(?:include|import)\b(?![ \t]*(?:<metal_\w+>|<simd/simd\.h>"
    r'|"mlx/backend/metal/kernels/(?:\w+/)*\w+\.h"))[^\n]*'
)
_DIRECTIVE = re.compile(
    r"#[ \t]*(?:embed|line|include_next|(?:pragma[ \t]+(?!unroll|clang[ \t]+loop|METAL|once))"
    r"|(?:pragma[ \t]*$))[^\n]*",
    re.M,
)
_PRAGMA_OPERATOR = re.compile(r'_Pragma\s*\(\s*"(?!unroll|clang loop|METAL)[^"]*"\s*\)')
_PASTED = re.compile(r"##|%:")
_VENDOR = re.compile(r"\[\s*\[[^\]]*\b(?:clang|gnu|msvc)\b[^\]]*\]\s*\]")
_LAMBDA = re.compile(r"\[\s*[&=]?\s*\]\s*\(")
_STD = re.compile(r"\bstd\s*::")
_SPLIT_WORD = re.compile(r"\S\\\n\S")
_RAW_STRING = re.compile(r'\bR"')
# Strings and numbers (1'000) are matched so that what looks like a comment in them hides nothing.
_PIECE = re.compile(
    r"""\.?\d(?:'?[\w.])* | "(?:\\.|[^"\\\n])*" | '(?:\\.|[^'\\\n])*'
      | (?P<comment>//[^\n]*|/\*.*?\*/)""",
    re.S | re.X,
)


def refusals(part: str, source: str) -> tuple[Diagnostic, ...]:
    """What is refused in one part of a kernel's text, in order of its place."""
    text = _PIECE.sub(_blank_comment, source)
    found: list[tuple[int, str]] = []
    for words, what in NOT_COVERED.items():
        found += _words(text, words, f"the simulator does not cover {what}")
    for words, what in (*NOT_METAL.items(), *RESERVED.items()):
        found += _words(text, words, what)
    for pattern, why in (
        (_INCLUDE, "only Metal's headers and MLX's kernel headers can be included"),
        (_DIRECTIVE, "the directive is not part of Metal"),
        (_PRAGMA_OPERATOR, "the pragma is not part of Metal"),
        (_PASTED, "the simulator does not cover pasted tokens, which it could not check"),
        (_SPLIT_WORD, "a word must not be split over lines"),
        (_RAW_STRING, "raw strings are not part of Metal"),
        (_VENDOR, "compiler attributes are not part of Metal"),
        (_LAMBDA, "lambda expressions are not part of Metal 3"),
        (_STD, "std:: is not part of Metal"),
    ):
        found += [
            (match.start(), f"'{match.group().strip()}': {why}") for match in pattern.finditer(text)
        ]
    return tuple(_diagnostic(part, source, at, message) for at, message in sorted(set(found)))


def _blank_comment(piece: re.Match[str]) -> str:
    return re.sub(r"[^\n]", " ", piece.group()) if piece["comment"] else piece.group()


def _words(text: str, words: str, why: str) -> list[tuple[int, str]]:
    pattern = re.compile(rf"(?<![\w])(?:{words})(?![\w])")
    return [(match.start(), f"'{match.group()}': {why}") for match in pattern.finditer(text)]


def _diagnostic(part: str, source: str, at: int, message: str) -> Diagnostic:
    line = source.count("\n", 0, at) + 1
    return Diagnostic(part, line, at - (source.rfind("\n", 0, at) + 1) + 1, message)
