"""What the ledger says, in plain words.

`verdict_sentence` tells in one paragraph what was found stage by stage, which conditions of the
gate do not hold and what to run next. It reads records only, decides nothing, and claims no gain
that the interval in the record does not show: where an interval contains "no difference", or the
gate asks for more, the words say so.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import pairwise, takewhile
from typing import NamedTuple

from lab.outcomes import Broken, Compared, Failed, Measured, Quarantined
from lab.records import Benched, Judged, Line, Verified
from lab.report.numbers import bpb_text, counted, one_line, ratio_text
from lab.report.steps import command, next_step
from lab.report.story import Story, stories

_MOST_DETAILED = 2
"""With more unmet conditions a sentence only names them; the page's table has the details."""

_TOO_LITTLE = "less than the gate asks for"
_UNCERTAIN = "not certain enough for the gate"
_STANDING = {
    "promoted": "It is promoted: the trainer uses it on this engine and hardware.",
    "replaced": "It was promoted, and another candidate has replaced it since.",
    "demoted": "It was promoted, and has been demoted since.",
}
REASONS = {
    "missing_function": "the file does not define the function",
    "syntax": "the file does not parse",
    "import": "the file fails while it is imported",
    "framework": "the file is written in another framework than the engine's",
    "raised": "the function raised an error",
    "arity": "the wrong number of outputs",
    "not_a_tensor": "an output is no plain tensor",
    "shape": "an output has the wrong shape",
    "dtype": "an output has the wrong dtype",
    "device": "an output is on the wrong device",
    "not_finite": "an output is not finite",
    "numeric": "an output is further from the oracle than allowed",
    "gradient_missing": "a gradient is missing",
    "gradient": "a gradient is further from the oracle than allowed",
    "input_changed": "an input was changed",
    "stale_output": "an old answer was returned for new inputs",
    "crash": "the worker was killed by a signal",
    "exit": "the worker ended itself",
    "timeout": "the time limit was reached",
    "memory": "the memory limit was reached",
    "switches": "it changed how the whole process computes",
    "output_flood": "it printed more than is allowed",
    "protocol": "the worker sent an invalid answer",
    "metal_source": "a Metal kernel does not compile",
    "metal_launch": "a Metal kernel was called as Metal does not allow",
    "metal_finding": "the Metal simulator found an error",
    "no_metal_kernel": "it launches no Metal kernel",
    "faster_than_light": "a time below what this machine can do",
    "clock_mismatch": "two clocks disagree",
    "control_failed": "the incumbent measured against itself shows a difference",
    "too_noisy": "the machine was too noisy to tell",
    "timed_output_wrong": "the timed calls gave wrong outputs",
    "arm_failed": "a training run failed",
    "wrong_op": "a training run did not use the op that it was given",
    "diverged": "a training run diverged",
    "behaves_differently": "inside the trainer it computed something else",
    "not_evaluated": "what it trained could not be evaluated",
    "trained_differently": "a training run did other work than the incumbent's",
}


class Clause(NamedTuple):
    """One finding about the candidate, as a predicate, and whether it speaks for it."""

    speaks_for: bool
    text: str


def verdict_sentence(judged: Judged, lines: Sequence[Line]) -> str:
    """The verdict and what it rests on, in one paragraph. For example:

    HOLD: rmsnorm 3f2a1b90c4d5 on cpu passed verify (84 checks), is 1.84x [1.79, 1.90] as fast as
    the incumbent in bench (6 cases), but makes no certain difference to the trainer's step: 1.03x
    [0.99, 1.07] over 3 pairs; it keeps val_bpb within its margin of 0.002: +0.0003 [-0.0002,
    +0.0008]. Not met: ab_step_time (…). Next: kernel-lab ab rmsnorm-cpu-torch-7c1e --pairs 5

    `lines` are the ledger's, oldest first; those after the verdict are left out of account.
    """
    known = [*takewhile(lambda line: line.id != judged.id, lines), judged]
    return story_sentence(stories(known)[0])


def story_sentence(story: Story) -> str:
    """Where a candidate stands, judged or not: headline, findings, next step."""
    subject = f"{story.target} {story.short} on {story.engine}"
    return f"{decision_text(story.judged)}: {subject} {_findings(story)}"


