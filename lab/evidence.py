"""Which records count for one candidate: exactly its bytes, the harness, the target, the machine.

`collect` is pure: lines in, `Evidence` out. A record counts only if it names this candidate,
harness and target by hash and was made on this engine, hardware and framework versions. Nothing is
pooled:

- the latest record of each stage decides, so a later failure beats an earlier pass;
- a pass from a lower tier (a simulator, a compiler) never displaces one from the device;
- the pairs of an A/B are those that its latest record holds. A stage that goes on from an earlier
  look writes all pairs again, so nothing is lost. Pairs of other records are never added to them,
  but they are counted: each A/B begun anew is a further attempt, which the gate makes more
  demanding (`lab.stats.spend`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec

from lab.ledger_keys import Wanted
from lab.records import About, Benched, Measured, Pair, Passed, Tried, Verified


class Evidence(msgspec.Struct, frozen=True, kw_only=True):
    """What is known about one candidate on one machine; None where a stage has not run."""

    verified: Verified | None = None
    benched: Benched | None = None
    tried: Tried | None = None
    attempt: int = 1
    """Which A/B of this candidate `tried` is, counted from 1."""
    workspace: str = ""
    """What the next command is to name, if not what the records do; decides nothing."""

    @property
    def records(self) -> tuple[Verified | Benched | Tried, ...]:
        """The records, in order of stage."""
        found = (self.verified, self.benched, self.tried)
        return tuple(record for record in found if record is not None)

    @property
    def ids(self) -> tuple[str, ...]:
        """The ledger ids that a verdict on this evidence rests on."""
        return tuple(record.id for record in self.records)


def relevant(candidate_sha256: str, target: str, engine: str) -> tuple[Wanted, ...]:
    """Which lines of a ledger `collect` may look at for this candidate: it is given no others."""
    return (
        Wanted(candidate_sha256=candidate_sha256),
        Wanted(kind="tried", target=target, engine=engine),
    )


def collect(
    lines: Iterable[object],
    *,
    candidate_sha256: str,
    harness_sha256: str,
    target_sha256: str,
    engine: str,
    hardware: str,
    frameworks: Mapping[str, str],
    incumbent_sha256: str = "",
    workspace: str = "",
) -> Evidence:
    """The evidence in `lines` (a ledger's records, in its order) for exactly these values.

    With `incumbent_sha256`, only a bench or A/B against that incumbent counts: after another
    promotion, older comparisons are with what nobody runs any more.
    """

    def counts(line: object) -> bool:
        return (
            isinstance(line, About)
            and line.candidate_sha256 == candidate_sha256
            and line.harness_sha256 == harness_sha256
            and line.target_sha256 == target_sha256
            and line.engine == engine
            and line.machine.hardware == hardware
            and line.machine.frameworks == dict(frameworks)
        )

    verified: Verified | None = None
    benched: Benched | None = None
    tried: Tried | None = None
    begun: set[tuple[float, ...]] = set()
    for line in filter(counts, lines):
        if isinstance(line, Verified) and _displaces(line, verified):
            verified = line
        if not isinstance(line, Benched | Tried):
            continue
        if incumbent_sha256 not in ("", line.incumbent_sha256):
            continue
        if isinstance(line, Benched) and _displaces(line, benched):
            benched = line
        elif isinstance(line, Tried):
            tried = line
            if line.outcome.pairs:
                begun.add(_identity(line.outcome.pairs[0]))
    return Evidence(
        verified=verified,
        benched=benched,
        tried=tried,
        attempt=max(1, len(begun)),
        workspace=workspace,
    )


def _displaces(new: Verified | Benched, old: Verified | Benched | None) -> bool:
    """Whether the later record `new` decides in place of `old`."""
    passed = isinstance(new.outcome, Passed | Measured)
    return old is None or not passed or new.tier == "device" or old.tier != "device"


def _identity(first: Pair) -> tuple[float, ...]:
    """Tells one A/B from another: later looks of the same A/B have the same first pair."""
    return (first.seed, first.incumbent.step_ms, first.candidate.step_ms)
