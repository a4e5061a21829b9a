"""Small synthetic ledgers for the tests of the report, judged by the real gate."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec
from report_outcomes import (
    OPS,
    case_timing,
    compared,
    failed,
    hot_op,
    measured,
    passed,
    quarantined,
    sha,
)

from lab import gate
from lab import outcomes as o
from lab import records as r
from lab.policy import Policy

__all__ = ["case_timing", "compared", "failed", "measured", "passed", "quarantined", "sha"]

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

    def calibrated(self) -> r.Calibrated:
        """A calibration that found what it was shown."""
        about = self.about()
        kept = ("machine", "id", "time_utc", "engine", "target", "harness_sha256")
        line = r.Calibrated(
            **{name: about[name] for name in kept if name in about},
            previous_sha256=sha("calibration"),
            preset="tour",
            isolation="namespaces",
            benches=tuple(
                r.Handicap(slowed_by=by, outcome=measured(1 / (1 + by))) for by in (0.0, 0.05, 0.1)
            ),
            runs=(),
        )
        self.lines.append(line)
        return line

    def opened(self) -> r.Opened:
        return self.add(r.Opened, seal_sha256=sha("seal"))

    def verified(self, outcome: o.Passed | o.Failed | None = None, **fields: Any) -> r.Verified:
        about = {"tier": "device", "isolation": "namespaces", **fields}
        return self.add(r.Verified, outcome=outcome or passed(), **about)

    def benched(self, outcome: Any = None, **fields: Any) -> r.Benched:
        about = {
            "tier": "device",
            "isolation": "namespaces",
            "incumbent_sha256": sha("incumbent"),
            **fields,
        }
        return self.add(r.Benched, outcome=outcome or measured(1.84), **about)

    def tried(self, outcome: o.Compared | o.Broken | None = None, **fields: Any) -> r.Tried:
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
            lines_read=len(self.lines),
            incumbent_sha256=sha("incumbent"),
            handle=about["workspace"],
            rules_sha256=sha("rules"),
        )


def whole(bench: float = 1.84, ab: float = 1.03, pairs: int = 3, **ledger: Any) -> Ledger:
    """A ledger that went all the way to the real gate's verdict. The defaults end in a hold."""
    made = Ledger(**ledger)
    made.profiled()
    made.calibrated()
    made.opened()
    made.verified()
    made.benched(measured(bench))
    made.tried(compared(ab, pairs, op=made.target, candidate=made.candidate))
    made.gated()
    return made


PROMOTED: dict[str, Any] = {"bench": 1.84, "ab": 1.2, "pairs": 5}
REJECTED: dict[str, Any] = {"bench": 0.9, "ab": 0.93}
HOSTILE = '<script>alert(1)</script> & "quotes" $\\nosuchformula{$ \u202e\x1b[31m\x00 \U0001f600\n'
"""Markup, a broken formula, a change of direction, a terminal's escape, a NUL, an emoji, a line."""


def scenarios() -> dict[str, list[Any]]:
    """Ledgers in every state that people meet, by name."""
    empty, profiled, verified, failed_one, quarantined_one, benched, broken, many = (
        Ledger() for _ in range(8)
    )
    for ledger in (profiled, verified, failed_one, quarantined_one, benched, broken):
        ledger.profiled()
    for ledger in (verified, quarantined_one, benched, broken, many):
        ledger.verified()
    failed_one.verified(failed(HOSTILE * 120))
    quarantined_one.benched(quarantined())
    benched.benched(measured(9.0))
    broken.benched()
    broken.tried(o.Broken(reason="arm_failed", detail=HOSTILE, pairs=compared(1.0).pairs[:1]))
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
