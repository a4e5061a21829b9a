"""Bugs planted into the starting candidates in Metal, one at a time, and what must come of each.

Each runs on the small case of CASES, in float32.

    uv run python tests/kernels/metal_mutants.py

prints what docs/metal.md and docs/metal-bugs.md show of them, and test_metal_mutants.py holds it.
"""

from __future__ import annotations

from collections import Counter

from metal_row_mutants import ROWS
from metal_tile_mutants import TILES

CASES = {
    "rmsnorm": {"batch": 1, "sequence": 3, "width": 513},
    "residual_rmsnorm": {"batch": 1, "sequence": 3, "width": 513, "one": 1},
    "relu_squared": {"batch": 1, "sequence": 3, "hidden": 171},
    "adamw_step": {"weights": 513, "one": 1, "decades": 0},
    "softcap_cross_entropy": {"tokens": 5, "vocab": 513, "ignored_percent": 40},
    "rope_qk_norm": {"batch": 2, "sequence": 5, "heads": 2, "head_dim": 34, "half": 17}
    | {"first_position": 3},
    "value_embed_gate": {"batch": 1, "sequence": 5, "width": 40, "channels": 7, "heads": 2}
    | {"head_dim": 34, "decades": 0},
    "attention_prelude": {"batch": 2, "sequence": 5, "heads": 2, "head_dim": 34, "half": 17}
    | {"width": 20, "first_position": 3},
    "fused_mlp": {"batch": 1, "sequence": 33, "width": 20, "hidden": 70},
    "sliding_window_attention": {"batch": 1, "sequence": 40, "heads": 1, "head_dim": 16}
    | {"window": 29, "divisor": 1},
    "muon_orthogonalize": {"count": 2, "rows": 70, "columns": 90, "decades": 0},
    "linear_softcap_cross_entropy": {"tokens": 70, "width": 20, "vocab": 130}
    | {"ignored_percent": 40, "decades": 0},
}
"""No size is a multiple of a vector, a simdgroup or a tile."""
MUTANTS = ROWS | TILES


def counted() -> str:
    """One line for each candidate: how many bugs, and what caught them."""
    kinds = ("error", "warning", "numbers", "missed")
    lines = ["| candidate | planted | error | warning | wrong numbers only | missed |"]
    lines.append(f"|---|{'---:|' * 5}")
    rows = {f"`{target}`": group for target, group in MUTANTS.items()}
    rows["all"] = tuple(mutant for group in MUTANTS.values() for mutant in group)
    for words, group in rows.items():
        caught = Counter(mutant.caught_by for mutant in group)
        numbers = " | ".join(str(caught[kind] or "") for kind in kinds)
        lines.append(f"| {words} | {len(group)} | {numbers} |")
    return "\n".join(lines)


def unseen() -> str:
    """What comparing outputs alone would not have shown."""
    caught = [mutant for group in MUTANTS.values() for mutant in group if mutant.found]
    right = sum(mutant.numbers == "right" for mutant in caught)
    return (
        f"In {right} of the {len(caught)} that a check caught, one ordinary run computed the right"
    )


def misses() -> str:
    """One line for each bug that nothing caught."""
    return "\n".join(
        f"- `{target}`, {mutant.name}: {mutant.why}"
        for target, group in MUTANTS.items()
        for mutant in group
        if mutant.caught_by == "missed"
    )


def listed() -> str:
    """One line for each bug."""
    lines = ["| candidate | bug | caught by | numbers of one run |", "|---|---|---|---|"]
    words = {"error": "`{}`", "warning": "`{}` (warning)", "numbers": "wrong numbers only"}
    for target, group in MUTANTS.items():
        for mutant in group:
            caught = words.get(mutant.caught_by, "missed").format(mutant.found)
            lines.append(f"| `{target}` | {mutant.name} | {caught} | {mutant.numbers} |")
    return "\n".join(lines)


if __name__ == "__main__":
    print(counted(), unseen(), misses(), listed(), sep="\n\n")
