"""Replays the gate's decision from the ledger alone: does the same verdict come out again?

    found = replay(ledger, "0193c0ffee")       # a `judged` record, or a `promoted` one's verdict
    found.same, found.differences

Needs no workspace, checkout, machine or framework, and trusts no index: it checks the whole chain,
then runs `evidence.collect` over the lines that the gate had read, with the keys that the record
holds, and the pure gate with the policy that the record holds. Whatever the gate looks at is
replayed.

The rules that judge are those of this checkout. Where the record was judged by others, `notes` say
so: a difference then may come from the rules and need not mean that anything was changed.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import msgspec

from lab import chain
from lab.errors import CommandError, MachineError
from lab.ledger import Ledger
from lab.ledger_keys import Wanted
from lab.records import Judged, Promoted, Verdict
from lab.source_hash import files_sha256

_FOLDER = Path(__file__).resolve().parent
BESIDE = ("attempts", "bench_intervals", "evidence", "isolation", "paired", "policy", "stats")
RULES = (
    *sorted(_FOLDER.glob("gate*.py")),
    *(_FOLDER / f"{name}.py" for name in BESIDE),
)
"""The files that collect evidence and judge it."""


class Difference(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that the record says and the replay does not, or the other way round."""

    what: str
    """The name of a rule, or `decision`, or `evidence`."""
    recorded: str
    replayed: str


class Replay(msgspec.Struct, frozen=True, kw_only=True):
    """What came out. `notes` are facts that may explain a difference."""

    judged: str
    line: int
    candidate_sha256: str
    same: bool
    verdict: Verdict
    differences: tuple[Difference, ...] = ()
    notes: tuple[str, ...] = ()


def rules_sha256() -> str:
    """Hash over names and contents of `RULES`."""
    return files_sha256(RULES, _FOLDER)


def question(judged: Judged) -> dict[str, Any]:
    """The keys with which `evidence.collect` was asked for this verdict."""
    return {
        "candidate_sha256": judged.candidate_sha256,
        "harness_sha256": judged.harness_sha256,
        "target_sha256": judged.target_sha256,
        "engine": judged.engine,
        "hardware": judged.machine.hardware,
        "frameworks": judged.machine.frameworks,
        "incumbent_sha256": judged.incumbent_sha256,
        "preset": judged.preset,
        "trainer_sha256": judged.trainer_sha256,
        "workspace": judged.handle,
    }


def replay(ledger: Ledger, record_id: str) -> Replay:
    """Judges anew what the record `record_id` (or a unique beginning of it) judged.

    Raises `CommandError` if there is no such verdict, `MachineError` if the chain is broken.
    """
    from lab import gate

    report = chain.check(ledger.lines())
    if not report.ok:
        first = report.problems[0]
        raise MachineError(
            f"{ledger.path}, line {first.line}: {first.what}. Nothing can be replayed from it",
            "See all of it: kernel-lab ledger verify",
        )
    judged = _judged(ledger, record_id)
    policy, notes = _policy(judged)
    evidence = gate.collect(_read_then(ledger, judged), **question(judged))
    verdict = gate.judge(evidence, policy)
    differences = tuple(_differences(judged, verdict, evidence.ids))
    return Replay(
        judged=judged.id,
        line=judged.number,
        candidate_sha256=judged.candidate_sha256,
        same=not differences,
        verdict=verdict,
        differences=differences,
        notes=(*notes, *_other_rules(judged)),
    )


def _read_then(ledger: Ledger, judged: Judged) -> Iterator[Any]:
    """The records that the gate had read when it judged; never the verdict or what came later."""
    return islice(ledger.read(), min(judged.lines_read, judged.number - 1))


def _judged(ledger: Ledger, record_id: str) -> Judged:
    """The verdict of that id, or the verdict that the promotion of that id rests on."""
    decisions = Wanted(kind="judged"), Wanted(kind="promoted")
    matching = [
        record
        for record in ledger.find_any(*decisions, indexed=False)
        if record_id and record.id.startswith(record_id)
    ]
    if len(matching) > 1:
        raise CommandError(
            f"'{record_id}' fits {len(matching)} records",
            f"Say which: {', '.join(record.id for record in matching[:8])}.",
        )
    if matching and isinstance(matching[0], Promoted):
        return _judged(ledger, matching[0].verdict_id)
    if not matching:
        raise CommandError(
            f"no verdict or promotion '{record_id}' in {ledger.path}",
            "Their ids: kernel-lab ledger show --kind judged --json",
        )
    return matching[0]


def _policy(judged: Judged) -> tuple[Any, tuple[str, ...]]:
    """The policy of the record, as far as this checkout knows its fields, and what it does not."""
    from lab.policy import Policy

    known = {field.name for field in msgspec.structs.fields(Policy)}
    unknown = sorted(set(judged.policy) - known)
    missing = sorted(known - set(judged.policy))
    try:
        policy = msgspec.convert(
            {name: value for name, value in judged.policy.items() if name in known}, Policy
        )
    except msgspec.ValidationError as error:
        raise MachineError(f"the policy of verdict {judged.id} cannot be read: {error}") from error
    notes = []
    if unknown:
        notes.append(f"its policy has what today's rules do not know: {', '.join(unknown)}")
    if missing:
        notes.append(f"its policy is older than {', '.join(missing)}: today's defaults are used")
    return policy, tuple(notes)


def _other_rules(judged: Judged) -> Iterator[str]:
    today = rules_sha256()
    if judged.rules_sha256 != today:
        commit = judged.machine.git_commit
        at = f" (git commit {commit[:12]}{', changed' * judged.machine.git_dirty})" * bool(commit)
        yield (
            f"the rules changed since: it was judged by {judged.rules_sha256[:12]}{at}, and "
            f"replayed by {today[:12]}. A difference may come from that; to tell, replay with the "
            "rules of that day"
        )


def _differences(judged: Judged, verdict: Verdict, ids: tuple[str, ...]) -> Iterator[Difference]:
    """Whatever differs, the decision first, then the evidence, then rule by rule."""
    was = judged.verdict
    if was.decision != verdict.decision:
        yield Difference(what="decision", recorded=was.decision, replayed=verdict.decision)
    if judged.evidence != ids:
        recorded, replayed = (", ".join(some) or "none" for some in (judged.evidence, ids))
        yield Difference(what="evidence", recorded=recorded, replayed=replayed)
    before, after = _by_rule(was), _by_rule(verdict)
    for rule in before | after:
        recorded, replayed = (side.get(rule, "no such rule") for side in (before, after))
        if recorded != replayed:
            yield Difference(what=rule, recorded=recorded, replayed=replayed)


def _by_rule(verdict: Verdict) -> dict[str, str]:
    return {
        r.rule: f"{'holds' if r.holds else 'does not hold'}: {r.detail}" for r in verdict.reasons
    }
