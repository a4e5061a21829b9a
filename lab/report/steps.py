"""The next step of a candidate, as a command that can be pasted into a shell."""

from __future__ import annotations

import re
import shlex

from lab.outcomes import Broken, Failed, Quarantined
from lab.records import Judged
from lab.report.story import Story

_COMMAND = re.compile(
    r"\brun: (kernel-lab (?:(?:verify|bench|ab) [\w./-]+(?: --pairs \d+| --fresh)?"
    r"|(?:--engine \w+ )?calibrate-noise))\Z"
)
"""Strict, since a detail may quote what a candidate printed."""


def next_step(story: Story) -> str:
    """`Next: kernel-lab …`, what to mend where a candidate is wrong, or nothing to do."""
    if story.standing:
        return ""
    if _candidate_is_wrong(story):
        return f"Next: mend candidate.py, then {command('verify', story)}"
    if story.judged is not None and story.judged.verdict.decision == "reject":
        return f"Next: change candidate.py, then {command('verify', story)}"
    step = _next_command(story)
    return f"Next: {step}" if step else "No further A/B is planned for this candidate."


def _next_command(story: Story) -> str:
    """The command that takes this candidate one stage further; empty where there is none."""
    judged = story.judged
    if judged is not None and judged.verdict.decision == "promote":
        return command("promote", story)
    if judged is not None and (told := _told_by_gate(judged)):
        return told
    if story.verified is None:
        return command("verify", story)
    if story.benched is None or isinstance(story.benched.outcome, Quarantined):
        return command("bench", story)
    if story.tried is None or isinstance(story.tried.outcome, Broken):
        return command("ab", story)
    if judged is None:
        return command("gate", story)
    pairs = next_look(len(story.tried.outcome.pairs))
    return f"{command('ab', story)} --pairs {pairs}" if pairs else ""


def _told_by_gate(judged: Judged) -> str:
    """The command in the first unmet condition that ends in one."""
    for reason in judged.verdict.reasons:
        found = _COMMAND.search(reason.detail)
        if found and not reason.holds:
            return found.group(1)
    return ""


def command(verb: str, story: Story) -> str:
    """`kernel-lab VERB WORKSPACE`, quoted for a shell."""
    return f"kernel-lab {verb} {shlex.quote(story.workspace)}"


def next_look(pairs: int) -> int | None:
    """The number of pairs at which the A/B looks next; None after the last look."""
    from lab.stats import LOOKS

    return next((look for look in LOOKS if look > pairs), None)


def _candidate_is_wrong(story: Story) -> bool:
    return any(
        record is not None and isinstance(record.outcome, Failed)
        for record in (story.verified, story.benched)
    )
