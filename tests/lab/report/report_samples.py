"""Small synthetic ledgers for the tests of the report; intervals come from the raw samples."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from lab import gate
from lab import records as r
from lab.policy import Policy
from lab.stats import difference_interval, geomean_interval, ratio_interval

MACHINE = r.Machine(
    hardware="AMD EPYC 9B14 x2",
    system="Linux 6.1.0",
    python="3.11.7",
    frameworks={"torch": "2.13.0", "numpy": "2.4.6"},
    git_commit="1f611bd0c0ffee00",
    git_dirty=True,
    cores=2,
    memory_gib=15.6,
)
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


@dataclass
class Ledger:
    """Collects lines and gives them ids, times and chained hashes as the real ledger does."""

    target: str = "softcap_cross_entropy"
    engine: str = "cpu"
    candidate: str = "candidate one"
    workspace: str = "softcap_cross_entropy-cpu-torch-7c1e"
    machine: r.Machine = MACHINE
    lines: list[Any] = field(default_factory=list)

    def about(self) -> dict[str, Any]:
        """The fields of every line about this candidate."""
        return {
            "machine": self.machine,
            "id": f"{len(self.lines) + 1:06d}-{sha(str(len(self.lines)))[:6]}",
            "time_utc": f"2026-11-21T10:{len(self.lines):02d}:00Z",
            "previous_sha256": sha(f"line {len(self.lines)}"),
            "target": self.target,
            "engine": self.engine,
            "language": "torch",
            "workspace": self.workspace,
            "candidate_sha256": sha(self.candidate),
            "harness_sha256": sha("harness"),
            "target_sha256": sha("target"),
        }

    def add(self, kind: type, **fields: Any) -> Any:
        """Appends one line about the candidate."""
        self.lines.append(kind(**{**self.about(), **fields}))
        return self.lines[-1]

    def profiled(self, ops: Sequence[tuple[str, bool, float, float]] = OPS) -> r.Profiled:
        """A profile with a step of 812 ms."""
        about = {k: v for k, v in self.about().items() if k in ("machine", "id", "time_utc")}
        step_ms = 812.0
        line = r.Profiled(
            **about,
            previous_sha256=sha("profile"),
            engine=self.engine,
            preset="tour",
            step_ms=(808.1, 812.0, 823.9),
            covered=sum(share for _, _, share, _ in ops),
            bandwidth_gb_s=18.2,
            peak_gflop_s=95.4,
            ops=tuple(hot_op(op, step_ms) for op in ops),
        )
        self.lines.append(line)
        return line

    def opened(self) -> r.Opened:
        return self.add(r.Opened, seal_sha256=sha("seal"))

    def verified(self, outcome: r.Passed | r.Failed | None = None, **fields: Any) -> r.Verified:
        about = {"tier": "device", "isolation": "namespaces", **fields}
        return self.add(r.Verified, outcome=outcome or passed(), **about)

    def benched(self, outcome: Any = None, **fields: Any) -> r.Benched:
        about = {"tier": "device", "isolation": "namespaces", **fields}
        return self.add(r.Benched, outcome=outcome or measured(1.84), **about)

    def tried(self, outcome: r.Compared | r.Broken | None = None, **fields: Any) -> r.Tried:
        about = {"incumbent_sha256": sha("incumbent"), "isolation": "namespaces", **fields}
        return self.add(r.Tried, outcome=outcome or compared(1.03), **about)

    def gated(self) -> r.Judged:
        """The real gate's verdict on what was added so far."""
        about = self.about()
        evidence = gate.collect(
            self.lines,
            **{name: about[name] for name in ("candidate_sha256", "harness_sha256")},
            target_sha256=about["target_sha256"],
            engine=self.engine,
            hardware=self.machine.hardware,
            frameworks=self.machine.frameworks,
        )
        return self.add(
            r.Judged,
            verdict=gate.judge(evidence),
            policy=msgspec.to_builtins(Policy()),
            evidence=evidence.ids,
        )


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


