"""The tables of docs/metal.md and docs/metal-bugs.md, from the list of planted bugs.

    uv run python tests/lab/metal_sim/metal_table.py

prints both. test_metal_mutations.py runs every bug and fails where a line here is not what happens;
test_metal_docs.py fails where the pages show something else.
"""

from __future__ import annotations

from collections import Counter

from metal_mutated import MUTATIONS
from metal_mutation import Mutation

BUGS = {
    "barrier": "a barrier dropped",
    "flag": "a wrong flag, or a simdgroup's barrier for a threadgroup's",
    "divergence": "a barrier or a simd function that not all threads reach",
    "bounds": "off by one, no tail guard, too little room",
    "alignment": "a vector at an address that is no multiple of its size",
    "index": "an index swapped, or of another row or tile",
    "uninitialised": "memory or a sum that starts from nothing",
    "race": "threads that write one place",
    "atomic": "an atomic made plain, or split",
    "reduction": "a wrong width, or a part left out",
    "numerics": "overflow, rounding, integer division",
}
CAUGHT = {
    "error": "error",
    "warning": "warning",
    "schedules": "schedules differ",
    "numbers": "wrong numbers only",
    "missed": "missed",
}


def every() -> list[Mutation]:
    return [mutation for group in MUTATIONS.values() for mutation in group]


def summary() -> str:
    """One line for each class of bug: how many, and what caught them."""
    lines = [
        f"| bug | planted | {' | '.join(CAUGHT.values())} |",
        f"|---|{'---:|' * (len(CAUGHT) + 1)}",
    ]
    for bug, words in BUGS.items():
        lines.append(_counted(words, [each for each in every() if each.bug == bug]))
    return "\n".join([*lines, _counted("all", every())])


def _counted(words: str, mutations: list[Mutation]) -> str:
    counts = Counter(mutation.caught_by for mutation in mutations)
    numbers = " | ".join(str(counts[kind] or "") for kind in CAUGHT)
    return f"| {words} | {len(mutations)} | {numbers} |"


def unseen() -> str:
    """What comparing outputs alone would not have shown."""
    caught = [mutation for mutation in every() if mutation.found]
    right = sum(mutation.numbers == "right" for mutation in caught)
    return (
        f"In {right} of the {len(caught)} that a check caught, one ordinary run computed the right"
    )


def misses() -> str:
    """One line for each bug that nothing caught."""
    return "\n".join(
        f"- {kernel}, {mutation.name}: {mutation.why}"
        for kernel, group in MUTATIONS.items()
        for mutation in group
        if mutation.caught_by == "missed"
    )


def listed() -> str:
    """One line for each bug."""
    lines = ["| kernel | bug | caught by | numbers of one run |", "|---|---|---|---|"]
    for kernel, group in MUTATIONS.items():
        lines += [f"| {kernel} | {each.name} | {_catch(each)} | {each.numbers} |" for each in group]
    return "\n".join(lines)


def _catch(mutation: Mutation) -> str:
    if not mutation.found:
        return CAUGHT[mutation.caught_by]
    warning = " (warning)" if mutation.severity == "warning" else ""
    return f"`{mutation.found}`{warning}"


if __name__ == "__main__":
    print(summary(), unseen(), misses(), listed(), sep="\n\n")
