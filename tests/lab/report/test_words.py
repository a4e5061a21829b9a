"""Verdicts in words: what a person reads first, and often the only thing they read."""

from __future__ import annotations

from typing import Any, get_args

import msgspec
import pytest
import report_samples as samples

from lab import outcomes as o
from lab import records as r
from lab.report import verdict_sentence
from lab.report.numbers import bpb_text, minute, ms_text, ratio_text, unbroken
from lab.report.story import stories
from lab.report.words import REASONS, failure_detail, finding_text, story_sentence


def interval(point: float, low: float, high: float) -> o.Interval:
    return o.Interval(point=point, low=low, high=high, samples=20)


def told(ledger: samples.Ledger) -> str:
    return story_sentence(stories(ledger.lines)[0])


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ((1.31, 1.27, 1.35), "1.31x [1.27, 1.35]"),
        ((1.843, 1.791, 1.902), "1.84x [1.79, 1.90]"),
        ((1.004, 1.001, 1.007), "1.004x [1.001, 1.007]"),
        ((1.02, 0.998, 1.05), "1.020x [0.998, 1.050]"),
        ((12.5, 12.1, 12.9), "12.50x [12.10, 12.90]"),
        ((1.0, 1.0, 1.0), "1.00x [1.00, 1.00]"),
        ((float("nan"), 0.0, float("inf")), "not a finite number"),
    ],
)
def test_ratios_keep_the_decimals_that_matter(values: tuple[float, ...], text: str) -> None:
    """`1.00x [1.00, 1.01]` would hide whether there is a gain at all."""
    assert ratio_text(interval(*values)) == text


@pytest.mark.parametrize("low", [0.996, 0.9996, 0.99996, 1.00004, 1.0004])
def test_a_bound_is_never_rounded_onto_no_difference(low: float) -> None:
    """A bound below 1 that is shown as 1.00 turns an undecided result into a gain."""
    shown = float(ratio_text(interval(1.2, low, 1.4)).split("[")[1].split(",")[0])
    assert (shown < 1) == (low < 1)
    assert shown != 1


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ((0.0003, -0.0002, 0.0008), "+0.0003 [-0.0002, +0.0008]"),
        ((-0.0123, -0.0131, -0.0115), "-0.0123 [-0.0131, -0.0115]"),
        ((0.0001, -0.00002, 0.0003), "+0.00010 [-0.00002, +0.00030]"),
        ((-0.0, 0.0, 0.0), "+0.0000 [+0.0000, +0.0000]"),
    ],
)
def test_bits_per_byte_carry_their_sign(values: tuple[float, ...], text: str) -> None:
    """Whether val_bpb went up or down must not be left to guesswork."""
    assert bpb_text(interval(*values)) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.04567, "0.0457 ms"),
        (12.34, "12.3 ms"),
        (812.0, "812 ms"),
        (1234.5, "1,230 ms"),
        (0, "0 ms"),
    ],
)
def test_durations_have_three_digits(value: float, text: str) -> None:
    assert ms_text(value) == text


def test_times_and_intervals_stay_readable() -> None:
    """A time that is no ISO time must still be shown, and an interval must not be torn apart."""
    assert minute("2026-11-21T10:05:59.123Z") == "2026-11-21 10:05"
    assert minute("yesterday") == "yesterday"
    assert unbroken("x [0.9, 1.1], y", "~") == "x [0.9,~1.1], y"


# ---- verdicts -----------------------------------------------------------------------------------


def test_a_hold_says_what_is_missing_and_how_to_get_it() -> None:
    """Someone whose candidate is held must know why and what to run."""
    ledger = samples.whole()
    judged = ledger.lines[-1]
    bench, ab = ledger.lines[-3].outcome, ledger.lines[-2].outcome
    text = verdict_sentence(judged, ledger.lines)
    assert text.startswith(f"HOLD: softcap_cross_entropy {judged.candidate_sha256[:12]} on cpu ")
    assert f"is {ratio_text(bench.speedup)} as fast as the incumbent in bench (3 cases)" in text
    assert ratio_text(ab.speedup) in text
    assert bpb_text(ab.val_bpb) in text
    assert "Not met: ab_step_time (" in text
    assert text.endswith(f"Next: kernel-lab ab {ledger.workspace} --pairs 5")


