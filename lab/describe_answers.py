"""The answers of commands that are no records (status, plans, health, the tour's end) as text.

Importing this teaches them to `lab.describe.describe`.
"""

from __future__ import annotations

from typing import Any

from lab import describe_calibration  # noqa: F401  teaches it calibrations
from lab.chain import Report
from lab.describe import describe, plain, table
from lab.doctor import Health
from lab.next_step import Step
from lab.orchestrate import Catalogue, Plan, Standing, Status
from lab.replay import Replay
from lab.selftest.scorecard import HEADINGS, Scorecard
from lab.tour import TourEnd


@describe.register
def _(value: TourEnd) -> list[Any]:
    kept = "promoted in this checkout" if value.promoted else "nothing was promoted"
    return [
        *describe(value.verdict),
        plain(value.sentence),
        plain(""),
        plain(f"page       {value.report}"),
        plain(f"picture    {value.picture}"),
        plain(f"ledger     {value.ledger}"),
        plain(f"workspace  {value.workspace}"),
        plain(f"took {value.seconds:.0f} s; {kept}. A verdict of hold or reject is an honest end."),
    ]


@describe.register
def _(value: Plan) -> list[Any]:
    rows = [[str(i), *_step_cells(step)] for i, step in enumerate(value.steps, 1)]
    parts = [table((">#", "target", ">share", ">ceiling", "next", "command", "why"), rows)]
    if value.left_alone:
        parts.append(plain("left alone: " + "; ".join(value.left_alone)))
    return parts


def _step_cells(step: Step) -> list[str]:
    return [step.target, *_worth(step), step.stage, step.command, step.why]


def _worth(value: Step | Standing) -> list[str]:
    share = f"{value.share:.1%}" if value.share is not None else "-"
    ceiling = f"{value.ceiling:.3f}x" if value.ceiling is not None else "-"
    return [share, ceiling]


@describe.register
def _(value: Standing) -> list[Any]:
    return [plain(f"{value.target}: {value.incumbent}")]


@describe.register
def _(value: Status) -> list[Any]:
    rows = [
        [s.target, *_worth(s), s.incumbent, *cells]
        for s in value.targets
        for cells in (
            [[w.workspace, w.stage, w.why] for w in s.workspaces]
            or [["-", "open", f"kernel-lab open {s.target}"]]
        )
    ]
    headings = ("target", ">share", ">ceiling", "runs today", "workspace", "next", "why")
    return [
        plain(f"engine {value.engine} on {value.hardware}; {value.records} records"),
        plain(f"calibration: {value.calibration}"),
        table(headings, rows),
    ]


@describe.register
def _(value: Catalogue) -> list[Any]:
    rows = [
        [t.signature, ", ".join(t.languages), t.summary, ", ".join(t.contains)]
        for t in value.targets
    ]
    return [table(("target", "starts in", "what it is", "contains"), rows)]


@describe.register
def _(value: Report) -> list[Any]:
    if value.ok:
        words = f"{value.lines} records, the chain is intact"
        return [plain(f"{words}; head {value.head.lines}:{value.head.sha256}")]
    found = [[str(problem.line), problem.what] for problem in value.problems]
    return [plain("the chain is BROKEN"), table((">line", "what is wrong"), found)]


@describe.register
def _(value: Replay) -> list[Any]:
    came = "the same verdict" if value.same else "ANOTHER VERDICT, or other reasons"
    about = f"line {value.line}, candidate {value.candidate_sha256[:12]}"
    parts = [plain(f"replayed {value.judged} ({about}): {came}")]
    parts += [plain(note) for note in value.notes]
    if value.differences:
        rows = [[x.what, x.recorded, x.replayed] for x in value.differences]
        parts.append(table(("what differs", "recorded", "replayed"), rows))
    return [*parts, *describe(value.verdict)]


@describe.register
def _(value: Health) -> list[Any]:
    rows = [["ok" if c.ok else "--", c.name, c.detail, c.fix] for c in value.checks]
    return [table(("", "what", "found", "how to get it"), rows)]


@describe.register
def _(value: Scorecard) -> list[Any]:
    parts = [table([HEADINGS[0], *(f">{name}" for name in HEADINGS[1:])], value.rows())]
    if value.unexpected:
        parts.append(table(("not as expected", "expected", "met", "known"), value.holes()))
    if value.timed:
        parts.append(table((">slowed by", "found"), value.clocks()))
    return [
        *parts,
        plain(
            f"harness {value.harness_sha256[:12]}, {value.hardware}, sandbox {value.isolation}, "
            f"{value.seconds:.0f} s"
        ),
    ]
