"""Which records count for one candidate: exactly its bytes, the harness, the target, the machine.

`collect` is pure: lines in, `Evidence` out. A record counts only if it names this candidate,
harness and target by hash and was made on this engine, hardware and framework versions, in a
workspace of this preset. Nothing is pooled:

- the latest record of each stage decides, so a later failure beats an earlier pass;
- a pass from a lower tier (a simulator, a compiler) never displaces one from the device;
- the pairs of an A/B are those that its latest record holds. A stage that goes on from an earlier
  look writes all pairs again, so nothing is lost. Pairs of other records are never added to them.

Repetition is counted against a candidate: the A/Bs begun on the same target, engine and hardware in
the seven days before its own, by whatever candidate and harness (`lab.attempts`), and its own
earlier benches. Of a calibration, engine, hardware, frameworks and harness must be the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import msgspec

from lab.attempts import Attempts, Key, within_window
from lab.ledger_keys import Wanted
from lab.outcomes import Measured, Passed, Quarantined
from lab.records import About, Benched, Calibrated, Tried, Verified


class Evidence(msgspec.Struct, frozen=True, kw_only=True):
    """What is known about one candidate on one machine; None where a stage has not run."""

    verified: Verified | None = None
    benched: Benched | None = None
    tried: Tried | None = None
    calibrated: Calibrated | None = None
    attempt: int = 1
    """Which A/B on this target in seven days `tried` is, of any candidate, counted from 1."""
    before: Tried | None = None
    """This candidate's A/B before `tried`, which `tried` may confirm."""
    bench_attempt: int = 1
    """Which bench of this candidate in seven days `benched` is, counted from 1."""
    workspace: str = ""
    """What the next command is to name, if not what the records do; decides nothing."""

    @property
    def records(self) -> tuple[Verified | Benched | Tried, ...]:
        """The records, in order of stage."""
        found = (self.verified, self.benched, self.tried)
        return tuple(record for record in found if record is not None)

    @property
    def ids(self) -> tuple[str, ...]:
        """The ledger ids that a verdict on this evidence rests on, in the order of the ledger."""
        beside = (self.calibrated, self.before)
        found = (*self.records, *(record for record in beside if record is not None))
        return tuple(sorted(record.id for record in found))


def relevant(candidate_sha256: str, target: str, engine: str) -> tuple[Wanted, ...]:
    """Which lines of a ledger `collect` may look at for this candidate: it is given no others."""
    return (
        Wanted(candidate_sha256=candidate_sha256),
        Wanted(kind="tried", target=target, engine=engine),
        Wanted(kind="calibrated", engine=engine),
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
    preset: str = "",
    trainer_sha256: str = "",
    workspace: str = "",
) -> Evidence:
    """The evidence in `lines` (a ledger's records, in its order) for exactly these values.

    With `incumbent_sha256`, only a bench or A/B against that incumbent counts: after another
    promotion, older comparisons are with what nobody runs any more. With `preset`, only what was
    found in a workspace of that preset: any other has smaller or easier shapes of the same names.
    With `trainer_sha256`, only an A/B of those sources of the trainer.
    """

    def here(line: About | Calibrated) -> bool:
        return line.engine == engine and line.machine.hardware == hardware

    def same_lab(line: About | Calibrated) -> bool:
        same = line.harness_sha256 == harness_sha256
        return same and here(line) and line.machine.frameworks == dict(frameworks)

    def counts(line: About) -> bool:
        return (
            same_lab(line)
            and line.candidate_sha256 == candidate_sha256
            and line.target_sha256 == target_sha256
            and preset in ("", line.preset)
            and incumbent_sha256 in ("", getattr(line, "incumbent_sha256", incumbent_sha256))
            and trainer_sha256 in ("", getattr(line, "trainer_sha256", trainer_sha256))
        )

    found = _Found()
    for line in lines:
        if isinstance(line, Calibrated) and same_lab(line):
            found.calibrated = line
        elif isinstance(line, Tried) and here(line):
            found.add_tried(line, counts)
        elif isinstance(line, Verified) and counts(line) and _displaces(line, found.verified):
            found.verified = line
        elif isinstance(line, Benched) and counts(line) and _displaces(line, found.benched):
            found.add_benched(line)
    return found.evidence(workspace)


class _Found:
    """What `collect` has found so far."""

    def __init__(self) -> None:
        self.calibrated: Calibrated | None = None
        self.verified: Verified | None = None
        self.benched: Benched | None = None
        self._bench_times: list[str] = []
        self._attempts: dict[str, Attempts] = {}
        self._tried: dict[Key, Tried] = {}
        """The latest record of each A/B of this candidate, in the order in which they began."""
        self._latest: Key | None = None

    def add_benched(self, line: Benched) -> None:
        self.benched = line
        if _told_a_speedup(line.outcome) and line.tier == "device":
            self._bench_times.append(line.time_utc)

    def add_tried(self, line: Tried, counts: Callable[[About], bool]) -> None:
        key = self._attempts.setdefault(line.target, Attempts()).add(line)
        if counts(line):
            self._tried[key] = line
            self._latest = key

    def evidence(self, workspace: str) -> Evidence:
        tried = before = None
        attempt = 1
        if self._latest is not None:
            tried = self._tried[self._latest]
            attempt = self._attempts[tried.target].number(self._latest)
            order = list(self._tried)
            earlier = order[: order.index(self._latest)]
            before = self._tried[earlier[-1]] if earlier else None
        return Evidence(
            verified=self.verified,
            benched=self.benched,
            tried=tried,
            calibrated=self.calibrated,
            attempt=attempt,
            before=before,
            bench_attempt=self._bench_attempt(),
            workspace=workspace,
        )

    def _bench_attempt(self) -> int:
        if self.benched is None or not isinstance(self.benched.outcome, Measured):
            return 1
        now = self.benched.time_utc
        return max(1, sum(within_window(then, now) for then in self._bench_times))


def _told_a_speedup(outcome: object) -> bool:
    """Whether a bench drew a number: one too noisy to decide did, and repeating it is a new try."""
    return isinstance(outcome, Measured) or (
        isinstance(outcome, Quarantined) and outcome.reason == "too_noisy"
    )


def _displaces(new: Verified | Benched, old: Verified | Benched | None) -> bool:
    """Whether the later record `new` decides in place of `old`."""
    passed = isinstance(new.outcome, Passed | Measured)
    return old is None or not passed or new.tier == "device" or old.tier != "device"