def test_a_95_percent_gain_that_the_gate_does_not_accept_is_told_as_such() -> None:
    """The gate's bound is stricter than the interval shown: the sentence must not claim more."""
    ledger = samples.whole()
    assert ledger.lines[-2].outcome.speedup.low > 1
    assert "as fast over 3 pairs, which is not certain enough for the gate" in told(ledger)


def test_a_promotion_names_every_stage_and_nothing_unmet() -> None:
    ledger = samples.whole(**samples.PROMOTED)
    text = told(ledger)
    assert text.startswith("PROMOTE: ")
    assert "Not met" not in text
    assert "but" not in text
    assert text.endswith(f"Next: kernel-lab promote {ledger.workspace}")


def test_a_rejection_claims_no_gain() -> None:
    """A slower candidate must not be called `as fast as`."""
    text = told(samples.whole(**samples.REJECTED))
    assert text.startswith("REJECT: ")
    assert "is slower than the incumbent in bench: 0.899x" in text
    assert "slows the trainer's step: 0.93x" in text
    assert "bench_speedup" in text.split("Not met: ")[1]


def test_an_interval_around_one_is_no_gain() -> None:
    ledger = samples.Ledger()
    ledger.verified()
    ledger.benched(samples.measured(1.0))
    assert "but is not certainly faster in bench: 0.998x" in told(ledger)
    assert "as fast as the incumbent" not in told(ledger)


def test_an_unverified_or_failed_candidate_is_not_judged() -> None:
    ledger = samples.Ledger()
    ledger.verified(samples.failed())
    text = told(ledger)
    assert text.startswith("NOT JUDGED: ")
    assert "failed verify: a gradient is further from the oracle than allowed" in text
    assert "in case 'tour-accumulated', bfloat16" in text
    assert "benched" not in text


def test_what_a_failed_candidate_printed_is_not_in_the_sentence() -> None:
    """Only the lab's own words explain a verdict; the candidate's are shown apart."""
    ledger = samples.Ledger()
    ledger.verified(samples.failed(samples.HOSTILE))
    story = stories(ledger.lines)[0]
    assert "script" not in story_sentence(story)
    assert failure_detail(story) == samples.HOSTILE


def test_every_reason_has_words() -> None:
    """A new failure reason without words would crash the report of exactly that failure."""
    reasons = set(get_args(o.FailureReason))
    for outcome in (o.Quarantined, o.Broken):
        field = next(f for f in msgspec.structs.fields(outcome) if f.name == "reason")
        reasons |= set(get_args(field.type))
    assert reasons == set(REASONS)


def test_lines_after_a_verdict_do_not_change_what_it_says() -> None:
    """The tour prints the verdict that it got, whatever is appended meanwhile."""
    ledger = samples.whole()
    judged = ledger.lines[-1]
    before = verdict_sentence(judged, ledger.lines)
    ledger.verified(samples.failed())
    assert verdict_sentence(judged, ledger.lines) == before
    assert verdict_sentence(judged, []).startswith("HOLD: ")


# ---- which records belong together --------------------------------------------------------------


def test_a_verdict_does_not_speak_for_newer_records() -> None:
    """Verify A, judge A, verify again and fail: the old HOLD must not stand over the failure."""
    ledger = samples.whole()
    ledger.verified(samples.failed())
    story = stories(ledger.lines)[0]
    assert story.judged is None
    assert story.superseded is not None
    assert told(ledger).startswith("NOT JUDGED: ")
    assert "An earlier verdict (HOLD) does not cover the newest records." in told(ledger)


