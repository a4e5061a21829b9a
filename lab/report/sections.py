"""The page's sections after its overview: hot ops, each candidate, machines, the ledger itself.

Each takes records and returns markup; figures come in as markup too.
"""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Sequence
from statistics import median

from lab.outcomes import Compared
from lab.records import HotOp, Line, Machine, Profiled, SetAside
from lab.report.markup import Markup, details, element, joined, table
from lab.report.numbers import (
    counted,
    ms_text,
    number_text,
    percent_text,
    unbroken,
)
from lab.report.overview import anchor, tag
from lab.report.stage_tables import ab_section, bench_section, conditions, verify_section
from lab.report.steps import command
from lab.report.story import SHORT, Story
from lab.report.words import (
    ab_missing,
    bench_missing,
    finding_text,
)

# ---- hot ops ------------------------------------------------------------------------------------


def profile_section(profile: Profiled | None, figure: Markup) -> Markup:
    """Where the trainer's step goes."""
    title = element("h2", f"Hot ops ({profile.engine})" if profile else "Hot ops")
    if profile is None:
        missing = element("p", "Not profiled yet. Run: ", element("code", "kernel-lab profile"))
        return element("section", title, missing)
    said = (
        f"Preset {profile.preset} on {profile.engine}: a step takes "
        f"{ms_text(median(profile.step_ms))} (median of {len(profile.step_ms)}). Ops with a name "
        f"account for {percent_text(profile.covered)} of it. Measured here: "
        f"{number_text(profile.bandwidth_gb_s)} GB/s, {number_text(profile.peak_gflop_s)} GFLOP/s. "
        "The last two columns are the speed-up of the whole step if the op took no time, and if it "
        "took the least possible. A target that the trainer runs in parts stands below them: its "
        "time is theirs."
    )
    rows = [_op_row(op, "target" if op.target else "") for op in _by_share(profile.ops)]
    rows += [_op_row(op, "in parts") for op in _by_share(profile.larger)]
    headings = [
        *("op", "", ">share", ">per step", ">forward", ">backward", ">calls", ">MB"),
        *(">GFLOP", ">roofline", ">if removed", ">at roofline"),
    ]
    steps = ", ".join(f"{value:.6g}" for value in profile.step_ms)
    return element(
        "section",
        title,
        element("p", said),
        figure,
        table(f"Profile of {profile.time_utc}", headings, rows),
        details("Raw step times", element("p", f"Milliseconds: {steps}.")),
    )


def _by_share(ops: Sequence[HotOp]) -> list[HotOp]:
    return sorted(ops, key=lambda op: -op.share)


def _op_row(op: HotOp, kind: str) -> list[str | Markup]:
    return [
        element("code", op.op),
        kind,
        percent_text(op.share),
        ms_text(op.time_ms),
        ms_text(op.forward_ms),
        ms_text(op.backward_ms),
        f"{op.calls:,}",
        number_text(op.bytes_moved / 1e6),
        number_text(op.flops / 1e9),
        ms_text(op.roofline_ms),
        f"{op.ceiling_removed:.3f}x",
        f"{op.ceiling_roofline:.3f}x",
    ]


# ---- one candidate ------------------------------------------------------------------------------


def candidate_section(story: Story, figure: Markup, told: bool = False) -> Markup:
    """Everything about one candidate; its sentence only if the overview has not `told` it yet."""
    heading = element(
        "h2", tag(story), " ", story.target, " ", element("code", story.short), f", {story.engine}"
    )
    old = (
        f"{counted(story.outdated, 'older record')} made with another harness, target or framework "
        "version left out."
    )
    return element(
        "section",
        heading,
        element("p", unbroken(finding_text(story))) if not told else "",
        element("p", old, class_="note") if story.outdated else "",
        figure,
        conditions(story.judged) if story.judged else "",
        verify_section(story.verified, f"Not verified yet. Run: {command('verify', story)}"),
        bench_section(story.benched, _flat(bench_missing(story))),
        ab_section(story.tried, _flat(ab_missing(story))),
        _identity(story),
        _reproduce(story),
        id=anchor(story),
        class_="candidate",
    )


