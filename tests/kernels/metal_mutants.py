"""Bugs planted into the starting candidates in Metal, one at a time, and what must come of each.

A mutant is the candidate's file with one text replaced by another. `found` is a finding that must
be among those of `severity`, raised on the small case of CASES, in float32; with "" there must be
none but notes. `numbers` says whether one ordinary run stays within verify's bounds there: "right",
"wrong", or "none" where a kernel does not come to its end.

    uv run python tests/kernels/metal_mutants.py

prints what docs/metal.md and docs/metal-bugs.md show of them, and test_metal_mutants.py holds it.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

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
    "fused_mlp": {"batch": 1, "sequence": 33, "width": 20, "hidden": 70},
    "sliding_window_attention": {"batch": 1, "sequence": 40, "heads": 1, "head_dim": 16}
    | {"window": 29, "divisor": 1},
}
"""No size is a multiple of a vector, a simdgroup or a tile."""
BARRIER = "threadgroup_barrier(mem_flags::mem_threadgroup);"
WITHIN = "simdgroup_barrier(mem_flags::mem_threadgroup);"


@dataclass(frozen=True)
class Mutant:
    """One bug."""

    name: str
    old: str
    new: str
    found: str
    numbers: str
    severity: str = "error"
    why: str = ""

    @property
    def caught_by(self) -> str:
        """An error, a warning, only wrong numbers, nothing."""
        if self.found:
            return self.severity
        return "missed" if self.numbers == "right" else "numbers"


ROW_NORM = (
    Mutant("barrier behind the parts dropped", f"{BARRIER}\n    float2 part", "float2 part",
           "race", "wrong"),
    Mutant("barrier that names no memory", BARRIER, BARRIER.replace("_threadgroup)", "_none)"),
           "race", "right"),
    Mutant("barrier for one lane of each simdgroup", f"parts[simdgroup] = own;\n    {BARRIER}",
           f"{{ parts[simdgroup] = own; {BARRIER} }}", "divergent_barrier", "wrong"),
    Mutant("parts of simdgroups that are not there",
           "lane < simdgroups ? parts[lane] : float2(0.0f)", "parts[lane]",
           "uninitialised_threadgroup", "wrong"),
    Mutant("a quad's sum for a simdgroup's", "simd_sum(own.x)", "quad_sum(own.x)", "", "wrong"),
    Mutant("no guard of the vector's tail, read",
           "i < 4 && first + i < width; i++) values", "i < 4; i++) values",
           "out_of_bounds_read", "wrong"),
    Mutant("no guard of the vector's tail, written",
           "i < 4 && first + i < width; i++) row", "i < 4; i++) row",
           "out_of_bounds_write", "right"),
)  # fmt: skip
MUTANTS = {
    "rmsnorm": (
        *ROW_NORM,
        Mutant("rows that lie one element apart",
               "size_t(threadgroup_position_in_grid.x) * width",
               "size_t(threadgroup_position_in_grid.x) * (width + 1)",
               "out_of_bounds_write", "wrong"),
        Mutant("vectors in rows of odd length",
               "return float4(row[first], row[first + 1], row[first + 2], row[first + 3]);",
               "return *(const device float4*)(row + first);", "misaligned", "none"),
        Mutant("a sign of the gradient", "incoming[i] - along", "incoming[i] + along", "", "wrong"),
        Mutant("no epsilon forward",
               " + eps);\n    for (int i = 0; i < CHUNKS; i++) write_four(y",
               ");\n    for (int i = 0; i < CHUNKS; i++) write_four(y", "", "right",
               why="no row of the case is near zero"),
    ),
    "residual_rmsnorm": (
        *ROW_NORM,
        Mutant("the parts used again without a barrier",
               "sum_of_group(sums, parts[1]", "sum_of_group(sums, parts[0]", "race", "wrong"),
        Mutant("each simdgroup writes the factors' part",
               "if (first == 0) {{", "if (lane == 0) {{",
               "same_value_race", "right", severity="warning"),
        Mutant("the factors' parts one behind the other",
               "of_factors[2 * row + 1]", "of_factors[row + 1]", "unwritten_output", "wrong"),
        Mutant("one input for the other", "b[i] = read_four(x0_row", "b[i] = read_four(x_row",
               "", "wrong"),
        Mutant("one gradient over the other", "write_four(dx0 + start", "write_four(dx + start",
               "unwritten_output", "wrong"),
    ),
    "relu_squared": (
        Mutant("no guard of the vector's tail, read",
               "i < 4 && first + i < size; i++) values", "i < 4; i++) values",
               "out_of_bounds_read", "right", severity="warning"),
        Mutant("no guard of the vector's tail, written",
               "i < 4 && first + i < size; i++) to", "i < 4; i++) to",
               "out_of_bounds_write", "right"),
        Mutant("three elements for each thread of four forward",
               "size_t(4) * thread_position_in_grid.x;\n    size_t size = size_t(x_shape[0]) "
               "* x_shape[1] * x_shape[2];\n    float4 kept",
               "size_t(3) * thread_position_in_grid.x;\n    size_t size = size_t(x_shape[0]) "
               "* x_shape[1] * x_shape[2];\n    float4 kept", "unwritten_output", "wrong"),
        Mutant("a thread too few", "grid=(-(-x.size // 4)", "grid=(x.size // 4",
               "unwritten_output", "wrong"),
        Mutant("half of the slope", "2.0f * positive", "positive", "", "wrong"),
        Mutant("a size of 16 bits forward",
               "size_t size = size_t(x_shape[0]) * x_shape[1] * x_shape[2];\n    float4 kept",
               "ushort size = size_t(x_shape[0]) * x_shape[1] * x_shape[2];\n    float4 kept",
               "", "right", why="the case has fewer than 65536 elements"),
    ),
    "adamw_step": (
        Mutant("no guard of the vector's tail, read",
               "i < 4 && first + i < size; i++) values", "i < 4; i++) values",
               "out_of_bounds_read", "right", severity="warning"),
        Mutant("no guard of the vector's tail, written",
               "i < 4 && first + i < size; i++) to", "i < 4; i++) to",
               "out_of_bounds_write", "right"),
        Mutant("a moment updated in place",
               "write_four(new_second", "write_four((device float*)second",
               "write_to_input", "wrong"),
        Mutant("the weights over a moment", "write_four(new_first, f", "write_four(new_weight, f",
               "unwritten_output", "wrong"),
        Mutant("one moment's correction for both", "square / unbiased2", "square / unbiased1",
               "", "right", why="at the case's step, the 406th, both corrections are 1"),
    ),
    "softcap_cross_entropy": (
        Mutant("barrier behind the parts dropped", f"{BARRIER}\n    if (simd", "if (simd",
               "race", "wrong"),
        Mutant("return before the barrier",
               f"{BARRIER}\n    if (simdgroup_index_in_threadgroup > 0) return;",
               f"if (simdgroup_index_in_threadgroup > 0) return;\n    {BARRIER}",
               "divergent_barrier", "right"),
        Mutant("parts of simdgroups that are not there",
               "lane < simdgroups_per_threadgroup ? parts[lane] : 0.0f", "parts[lane]",
               "uninitialised_threadgroup", "wrong"),
        Mutant("every lane writes its part", "if (thread_index_in_simdgroup == 0) parts", "parts",
               "same_value_race", "right", severity="warning"),
        Mutant("columns beyond the end are summed", "columns < vocab && columns", "columns",
               "", "wrong"),
        Mutant("an ignored token is not left out", "if (target < 0) {{", "if (target < -1) {{",
               "", "wrong"),
        Mutant("every lane writes the loss",
               "if (lane == 0) {{\n        float at", "{{\n        float at",
               "same_value_race", "right", severity="warning"),
        Mutant("every thread goes over all columns backward",
               "uint column = first; column < vocab; column += step) {{\n        float4 dz",
               "uint column = 0; column < vocab; column += 4) {{\n        float4 dz",
               "same_value_race", "right", severity="warning"),
        Mutant("the sum with the target for the one without",
               "float others = sums[2 * token + 1];", "float others = sums[2 * token];",
               "", "wrong"),
    ),
    "rope_qk_norm": (
        Mutant("one pair too many, read", "bool inside = first + i < half_width;",
               "bool inside = first + i <= half_width;", "out_of_bounds_read", "wrong"),
        Mutant("no guard of the pairs written", "i < N && first + i < half_width", "i < N",
               "out_of_bounds_write", "wrong"),
        Mutant("no guard of the tables",
               "first + i < half_width ? float2(cos[at], sin[at]) : float2(0.0f)",
               "float2(cos[at], sin[at])", "out_of_bounds_read", "wrong"),
        Mutant("the token for its position", "token % q_shape[1]", "token",
               "out_of_bounds_read", "wrong"),
        Mutant("a lane's sum for the simdgroup's", "simd_sum(along)", "along", "", "wrong"),
        Mutant("turned back the wrong way", "-angles[i].y", "angles[i].y", "", "wrong"),
        Mutant("k over q", "k + at, y_k + at", "k + at, y_q + at", "unwritten_output", "wrong"),
        Mutant("neighbours are paired where halves are meant",
               "pairs[i].y = inside ? float(row[first + i + half_width])",
               "pairs[i].y = inside ? float(row[first + i + 1])", "", "wrong"),
    ),
    "value_embed_gate": (
        Mutant("no guard of the last tokens", "count = min(TOKENS, tokens - first_token)",
               "count = TOKENS", "out_of_bounds_write", "right"),
        Mutant("a lane's sum for the simdgroup's", "slope = simd_sum(along)", "slope = along",
               "", "wrong"),
        Mutant("every lane writes the slope", "if (lane == 0) slopes", "slopes",
               "same_value_race", "right", severity="warning"),
        Mutant("each head's slope in one place", "* heads + head] = slope", "* heads] = slope",
               "unwritten_output", "wrong"),
        Mutant("a gradient for channels that are not read",
               "channel < channels ? of_read[t] : 0.0f", "of_read[t]", "", "wrong"),
        Mutant("vectors over the end of a head", "if (first + 4 <= width) {\n        return",
               "if (first <= width) {\n        return", "out_of_bounds_read", "wrong"),
    ),
    "fused_mlp": (
        Mutant("barrier before the products dropped", f"{BARRIER}\n        multiply<true>",
               "multiply<true>", "race", "wrong"),
        Mutant("barrier before the next tiles dropped",
               f"{BARRIER}  // all have used the last tiles\n        "
               "read_tile<TILE, DEPTH>(left_tile, x", "read_tile<TILE, DEPTH>(left_tile, x",
               "race", "wrong"),
        Mutant("barrier behind the store dropped", f"piece, 8);\n            {WITHIN}",
               "piece, 8);", "race", "wrong"),
        Mutant("barrier before the next store dropped", f"{WITHIN}\n        }}\n    }}\n\"\"\"",
               "}\n    }\n\"\"\"", "race", "right"),
        Mutant("one piece for all simdgroups", "pieces + 64 * simdgroup_index_in_threadgroup",
               "pieces", "race", "right"),
        Mutant("room for one piece too few", "pieces[4 * 64]", "pieces[3 * 64]",
               "wild_access", "none"),
        Mutant("no guard of the columns read", "row + i < rows && column + j < columns",
               "row + i < rows", "out_of_bounds_read", "wrong"),
        Mutant("no guard of the rows written", "token >= tokens || unit", "unit",
               "out_of_bounds_write", "right"),
        Mutant("both simdgroups take one half", "PART * (simdgroup_index_in_threadgroup % 2)",
               "PART * (simdgroup_index_in_threadgroup / 2)", "unwritten_output", "wrong"),
        Mutant("a matrix loaded the wrong way round", "SHORT, 0, true", "SHORT, 0, false",
               "", "wrong"),
        Mutant("the stride of the other tile", "8 * i, LONG);", "8 * i, SHORT);", "race", "wrong"),
    ),
    "sliding_window_attention": (
        Mutant("barrier before the next tiles dropped",
               f"{BARRIER}  // all have used the last tiles\n    for", "for", "race", "wrong"),
        Mutant("simdgroup barrier behind the tiles",
               f"{BARRIER}\n}}\n\n// Eight positions", f"{WITHIN}\n}}\n\n// Eight positions",
               "race", "wrong"),
        Mutant("barrier behind both halves dropped", f"row] = mean;\n        {BARRIER}",
               "row] = mean;", "race", "wrong"),
        Mutant("barrier behind the diagonal dropped",
               f"{WITHIN}\n    simdgroup_float8x8 diagonal;", "simdgroup_float8x8 diagonal;",
               "race", "right"),
        Mutant("a window that is one too narrow", "query - key <= window", "query - key < window",
               "", "wrong"),
        Mutant("two lanes of a row's four", "return own + simd_shuffle_xor(own, 2);",
               "return own;", "", "wrong"),
        Mutant("the sum is not carried on", "l = l * kept + sum", "l = l + sum", "", "wrong"),
        Mutant("four lanes write the sums", "if (inside && lane % 4 == 0) {{\n        stats",
               "if (inside) {{\n        stats", "same_value_race", "right", severity="warning"),
        Mutant("queries beyond the block are left out", "min(block + ROWS + window, length)",
               "min(block + ROWS, length)", "", "wrong"),
        Mutant("more threads than room", "if (thread_index < TILE) {{", "{{",
               "array_index", "none"),
        Mutant("no guard of the rows written", "if (row < length) rows[", "rows[",
               "out_of_bounds_write", "right"),
    ),
}  # fmt: skip


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