def test_records_of_another_harness_do_not_count() -> None:
    """A pass by an older, weaker harness says nothing today."""
    ledger = samples.Ledger()
    ledger.verified()
    ledger.benched(harness_sha256=samples.sha("new harness"))
    story = stories(ledger.lines)[0]
    assert story.verified is None
    assert story.outdated == 1
    assert "has not been verified" in story_sentence(story)


def test_machines_are_kept_apart() -> None:
    """A speed-up on one chip is no evidence on another."""
    ledger = samples.whole()
    other = msgspec.structs.replace(samples.MACHINE, hardware="Another chip x8")
    ledger.verified(machine=other)
    here, there = stories(ledger.lines)[1], stories(ledger.lines)[0]
    assert (here.machine.hardware, there.machine.hardware) == (
        samples.MACHINE.hardware,
        other.hardware,
    )
    assert there.benched is None


def test_a_simulated_pass_says_so() -> None:
    ledger = samples.Ledger()
    ledger.verified(tier="simulated")
    assert "passed verify (12 checks, simulated only)" in told(ledger)


def promoted(ledger: samples.Ledger) -> None:
    ledger.add(r.Promoted, verdict_id=ledger.lines[-1].id, file="promoted/x.py")


def test_promotion_replacement_and_demotion_are_told() -> None:
    """The report must say what the trainer runs today, not what it ran once."""
    first = samples.whole(**samples.PROMOTED)
    promoted(first)
    assert told(first).endswith("the trainer uses it on this engine and hardware.")
    second = samples.Ledger(lines=first.lines, candidate="candidate two")
    second.verified()
    promoted(second)
    newest, older = stories(first.lines)
    assert (newest.standing, older.standing) == ("promoted", "replaced")
    second.lines.append(
        r.Demoted(
            machine=samples.MACHINE,
            target=newest.target,
            engine=newest.engine,
            candidate_sha256=newest.candidate_sha256,
            why="diverged at scale",
        )
    )
    assert stories(second.lines)[0].standing == "demoted"
    assert "has been demoted since" in finding_text(stories(second.lines)[0])


# ---- the next step ------------------------------------------------------------------------------


def steps() -> list[tuple[str, Any]]:
    verified, quarantined, benched, tried, failed = (samples.Ledger() for _ in range(5))
    for ledger in (verified, quarantined, benched, tried):
        ledger.verified()
    quarantined.benched(samples.quarantined())
    for ledger in (benched, tried):
        ledger.benched()
    tried.tried()
    failed.verified(samples.failed())
    return [
        ("Next: kernel-lab bench W", verified),
        ("Next: kernel-lab bench W", quarantined),
        ("Next: kernel-lab ab W", benched),
        ("Next: kernel-lab gate W", tried),
        ("Next: mend candidate.py, then kernel-lab verify W", failed),
        ("Next: change candidate.py, then kernel-lab verify W", samples.whole(**samples.REJECTED)),
    ]


@pytest.mark.parametrize(("step", "ledger"), steps())
def test_the_next_step_fits_the_state(step: str, ledger: samples.Ledger) -> None:
    assert told(ledger).endswith(step.replace("W", ledger.workspace))


def test_a_workspace_name_cannot_smuggle_a_command() -> None:
    """The command is there to be pasted into a shell."""
    ledger = samples.Ledger(workspace="x; rm -rf ~")
    ledger.verified()
    assert told(ledger).endswith("kernel-lab bench 'x; rm -rf ~'")


def test_a_candidates_words_cannot_become_the_next_step() -> None:
    """A gate's reason may quote what a candidate printed on stderr."""
    ledger = samples.whole()
    reason = r.Reason(rule="ab", holds=False, detail="it said; run: kernel-lab promote x && evil")
    verdict = r.Verdict(decision="hold", reasons=(reason,))
    ledger.lines[-1] = msgspec.structs.replace(ledger.lines[-1], verdict=verdict)
    assert told(ledger).endswith(f"Next: kernel-lab ab {ledger.workspace} --pairs 5")
