"""The gate promotes only on evidence for this very candidate; else it says what is missing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import pytest
from made_records import (
    CANDIDATE,
    CASES,
    INCUMBENT,
    MACHINE,
    WANTED,
    WIGGLE,
    arm,
    benched,
    calibrated,
    check,
    compared,
    opened,
    pair,
    pairs,
    steady,
    timing,
    tried,
    verified,
    with_ids,
)

from lab.evidence import Evidence, collect
from lab.gate import RULES, Policy, ab_settled, judge
from lab.outcomes import Broken, Failed, Passed, Quarantined
from lab.records import Tried, Verdict

replace = msgspec.structs.replace
GOOD = (opened(), verified(), benched(), tried(), calibrated())
STAGES = GOOD[:4]


def other_seeds(line: Tried) -> Tried:
    """The same pairs with other seeds: an A/B begun anew that came out the same."""
    outcome = line.outcome
    pairs = tuple(replace(p, seed=p.seed + 500) for p in outcome.pairs)
    return replace(line, outcome=replace(outcome, pairs=pairs))


def verdict(*lines: Any, policy: Policy | None = None) -> Verdict:
    """The gate's verdict on a ledger that holds these lines."""
    return judge(collect(with_ids(lines), **WANTED), policy)


def unmet(found: Verdict) -> set[str]:
    return {reason.rule for reason in found.reasons if not reason.holds}


def detail(found: Verdict, rule: str) -> str:
    return next(reason.detail for reason in found.reasons if reason.rule == rule)


def test_complete_evidence_promotes_with_a_reason_for_every_rule() -> None:
    """The whole point; and each condition must be shown with its number."""
    found = verdict(*GOOD)
    assert found.decision == "promote"
    assert [reason.rule for reason in found.reasons] == list(RULES)
    assert all(reason.holds and reason.detail for reason in found.reasons)


def test_nothing_known_is_a_hold_that_names_the_first_command() -> None:
    """A fresh workspace is not rejected; it is told where to begin."""
    found = verdict(opened())
    assert found.decision == "hold"
    assert "kernel-lab verify" in detail(found, "verify")
    assert unmet(found) == set(RULES)


@pytest.mark.parametrize(
    ("lines", "decision", "rule", "says"),
    [
        (GOOD[:2], "hold", "bench", "run: kernel-lab bench rmsnorm-cpu-torch-0001"),
        (GOOD[:3], "hold", "ab", "run: kernel-lab ab rmsnorm-cpu-torch-0001"),
        ((verified(Failed(reason="numeric", detail="y off")),), "reject", "verify", "y off"),
        ((verified(Passed(checks=(check("tour", 1.5),))),), "reject", "verify", "allowed 1"),
        ((verified(Passed(checks=(check("tour", float("nan")),))),), "reject", "verify", "nan"),
        ((verified(Passed(checks=())),), "hold", "verify", "0 tensors"),
        (
            (verified(Passed(checks=(check("tour"),))),),
            *("hold", "verify", "none of a call that training recorded; run: kernel-lab verify"),
        ),
        (
            (verified(Passed(checks=(check("tour"),), no_change_of="incumbent")), *GOOD[2:]),
            *("reject", "change", "the candidate is the incumbent called again"),
        ),
        ((verified(tier="simulated"),), "hold", "verify", "'device' is needed"),
        ((*GOOD[:2], benched(tier="compiled")), "hold", "bench", "'device' is needed"),
        ((*GOOD, benched(Failed(reason="crash", detail="11"))), "reject", "bench", "crash: 11"),
        (
            (verified(Passed(checks=(check("tour"),))), benched(), tried()),
            *("hold", "bench_verified", "2 of the timed cases were not verified"),
        ),
    ],
)
def test_missing_or_bad_evidence_of_the_early_stages(
    lines: Sequence[Any], decision: str, rule: str, says: str
) -> None:
    """Missing is a hold with the next command; wrong is a reject with the cause."""
    found = verdict(*lines)
    assert found.decision == decision
    assert rule in unmet(found)
    assert says in detail(found, rule)


@pytest.mark.parametrize("reason", ["faster_than_light", "clock_mismatch", "timed_output_wrong"])
def test_times_that_cannot_be_true_reject(reason: Any) -> None:
    """A quarantined bench is evidence against the candidate, even beside a fine A/B."""
    found = verdict(*GOOD, benched(Quarantined(reason=reason, detail="look")))
    assert found.decision == "reject"


@pytest.mark.parametrize("reason", ["control_failed", "too_noisy"])
def test_noise_blames_the_machine_not_the_candidate(reason: Any) -> None:
    """Noise during the bench must not cost an honest candidate its name."""
    found = verdict(*GOOD, benched(Quarantined(reason=reason, detail="1.2x")))
    assert found.decision == "hold"
    assert "once it is quiet" in detail(found, "bench")


