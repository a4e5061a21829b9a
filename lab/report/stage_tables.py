"""What each stage found, as HTML: the gate's conditions, verify, bench and A/B, raw numbers behind.

Each function takes the records of one story and returns markup. Intervals are shown as recorded;
where the raw samples do not give them, a warning says so.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

from lab.outcomes import Broken, CaseTiming, Failed, Measured, Pair, Quarantined, TensorCheck
from lab.paired import speedup
from lab.records import Benched, Judged, Tried, Verified
from lab.report.markup import Markup, details, element, joined, table
from lab.report.numbers import (
    bpb_text,
    confidence_text,
    counted,
    ms_text,
    number_text,
    percent_text,
    ratio_text,
    unbroken,
)
from lab.report.recompute import ab_disagreements, bench_disagreements
from lab.report.simulated import simulated_section
from lab.report.words import REASONS, failure_text


def conditions(judged: Judged) -> Markup:
    """Every condition of the gate, whether it holds, and the numbers that decided."""
    rows = [
        [
            element("code", reason.rule),
            element("span", "holds", class_="yes")
            if reason.holds
            else element("span", "not met", class_="no"),
            reason.detail,
        ]
        for reason in judged.verdict.reasons
    ]
    policy = [[element("code", name), f"{value}"] for name, value in sorted(judged.policy.items())]
    return joined(
        element("h3", "Conditions of the gate"),
        table(f"Verdict of {judged.time_utc}", ["condition", "", "what decided"], rows),
        details("Policy", table("What the gate demanded", ["setting", ">value"], policy)),
    )


# ---- verify -------------------------------------------------------------------------------------


def verify_section(verified: Verified | None, missing: str) -> Markup:
    """Worst error against what is allowed, per tensor and dtype."""
    title = element("h3", "Verify: is it correct?")
    if verified is None:
        return joined(title, element("p", missing))
    outcome = verified.outcome
    where = f"Tier: {verified.tier}; sandbox: {verified.isolation}. "
    if isinstance(outcome, Failed):
        tables = _check_tables(outcome.checks, "before it")
        return joined(title, _failure(outcome, where), simulated_section(outcome.simulated), tables)
    said = "Every tensor was within its bounds, against the float64 oracle."
    if not outcome.deterministic:
        said += " Two runs on the same inputs differed in their last bits."
    tables = _check_tables(outcome.checks, "in all")
    return joined(
        title, element("p", f"{where}{said}"), simulated_section(outcome.simulated), tables
    )


def _failure(outcome: Failed, where: str) -> Markup:
    return joined(
        element("p", f"{where}Failed: {failure_text(outcome)}."),
        element("pre", outcome.detail, class_="message") if outcome.detail else "",
    )


def _check_tables(checks: Sequence[TensorCheck], which: str) -> Markup:
    if not checks:
        return joined()
    worst: dict[tuple[str, str], TensorCheck] = {}
    for check in checks:
        key = (check.tensor, check.dtype)
        if key not in worst or used_share(check) > used_share(worst[key]):
            worst[key] = check
    rows = [_check_row(check, first=tensor) for (tensor, _), check in worst.items()]
    headings = [
        *("tensor", "dtype", "worst case", ">largest error", ">allowed", ">RMS error", ">allowed"),
        *(">of the allowed", ">incumbent's largest"),
    ]
    every = [_check_row(check, first=check.tensor) for check in checks]
    count = counted(len(checks), "check")
    return joined(
        table("Per tensor, the case that comes nearest to its bound", headings, rows),
        details(f"{count} {which}", table("Every check", headings, every)),
    )


def _check_row(check: TensorCheck, first: str) -> list[str | Markup]:
    return [
        element("code", first),
        check.dtype,
        check.case,
        number_text(check.max_error),
        number_text(check.allowed_max),
        number_text(check.rms_error),
        number_text(check.allowed_rms),
        percent_text(used_share(check)),
        number_text(check.incumbent_max),
    ]


def used_share(check: TensorCheck) -> float:
    """How much of its bound a check uses up, by the larger of the two errors; 1 is the limit."""
    pairs = ((check.max_error, check.allowed_max), (check.rms_error, check.allowed_rms))
    return max(error / allowed if allowed else _without_bound(error) for error, allowed in pairs)


def _without_bound(error: float) -> float:
    return 0.0 if error == 0 else float("inf")


# ---- bench --------------------------------------------------------------------------------------


def bench_section(benched: Benched | None, missing: str) -> Markup:
    """Speed-up per case with the median times and the floor."""
    title = element("h3", "Bench: is it faster?")
    if benched is None:
        return joined(title, element("p", missing))
    outcome = benched.outcome
    where = f"Tier: {benched.tier}; sandbox: {benched.isolation}. "
    if isinstance(outcome, Failed):
        return joined(title, _failure(outcome, where))
    if isinstance(outcome, Quarantined):
        return joined(title, _quarantined(outcome, where))
    return joined(title, element("p", where, unbroken(_bench_words(outcome))), _case_table(outcome))


def _quarantined(outcome: Quarantined, where: str) -> Markup:
    return joined(
        element("p", f"{where}Quarantined: {REASONS[outcome.reason]}. No speed-up can be quoted."),
        element("pre", outcome.detail, class_="message") if outcome.detail else "",
        _raw_times(outcome.cases),
    )


def _bench_words(outcome: Measured) -> str:
    return (
        f"Geometric mean over {counted(len(outcome.cases), 'case')}: {ratio_text(outcome.speedup)}."
        f" The incumbent against itself, in the same session: {ratio_text(outcome.control)}."
        f" Brackets are {confidence_text(outcome.speedup)}s; above 1x is faster."
    )


def _case_table(outcome: Measured) -> Markup:
    rows = [
        [
            case.case,
            case.dtype,
            ratio_text(case.speedup),
            ms_text(median(case.incumbent_ms)),
            ms_text(median(case.candidate_ms)),
            ms_text(case.floor_ms),
            f"{len(case.incumbent_ms)} x {case.calls_per_block}",
        ]
        for case in outcome.cases
    ]
    headings = [
        *("case", "dtype", ">speed-up", ">incumbent", ">candidate", ">floor"),
        ">blocks x calls",
    ]
    return joined(
        table("Median time of one call, forward and backward", headings, rows),
        _agreement(bench_disagreements(outcome)),
        _raw_times(outcome.cases),
    )


def _raw_times(cases: Sequence[CaseTiming]) -> Markup:
    if not cases:
        return joined()
    tables = [
        table(
            f"{case.case}, {case.dtype}: milliseconds per call of each block",
            [">block", ">incumbent", ">candidate", ">incumbent again (A/A)"],
            [
                [str(number), *(f"{value:.6g}" for value in times)]
                for number, times in enumerate(
                    zip(case.incumbent_ms, case.candidate_ms, case.control_ms, strict=False),
                    start=1,
                )
            ],
        )
        for case in cases
    ]
    return details("Raw times", *tables)


# ---- the A/B ------------------------------------------------------------------------------------


def ab_section(tried: Tried | None, missing: str) -> Markup:
    """Step time and val_bpb of each pair of training runs."""
    title = element("h3", "A/B: does training get faster and stay as good?")
    if tried is None:
        return joined(title, element("p", missing))
    outcome = tried.outcome
    if isinstance(outcome, Broken):
        return joined(
            title,
            element("p", f"The A/B broke off: {REASONS[outcome.reason]}."),
            element("pre", outcome.detail, class_="message") if outcome.detail else "",
            _pair_table(outcome.pairs),
        )
    said = (
        f"{counted(len(outcome.pairs), 'pair')} of training runs, "
        f"{counted(outcome.steps, 'step')} each, preset {outcome.preset}, data {outcome.data}, "
        f"evaluation {outcome.eval_tokens}; sandbox: {tried.isolation}. "
        f"Step time: {ratio_text(outcome.speedup)} as fast. "
        f"val_bpb, candidate minus incumbent: {bpb_text(outcome.val_bpb)}. Brackets are "
        f"{confidence_text(outcome.speedup)}s; the gate's own bounds stand in its conditions."
    )
    agreement = _agreement(ab_disagreements(outcome))
    return joined(title, element("p", unbroken(said)), _pair_table(outcome.pairs), agreement)


def _pair_table(pairs: Sequence[Pair]) -> Markup:
    if not pairs:
        return joined()
    rows = [
        [
            str(number),
            str(pair.seed),
            pair.order,
            f"{pair.incumbent.step_ms:,.2f}",
            f"{pair.candidate.step_ms:,.2f}",
            f"{speedup(pair):.4f}x",
            f"{pair.incumbent.val_bpb:.5f}",
            f"{pair.candidate.val_bpb:.5f}",
            f"{pair.candidate.val_bpb - pair.incumbent.val_bpb:+.5f}",
            "" if pair.apart is None else percent_text(pair.apart),
            f"{pair.incumbent.wall_s:.1f}, {pair.candidate.wall_s:.1f}",
        ]
        for number, pair in enumerate(pairs, start=1)
    ]
    headings = [
        *("pair", ">seed", "order", ">incumbent, ms", ">candidate, ms", ">speed-up"),
        *(">incumbent val_bpb", ">candidate val_bpb", ">difference", ">apart"),
        ">whole runs, s",
    ]
    caption = (
        "Time per step and val_bpb of each pair; both runs of a pair have the same seed, and their "
        "tensors end so far apart, as a share of the way that training moved them"
    )
    return table(caption, headings, rows)


def _agreement(disagreements: Sequence[str]) -> Markup:
    if not disagreements:
        return element("p", "Recomputed from the raw samples: the intervals agree.", class_="note")
    return element(
        "div",
        element("p", "Recomputed from the raw samples, some intervals do not agree:"),
        element("ul", [element("li", text) for text in disagreements]),
        class_="warning",
    )
