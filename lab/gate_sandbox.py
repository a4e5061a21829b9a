"""The gate's rule about how the evidence was made: with the candidate kept away from its judge.

Pure. Without a sandbox a candidate could have changed what it was judged by, so such evidence says
nothing for it; what speaks against it still does.
"""

from __future__ import annotations

from lab.evidence import Evidence
from lab.isolation import confines
from lab.policy import Finding, Policy, then_run


def confined(evidence: Evidence, policy: Policy) -> Finding:
    """Every stage ran in a sandbox."""
    if not evidence.records:
        return Finding("open", "nothing was run")
    stage = unconfined(evidence)
    if stage:
        return Finding(
            "open",
            f"{stage} ran without a sandbox; where doctor finds one, {then_run(stage, evidence)}",
        )
    names = sorted({record.isolation for record in evidence.records})
    return Finding("holds", f"everything ran in {', '.join(names)}")


def unconfined(evidence: Evidence) -> str:
    """The first stage that ran without a sandbox, as the command is called; empty if none did."""
    stages = (("verify", evidence.verified), ("bench", evidence.benched), ("ab", evidence.tried))
    return next((name for name, record in stages if record and not confines(record.isolation)), "")