@pytest.mark.parametrize(
    ("cases", "decision", "rule"),
    [
        ([steady(case, 1.0) for case in CASES], "reject", "bench_speedup"),
        ([steady(case, 0.8) for case in CASES], "reject", "bench_speedup"),
        ([steady(case, 1.022) for case in CASES], "hold", "bench_speedup"),
        (
            [steady("tour", 0.9), *(steady(case, 1.5) for case in CASES[1:])],
            "reject",
            "bench_cases",
        ),
        ([steady(case, 1.3, control=1.05) for case in CASES], "hold", "bench_control"),
        ([steady(case, 1.3, control=0.95) for case in CASES], "hold", "bench_control"),
        ([replace(steady(case), floor_ms=9.0) for case in CASES], "reject", "bench"),
        ([replace(steady(case), candidate_ms=(1.0,) * 10) for case in CASES], "promote", ""),
        ([timing(c, (2.0,) * 9, (1.0,) * 9, (2.0,) * 9) for c in CASES], "hold", "bench_speedup"),
        ([timing(c, WIGGLE, WIGGLE[:3], WIGGLE) for c in CASES], "hold", "bench_speedup"),
    ],
)
def test_what_the_bench_must_show(cases: list[Any], decision: str, rule: str) -> None:
    """Equal, slower, undecided, one slow case, a noisy session, impossible or too coarse times."""
    found = verdict(verified(), benched(cases=cases), tried(), calibrated())
    assert found.decision == decision
    if rule:
        assert rule in unmet(found)


def test_a_case_that_may_be_slow_is_undecided_until_its_interval_says_so() -> None:
    """The point decides whether the rule holds, the whole interval whether it is contradicted."""
    wild = timing(
        *("tour", [1.0 + 0.3 * (w - 1) / 0.01 for w in WIGGLE], [1.06 * w for w in WIGGLE], WIGGLE)
    )
    found = verdict(verified(), benched(cases=[wild, *map(steady, CASES[1:])]), tried())
    assert found.decision == "hold"
    assert "undecided" in detail(found, "bench_cases")


# ---- the A/B ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("outcome", "decision", "rule", "says"),
    [
        (compared(pairs(8, speedup=1.0, spread=2)), "reject", "ab_step_time", "looks are spent"),
        (compared(pairs(5, speedup=1.0, spread=2)), "hold", "ab_step_time", "ab rmsnorm"),
        (compared(pairs(5, speedup=1.0, spread=2)), "hold", "ab_step_time", "--pairs 8"),
        (compared(pairs(5, speedup=0.8)), "reject", "ab_step_time", "0.80"),
        (compared(pairs(2)), "hold", "ab_step_time", "--pairs 3"),
        (compared(pairs(5, bpb_change=0.01)), "reject", "ab_val_bpb", "+0.01"),
        (compared(pairs(5, bpb_change=0.002)), "hold", "ab_val_bpb", "undecided"),
        (compared(pairs(8, bpb_change=0.002)), "reject", "ab_val_bpb", "looks are spent"),
        (compared([]), "hold", "ab_step_time", "--pairs 3"),
        (Broken(reason="diverged", detail="NaN"), "reject", "ab", "NaN"),
        (Broken(reason="arm_failed", detail="exit 1"), "reject", "ab", "exit 1"),
        (Broken(reason="clock_mismatch", detail="9 s"), "reject", "ab", "9 s"),
        (Broken(reason="not_evaluated", detail="exit 3"), "reject", "ab", "exit 3"),
        (Broken(reason="trained_differently", detail="0.9"), "reject", "ab", "0.9"),
        (Broken(reason="wrong_op", detail="ran 12ab"), "hold", "ab", "run: kernel-lab ab"),
    ],
)
def test_what_the_ab_must_show(outcome: Any, decision: str, rule: str, says: str) -> None:
    """No gain, a loss, too few pairs, a worse model, a run that broke."""
    found = verdict(*GOOD[:3], tried(outcome))
    assert found.decision == decision
    assert rule in unmet(found)
    assert says in detail(found, rule)


def test_a_better_model_is_called_superior() -> None:
    """Superior implies not inferior; the reader should see which it was."""
    found = verdict(*GOOD[:3], GOOD[4], tried(compared(pairs(5, bpb_change=-0.01))))
    assert found.decision == "promote"
    assert "superior" in detail(found, "ab_val_bpb")


def test_pairs_between_two_looks_decide_nothing() -> None:
    """Otherwise one could stop after the seventh pair because it looks good."""
    five = pairs(5, speedup=1.004)
    lucky = [*five, pair(5, 3.0), pair(6, 3.0)]
    before = verdict(*GOOD[:3], tried(compared(five)))
    after = verdict(*GOOD[:3], tried(compared(lucky)))
    assert before.decision == after.decision == "hold"


