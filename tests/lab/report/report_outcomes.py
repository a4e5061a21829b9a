"""What stages might have found, made up but consistent: intervals come from the raw samples."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterable, Sequence

from lab import outcomes as o
from lab import records as r
from lab.stats import difference_interval, geomean_interval, ratio_interval

CASES = ("tour-batch", "tour-accumulated", "m5-tiny-batch")
OPS = (
    # op, is a target, share, roofline as a part of its time
    ("softcap_cross_entropy", True, 0.281, 0.21),
    ("muon_orthogonalize", True, 0.194, 0.55),
    ("head_projection", False, 0.153, 0.83),
    ("mlp_up", False, 0.081, 0.77),
    ("mlp_down", False, 0.079, 0.79),
    ("attention", False, 0.062, 0.30),
    ("rope_qk_norm", True, 0.045, 0.12),
    ("adamw", False, 0.031, 0.40),
    ("relu_squared", True, 0.022, 0.35),
    ("rmsnorm", True, 0.017, 0.22),
    ("residual_mix", False, 0.012, 0.42),
)


def sha(text: str) -> str:
    """A made-up hash."""
    return hashlib.sha256(text.encode()).hexdigest()


def hot_op(row: tuple[str, bool, float, float], step_ms: float) -> r.HotOp:
    op, target, share, roofline = row
    time_ms = share * step_ms
    return r.HotOp(
        op=op,
        target=target,
        share=share,
        calls=8,
        time_ms=time_ms,
        forward_ms=time_ms * 0.35,
        backward_ms=time_ms * 0.65,
        bytes_moved=41_943_040,
        flops=167_772_160,
        roofline_ms=time_ms * roofline,
        ceiling_removed=1 / (1 - share),
        ceiling_roofline=1 / (1 - share * (1 - roofline)),
    )


def passed(cases: Iterable[str] = CASES) -> o.Passed:
    checks = []
    for case in cases:
        for dtype, unit in (("float32", 1e-6), ("bfloat16", 8e-3)):
            for tensor, part in (("loss", 0.31), ("dlogits", 0.64)):
                checks.append(
                    o.TensorCheck(
                        case=case,
                        dtype=dtype,
                        tensor=tensor,
                        max_error=unit * part * 3,
                        rms_error=unit * part,
                        allowed_max=unit * 3,
                        allowed_rms=unit,
                        incumbent_max=unit * 1.5,
                        incumbent_rms=unit * 0.5,
                    )
                )
    return o.Passed(checks=tuple(checks), recording="4" * 64)


def failed(detail: str = "dlogits: 3 of 1024 rows differ", reason: str = "gradient") -> o.Failed:
    return o.Failed(
        reason=reason,
        detail=detail,
        case=CASES[1],
        dtype="bfloat16",
        checks=passed(CASES[:1]).checks,
    )


def case_timing(case: str, speedup: float, noise: float = 0.02, blocks: int = 20) -> o.CaseTiming:
    draw = random.Random(f"{case} {speedup}")
    incumbent = [12.0 * draw.lognormvariate(0, noise) for _ in range(blocks)]
    candidate = [t / speedup * draw.lognormvariate(0, noise) for t in incumbent]
    control = [t * draw.lognormvariate(0, noise) for t in incumbent]
    return o.CaseTiming(
        case=case,
        dtype="float32",
        calls_per_block=4,
        incumbent_ms=tuple(incumbent),
        candidate_ms=tuple(candidate),
        control_ms=tuple(control),
        floor_ms=1.9,
        speedup=ratio_interval(incumbent, candidate),
    )


def measured(speedup: float, cases: Sequence[str] = CASES, noise: float = 0.02) -> o.Measured:
    timings = [
        case_timing(case, speedup * (0.93 + 0.07 * index), noise)
        for index, case in enumerate(cases)
    ]
    return o.Measured(
        cases=tuple(timings),
        speedup=geomean_interval([(c.incumbent_ms, c.candidate_ms) for c in timings]),
        control=geomean_interval([(c.incumbent_ms, c.control_ms) for c in timings]),
    )


def quarantined(detail: str = "0.02 ms per call is below the floor of 1.9 ms") -> o.Quarantined:
    timings = (case_timing(CASES[0], 600.0),)
    return o.Quarantined(reason="faster_than_light", detail=detail, cases=timings)


def compared(
    speedup: float,
    pairs: int = 3,
    *,
    difference: float = 0.0003,
    noise: float = 0.02,
    op: str = "softcap_cross_entropy",
    candidate: str = "candidate one",
) -> o.Compared:
    draw = random.Random(f"{speedup} {difference}")
    made = []
    for index in range(pairs):
        step_ms, bpb = 812.0 * draw.lognormvariate(0, noise), 2.31 + draw.gauss(0, 0.02)
        faster_ms = step_ms / speedup * draw.lognormvariate(0, noise / 2)
        made.append(
            o.Pair(
                seed=1_284_771_902 + index,
                order="AB" if index % 2 == 0 else "BA",
                incumbent=arm(step_ms, bpb, {op: sha("incumbent")}),
                candidate=arm(
                    faster_ms, bpb + draw.gauss(difference, 0.0003), {op: sha(candidate)}
                ),
            )
        )
    return o.Compared(
        preset="tour",
        data="stdlib",
        eval_tokens="16384",
        steps=60,
        pairs=tuple(made),
        speedup=ratio_interval(
            [p.incumbent.step_ms for p in made], [p.candidate.step_ms for p in made]
        ),
        val_bpb=difference_interval([p.candidate.val_bpb - p.incumbent.val_bpb for p in made]),
    )


def arm(step_ms: float, val_bpb: float, ops: dict[str, str]) -> o.Arm:
    wall_s = step_ms * 0.06 + 4.1
    return o.Arm(step_ms=step_ms, wall_s=wall_s, steps=60, val_bpb=val_bpb, ops=ops)