def headline(story: Story) -> str:
    """`HOLD: softcap_cross_entropy 3f2a1b90c4d5 on cpu`."""
    return f"{decision_text(story.judged)}: {story.target} {story.short} on {story.engine}"


def finding_text(story: Story) -> str:
    """What follows the headline: `It passed verify (84 checks), is 1.84x …`."""
    return f"It {_findings(story)}"


def _findings(story: Story) -> str:
    found = f"{_joined(clauses(story))}.{unmet_text(story.judged)}"
    return " ".join([found, *_since(story)])


def decision_text(judged: Judged | None) -> str:
    """`PROMOTE`, `HOLD`, `REJECT` or `NOT JUDGED`."""
    return judged.verdict.decision.upper() if judged else "NOT JUDGED"


def _since(story: Story) -> Iterator[str]:
    """What came after the verdict, and the next step."""
    if story.superseded is not None:
        decision = story.superseded.verdict.decision.upper()
        yield f"An earlier verdict ({decision}) does not cover the newest records."
    if story.standing:
        yield _STANDING[story.standing]
    if step := next_step(story):
        yield step


def unmet_text(judged: Judged | None) -> str:
    """` Not met: rule (detail), …`, or nothing where every condition holds."""
    unmet = [r for r in judged.verdict.reasons if not r.holds] if judged else []
    if not unmet:
        return ""
    if len(unmet) > _MOST_DETAILED:
        return f" Not met: {', '.join(r.rule for r in unmet)}."
    return f" Not met: {', '.join(f'{r.rule} ({_without_command(r.detail)})' for r in unmet)}."


def _without_command(detail: str) -> str:
    """A reason's detail without the command at its end, which the next step names anyway."""
    return one_line(re.sub(r"[;,]?[^;,]*\brun: kernel-lab .*$", "", detail) or detail)


def margin_bpb(judged: Judged | None) -> float:
    """The margin that the verdict's policy allows val_bpb, in bits per byte."""
    from lab.policy import Policy

    value = judged.policy.get("bpb_margin") if judged else None
    return float(value) if isinstance(value, int | float) else Policy().bpb_margin


def bench_missing(story: Story | None) -> str:
    """Why there is no speed-up to show, with the command that comes next; empty if there is one."""
    if story is None:
        return "No candidate yet.\nRun: kernel-lab open TARGET"
    if story.verified is None:
        return f"Not verified yet.\nRun: {command('verify', story)}"
    if isinstance(story.verified.outcome, Failed):
        return f"Not benched: verify failed; {failure_text(story.verified.outcome)}."
    if story.benched is None:
        return f"Not benched yet.\nRun: {command('bench', story)}"
    outcome = story.benched.outcome
    if isinstance(outcome, Failed):
        return f"Failed: {failure_text(outcome)}."
    if isinstance(outcome, Quarantined):
        return f"Quarantined: {REASONS[outcome.reason]}.\nNo speed-up can be quoted from this run."
    return ""


def ab_missing(story: Story | None) -> str:
    """Why there are no pairs to show, with the command that makes them; empty if there are some."""
    if story is None or story.tried is None:
        if story is None or bench_missing(story):
            return "Not tried in training yet: the A/B comes after verify and bench."
        return f"Not tried in training yet.\nRun: {command('ab', story)}"
    if isinstance(story.tried.outcome, Broken):
        return f"The A/B broke off: {REASONS[story.tried.outcome.reason]}."
    return ""


def failure_detail(story: Story | None) -> str:
    """What the last stage that failed said, in its own words: a candidate may have written them."""
    for record in reversed(story.evidence if story else ()):
        if isinstance(record.outcome, Failed | Quarantined | Broken):
            return record.outcome.detail
    return ""


def clauses(story: Story) -> list[Clause]:
    """One finding per stage, in order, up to the first that is missing or failed."""
    found = [_verify_clause(story.verified)]
    if not found[0].speaks_for:
        return found
    found.append(_weighed(_bench_clause(story.benched), story.judged, "bench_speedup", _TOO_LITTLE))
    if story.benched is None or not isinstance(story.benched.outcome, Measured):
        return found
    return found + _ab_clauses(story)