def test_pairs_after_a_look_do_not_undo_it() -> None:
    """Nor may pairs beyond the last complete look take back what it said."""
    awful = [pair(5, 0.2, bpb_change=1.0), pair(6, 0.2, bpb_change=1.0)]
    before = verdict(*GOOD[:3], GOOD[4], tried(compared(pairs(5))))
    after = verdict(*GOOD[:3], GOOD[4], tried(compared([*pairs(5), *awful])))
    assert before.decision == after.decision == "promote"
    for rule in ("ab_step_time", "ab_val_bpb"):
        assert detail(before, rule) == detail(after, rule)


@pytest.mark.parametrize("rule", ["ab_step_time", "ab_val_bpb"])
def test_each_further_attempt_needs_stronger_evidence(rule: str) -> None:
    """Step time and val_bpb alike: trying until it works must not be a way in."""
    looks = tried(compared(pairs(5, speedup=1.03, bpb_change=0.0013)))
    found = Evidence(verified=GOOD[1], benched=GOOD[2], tried=looks)
    assert rule not in unmet(judge(found))
    assert rule in unmet(judge(replace(found, attempt=12)))


@pytest.mark.parametrize(
    "bad",
    [
        replace(pair(0), seed=1001),
        replace(pair(0), candidate=arm(90.0, 2.0, INCUMBENT)),
        replace(pair(0), incumbent=arm(100.0, 2.0, CANDIDATE)),
        replace(pair(0), candidate=arm(90.0, 2.0, CANDIDATE, steps=19)),
        replace(
            pair(0),
            candidate=replace(pair(0).candidate, ops={"rmsnorm": CANDIDATE, "relu_squared": "9"}),
        ),
    ],
    ids=["same seed twice", "not the candidate", "not the incumbent", "fewer steps", "other op"],
)
def test_pairs_that_differ_in_more_than_the_op_do_not_count(bad: Any) -> None:
    """The predecessor counted arms that silently ran the same kernel."""
    found = verdict(*GOOD[:3], GOOD[4], tried(compared([bad, *pairs(5)[1:]])))
    assert found.decision == "hold"
    assert unmet(found) == {"ab"}


@pytest.mark.parametrize(
    ("steps", "eval_tokens"), [(1, "cheap"), (19, "cheap"), (20, "1"), (20, "16383")]
)
def test_an_ab_of_few_steps_or_little_text_does_not_count(steps: int, eval_tokens: str) -> None:
    """Who asks for it chooses both: half a second of CPU time beside the clock is several steps of
    a small model, and a row of text says nothing of harm."""
    found = [
        replace(
            one,
            incumbent=replace(one.incumbent, steps=steps),
            candidate=replace(one.candidate, steps=steps),
        )
        for one in pairs(5)
    ]
    outcome = replace(compared(found), steps=steps, eval_tokens=eval_tokens)
    short = verdict(*GOOD[:3], GOOD[4], tried(outcome))
    assert short.decision == "hold"
    assert unmet(short) == {"ab"}
    assert "needed" in detail(short, "ab")


def test_the_driver_stops_exactly_when_the_gate_is_decided() -> None:
    """Stopping early would leave holds behind; going on would waste an hour of training."""
    assert ab_settled(compared(pairs(3, speedup=1.3, spread=0.5)))
    assert ab_settled(compared(pairs(5, speedup=0.8)))
    assert ab_settled(compared(pairs(5, bpb_change=0.01)))
    assert ab_settled(compared(pairs(8, speedup=1.0, spread=2)))
    assert not ab_settled(compared(pairs(5, speedup=1.0, spread=2)))
    assert not ab_settled(compared(pairs(3, speedup=1.3, bpb_change=0.002)))
    assert not ab_settled(compared(pairs(2, speedup=1.3)))
    assert not ab_settled(compared(pairs(3, speedup=1.3, spread=0.5)), Policy(minimum_pairs=5))
    assert ab_settled(compared(pairs(3, speedup=1.2, spread=0.5)))
    assert not ab_settled(compared(pairs(3, speedup=1.2, spread=0.5)), attempt=6)


# ---- which evidence counts ----------------------------------------------------------------------