def _flat(text: str) -> str:
    return text.replace("\n", " ")


def _identity(story: Story) -> Markup:
    beside = (story.calibrated, story.judged)
    records = [*story.evidence, *(record for record in beside if record is not None)]
    rows = [
        ["candidate", element("code", story.candidate_sha256)],
        ["harness", element("code", story.harness_sha256)],
        ["target", element("code", story.target_sha256)],
        ["language", story.language],
        ["workspace", element("code", story.workspace)],
        ["machine", story.machine.hardware],
    ]
    rows += [
        [f"incumbent {where}", element("code", record.incumbent_sha256)]
        for where, record in (("in bench", story.benched), ("in A/B", story.tried))
        if record is not None
    ]
    rows += [[type(r).__name__.lower(), element("code", f"{r.id}, {r.time_utc}")] for r in records]
    return joined(
        element("h3", "What this rests on"),
        table("Hashes (sha256) and ledger records", ["what", "which"], rows),
    )


def _reproduce(story: Story) -> Markup:
    outcome = story.tried.outcome if story.tried else None
    lines = [command("verify", story), command("bench", story)]
    if isinstance(outcome, Compared):
        flags = {
            "preset": outcome.preset,
            "data": outcome.data,
            "eval-tokens": outcome.eval_tokens,
            "steps": str(outcome.steps),
            "pairs": str(len(outcome.pairs)),
        }
        given = " ".join(f"--{name} {shlex.quote(value)}" for name, value in flags.items())
        lines.append(f"{command('ab', story)} {given}")
    lines += [command("gate", story), "kernel-lab ledger verify"]
    anew = (
        f"kernel-lab --engine {story.engine} open {shlex.quote(story.target)} "
        f"--candidate candidates/{story.candidate_sha256}.py"
    )
    return joined(
        element("h3", "Reproduce"),
        element("p", "In the same results folder:"),
        element("pre", "\n".join(lines)),
        element("p", "Elsewhere, from the judged bytes that the results folder keeps:"),
        element("pre", anew),
    )


# ---- machines and ledger ------------------------------------------------------------------------


def machine_section(machines: Sequence[Machine]) -> Markup:
    """Where the shown records were made."""
    if not machines:
        return joined()
    rows = [
        [
            machine.hardware,
            str(machine.cores) if machine.cores else "",
            f"{machine.memory_gib:.1f}" if machine.memory_gib else "",
            machine.system,
            machine.python,
            ", ".join(f"{name} {version}" for name, version in sorted(machine.frameworks.items())),
            joined(
                element("code", machine.git_commit[:SHORT] or "none"),
                " with local changes" if machine.git_dirty else "",
            ),
        ]
        for machine in machines
    ]
    headings = [
        "hardware",
        ">cores",
        ">GiB",
        "system",
        "Python",
        "frameworks and drivers",
        "commit",
    ]
    title = element("h2", "Machine" if len(machines) == 1 else "Machines")
    return element("section", title, table("Where the records were made", headings, rows))


def ledger_section(lines: Sequence[Line]) -> Markup:
    """What the page was made from."""
    title = element("h2", "The ledger")
    if not lines:
        return element("section", title, element("p", "It has no records yet."))
    head = lines[-1]
    kinds = Counter(str(type(line).__struct_config__.tag) for line in lines)
    rows = [[kind, f"{count:,}"] for kind, count in sorted(kinds.items())]
    torn = [line for line in lines if isinstance(line, SetAside)]
    return element(
        "section",
        title,
        element(
            "p",
            f"Made from {counted(len(lines), 'record')}. The newest is ",
            element("code", head.id),
            f" of {head.time_utc}; the line before it has the hash ",
            element("code", head.previous_sha256 or "none"),
            ". Whether any line was edited, removed or moved, this page does not check. Run: ",
            element("code", "kernel-lab ledger verify"),
        ),
        table("Records by kind", ["kind", ">records"], rows),
        [
            element("p", f"A torn line of {t.bytes_set_aside:,} bytes was set aside in {t.file}.")
            for t in torn
        ],
    )
