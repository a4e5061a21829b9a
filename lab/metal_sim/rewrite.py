"""The few words of Metal that a C++ compiler cannot be taught by a header, changed token by token.

    text = for_compiler(source)

- `threadgroup float shared[32];` becomes a variable of its own section; before pointers, references
  and parameters the word is left to a macro.
- Floating point literals without a suffix get an `f`, since Metal has no double; 1.0bf is a cast,
  since C++ allows no such suffix.
- An array parameter in constant memory becomes the pointer that it is.
- Metal's own attributes (`[[kernel]]`, `[[buffer(0)]]`, the thread's attributes) go; any other
  attribute stays, and the compiler rejects it.

Lines and comments stay where they are, so that places in diagnostics hold (columns may shift by the
added letters). It changes nothing else and judges nothing: see refused.py.
"""

from __future__ import annotations

import re

from lab.metal_sim.source import ATTRIBUTES

TOKEN = re.compile(
    r"""(?m:^[ \t]*\#(?:\\\n|[^\n])*)     # a preprocessor line, with its continuations
      | //[^\n]* | /\*.*?\*/             # a comment
      | "(?:\\.|[^"\\])*" | '(?:\\.|[^'\\])*'
      | [A-Za-z_]\w*
      | \.?\d(?:[eEpP][+-]|[\w.])*       # a number
      | \n | [^\S\n]+                  # indentation stays with a preprocessor line
      | :: | -> | \[\[ | \]\] | .""",
    re.S | re.X,
)
FLOATING = re.compile(
    r"((?:\d+\.\d*|\.\d+)(?:[eE][+-]?\d+)?|\d+[eE][+-]?\d+)(?P<suffix>[hH]|bf|BF)?"
)
QUALIFIERS = ("const", "constexpr", "volatile")
VARIABLE = "METAL_SIM_GROUP_VARIABLE"
_PLAIN = ("kernel",)
_CALLED = ("buffer", "threadgroup", "host_name", "max_total_threads_per_threadgroup")
_ONE = (
    rf"(?:(?:{'|'.join((*_PLAIN, *ATTRIBUTES))})|(?:{'|'.join(_CALLED)})\s*"
    r"\((?:[^()]|\([^()]*\))*\))"
)
_METAL_ATTRIBUTE = re.compile(rf"\[\[\s*{_ONE}\s*(?:,\s*{_ONE}\s*)*\]\]")
_ARRAY_PARAMETER = re.compile(r"(constant const \w+) (\w+)\[\d+\](?=\s*[,)])")


def for_compiler(source: str) -> str:
    """The text to compile."""
    source = _ARRAY_PARAMETER.sub(r"\1* \2", _METAL_ATTRIBUTE.sub(" ", source))
    tokens = TOKEN.findall(source)
    spoken = [at for at, token in enumerate(tokens) if not _silent(token)]
    for order, at in enumerate(spoken):
        token = tokens[at]
        if token == "threadgroup" and _declares_variable(tokens, spoken, order):
            tokens[at] = VARIABLE
        elif token[0] in ".0123456789":
            tokens[at] = _single_precision(token)
        elif token.lstrip().startswith("#define"):
            tokens[at] = _in_macro(token)
    return "".join(tokens)


def has_union(source: str) -> bool:
    """Whether the word stands anywhere but in comments and texts."""
    spoken = (t for t in TOKEN.findall(source) if not t.startswith(("//", "/*", '"', "'")))
    return any(re.search(r"\bunion\b", token) for token in spoken)


def _silent(token: str) -> bool:
    if token.lstrip().startswith("#define"):
        return False
    return token.isspace() or token.startswith(("//", "/*")) or token.lstrip().startswith("#")


def _in_macro(line: str) -> str:
    """A macro's text: its literals only; a variable declared in a macro is rewritten too."""
    head = re.match(r"[ \t]*#define\s+\w+(?:\([^()]*\))?", line)
    if head is None:
        return line
    return head.group() + for_compiler(line[head.end() :])


def _single_precision(token: str) -> str:
    literal = FLOATING.fullmatch(token)
    if literal is None:
        return token
    form = {"h": "{}h", "bf": "((bfloat){}f)"}.get((literal["suffix"] or "").lower(), "{}f")
    return form.format(literal[1])


def _declares_variable(tokens: list[str], spoken: list[int], order: int) -> bool:
    """Whether this `threadgroup` begins a statement that declares memory, not a pointer to it."""
    before = order - 1
    while before >= 0 and tokens[spoken[before]] in QUALIFIERS:
        before -= 1
    if before >= 0 and tokens[spoken[before]] not in (";", "{", "}"):
        return False
    depth = 0
    for at in spoken[order + 1 :]:
        token = tokens[at]
        depth += {"<": 1, ">": -1}.get(token, 0)
        if depth == 0 and token in ("*", "&", "("):
            return False
        if depth == 0 and token in (";", "=", "[", ","):
            return True
    return False
