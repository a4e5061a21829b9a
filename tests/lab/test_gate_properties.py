"""Properties of the gate on drawn evidence: what may never happen, whatever the numbers are.

"More evidence against" is: the candidate's block or step times multiplied by a factor above 1, its
val_bpb raised, a check beyond its bound added, a failure appended, further A/Bs or benches counted,
a record that speaks for it taken away, a calibration that sees less. Taking away what speaks
against it is not meant: that is what the ledger's chain is for.
"""

from __future__ import annotations

import random
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_records import (
    CASES,
    MACHINE,
    WANTED,
    benched,
    calibrated,
    check,
    compared,
    opened,
    pairs,
    steady,
    tried,
    verified,
    with_ids,
)

from lab.evidence import Evidence, collect
from lab.gate import RULES, Policy, judge
from lab.outcomes import Broken, Failed, Passed, Quarantined

replace = msgspec.structs.replace
GOOD = (calibrated(), opened(), verified(), benched(), tried())
OTHER = "e" * 64
ELSEWHERE = replace(MACHINE, hardware="other")


def verdict(*lines: Any) -> Any:
    return judge(collect(with_ids(lines), **WANTED))


UNRELATED = (
    opened(candidate_sha256=OTHER),
    verified(Failed(reason="crash", detail=""), candidate_sha256=OTHER),
    benched(target_sha256=OTHER),
    benched(incumbent_sha256=OTHER, candidate_sha256=OTHER),
    tried(compared(pairs(8, speedup=0.5)), machine=ELSEWHERE),
    tried(compared(pairs(8, speedup=0.5)), target="relu_squared", target_sha256=OTHER),
    verified(harness_sha256=OTHER),
    calibrated([(0.0, 1.5)], machine=ELSEWHERE),
    calibrated([(0.0, 1.5)], harness_sha256=OTHER),
    calibrated([(0.0, 1.5)], engine="cuda"),
)


@given(st.permutations(UNRELATED), st.integers(0, 2**32), st.sampled_from([GOOD, GOOD[:4]]))
def test_unrelated_lines_change_nothing_wherever_they_stand(
    unrelated: list[Any], seed: int, lines: tuple[Any, ...]
) -> None:
    """Another agent's work in the same ledger must not move this candidate's verdict."""
    generator = random.Random(seed)
    mixed = list(lines)
    for line in unrelated:
        mixed.insert(generator.randrange(len(mixed) + 1), line)
    assert verdict(*mixed) == verdict(*lines)


@given(st.permutations(GOOD))
def test_the_order_of_the_stages_changes_nothing(lines: list[Any]) -> None:
    """What was measured first is no part of what was measured."""
    assert verdict(*lines) == verdict(*GOOD)


@given(
    st.sampled_from([verified, benched, tried, calibrated]),
    st.sampled_from(
        [
            {"candidate_sha256": OTHER},
            {"harness_sha256": OTHER},
            {"target_sha256": OTHER},
            {"engine": "cuda"},
            {"machine": ELSEWHERE},
            {"machine": replace(MACHINE, frameworks={"torch": "3"})},
            {"machine": replace(MACHINE, frameworks={"torch": "2", "triton": "3"})},
            {"incumbent_sha256": OTHER},
        ]
    ),
)
def test_nothing_counts_across_what_it_is_bound_to(make: Any, other: dict[str, Any]) -> None:
    """A line about something else is as good as none, whichever stage it is from."""
    made = make()
    if not all(hasattr(made, name) for name in other):
        return
    wanted = {**WANTED, "incumbent_sha256": "1" * 64}
    without = [line for line in GOOD if type(line) is not type(made)]
    found = collect(with_ids([*without, replace(made, **other)]), **wanted)
    assert found == collect(with_ids(without), **wanted)
    assert judge(found).decision == "hold"


@st.composite
def evidence(draw: st.DrawFn) -> Evidence:
    """Evidence of every quality, often near a threshold."""
    cases = [steady(case, draw(st.floats(0.9, 1.3)), draw(st.floats(0.97, 1.03))) for case in CASES]
    tier: Any = draw(st.sampled_from(["device", "device", "simulated"]))
    return Evidence(
        verified=draw(st.sampled_from([None, verified(), verified(), verified(tier=tier)])),
        benched=draw(st.sampled_from([None, benched(), benched(cases=cases, tier=tier)])),
        tried=draw(st.one_of(st.none(), comparisons(0))),
        before=draw(st.one_of(st.none(), comparisons(100))),
        calibrated=draw(
            st.one_of(st.none(), st.just(calibrated()), st.floats(0.9, 1.1).map(a_calibration))
        ),
        attempt=draw(st.integers(1, 12)),
        bench_attempt=draw(st.integers(1, 4)),
    )


@st.composite
def comparisons(draw: st.DrawFn, seeds_from: int) -> Any:
    made = pairs(
        draw(st.integers(0, 9)),
        speedup=draw(st.floats(0.95, 1.2)),
        bpb_change=draw(st.floats(-0.003, 0.003)),
        spread=draw(st.floats(0.1, 3.0)),
    )
    return tried(compared([replace(p, seed=p.seed + seeds_from) for p in made]))


def a_calibration(bias: float) -> Any:
    """A machine that is off by `bias`."""
    return calibrated([(s, bias / (1 + s)) for s in (0.0, 0.02, 0.05, 0.1)])