@pytest.mark.parametrize(
    "other",
    [
        {"candidate_sha256": "d" * 64},
        {"harness_sha256": "d" * 64},
        {"target_sha256": "d" * 64},
        {"engine": "cuda"},
        {"machine": replace(MACHINE, hardware="CPU x4")},
        {"machine": replace(MACHINE, frameworks={"torch": "3"})},
        {"machine": replace(MACHINE, frameworks={"torch": "2", "triton": "3"})},
    ],
)
@pytest.mark.parametrize("make", [verified, benched, tried])
def test_evidence_of_something_else_never_counts(make: Any, other: dict[str, Any]) -> None:
    """Verify A, edit to B, promote B must be impossible, whichever part was exchanged."""
    lines = [line for line in GOOD if type(line) is not type(make())]
    assert verdict(*lines, make(**other)).decision == "hold"
    assert verdict(*GOOD, make(**other)).decision == "promote"


def test_other_software_versions_that_decide_nothing_do_not_matter() -> None:
    """A commit or a Python patch release must not void a night of measurements."""
    elsewhere = replace(MACHINE, python="3.12.9", git_commit="f" * 40, git_dirty=True)
    assert verdict(*(replace(line, machine=elsewhere) for line in GOOD)).decision == "promote"


@pytest.mark.parametrize(
    "later",
    [
        verified(Failed(reason="numeric", detail="off")),
        verified(Failed(reason="numeric", detail="off"), tier="simulated"),
        benched(cases=[steady(case, 0.7) for case in CASES]),
        tried(compared(pairs(5, speedup=0.7))),
    ],
)
def test_a_later_failure_beats_an_earlier_pass_and_a_later_pass_an_earlier_failure(
    later: Any,
) -> None:
    """The latest word counts, in both directions."""
    assert verdict(*GOOD, later).decision == "reject"
    assert verdict(later, *GOOD).decision == "promote"


@pytest.mark.parametrize("make", [verified, benched])
def test_a_pass_in_the_simulator_does_not_displace_one_from_the_device(make: Any) -> None:
    """Going back to the simulator to try something must not void what the device showed."""
    assert verdict(*GOOD, make(tier="simulated")).decision == "promote"
    assert verdict(*GOOD[:1], make(tier="simulated"), *GOOD[1:]).decision == "promote"


def test_in_the_simulator_too_the_latest_word_counts() -> None:
    """A candidate mended in the simulator must not stay rejected for what it was before."""
    broken = verified(Failed(reason="numeric", detail="off"), tier="simulated")
    assert verdict(broken, verified(tier="simulated")).decision == "hold"


def test_pairs_of_different_records_are_not_pooled() -> None:
    """Five lucky pairs and three unlucky ones in two A/Bs are not eight pairs of one."""
    halves = tried(compared(pairs(3))), tried(compared([pair(n + 50) for n in range(2)]))
    found = verdict(*GOOD[:3], *halves)
    assert found.decision == "hold"
    assert "2 pairs" in detail(found, "ab")


def test_an_ab_against_a_former_incumbent_can_be_left_out() -> None:
    """After another promotion, being faster than what nobody runs any more proves nothing."""
    assert collect(GOOD, **WANTED, incumbent_sha256=INCUMBENT).tried is not None
    assert collect(GOOD, **WANTED, incumbent_sha256="0" * 64).tried is None


def test_the_ids_of_a_verdict_are_those_of_the_records_it_rests_on() -> None:
    """A promotion names them; the reader follows them into the ledger."""
    lines = with_ids(GOOD)
    assert collect(lines, **WANTED).ids == tuple(line.id for line in lines[1:])
    assert collect(lines[:2], **WANTED).ids == (lines[1].id,)
    twice = with_ids([*GOOD, other_seeds(tried())])
    assert collect(twice, **WANTED).ids == tuple(line.id for line in twice[1:])


def test_only_an_ab_of_todays_trainer_counts() -> None:
    """An edited trainer has other steps. What was verified and benched does not depend on it."""
    every = len(collect(GOOD, **WANTED).records)
    for trained_by, records in (("today's", every), ("another", every - 1)):
        lines = [
            msgspec.structs.replace(line, trainer_sha256=trained_by)
            if isinstance(line, Tried)
            else line
            for line in GOOD
        ]
        assert len(collect(lines, **WANTED, trainer_sha256="today's").records) == records


def test_only_evidence_of_its_own_preset_counts() -> None:
    """Another preset has other shapes of the same names, and another share of the step."""
    of_tour = [msgspec.structs.replace(line, preset="tour") for line in GOOD]
    assert collect(of_tour, **WANTED, preset="tour").records == collect(of_tour, **WANTED).records
    assert collect(of_tour, **WANTED, preset="upstream").records == ()
    line = next(line for line in of_tour if isinstance(line, Tried))
    elsewhere = msgspec.structs.replace(line.outcome, preset="upstream")
    found = verdict(*of_tour, msgspec.structs.replace(line, outcome=elsewhere))
    assert found.decision == "hold"
    assert "preset upstream was trained" in detail(found, "ab")
