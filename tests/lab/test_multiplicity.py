"""Trying until it works does not pay: repeated A/Bs and benches are counted and judged harder."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from made_records import (
    CASES,
    MACHINE,
    WANTED,
    benched,
    calibrated,
    compared,
    pairs,
    steady,
    tried,
    verified,
    with_ids,
)

from lab.evidence import Evidence, collect
from lab.gate import Policy, judge
from lab.gate_ab import level, may_be_confirmed
from lab.outcomes import Broken, Quarantined
from lab.records import Tried, Verdict

replace = msgspec.structs.replace
OTHERS: tuple[dict[str, Any], ...] = (
    {"candidate_sha256": "d" * 64},
    {"candidate_sha256": "d" * 64, "harness_sha256": "d" * 64},
    {"candidate_sha256": "d" * 64, "machine": replace(MACHINE, frameworks={"torch": "3"})},
    {"candidate_sha256": "d" * 64, "target_sha256": "d" * 64, "incumbent_sha256": "d" * 64},
)
FIRST_ONLY = pairs(8, speedup=1.012)
"""Eight pairs that do for a first A/B and not for a tenth."""


def anew(number: int, outcome: Any = None, **changes: Any) -> Tried:
    """An A/B with seeds of its own."""
    made = outcome or compared(FIRST_ONLY)
    own = tuple(replace(p, seed=p.seed + 100 * number) for p in made.pairs)
    return tried(replace(made, pairs=own), **changes)


def found(*lines: Any) -> Evidence:
    return collect(with_ids(lines), **WANTED)


def on(line: Any, day: int, clock: str = "12:00:00") -> Any:
    return replace(line, time_utc=f"2026-03-{day:02}T{clock}.000Z")


def verdict(*lines: Any) -> Verdict:
    return judge(found(verified(), benched(), calibrated(), *lines))


def detail(result: Verdict, rule: str) -> str:
    return next(reason.detail for reason in result.reasons if reason.rule == rule)


@pytest.mark.parametrize("other", OTHERS)
def test_an_ab_on_the_target_counts_whatever_it_was_about(other: dict[str, Any]) -> None:
    """Editing a comment, or updating the lab, must not buy a fresh error budget."""
    assert found(anew(1, **other), tried()).attempt == 2


@pytest.mark.parametrize(
    "other",
    [
        {"target": "relu_squared"},
        {"engine": "cuda"},
        {"machine": replace(MACHINE, hardware="CPU x4")},
    ],
)
def test_an_ab_of_another_target_or_machine_does_not_count(other: dict[str, Any]) -> None:
    """Ten targets tried once each are not ten tries of one."""
    assert found(anew(1, **other), tried()).attempt == 1


def test_looks_of_one_ab_are_one_attempt_and_a_new_ab_is_another() -> None:
    """Going on is free; starting over until it works costs error budget, and so does breaking."""
    looks = [tried(compared(pairs(count))) for count in (3, 5, 8)]
    assert found(*looks).attempt == 1
    assert found(*looks, anew(1)).attempt == 2
    broken = tried(Broken(reason="diverged", detail=""))
    assert found(*looks, anew(1), broken).attempt == 3
    assert found(broken, broken, looks[0]).attempt == 3
    broke_later = tried(Broken(reason="diverged", detail="", pairs=looks[0].outcome.pairs))
    assert found(looks[0], broke_later).attempt == 1


def test_what_began_later_does_not_count() -> None:
    """The number of an A/B is fixed when it begins; its later looks keep it."""
    first, last = tried(compared(pairs(3))), tried(compared(pairs(5)))
    assert found(first, anew(1, candidate_sha256="d" * 64), last).attempt == 1


def test_only_seven_days_before_the_ab_count() -> None:
    """A week later the target is as good as new; the time is that of the first look."""
    first = on(anew(1), 1)
    assert found(first, on(tried(), 8)).attempt == 2
    assert found(first, on(tried(), 8, "12:00:01")).attempt == 1
    begun, looked = on(tried(compared(pairs(3))), 7), on(tried(compared(pairs(5))), 20)
    assert found(first, begun, looked).attempt == 2


@pytest.mark.parametrize("time_utc", ["2031-01-01T00:00:00.000Z", "", "yesterday", "2026-03-01"])
def test_a_clock_that_jumped_back_or_nonsense_counts_as_recent(time_utc: str) -> None:
    """What stands before in the ledger was before; a doubt must not make the gate milder."""
    earlier = replace(anew(1), time_utc=time_utc)
    assert found(earlier, on(tried(), 2)).attempt == 2


def test_ten_numbers_of_any_week_are_ten_different_ones() -> None:
    """Or the shares of the error would not add up to less than the whole."""
    lines = [on(anew(n, candidate_sha256=f"{n:064x}"), 1 + n // 2) for n in range(14)]
    numbers = [
        collect(lines[: n + 1], **{**WANTED, "candidate_sha256": f"{n:064x}"}).attempt
        for n in range(14)
    ]
    assert numbers == list(range(1, 15))


# ---- confirmation --------------------------------------------------------------------------------

NINE = tuple(anew(n, candidate_sha256=f"{n:064x}") for n in range(1, 10))


def test_the_tenth_try_needs_more_than_the_first_or_a_confirmation() -> None:
    """The same eight pairs: enough at the first, at the tenth only with a fresh A/B beside them."""
    assert verdict(tried(compared(FIRST_ONLY))).decision == "promote"
    tenth = verdict(*NINE, tried(compared(FIRST_ONLY)))
    assert tenth.decision == "hold"
    assert "run: kernel-lab ab rmsnorm-cpu-torch-0001 --fresh" in detail(tenth, "ab_step_time")
    assert "A/B number 10 on this target in seven days" in detail(tenth, "ab")
    assert "may spend 0.0061 of the error" in detail(tenth, "ab")
    confirmed = verdict(*NINE, tried(compared(FIRST_ONLY)), anew(20))
    assert confirmed.decision == "promote"
    assert "number 11" in detail(confirmed, "ab")
    assert "confirms the one before" in detail(confirmed, "ab")


def test_strong_evidence_needs_no_confirmation_at_the_tenth_try() -> None:
    """A tenth candidate that gains 10% must not wait."""
    assert verdict(*NINE, tried(compared(pairs(8, speedup=1.1, spread=0.5)))).decision == "promote"


def test_nobody_is_sent_to_confirm_what_stands_by_itself() -> None:
    """Eight more pairs of training runs, and they could only take the gain away again."""
    strong = tried(compared(pairs(8, speedup=1.1, spread=0.5)))
    assert not may_be_confirmed(found(*NINE, strong), Policy())
    assert may_be_confirmed(found(*NINE, tried(compared(FIRST_ONLY))), Policy())


def test_a_confirmation_that_fails_rejects_and_cannot_be_drawn_again() -> None:
    """The second of two fresh runs would otherwise only have to be lucky once in many."""
    nothing = compared(pairs(8, speedup=1.0, spread=2))
    lines = [*NINE, tried(compared(FIRST_ONLY)), anew(20, nothing)]
    assert verdict(*lines).decision == "reject"
    again = found(*lines, anew(21))
    assert level(again, Policy()) == again.attempt == 12


@pytest.mark.parametrize(
    "before",
    [
        tried(compared(pairs(8, speedup=1.0, spread=2))),
        tried(compared(pairs(8, speedup=1.012, bpb_change=0.003))),
        tried(compared(pairs(2, speedup=1.5))),
        tried(compared([])),
        tried(Broken(reason="arm_failed", detail="exit 1", pairs=tuple(FIRST_ONLY))),
        tried(compared([replace(FIRST_ONLY[0], seed=1001), *FIRST_ONLY[1:]])),
        tried(compared(FIRST_ONLY), candidate_sha256="d" * 64),
        tried(compared(FIRST_ONLY), harness_sha256="d" * 64),
        tried(compared(FIRST_ONLY), incumbent_sha256="d" * 64),
    ],
    ids=[
        *("no gain", "harm", "too few", "none", "broken", "unfit"),
        *("other candidate", "other harness", "other incumbent"),
    ],
)
def test_only_a_success_of_the_same_candidate_can_be_confirmed(before: Tried) -> None:
    """Else the milder level would be had for nothing."""
    wanted = {**WANTED, "incumbent_sha256": "1" * 64}
    both = collect(with_ids([*NINE, before, anew(20)]), **wanted)
    assert level(both, Policy()) == both.attempt > 1


def test_the_same_seeds_confirm_nothing() -> None:
    """A copy of the pairs is no second opinion."""
    first = tried(compared(FIRST_ONLY))
    copy = [replace(FIRST_ONLY[0], seed=5), *FIRST_ONLY[1:]]
    both = found(*NINE, first, tried(compared(copy)))
    assert both.before == with_ids([*NINE, first])[-1]
    assert level(both, Policy()) == 11


# ---- benches -------------------------------------------------------------------------------------


def marginal(**changes: Any) -> Any:
    """A bench whose 95% interval ends just above 1.02."""
    return benched(cases=[steady(case, 1.025) for case in CASES], **changes)


def test_a_bench_repeated_until_lucky_is_judged_harder() -> None:
    """The gate must not reward repetition: the k-th may err a k-squared part as often."""
    once = found(verified(), marginal(), tried(), calibrated())
    assert judge(once).decision == "promote"
    thrice = found(verified(), benched(), marginal(), marginal(), tried(), calibrated())
    assert thrice.bench_attempt == 3
    result = judge(thrice)
    assert result.decision == "hold"
    assert "bench number 3 of this candidate" in detail(result, "bench_speedup")
    assert judge(found(verified(), *[benched()] * 9, tried(), calibrated())).decision == "promote"


def test_benches_of_another_week_or_without_times_do_not_count() -> None:
    """A noisy session that measured nothing gave nobody a second chance."""
    noisy = benched(Quarantined(reason="control_failed", detail="1.1x"))
    assert found(noisy, noisy, benched()).bench_attempt == 1
    wide = benched(Quarantined(reason="too_noisy", detail="known to 9% either way"))
    assert found(wide, wide, benched()).bench_attempt == 3, "each drew a number"
    assert found(benched(tier="simulated"), benched()).bench_attempt == 1
    assert found(on(benched(), 1), on(benched(), 9)).bench_attempt == 1
    assert found(on(benched(), 2), on(benched(), 9)).bench_attempt == 2
    assert found(benched(candidate_sha256="d" * 64), benched()).bench_attempt == 1