def _weighed(clause: Clause, judged: Judged | None, rule: str, lacks: str) -> Clause:
    """A finding that speaks for the candidate, unless the gate's own condition is not met."""
    unmet = {r.rule for r in judged.verdict.reasons if not r.holds} if judged else set()
    if clause.speaks_for and rule in unmet:
        return Clause(False, f"{clause.text}, which is {lacks}")
    return clause


def _joined(found: Sequence[Clause]) -> str:
    text = found[0].text
    for before, clause in pairwise(found):
        last = clause is found[-1]
        if before.speaks_for and not clause.speaks_for:
            text += ", but "
        elif not before.speaks_for:
            text += "; it "
        else:
            text += ", and " if last else ", "
        text += clause.text
    return text


def _verify_clause(verified: Verified | None) -> Clause:
    if verified is None:
        return Clause(False, "has not been verified")
    if isinstance(verified.outcome, Failed):
        return Clause(False, f"failed verify: {failure_text(verified.outcome)}")
    where = "" if verified.tier == "device" else f", {verified.tier} only"
    return Clause(True, f"passed verify ({counted(len(verified.outcome.checks), 'check')}{where})")


def _bench_clause(benched: Benched | None) -> Clause:
    if benched is None:
        return Clause(False, "has not been benched")
    outcome = benched.outcome
    if isinstance(outcome, Quarantined):
        return Clause(False, f"was quarantined in bench: {REASONS[outcome.reason]}")
    if isinstance(outcome, Failed):
        return Clause(False, f"failed in bench: {failure_text(outcome)}")
    ratio, cases = ratio_text(outcome.speedup), counted(len(outcome.cases), "case")
    if outcome.speedup.low > 1:
        return Clause(True, f"is {ratio} as fast as the incumbent in bench ({cases})")
    if outcome.speedup.high < 1:
        return Clause(False, f"is slower than the incumbent in bench: {ratio} ({cases})")
    return Clause(False, f"is not certainly faster in bench: {ratio} ({cases})")


def _ab_clauses(story: Story) -> list[Clause]:
    if story.tried is None:
        return [Clause(False, "has not been tried in training (A/B)")]
    outcome = story.tried.outcome
    if isinstance(outcome, Broken):
        return [Clause(False, f"could not be tried in training: {REASONS[outcome.reason]}")]
    return [
        _weighed(step_clause(outcome), story.judged, "ab_step_time", _UNCERTAIN),
        _weighed(
            val_bpb_clause(outcome, margin_bpb(story.judged)),
            story.judged,
            "ab_val_bpb",
            _UNCERTAIN,
        ),
    ]


def step_clause(outcome: Compared) -> Clause:
    """What the A/B says of the trainer's step time."""
    ratio, pairs = ratio_text(outcome.speedup), counted(len(outcome.pairs), "pair")
    if outcome.speedup.low > 1:
        return Clause(True, f"makes the trainer's step {ratio} as fast over {pairs}")
    if outcome.speedup.high < 1:
        return Clause(False, f"slows the trainer's step: {ratio} over {pairs}")
    return Clause(False, f"makes no certain difference to the trainer's step: {ratio} over {pairs}")


def val_bpb_clause(outcome: Compared, margin: float) -> Clause:
    """What the A/B says of val_bpb, against the margin."""
    difference, interval = bpb_text(outcome.val_bpb), outcome.val_bpb
    if interval.high < 0:
        return Clause(True, f"lowers val_bpb: {difference}")
    if interval.high <= margin:
        return Clause(True, f"keeps val_bpb within its margin of {margin:g}: {difference}")
    if interval.low > margin:
        return Clause(False, f"worsens val_bpb by more than {margin:g}: {difference}")
    return Clause(False, f"leaves val_bpb undecided at a margin of {margin:g}: {difference}")


def failure_text(outcome: Failed) -> str:
    """`an output is further from the oracle than allowed, in case 'odd-127', bfloat16`."""
    where = f", in case '{outcome.case}'" if outcome.case else ""
    return f"{REASONS[outcome.reason]}{where}{f', {outcome.dtype}' if outcome.dtype else ''}"