def passed(cases: Iterable[str] = CASES) -> r.Passed:
    checks = []
    for case in cases:
        for dtype, unit in (("float32", 1e-6), ("bfloat16", 8e-3)):
            for tensor, part in (("loss", 0.31), ("dlogits", 0.64)):
                checks.append(
                    r.TensorCheck(
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
    return r.Passed(checks=tuple(checks))


def failed(detail: str = "dlogits: 3 of 1024 rows differ", reason: str = "gradient") -> r.Failed:
    return r.Failed(
        reason=reason,
        detail=detail,
        case=CASES[1],
        dtype="bfloat16",
        checks=passed(CASES[:1]).checks,
    )


def case_timing(case: str, speedup: float, noise: float = 0.02, blocks: int = 20) -> r.CaseTiming:
    draw = random.Random(f"{case} {speedup}")
    incumbent = [12.0 * draw.lognormvariate(0, noise) for _ in range(blocks)]
    candidate = [t / speedup * draw.lognormvariate(0, noise) for t in incumbent]
    control = [t * draw.lognormvariate(0, noise) for t in incumbent]
    return r.CaseTiming(
        case=case,
        dtype="float32",
        calls_per_block=4,
        incumbent_ms=tuple(incumbent),
        candidate_ms=tuple(candidate),
        control_ms=tuple(control),
        floor_ms=1.9,
        speedup=ratio_interval(incumbent, candidate),
    )


def measured(speedup: float, cases: Sequence[str] = CASES, noise: float = 0.02) -> r.Measured:
    timings = [
        case_timing(case, speedup * (0.93 + 0.07 * index), noise)
        for index, case in enumerate(cases)
    ]
    return r.Measured(
        cases=tuple(timings),
        speedup=geomean_interval([(c.incumbent_ms, c.candidate_ms) for c in timings]),
        control=geomean_interval([(c.incumbent_ms, c.control_ms) for c in timings]),
    )


def quarantined(detail: str = "0.02 ms per call is below the floor of 1.9 ms") -> r.Quarantined:
    timings = (case_timing(CASES[0], 600.0),)
    return r.Quarantined(reason="faster_than_light", detail=detail, cases=timings)


def compared(
    speedup: float,
    pairs: int = 3,
    difference: float = 0.0003,
    noise: float = 0.02,
    op: str = "softcap_cross_entropy",
    candidate: str = "candidate one",
) -> r.Compared:
    draw = random.Random(f"{speedup} {difference}")
    made = []
    for index in range(pairs):
        step_ms, bpb = 812.0 * draw.lognormvariate(0, noise), 2.31 + draw.gauss(0, 0.02)
        arms = [
            r.Arm(
                step_ms=step,
                wall_s=step * 0.06 + 4.1,
                steps=60,
                val_bpb=value,
                ops={op: sha(name)},
            )
            for name, step, value in (
                ("incumbent", step_ms, bpb),
                (
                    candidate,
                    step_ms / speedup * draw.lognormvariate(0, noise / 2),
                    bpb + draw.gauss(difference, 0.0003),
                ),
            )
        ]
        order = "AB" if index % 2 == 0 else "BA"
        made.append(
            r.Pair(seed=1_284_771_902 + index, order=order, incumbent=arms[0], candidate=arms[1])
        )
    return r.Compared(
        preset="tour",
        steps=60,
        pairs=tuple(made),
        speedup=ratio_interval(
            [p.incumbent.step_ms for p in made], [p.candidate.step_ms for p in made]
        ),
        val_bpb=difference_interval([p.candidate.val_bpb - p.incumbent.val_bpb for p in made]),
    )


def whole(bench: float = 1.84, ab: float = 1.03, **ledger: Any) -> Ledger:
    """A ledger that went all the way to the real gate's verdict. The defaults end in a hold."""
    made = Ledger(**ledger)
    made.profiled()
    made.opened()
    made.verified()
    made.benched(measured(bench))
    made.tried(compared(ab, op=made.target, candidate=made.candidate))
    made.gated()
    return made


PROMOTED = {"bench": 1.84, "ab": 1.2}
REJECTED = {"bench": 0.9, "ab": 0.93}
HOSTILE = '<script>alert(1)</script> & "quotes" $\\frac{1}{0}$ \u202e\x1b[31m\x00 \U0001f600'
"""Markup, a broken formula, a change of direction, a terminal's escape, a NUL, an emoji."""


def scenarios() -> dict[str, list[Any]]:
    """Ledgers in every state that people meet, by name."""
    empty, profiled, verified, failed_one, quarantined_one, benched, broken, many = (
        Ledger() for _ in range(8)
    )
    for ledger in (profiled, verified, failed_one, quarantined_one, benched, broken):
        ledger.profiled()
    for ledger in (verified, quarantined_one, benched, broken, many):
        ledger.verified()
    failed_one.verified(failed(HOSTILE * 40))
    quarantined_one.benched(quarantined())
    benched.benched(measured(9.0))
    broken.benched()
    broken.tried(r.Broken(reason="arm_failed", detail=HOSTILE, pairs=compared(1.0).pairs[:1]))
    many.profiled(
        [
            (f"a_{'rather_' * (n % 4)}long_name_{n}", n % 3 == 0, 0.2 / (n + 1), 0.5)
            for n in range(22)
        ]
    )
    many.benched(
        measured(2.4, [f"upstream-micro-batch-of-sixteen-sequences-{n}" for n in range(12)])
    )
    many.tried(compared(1.02, 8))
    many.gated()
    return {
        "empty": empty.lines,
        "profiled": profiled.lines,
        "verified": verified.lines,
        "failed": failed_one.lines,
        "quarantined": quarantined_one.lines,
        "benched": benched.lines,
        "broken": broken.lines,
        "many": many.lines,
        "hold": whole().lines,
        "promote": whole(**PROMOTED).lines,
        "reject": whole(**REJECTED).lines,
    }