@given(evidence())
def test_promote_means_that_every_rule_holds_and_only_then(found: Evidence) -> None:
    """A verdict that contradicts its own reasons could not be reviewed."""
    result = judge(found)
    states = {rule(found, Policy()).state for rule in RULES.values()}
    assert (result.decision == "promote") == (states == {"holds"})
    assert (result.decision == "reject") == ("contradicted" in states)
    assert [reason.rule for reason in result.reasons] == list(RULES)
    assert all(reason.detail for reason in result.reasons)
    assert judge(found) == result


def slower_bench(found: Evidence, factor: float) -> Evidence:
    if found.benched is None:
        return found
    cases = tuple(
        replace(case, candidate_ms=tuple(t * factor for t in case.candidate_ms))
        for case in found.benched.outcome.cases
    )
    outcome = replace(found.benched.outcome, cases=cases)
    return replace(found, benched=replace(found.benched, outcome=outcome))


def worse_run(line: Any, factor: float, bpb: float) -> Any:
    worse = [
        replace(
            p,
            candidate=replace(
                p.candidate,
                step_ms=p.candidate.step_ms * factor,
                val_bpb=p.candidate.val_bpb + bpb,
            ),
        )
        for p in line.outcome.pairs
    ]
    return replace(line, outcome=compared(worse))


def failed_check(found: Evidence) -> Evidence:
    if found.verified is None:
        return found
    checks = (*found.verified.outcome.checks, check("tour", 1.01))
    return replace(found, verified=replace(found.verified, outcome=Passed(checks=checks)))


def against(found: Evidence, factor: float, bpb: float, more: int) -> list[Evidence]:
    """The same evidence with one thing added that speaks against the candidate."""
    worse = [
        slower_bench(found, factor),
        failed_check(found),
        replace(found, attempt=found.attempt + more),
        replace(found, bench_attempt=found.bench_attempt + more),
        replace(found, verified=verified(Failed(reason="gradient", detail=""))),
        replace(found, benched=benched(Quarantined(reason="clock_mismatch", detail=""))),
        replace(found, tried=tried(Broken(reason="diverged", detail=""))),
        replace(found, calibrated=calibrated([(0.0, 1.0), (0.05, 1.0), (0.1, 0.9)])),
        *(
            replace(found, **{name: None})
            for name in ("verified", "benched", "tried", "before", "calibrated")
        ),
    ]
    if found.tried:
        worse.append(replace(found, tried=worse_run(found.tried, factor, bpb)))
    if found.before:
        worse.append(replace(found, before=worse_run(found.before, factor, bpb)))
    return worse


@given(evidence(), st.floats(1.0, 1.5), st.floats(0.0, 0.01), st.integers(0, 6))
def test_more_evidence_against_never_turns_anything_into_promote(
    found: Evidence, factor: float, bpb: float, more: int
) -> None:
    """Slower, worse, failed, repeated or missing: nothing of that may ever bring a promotion."""
    if judge(found).decision != "promote":
        for worse in against(found, factor, bpb, more):
            assert judge(worse).decision != "promote"
    if judge(found).decision == "reject":
        assert judge(slower_bench(found, factor)).decision == "reject"


BAD = (
    verified(Failed(reason="numeric", detail="off")),
    benched(Failed(reason="crash", detail="11")),
    benched(cases=[steady(case, 0.7) for case in CASES]),
    tried(compared(pairs(5, speedup=0.7))),
    tried(Broken(reason="clock_mismatch", detail="lied")),
    calibrated([(0.0, 1.3), (0.05, 1.2), (0.1, 1.1)]),
)


@given(st.lists(st.sampled_from([*GOOD, *BAD]), max_size=8), st.sampled_from(BAD))
def test_a_later_failure_never_promotes(lines: list[Any], bad: Any) -> None:
    """Whatever a ledger holds: what it says last against the candidate stands."""
    assert verdict(*lines, bad).decision != "promote"


@given(st.lists(st.sampled_from([*GOOD, *BAD]), max_size=8), st.integers(1, 9))
def test_others_tries_never_promote(lines: list[Any], count: int) -> None:
    """A hundred failures of other candidates on this target make nobody else's evidence better."""
    others = [tried(Broken(reason="arm_failed", detail=""), candidate_sha256=OTHER)] * count
    if verdict(*lines).decision != "promote":
        assert verdict(*others, *lines).decision != "promote"


@given(evidence(), st.floats(0.0, 0.5), st.integers(0, 3))
def test_a_stricter_policy_never_promotes_more(found: Evidence, by: float, look: int) -> None:
    """A verdict under one policy is none under another."""
    stricter = Policy(
        bench_speedup=1.02 + by,
        step_alpha=0.01 * (1 - by),
        bpb_alpha=0.05 * (1 - by),
        bpb_margin=0.002 * (1 - by),
        control_within=0.02 * (1 - by),
        minimum_pairs=(3, 3, 5, 8)[look],
    )
    if judge(found, stricter).decision == "promote":
        assert judge(found).decision == "promote"


@pytest.mark.parametrize("missing", range(len(GOOD)))
def test_taking_away_any_record_never_promotes(missing: int) -> None:
    """Each record is needed, but for `opened`, which only says that work began."""
    rest = [line for number, line in enumerate(GOOD) if number != missing]
    expected = "promote" if GOOD[missing] == opened() else "hold"
    assert verdict(*rest).decision == expected
